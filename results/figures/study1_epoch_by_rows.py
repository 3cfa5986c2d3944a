"""Cost of an epoch against the number of training rows: the study found a line."""

import numpy as np
import style
from results import NotHere, cost_per_datum, training_rows

ORDER = 10
TITLE = "1. Cost of an epoch by training-set size"


def draw(results):
    runs = results.training()
    if not len(runs):
        raise NotHere("No training run in these files; mlpwatt run --filter '^cpu/mlp_train/' records some.")
    datum, unit, provenance = cost_per_datum(runs)
    runs, datum, ways = results.cheapest_ways(runs, datum)
    rows = training_rows(runs)
    epoch = datum * rows
    figure, axes = style.new()
    groups, note = results.groups(runs, epoch)
    texts = []
    for index, (_, _, mine, name) in enumerate(groups):
        x, middle, low, high = style.medians_by(rows[mine], epoch[mine])
        axes.plot(rows[mine], epoch[mine], linestyle="", alpha=0.18, markersize=3, **style.series(index))
        axes.errorbar(x, middle, [middle - low, high - middle], linestyle="", markersize=5, capsize=3, linewidth=1.2,
                      label=f"{name}: each dataset's runs, median, quartiles", **style.series(index))
        slope = np.nanmedian(datum[mine])
        line = np.array([np.nanmin(rows[mine]), np.nanmax(rows[mine])])
        axes.plot(line, slope * line, color=style.COLOURS[index % len(style.COLOURS)], linestyle="--",
                  label=f"{name}: median slope {style.si(slope)}{unit}/row")
        low, high = np.nanpercentile(datum[mine], [25, 75])
        texts.append(f"{name}: median {style.si(slope)}{unit} per training row, quartiles {style.si(low)}{unit} to "
                     f"{style.si(high)}{unit}, over {np.count_nonzero(mine)} runs of {len(set(runs.text('dataset')[mine]))} "
                     "dataset(s)")
    axes.set_yscale("log", base=10)
    style.size_axis(axes, "training rows", "count")
    axes.set_ylabel(f"per epoch [{unit}]")
    axes.legend(fontsize=8)
    return figure, ("; ".join(texts) + f".{note}{ways} The study: 6.2 mJ (2.4 to 16.3) on its CPU nodes, "
                    "9.5 mJ (7.7 to 13.8) on its GPU nodes, with TensorFlow and whole-node meters."), provenance

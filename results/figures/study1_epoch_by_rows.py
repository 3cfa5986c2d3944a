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
    rows = training_rows(runs)
    epoch = datum * rows
    figure, axes = style.new()
    x, middle, low, high = style.medians_by(rows, epoch)
    axes.plot(rows, epoch, linestyle="", alpha=0.18, markersize=3, **style.series(0))
    axes.errorbar(x, middle, [middle - low, high - middle], linestyle="", markersize=5, capsize=3, linewidth=1.2,
                  label="each dataset: runs, median, quartiles", **style.series(0))
    slope = np.nanmedian(datum)
    line = np.array([np.nanmin(rows), np.nanmax(rows)])
    axes.plot(line, slope * line, color=style.COLOURS[1], linestyle="--",
              label=f"median slope {style.si(slope)}{unit}/row")
    axes.set_yscale("log", base=10)
    style.size_axis(axes, "training rows", "count")
    axes.set_ylabel(f"per epoch [{unit}]")
    axes.legend()
    datasets = len(set(runs.text("dataset")))
    low, high = np.nanpercentile(datum, [25, 75])
    return figure, (f"Median {style.si(slope)}{unit} per training row, quartiles {style.si(low)}{unit} to {style.si(high)}{unit}, "
                    f"over {len(runs)} runs of {datasets} dataset(s). The study: 6.2 mJ (2.4 to 16.3) on its CPU nodes, "
                    "9.5 mJ (7.7 to 13.8) on its GPU nodes, with TensorFlow and whole-node meters."), provenance

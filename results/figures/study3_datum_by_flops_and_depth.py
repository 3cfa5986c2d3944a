"""Cost of a training datum against FLOPs and against depth."""

import numpy as np
import style
from results import NotHere, cost_per_datum, rows_per_step

ORDER = 30
TITLE = "3. Cost of a datum by FLOPs and by depth"


def draw(results):
    runs = results.training()
    if not len(runs):
        raise NotHere("No training run in these files; mlpwatt run --filter '^cpu/mlp_train/' records some.")
    datum, unit, provenance = cost_per_datum(runs)
    runs, datum, ways = results.cheapest_ways(runs, datum)
    flops = runs.number("flops") / rows_per_step(runs)
    depth = runs.number("depth")
    figure, (left, right) = style.new(columns=2)
    octave = 2.0 ** np.round(np.log2(np.where(flops > 0, flops, np.nan)))
    size = runs.number("size")
    groups, note = results.groups(runs, datum)
    texts = []
    for index, (_, _, mine, name) in enumerate(groups):
        style.band(left, octave[mine], datum[mine], index, f"{name}: median and quartiles by octave")
        # Depth at a like size: sizes are what differs most, so each run is compared with its size's median.
        relative = np.full(len(runs), np.nan)
        marginal = []
        for one in np.unique(size[mine]):
            alike = mine & (size == one) & np.isfinite(datum)
            relative[alike] = datum[alike] / np.median(datum[alike]) if alike.any() else np.nan
            if np.unique(depth[alike]).size > 2:
                marginal.append(np.polyfit(depth[alike], datum[alike], 1)[0])
        style.band(right, depth[mine], relative[mine], index, f"{name}: median and quartiles by depth")
        texts.append(f"{name}: median marginal cost of a layer at a given size {style.si(np.median(marginal))}{unit} per "
                     f"datum over {len(marginal)} sizes" if marginal else
                     f"{name}: too few depths at a size for a marginal cost of a layer")
    left.set_yscale("log")
    style.size_axis(left, "FLOPs per datum", "count")
    left.set_ylabel(f"per training datum [{unit}]")
    left.legend(fontsize=8)
    right.axhline(1, color="#555555", linewidth=0.8)
    right.set_yscale("log", base=2)
    right.set_xticks([d for d in np.unique(depth) if d == d])
    right.set_xlabel("depth [dense layers]")
    right.set_ylabel("relative to the median network of the same size")
    right.legend(fontsize=8)
    return figure, "; ".join(texts) + f".{note}{ways} The study: 0.37 mJ per layer on CPU, 0.20 mJ on GPU.", provenance

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
    flops = runs.number("flops") / rows_per_step(runs)
    depth = runs.number("depth")
    figure, (left, right) = style.new(columns=2)
    octave = 2.0 ** np.round(np.log2(np.where(flops > 0, flops, np.nan)))
    style.band(left, octave, datum, 0, "median and quartiles by octave")
    left.set_yscale("log")
    style.size_axis(left, "FLOPs per datum", "count")
    left.set_ylabel(f"per training datum [{unit}]")
    left.legend()
    # Depth at a like size: sizes are what differs most, so each run is compared with its size's median.
    size = runs.number("size")
    relative = np.full(len(runs), np.nan)
    for one in np.unique(size):
        relative[size == one] = datum[size == one] / np.nanmedian(datum[size == one])
    style.band(right, depth, relative, 1, "median and quartiles by depth")
    right.axhline(1, color="#555555", linewidth=0.8)
    right.set_yscale("log", base=2)
    right.set_xticks([d for d in np.unique(depth) if d == d])
    right.set_xlabel("depth [dense layers]")
    right.set_ylabel("relative to the median network of the same size")
    right.legend()
    marginal = []
    for one in np.unique(size):
        mine = (size == one) & np.isfinite(datum)
        if np.unique(depth[mine]).size > 2:
            marginal.append(np.polyfit(depth[mine], datum[mine], 1)[0])
    text = (f"Median marginal cost of a layer at a given size: {style.si(np.median(marginal))}{unit} per datum "
            f"over {len(marginal)} sizes. " if marginal else "Too few depths at a size for a marginal cost of a layer. ")
    return figure, text + "The study: 0.37 mJ per layer on CPU, 0.20 mJ on GPU.", provenance

"""Cost of a training datum against trainable parameters."""

import numpy as np
import style
from results import NotHere, cost_per_datum, parameters

ORDER = 20
TITLE = "2. Cost of a datum by network size"


def draw(results):
    runs = results.training()
    if not len(runs):
        raise NotHere("No training run in these files; mlpwatt run --filter '^cpu/mlp_train/' records some.")
    datum, unit, provenance = cost_per_datum(runs)
    runs, datum, ways = results.cheapest_ways(runs, datum)
    figure, axes = style.new()
    slopes = []
    groups, note = results.groups(runs, datum)
    for index, (_, _, mine, name) in enumerate(groups):
        style.band(axes, runs.number("size")[mine], datum[mine], index, name)
        size = parameters(runs)[mine]
        large = size >= np.nanpercentile(size, 75)
        if large.any():
            slopes.append(f"{name}: {style.si(np.nanmedian(datum[mine][large] / size[large]))}{unit} per parameter "
                          "and datum in the largest quarter")
    axes.set_yscale("log")
    style.size_axis(axes, "trainable parameters asked for", "count")
    axes.set_ylabel(f"per training datum [{unit}]")
    axes.legend()
    return figure, "; ".join(slopes) + f".{note}{ways}" + (" A datum is a training row; the study counts a last, partial batch as a whole one. The study: 2.1e-9 J (1.57 to 2.81) on CPU beyond 2^21 parameters, "
                                        "1.5e-9 J (1.37 to 1.66) on GPU beyond 2^20."), provenance

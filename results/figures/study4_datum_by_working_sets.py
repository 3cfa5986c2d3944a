"""Cost of a training datum against each of the study's working sets, with the cache capacities."""

import numpy as np
import style
from results import NotHere, cost_per_datum

ORDER = 40
TITLE = "4. Cost of a datum by working set, and where the caches end"
SETS = (("l", "inter-layer"), ("f", "forward pass"), ("b", "backward pass"), ("d", "dataset"))


def draw(results):
    runs = results.training()
    if not len(runs):
        raise NotHere("No training run in these files; mlpwatt run --filter '^cpu/mlp_train/' records some.")
    datum, unit, provenance = cost_per_datum(runs)
    runs, datum, ways = results.cheapest_ways(runs, datum)
    flops = runs.number("flops")
    groups, note = results.groups(runs, datum)
    figure, grid = style.new(columns=2, rows=2, height=7.2)
    for axes, (letter, name) in zip(grid.flat, SETS):
        size = runs.number(f"working_set_{letter}_bytes")
        for index, (_, _, group, label) in enumerate(groups):
            mine = group & (size > 0) & (flops > 0)
            if mine.any():
                style.band(axes, 2.0 ** np.round(np.log2(size[mine])), datum[mine], index, f"{label}: median and quartiles")
        axes.set_yscale("log")
        style.size_axis(axes, f"working set {letter}: {name} [bytes]")
        axes.set_ylabel(f"per training datum [{unit}]")
        style.capacities_of_groups(axes, results, groups, style.COLOURS)
    grid.flat[0].legend(fontsize=8)
    return figure, (f"Dashed: capacity of one instance of each cache of a machine.{note}{ways} Where the curve bends upward as a set leaves a level, the "
                    "hierarchy shows; the study saw it for f and b."), provenance

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
    flops = runs.number("flops")
    machine = results.machine_of(runs)
    figure, grid = style.new(columns=2, rows=2, height=7.2)
    for axes, (letter, name) in zip(grid.flat, SETS):
        size = runs.number(f"working_set_{letter}_bytes")
        for index, row in enumerate(sorted(set(machine))):
            mine = (machine == row) & (size > 0) & (flops > 0)
            if not mine.any():
                continue
            octave = 2.0 ** np.round(np.log2(size[mine]))
            label = results.machine_name(row) if len(results.machines) > 1 else "median and quartiles"
            style.band(axes, octave, datum[mine], index, label)
        axes.set_yscale("log")
        style.size_axis(axes, f"working set {letter}: {name} [bytes]")
        axes.set_ylabel(f"per training datum [{unit}]")
        for row in results.machines[:1]:
            style.capacity_lines(axes, results.capacities(row))
    grid.flat[0].legend(fontsize=8)
    return figure, ("Dashed: capacity of one instance of each cache. Where the curve bends upward as a set leaves a level, the "
                    "hierarchy shows; the study saw it for f and b."), provenance

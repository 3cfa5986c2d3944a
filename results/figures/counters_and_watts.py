"""Cache misses and watts side by side along the size axis."""

import numpy as np
import style
from results import NotHere

ORDER = 100
TITLE = "Counters and watts along the size axis"


def draw(results):
    runs = results.training()
    if not len(runs):
        raise NotHere("No training run in these files; mlpwatt run --filter '^cpu/mlp_train/' records some.")
    bytes_f = runs.number("working_set_f_bytes") + runs.number("working_set_b_bytes")
    panels = []
    for provenance in ("measured", "simulated"):
        lines = [(level, runs.number(f"{level}_miss_{provenance}") / runs.number("flops") * 1e3) for level in ("l1", "l2", "l3")]
        lines = [(level, values) for level, values in lines if np.any(np.isfinite(values))]
        if lines:
            panels.append((f"misses per 1000 FLOPs ({provenance})", lines, provenance))
            break
    for provenance in ("measured", "modelled"):
        watts = runs.number(f"power_w_{provenance}")
        if np.any(watts > 0):
            panels.append((f"power [W] ({provenance})", [("power", watts)], provenance))
            break
    panels.append(("GFLOP/s (measured)", [("rate", runs.number("flops_per_s") / 1e9)], "measured"))
    figure, grid = style.new(columns=len(panels), height=4.4, squeeze=False)
    octave = 2.0 ** np.round(np.log2(np.where(bytes_f > 0, bytes_f, np.nan)))
    for axes, (label, lines, _) in zip(grid.flat, panels):
        for index, (name, values) in enumerate(lines):
            style.band(axes, octave, values, index, name.upper() if len(lines) > 1 else "median and quartiles")
        if "misses" in label:
            axes.set_yscale("log")
        style.size_axis(axes, "weights, gradients and activations: f + b [bytes]")
        axes.set_ylabel(label)
        style.capacity_lines(axes, results.capacities(int(results.machine_of(runs)[0])))
        axes.legend(fontsize=8)
    absent = []
    if not any("misses" in label for label, _, _ in panels):
        absent.append("no counters (a machine with a PMU, or --counters simulate)")
    if not any("power" in label for label, _, _ in panels):
        absent.append("no watts (mlpwatt info lists the meters looked for)")
    return figure, ("Dashed: cache capacities. " + ("Absent here: " + "; ".join(absent) + "." if absent else "")), (
        ", ".join(sorted({provenance for _, _, provenance in panels})))

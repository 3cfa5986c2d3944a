"""Cache misses and watts side by side along the size axis."""

import numpy as np
import style
from results import NotHere

ORDER = 100
TITLE = "Counters and watts along the size axis"


def misses(runs, mine):
    """([(level, misses per 1000 FLOPs)], provenance) of some rows: measured where there are any, else simulated."""
    for provenance in ("measured", "simulated"):
        lines = [(level.upper(), runs.number(f"{level}_miss_{provenance}") / runs.number("flops") * 1e3)
                 for level in ("l1", "l2", "l3")]
        lines = [(level, values) for level, values in lines if np.any(np.isfinite(values[mine]))]
        if lines:
            return lines, provenance
    return [], ""


def moved(runs, mine):
    """The same of the bytes between two levels, which a GPU counts instead of misses."""
    for provenance in ("measured", "simulated"):
        lines = [(name, runs.number(f"{column}_{provenance}") / runs.number("flops"))
                 for name, column in (("to L1", "l1_bytes"), ("to L2", "l2_bytes"), ("to memory", "dram_bytes"))]
        lines = [(name, values) for name, values in lines if np.any(np.isfinite(values[mine]))]
        if lines:
            return lines, provenance
    return [], ""


def watts(runs, mine):
    for provenance in ("measured", "modelled"):
        values = runs.number(f"power_w_{provenance}")
        if np.any(values[mine] > 0):
            return [("power", values)], provenance
    return [], ""


def rate(runs, mine):
    values = runs.number("flops_per_s") / 1e9
    return ([("rate", values)], "measured") if np.any(np.isfinite(values[mine])) else ([], "")


QUANTITIES = (("misses per 1000 FLOPs", misses, "no counters (a machine with a PMU, or --counters simulate)"),
              ("bytes per FLOP", moved, ""),
              ("power [W]", watts, "no watts (mlpwatt info lists the meters looked for)"),
              ("GFLOP/s", rate, "no rates"))


def draw(results):
    runs = results.training()
    if not len(runs):
        raise NotHere("No training run in these files; mlpwatt run --filter '^cpu/mlp_train/' records some.")
    bytes_f = runs.number("working_set_f_bytes") + runs.number("working_set_b_bytes")
    octave = 2.0 ** np.round(np.log2(np.where(bytes_f > 0, bytes_f, np.nan)))
    groups, _ = results.groups(runs)
    panels, absent = [], []
    for label, quantity, remedy in QUANTITIES:
        found = [(group, *quantity(runs, group[2])) for group in groups]
        without = [name for (_, _, _, name), lines, _ in found if not lines]
        if len(without) < len(groups):
            panels.append((label, [one for one in found if one[1]]))
        if quantity is misses:
            without = [name for (_, _, mine, name), lines, _ in found if not lines and not moved(runs, mine)[0]]
        if without and remedy:
            absent.append(remedy + (f" of {', '.join(without)}" if len(groups) > 1 else ""))
    figure, grid = style.new(columns=len(panels), height=4.4, squeeze=False)
    for axes, (label, found) in zip(grid.flat, panels):
        for index, ((_, _, mine, name), lines, provenance) in enumerate(found):
            for level, (what, values) in enumerate(lines):
                text = f"{what}, " if len(lines) > 1 else ""
                # colours tell machines apart where there are several, else levels
                look = (index, ("-", "--", ":")[level]) if len(found) > 1 else (level, "-")
                style.band(axes, octave[mine], values[mine], look[0], f"{text}{name} ({provenance})", look[1])
        if "per" in label:
            axes.set_yscale("log")
        style.size_axis(axes, "weights, gradients and activations: f + b [bytes]")
        axes.set_ylabel(label)
        style.capacities_of_groups(axes, results, [group for group, _, _ in found], style.COLOURS)
        axes.legend(fontsize=7, **({"loc": "upper center", "bbox_to_anchor": (0.5, -0.3)} if len(found) > 1 else {}))
    kinds = sorted({provenance for _, found in panels for _, _, provenance in found})
    return figure, ("Lines: median and quartiles by octave. Dashed: cache capacities. "
                    + ("Absent here: " + "; ".join(absent) + "." if absent else "")), ", ".join(kinds)

"""Efficiency of the matrix product against the width of the layer: do odd widths fall off a cliff?"""

import numpy as np
import style
from results import NotHere

ORDER = 95
TITLE = "Matrix products of every layer width"


def lanes_of(isa):
    return {"avx512": 16, "avx2": 8, "avx2_nofma": 8}.get(isa, 4)


FAMILIES = (("gemm_width", "rows"), ("panel_width", "batch on the lanes"))


def draw(results):
    tables = [(results.family(family), how) for family, how in FAMILIES]
    tables = [(table, how) for table, how in tables if len(table)]
    if not tables:
        raise NotHere("No cpu/gemm_width or cpu/panel_width runs in these files; make widths records them.")
    machines = sorted({machine for table, _ in tables for machine in results.machine_of(table)})
    figure, grid = style.new(rows=len(machines), height=style.HEIGHT * len(machines), squeeze=False)
    texts = []
    for axes, machine in zip(grid.flat, machines):
        if len(machines) > 1:
            axes.set_title(results.machine_name(machine), fontsize=10, loc="left")
        drops = draw_machine(axes, results, tables, machine)
        texts.append(f"{results.machine_name(machine)}: " + "; ".join(drops))
    return figure, ("Forward product [256 x W] [W x W], row-major or as the training engine lays it, quickest blocks. Each width against the "
                    "neighbouring whole number of vectors. " + ". ".join(texts) + "."), "measured"


def quickest_rate(table):
    """FLOP/s of each run's quickest block: what the code can do, whatever else the machine did meanwhile."""
    quickest = table.number("flops") / table.number("step_min_s")
    return np.where(quickest > 0, quickest, table.number("flops_per_s"))


def draw_machine(axes, results, tables, machine):
    """@return what to say of each number of threads"""
    fma = results.family("fma")
    index, drops = 0, []
    for table, how in tables:
        threads, isas = table.number("threads"), table.text("isa")
        mine = results.machine_of(table) == machine
        widths = np.array([float(name.rsplit("/", 1)[-1]) for name in table.text("name")])
        for count in sorted({t for t in threads[mine] if t == t}):
            some = mine & (threads == count)
            isa = [i for i, s in zip(isas, some) if s][0]
            peak, unit = np.nan, "GFLOP/s"
            if len(fma):
                same = (results.machine_of(fma) == machine) & (fma.number("threads") == count) & np.array(
                    [i == isa for i in fma.text("isa")], dtype=bool)
                if same.any():
                    peak, unit = np.nanmax(quickest_rate(fma)[same]), "share of the FMA peak"
            x, y, _, _ = style.medians_by(widths[some], quickest_rate(table)[some])
            y = y / peak if peak == peak else y / 1e9
            axes.plot(x, y, markersize=2, linewidth=1, label=f"{how}, {isa}, {int(count)} thread(s)", **style.series(index))
            index += 1
            drops += worst_width(dict(zip(x, y)), lanes_of(isa), f"{how}, {int(count)} thread(s)")
            axes.set_ylabel(unit)
    axes.set_xlabel("width of the layer (batch 256)")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8)
    return drops


def worst_width(rate, lanes, what):
    # the nearest multiple of the vector: 17 beside 16, 31 beside 32
    beside = [(rate[w] / rate[whole], int(w)) for w in rate
              for whole in (max(1, np.ceil(w / lanes - 0.5)) * lanes,) if whole in rate]
    if not beside:
        return []
    worst, at = min(beside)
    below = sorted(w for share, w in beside if share < 0.7)
    return [f"{what}: the worst is {at} with {worst:.2f}" + (f", below 0.7: {', '.join(map(str, below[:12]))}" if below else "")]

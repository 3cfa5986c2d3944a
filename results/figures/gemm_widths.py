"""Efficiency of the matrix product against the width of the layer: do odd widths fall off a cliff?"""

import numpy as np
import style
from results import NotHere

ORDER = 95
TITLE = "Matrix products of every layer width"


def lanes_of(isa):
    return {"avx512": 16, "avx2": 8, "avx2_nofma": 8}.get(isa, 4)


def draw(results):
    widths, fma = results.cpu_family("gemm_width"), results.cpu_family("fma")
    if not len(widths):
        raise NotHere("No cpu/gemm_width runs in these files; make widths records them.")
    groups = results.groups(widths)[0]
    figure, grid = style.new(rows=len(groups), height=style.HEIGHT * len(groups), squeeze=False)
    texts = []
    for axes, (row, _, mine, _) in zip(grid.flat, groups):
        if len(groups) > 1:
            axes.set_title(results.machine_name(row), fontsize=10, loc="left")
        texts.append(f"{results.machine_name(row)}: " + "; ".join(draw_machine(axes, results, widths, fma, row, mine)))
    return figure, "Forward product [256 x W] [W x W]. " + ". ".join(texts) + ".", "measured"


def draw_machine(axes, results, widths, fma, row, mine):
    """@return what to say of each number of threads"""
    names, threads, isas = widths.text("name"), widths.number("threads"), widths.text("isa")
    index, drops = 0, []
    for count in sorted({t for t in threads[mine] if t == t}):
        some = mine & (threads == count)
        isa = [i for i, s in zip(isas, some) if s][0]
        peak, unit = np.nan, "GFLOP/s"
        if len(fma):
            same = (results.machine_of(fma) == row) & (fma.number("threads") == count) & np.array(
                [i == isa for i in fma.text("isa")], dtype=bool)
            if same.any():
                peak, unit = np.nanmax(fma.number("flops_per_s")[same]), "share of the FMA peak"
        x, y, _, _ = style.medians_by(np.array([float(name.rsplit("/", 1)[-1]) for name in names])[some],
                                      widths.number("flops_per_s")[some])
        y = y / peak if peak == peak else y / 1e9
        axes.plot(x, y, markersize=2, linewidth=1, label=f"{isa}, {int(count)} thread(s)", **style.series(index))
        index += 1
        rate, lanes = dict(zip(x, y)), lanes_of(isa)
        beside = [(rate[w] / rate[whole], int(w)) for w in x if w > lanes
                  for whole in (w // lanes * lanes,) if whole in rate]
        if beside:
            worst, at = min(beside)
            drops.append(f"{int(count)} thread(s): worst width {at}, {worst:.2f} of the whole number of vectors below it")
    axes.set_xlabel("width of the layer (batch 256)")
    axes.set_ylabel(unit)
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8)
    return drops

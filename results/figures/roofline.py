"""Cache-aware roofline: what each level's bandwidth and the arithmetic allow, and every kernel below it."""

import numpy as np
import style
from results import NotHere

ORDER = 80
TITLE = "Roofline of this machine"


def ceilings(results, row, threads):
    """([(level, bytes/s)], FLOP/s) from the probes of a machine on so many threads."""
    stream, fma = results.family("stream"), results.family("fma")
    peak = np.nan
    if len(fma):
        mine = results.machine_of(fma) == row
        exact = mine & (fma.number("threads") == threads)
        if exact.any():
            peak = np.nanmax(fma.number("flops_per_s")[exact])
        elif mine.any():  # registers are each core's own
            peak = np.nanmax((fma.number("flops_per_s") / fma.number("threads"))[mine]) * threads
    lines = []
    if len(stream):
        mine = (results.machine_of(stream) == row) & (stream.number("threads") == threads)
        size, rate = stream.number("working_set_bytes_used")[mine], stream.number("compulsory_bytes_per_s")[mine]
        below = 0.0
        for level, capacity, shared in results.capacities(row):
            # what `threads` neighbours have of it together
            reach = capacity * max(1, threads // max(1, shared))
            inside = (size > below) & (size <= 0.75 * reach)
            if inside.any():
                lines.append((level, float(np.nanmax(rate[inside]))))
            below = 1.5 * reach
        beyond = size > below
        if beyond.any():
            lines.append(("memory", float(np.nanmedian(rate[beyond]))))
    return lines, peak


def roofs_of(results):
    """[(machine, threads, [(level, bytes/s)], FLOP/s)] of the first machine that was probed, few threads first."""
    stream = results.family("stream")
    for row in results.machines:
        mine = results.machine_of(stream) == row if len(stream) else np.zeros(0, dtype=bool)
        found = []
        for threads in sorted({t for t in stream.number("threads")[mine] if t == t}):
            lines, peak = ceilings(results, row, threads)
            if lines and peak == peak:
                found.append((row, int(threads), lines, peak))
        if found:
            return found
    raise NotHere("No cpu/fma and cpu/stream runs of one machine in these files; make roofline records them.")


def draw_roof(axes, results, row, threads, lines, peak):
    ok = results.ok()
    x = 2.0 ** np.linspace(-6, 14, 200)
    for index, (level, bandwidth) in enumerate(lines):
        axes.plot(x, np.minimum(peak, bandwidth * x) / 1e9, color=style.COLOURS[index % 6], linewidth=1.5,
                  label=f"{level} {bandwidth / 1e9:.3g} GB/s")
    work = ok.where((results.machine_of(ok) == row) & (ok.number("flops") > 0) & (ok.number("threads") == threads))
    moved = work.number("compulsory_read_bytes") + work.number("compulsory_write_bytes")
    intensity = work.number("flops") / np.where(moved > 0, moved, np.nan)
    families = work.text("family")
    kernels = sorted({f for f in families if not f.endswith(("fma", "stream", "chase"))})
    for index, family in enumerate(kernels):
        mine = families == family
        axes.plot(intensity[mine], work.number("flops_per_s")[mine] / 1e9, linestyle="", alpha=0.6, markersize=4,
                  label=family, **style.series(index + len(lines)))
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.set_xlim(2.0**-6, 2.0**14)
    axes.set_ylim(peak / 1e9 / 2**9, peak / 1e9 * 1.4)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlabel("FLOPs per compulsory byte")
    axes.set_ylabel("GFLOP/s")
    axes.set_title(f"{threads} thread{'s' if threads > 1 else ''}: {peak / 1e9:.4g} GFLOP/s", fontsize=10, loc="left")
    axes.legend(fontsize=8, loc="lower right")
    return sum(family in kernels for family in families)


def draw(results):
    roofs = roofs_of(results)
    roofs = [roofs[0], roofs[-1]] if len(roofs) > 1 else roofs
    figure, grid = style.new(columns=len(roofs), squeeze=False)
    kernels = sum(draw_roof(axes, results, *roof) for axes, roof in zip(grid.flat, roofs))
    return figure, (f"{results.machine_name(roofs[0][0])}. Roofs: the fma probe (its rate per thread where it ran on another "
                    "number of them) and bandwidth of each level from the stream probe. A kernel above a level's roof is "
                    f"served by a nearer level. {kernels} runs of kernels stand under the roofs of their number of threads."
                    ), "measured"

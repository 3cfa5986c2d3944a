"""Cache-aware roofline: what each level's bandwidth and the arithmetic allow, and every kernel below it."""

import numpy as np
import style
from results import NotHere

ORDER = 80
TITLE = "Roofline of each machine"
PROBES = ("fma", "stream", "chase")
INTENSITIES = 2.0**-6, 2.0**14


def ceilings(results, row, threads):
    """([(level, bytes/s)], FLOP/s) from the probes of a machine on so many threads."""
    stream, fma = results.cpu_family("stream"), results.cpu_family("fma")
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
    """A list a machine that was probed: [(machine, threads, [(level, bytes/s)], FLOP/s)] of its fewest and most threads."""
    stream = results.cpu_family("stream")
    machines = []
    for row in results.machines:
        mine = results.machine_of(stream) == row
        found = []
        for threads in sorted({t for t in stream.number("threads")[mine] if t == t}):
            lines, peak = ceilings(results, row, threads)
            if lines and peak == peak:
                found.append((row, int(threads), lines, peak))
        if found:
            machines.append([found[0], found[-1]] if len(found) > 1 else found)
    if not machines:
        raise NotHere("No cpu/fma and cpu/stream runs of one machine in these files; make roofline records them.")
    return machines


def kernels_of(results):
    """Runs of our kernels on a CPU that have FLOPs; not the probes, which the roofs are made of."""
    ok = results.ok()
    probe = np.array([family.endswith(PROBES) for family in ok.text("family")], dtype=bool)
    return ok.where(~probe & (ok.text("backend") == "cpu") & (ok.number("flops") > 0))


def draw_roof(axes, results, kernels, fewer, row, threads, lines, peak):
    """@param fewer the threads of the roof before: runs on more than those, up to this roof's, stand here
    @return the runs that stand inside the axes"""
    x = np.geomspace(*INTENSITIES, 200)
    for index, (level, bandwidth) in enumerate(lines):
        axes.plot(x, np.minimum(peak, bandwidth * x) / 1e9, color=style.COLOURS[index % 6], linewidth=1.5,
                  label=f"{level} {bandwidth / 1e9:.3g} GB/s")
    on = kernels.number("threads")
    work = kernels.where((results.machine_of(kernels) == row) & (on > fewer) & (on <= threads))
    moved = work.number("compulsory_read_bytes") + work.number("compulsory_write_bytes")
    intensity = work.number("flops") / np.where(moved > 0, moved, np.nan)
    families = work.text("family")
    rate = work.number("flops_per_s") / 1e9
    lowest = min(peak / 1e9 / 2**9, np.nanmin(rate, initial=np.inf) / 1.4)
    for index, family in enumerate(sorted(set(families))):
        mine = families == family
        axes.plot(intensity[mine], rate[mine], linestyle="", alpha=0.6, markersize=4,
                  label=family, **style.series(index + len(lines)))
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.set_xlim(*INTENSITIES)
    axes.set_ylim(lowest, peak / 1e9 * 1.4)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlabel("FLOPs per compulsory byte")
    axes.set_ylabel("GFLOP/s")
    least = np.nanmin(work.number("threads"), initial=threads)
    axes.set_title(f"{threads} thread{'s' if threads > 1 else ''}: {peak / 1e9:.4g} GFLOP/s"
                   + (f"; kernels on {least:.0f} to {threads}" if least < threads else ""), fontsize=10, loc="left")
    axes.legend(fontsize=8, loc="lower right")
    inside = (intensity >= INTENSITIES[0]) & (intensity <= INTENSITIES[1]) & (rate > 0) & (rate <= peak / 1e9 * 1.4)
    return int(np.count_nonzero(inside))


def draw(results):
    machines = roofs_of(results)
    kernels = kernels_of(results)
    figure, grid = style.new(columns=max(len(roofs) for roofs in machines), rows=len(machines),
                             height=style.HEIGHT * len(machines), squeeze=False)
    shown = 0
    for line, roofs in zip(grid, machines):
        below = [0] + [roof[1] for roof in roofs[:-1]]
        shown += sum(draw_roof(axes, results, kernels, fewer, *roof) for axes, fewer, roof in zip(line, below, roofs))
        for axes in line[len(roofs):]:
            axes.set_visible(False)
        if len(machines) > 1:
            line[0].annotate(results.machine_name(roofs[0][0]), (0, 1), xycoords="axes fraction", xytext=(0, 22),
                             textcoords="offset points", fontsize=10, fontweight="bold", annotation_clip=False)
    left_out = len(kernels) - shown
    names = "; ".join(results.machine_name(roofs[0][0]) for roofs in machines)
    return figure, (f"{names}. Roofs: the fma probe (its rate per thread where it ran on another "
                    "number of them) and bandwidth of each level from the stream probe. A kernel above a level's roof is "
                    f"served by a nearer level. {shown} runs of kernels stand under the roofs of their number of threads (or "
                    "the next one probed)"
                    + (f"; {left_out} are not shown: on more threads, on a machine without probes, without a "
                       "count of bytes, or beyond the axes." if left_out else ", all there are.")), "measured"

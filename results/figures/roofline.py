"""Cache-aware roofline: what each level's bandwidth and the arithmetic allow, and every kernel below it."""

import numpy as np
import style
from results import NotHere

ORDER = 80
TITLE = "Roofline of each machine"
PROBES = ("fma", "stream", "chase")
INTENSITIES = 2.0**-6, 2.0**14


class Roof:
    """What the probes of a processor on so many threads, or of a whole GPU, allow: `lines` [(level, bytes/s)] and `peak`
    FLOP/s; of a GPU in fp32, and `more` [(name, FLOP/s)] of its other units."""

    def __init__(self, results, row, backend, threads):
        self.row, self.backend, self.threads = row, backend, int(threads)
        self.lines = bandwidths(results, row, backend, threads)
        peaks = {} if backend == "cpu" else peaks_of_device(results, row, backend)
        self.peak = peak_of_processor(results, row, threads) if backend == "cpu" else peaks.pop("fp32", np.nan)
        self.more = sorted(peaks.items(), key=lambda unit: unit[1])

    def stands(self):
        return bool(self.lines) and self.peak == self.peak

    def highest(self):
        return max([self.peak] + [rate for _, rate in self.more])


def peak_of_processor(results, row, threads):
    fma = results.family("fma")
    peak = np.nan
    if len(fma):
        mine = results.machine_of(fma) == row
        exact = mine & (fma.number("threads") == threads)
        if exact.any():
            peak = np.nanmax(fma.number("flops_per_s")[exact])
        elif mine.any():  # registers are each core's own
            peak = np.nanmax((fma.number("flops_per_s") / fma.number("threads"))[mine]) * threads
    return peak


def peaks_of_device(results, row, backend):
    """{unit: FLOP/s} of gpu/fma/UNIT."""
    fma = results.family("fma", backend)
    mine = fma.where(results.machine_of(fma) == row)
    names, rates = mine.text("name"), mine.number("flops_per_s")
    return {name.split("/")[-1]: float(np.nanmax(rates[names == name])) for name in sorted(set(names))}


def bandwidths(results, row, backend, threads):
    """[(level, bytes/s)]; none where nobody says where the levels end."""
    stream, lines = results.family("stream", backend), []
    levels = results.swept(row, backend, threads)
    if len(stream) and levels:
        mine = results.machine_of(stream) == row
        if backend == "cpu":
            mine &= stream.number("threads") == threads
        size, rate = stream.number("working_set_bytes_used")[mine], stream.number("compulsory_bytes_per_s")[mine]
        below = 0.0
        for level, reach in levels:
            # closer where a device's L1, all together, leave less than an octave below its L2
            wide = 1.5 * below < 0.75 * reach
            inside = (size > (1.5 if wide else 1.1) * below) & (size <= (0.75 if wide else 0.95) * reach)
            if inside.any():
                lines.append((level, float(np.nanmax(rate[inside]))))
            below = reach
        beyond = size > 1.5 * below
        if beyond.any():
            lines.append(("memory", float(np.nanmedian(rate[beyond]))))
    return lines


def roofs_of(results):
    """A list each processor and GPU that was probed: of its fewest and its most threads, or of the whole."""
    machines = []
    for row in results.machines:
        for backend in ("cpu", "gpu"):
            stream = results.family("stream", backend)
            mine = results.machine_of(stream) == row
            teams = sorted({t for t in stream.number("threads")[mine] if t == t})
            found = [roof for threads in (teams if backend == "cpu" else teams[-1:])
                     if (roof := Roof(results, row, backend, threads)).stands()]
            if found:
                machines.append([found[0], found[-1]] if len(found) > 1 else found)
    if not machines:
        raise NotHere("No fma and stream runs of one machine in these files; make roofline records them, of a GPU make record-gpu.")
    return machines


def kernels_of(results):
    """Runs of our kernels that have FLOPs; not the probes, which the roofs are made of."""
    ok = results.ok()
    probe = np.array([family.endswith(PROBES) for family in ok.text("family")], dtype=bool)
    return ok.where(~probe & (ok.number("flops") > 0))


def draw_roof(axes, results, kernels, fewer, roof):
    """@param fewer the threads of the roof before: a processor's runs on more than those, up to this roof's, stand here
    @return the runs that stand inside the axes"""
    x = np.geomspace(*INTENSITIES, 200)
    threads, peak, highest = roof.threads, roof.peak, roof.highest()
    for index, (level, bandwidth) in enumerate(roof.lines):
        axes.plot(x, np.minimum(peak, bandwidth * x) / 1e9, color=style.COLOURS[index % 6], linewidth=1.5,
                  label=f"{level} {bandwidth / 1e9:.3g} GB/s")
    for index, (unit, rate) in enumerate(roof.more):
        axes.axhline(rate / 1e9, color=style.GREY, linewidth=1, linestyle=("--", ":", "-.")[index % 3],
                     label=f"{unit} {rate / 1e9:.4g} GFLOP/s")
    on = kernels.number("threads")
    here = (results.machine_of(kernels) == roof.row) & (kernels.text("backend") == roof.backend)
    work = kernels.where(here & (on > fewer) & (on <= threads) if roof.backend == "cpu" else here)
    moved = work.number("compulsory_read_bytes") + work.number("compulsory_write_bytes")
    intensity = work.number("flops") / np.where(moved > 0, moved, np.nan)
    families = work.text("family")
    rate = work.number("flops_per_s") / 1e9
    top = highest / 1e9 * 1.4
    lowest = min(peak / 1e9 / 2**9, np.nanmin(rate, initial=np.inf) / 1.4)
    for index, family in enumerate(sorted(set(families))):
        mine = families == family
        axes.plot(intensity[mine], rate[mine], linestyle="", alpha=0.6, markersize=4,
                  label=family, **style.series(index + len(roof.lines)))
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.set_xlim(*INTENSITIES)
    axes.set_ylim(lowest, top)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlabel("FLOPs per compulsory byte")
    axes.set_ylabel("GFLOP/s")
    least = np.nanmin(work.number("threads"), initial=threads)
    of = "the whole device, fp32" if roof.backend != "cpu" else f"{threads} thread{'s' if threads > 1 else ''}"
    axes.set_title(f"{of}: {peak / 1e9:.4g} GFLOP/s"
                   + (f"; kernels on {least:.0f} to {threads}" if roof.backend == "cpu" and least < threads else ""),
                   fontsize=10, loc="left")
    axes.legend(fontsize=8, loc="lower right")
    inside = (intensity >= INTENSITIES[0]) & (intensity <= INTENSITIES[1]) & (rate > 0) & (rate <= top)
    return int(np.count_nonzero(inside))


def draw(results):
    machines = roofs_of(results)
    kernels = kernels_of(results)
    figure, grid = style.new(columns=max(len(roofs) for roofs in machines), rows=len(machines),
                             height=style.HEIGHT * len(machines), squeeze=False)
    shown = 0
    for line, roofs in zip(grid, machines):
        below = [0] + [roof.threads for roof in roofs[:-1]]
        shown += sum(draw_roof(axes, results, kernels, fewer, roof) for axes, fewer, roof in zip(line, below, roofs))
        for axes in line[len(roofs):]:
            axes.set_visible(False)
        if len(machines) > 1:
            line[0].annotate(results.machine_name(roofs[0].row, roofs[0].backend), (0, 1), xycoords="axes fraction", xytext=(0, 22),
                             textcoords="offset points", fontsize=10, fontweight="bold", annotation_clip=False)
    left_out = len(kernels) - shown
    names = "; ".join(results.machine_name(roofs[0].row, roofs[0].backend) for roofs in machines)
    return figure, (f"{names}. Roofs: the fma probe (its rate per thread where it ran on another "
                    "number of them) and bandwidth of each level from the stream probe. A kernel above a level's roof is "
                    f"served by a nearer level (a GPU's on tensor cores: under their own peak, dashed). {shown} runs of kernels stand under the roofs of their number of threads, "
                    "or the next one probed (a GPU's under those of the whole device)"
                    + (f"; {left_out} are not shown: on more threads, on a processor or GPU without probes of fma and "
                       "stream, without a count of bytes, or beyond the axes." if left_out else ", all there are.")), "measured"

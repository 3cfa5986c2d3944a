"""Bandwidth and latency against the working set: the steps of the memory hierarchy."""

import numpy as np
import style
from results import NotHere

ORDER = 90
TITLE = "The memory hierarchy, probed"


def draw_bandwidth(axes, stream, threads):
    names = stream.text("name")
    for index, operation in enumerate(("read", "triad", "copy", "write")):
        some = np.array([f"/{operation}/" in name for name in names], dtype=bool)
        if some.any():
            x, y, _, _ = style.medians_by(stream.number("working_set_bytes_used")[some],
                                          stream.number("compulsory_bytes_per_s")[some])
            axes.plot(x, y / 1e9, markersize=3, linewidth=1.2, label=operation, **style.series(index))
    axes.set_yscale("log", base=2)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    style.size_axis(axes, "working set [bytes]")
    axes.set_ylabel("GB/s")
    axes.set_title(f"{int(threads)} thread{'s' if threads > 1 else ''}", fontsize=10, loc="left", pad=16)
    axes.legend(fontsize=8, loc="lower left")


def draw(results):
    stream, chase = results.family("stream"), results.family("chase")
    if not len(stream) and not len(chase):
        raise NotHere("No cpu/stream or cpu/chase runs in these files; make roofline records them.")
    row = int(results.machine_of(stream if len(stream) else chase)[0])
    mine = results.machine_of(stream) == row if len(stream) else np.zeros(0, dtype=bool)
    teams = sorted({t for t in stream.number("threads")[mine] if t == t})
    teams = [teams[0], teams[-1]] if len(teams) > 1 else teams
    figure, grid = style.new(columns=len(teams) + bool(len(chase)), squeeze=False)
    for axes, threads in zip(grid.flat, teams):
        draw_bandwidth(axes, stream.where(mine & (stream.number("threads") == threads)), threads)
        style.capacity_lines(axes, results.capacities(row))
    right = grid.flat[-1]
    if len(chase):
        mine = results.machine_of(chase) == row
        names = chase.text("name")
        for index, huge in enumerate((False, True)):
            some = mine & np.array([("huge" in name) == huge for name in names], dtype=bool)
            if not some.any():
                continue
            x, y, _, _ = style.medians_by(chase.number("working_set_bytes_used")[some], chase.number("load_s")[some])
            right.plot(x, y * 1e9, markersize=3, linewidth=1.2, label="huge pages" if huge else "ordinary pages",
                       **style.series(index))
        right.set_yscale("log", base=2)
        right.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        style.size_axis(right, "working set [bytes]")
        right.set_ylabel("nanoseconds per dependent load")
        style.capacity_lines(right, results.capacities(row))
        right.set_title("one thread, a random ring", fontsize=10, loc="left", pad=16)
        right.legend(fontsize=8, loc="upper left")
    return figure, (f"{results.machine_name(row)}. Dashed: the capacities hwloc reports; mlpwatt probes FILE compares them "
                    "with the steps found here."), "measured"

"""Bandwidth and latency against the working set: the steps of the memory hierarchy."""

import numpy as np
import style
from results import NotHere

ORDER = 90
TITLE = "The memory hierarchy, probed"


def draw(results):
    stream, chase = results.family("stream"), results.family("chase")
    if not len(stream) and not len(chase):
        raise NotHere("No cpu/stream or cpu/chase runs in these files; make roofline records them.")
    row = int(results.machine_of(stream if len(stream) else chase)[0])
    figure, (left, right) = style.new(columns=2)
    if len(stream):
        mine = results.machine_of(stream) == row
        threads, names = stream.number("threads"), stream.text("name")
        index = 0
        for count in sorted({t for t in threads[mine] if t == t}):
            for operation in ("read", "triad", "copy", "write"):
                some = mine & (threads == count) & np.array([f"/{operation}/" in name for name in names], dtype=bool)
                if not some.any():
                    continue
                x, y, _, _ = style.medians_by(stream.number("working_set_bytes_used")[some],
                                              stream.number("compulsory_bytes_per_s")[some])
                left.plot(x, y / 1e9, markersize=3, linewidth=1.2, label=f"{operation}, {int(count)} thread(s)", **style.series(index))
                index += 1
        left.set_yscale("log", base=2)
        left.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        style.size_axis(left, "working set [bytes]")
        left.set_ylabel("GB/s")
        style.capacity_lines(left, results.capacities(row))
        left.legend(fontsize=8)
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
        right.legend(fontsize=8)
    return figure, (f"{results.machine_name(row)}. Dashed: the capacities hwloc reports; mlpwatt probes FILE compares them "
                    "with the steps found here."), "measured"

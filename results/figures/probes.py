"""Bandwidth and latency against the working set: the steps of the memory hierarchy."""

import numpy as np
import style
from results import NotHere

ORDER = 90
TITLE = "The memory hierarchy, probed"


def draw_bandwidth(axes, stream, title):
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
    axes.set_title(title, fontsize=10, loc="left", pad=16)
    axes.legend(fontsize=8, loc="lower left")


def draw_latency(axes, chase):
    names = chase.text("name")
    rings = [name.split("/")[-1] if name.split("/")[-1] in ("huge", "local") else "" for name in names]
    for index, (ring, label) in enumerate((("", "ordinary pages"), ("huge", "huge pages"), ("local", "page by page"))):
        some = np.array([each == ring for each in rings], dtype=bool)
        if not some.any():
            continue
        x, y, _, _ = style.medians_by(chase.number("working_set_bytes_used")[some], chase.number("load_s")[some])
        axes.plot(x, y * 1e9, markersize=3, linewidth=1.2, label=label,
                  **style.series(index))
    axes.set_yscale("log", base=2)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    style.size_axis(axes, "working set [bytes]")
    axes.set_ylabel("nanoseconds per dependent load")
    axes.set_title("one thread, a random ring", fontsize=10, loc="left", pad=16)
    axes.legend(fontsize=8, loc="upper left")


def panels_of(results, machine, backend):
    """[(draws into axes, capacities)]: bandwidth of few and of many threads, or of the whole device; latency."""
    stream, chase = (results.family(name, backend) for name in ("stream", "chase"))
    bandwidth, latency = (table.where(results.machine_of(table) == machine) for table in (stream, chase))
    teams = sorted({t for t in bandwidth.number("threads") if t == t})
    teams = [teams[0], teams[-1]] if len(teams) > 1 else teams
    panels = []
    if backend == "cpu":
        for team in teams:
            some, title = bandwidth.where(bandwidth.number("threads") == team), f"{team:.0f} thread{'s' if team > 1 else ''}"
            panels.append((lambda axes, b=some, t=title: draw_bandwidth(axes, b, t), results.capacities(machine)))
    elif teams:
        whole = [(level, reach, 1) for level, reach in results.swept(machine, backend, 0)]
        panels.append((lambda axes: draw_bandwidth(axes, bandwidth, "the whole device"), whole))
    if len(latency):
        panels.append((lambda axes: draw_latency(axes, latency), results.levels_of(machine, backend)))
    return panels


def draw(results):
    """A row of panels each processor or GPU."""
    rows = [(results.machine_name(machine, backend), panels)
            for machine in results.machines for backend in ("cpu", "gpu")
            if (panels := panels_of(results, machine, backend))]
    if not rows:
        raise NotHere("No stream or chase runs in these files; make roofline records them, of a GPU make record-gpu.")
    figure, grid = style.new(columns=max(len(panels) for _, panels in rows), rows=len(rows),
                             height=style.HEIGHT * len(rows), squeeze=False)
    for line, (name, panels) in zip(grid, rows):
        for axes, (panel, capacities) in zip(line, panels):
            panel(axes)
            style.capacity_lines(axes, capacities)
        for axes in line[len(panels):]:
            axes.set_visible(False)
        if len(rows) > 1:
            line[0].annotate(name, (0, 1), xycoords="axes fraction", xytext=(0, 32),
                             textcoords="offset points", fontsize=10, fontweight="bold", annotation_clip=False)
    names = "; ".join(name for name, _ in rows)
    return figure, (f"{names}. Dashed: the capacities that hwloc reports or a GPU is described with (for its bandwidth: of all its "
                    "L1 together); mlpwatt probes FILE compares them with the steps found here."), "measured"

"""Raw power readings with the measured window shaded."""

import numpy as np
import style
from results import NotHere

ORDER = 110
TITLE = "Power traces"
TRACES = 4
ENOUGH = 5  # readings in a window, to show it by itself
LONGEST_S = 20


def watts(samples, unit):
    """(time, watts) of one meter's readings; joule counters become the slope between readings."""
    order = np.argsort(samples.number("monotonic_s"))
    time, value = samples.number("monotonic_s")[order], samples.number("value")[order]
    good = np.isfinite(value)
    time, value = time[good], value[good]
    if unit == "J" and len(time) > 1:
        return (time[1:] + time[:-1]) / 2, np.diff(value) / np.diff(time)
    return time, value


def draw_sitting(results, runs):
    """Windows too short for a curve of their own: the readings of many in a row, each window shaded."""
    samples, meters = results.samples, results.meters
    meter = np.unique(samples.number("meter_row"))[0]
    mine = samples.where((samples.number("meter_row") == meter) & np.isin(samples.number("run_row"), runs))
    time, power = watts(mine, meters.text("unit")[int(meter)] or "W")
    start = time[0]
    shown = (time >= start) & (time <= start + LONGEST_S)
    figure, axes = style.new()
    for run in runs:
        opens = results.runs.number("start_monotonic_ns")[run] * 1e-9 - start
        if -LONGEST_S < opens < LONGEST_S:
            axes.axvspan(opens, opens + results.runs.number("duration_s")[run], color="#BBBBBB", alpha=0.5, linewidth=0)
    provenance = meters.text("provenance")[int(meter)] or "unknown"
    axes.plot(time[shown] - start, power[shown], linewidth=1, markersize=3,
              label=f"{meters.text('name')[int(meter)]} {meters.text('domain')[int(meter)]} ({provenance})", **style.series(0))
    axes.set_xlim(0, max(1.0, float((time[shown] - start).max(initial=0))))
    axes.set_xlabel("seconds")
    axes.set_ylabel("W")
    axes.legend(fontsize=8, loc="upper right")
    return figure, (f"Grey: the timed windows of {int(np.count_nonzero(shown))} readings in a row; each is too short for a "
                    "trace of its own."), provenance


def draw(results):
    samples = results.samples
    if not len(samples):
        raise NotHere("No meter readings in these files; mlpwatt info lists the meters looked for and what each needs.")
    run_rows, meter_rows = samples.number("run_row"), samples.number("meter_row")
    runs = [int(run) for run in np.unique(run_rows) if results.runs.text("status")[int(run)] == "ok"]
    counts = {run: int(np.count_nonzero(run_rows == run)) for run in runs}
    chosen = sorted(sorted(runs, key=counts.get, reverse=True)[:TRACES])
    if not chosen:
        raise NotHere("The readings belong to runs that did not end well.")
    if max(counts[run] for run in chosen) < ENOUGH:
        return draw_sitting(results, runs)
    figure, grid = style.new(rows=len(chosen), height=1.2 + 2.0 * len(chosen), squeeze=False)
    kinds, machines = set(), results.machine_of(results.runs)
    for axes, run in zip(grid.flat, chosen):
        start = results.runs.number("start_monotonic_ns")[run] * 1e-9
        length = results.runs.number("duration_s")[run]
        for index, meter in enumerate(np.unique(meter_rows[run_rows == run])):
            mine = samples.where((run_rows == run) & (meter_rows == meter))
            meters = results.meters
            unit = meters.text("unit")[int(meter)] or "W"
            time, power = watts(mine, unit)
            provenance = meters.text("provenance")[int(meter)]
            kinds.add(provenance or "unknown")
            axes.plot(time - start, power, linewidth=1, markersize=3,
                      label=f"{meters.text('name')[int(meter)]} {meters.text('domain')[int(meter)]} ({provenance})", **style.series(index))
        if length == length:
            axes.axvspan(0, length, color="#BBBBBB", alpha=0.35, linewidth=0, label="window")
        host = f", {results.machine_name(machines[run])}" if len(results.machines) > 1 else ""
        axes.set_title(results.runs.text("name")[run] + host, fontsize=9, loc="left")
        axes.set_ylabel("W")
        axes.legend(fontsize=7, loc="upper right")
    grid.flat[-1].set_xlabel("seconds since the window opened")
    return figure, "Grey: the timed window; before and after it the machine idles.", ", ".join(sorted(kinds))

"""Cost to reach a test loss, relative to the best network for that loss, by working sets."""

import numpy as np
import style
from results import NotHere

ORDER = 50
TITLE = "5. Cost to a target test loss by working set"
LEVELS = 12


def cost_to_losses(results):
    """Per dataset: targets and, for each trained network, the cost when it first reached each of them."""
    curves, runs = results.curves, results.runs
    if not len(curves):
        raise NotHere("No training curve in these files; mlpwatt train --out FILE records some.")
    step = runs.number("step_s")
    found = {}
    unit = "J" if np.any(runs.number("step_energy_j_measured") > 0) else "s"
    run_rows = curves.number("run_row").astype(int)
    for run in np.unique(run_rows):
        mine = run_rows == run
        losses = np.minimum.accumulate(curves.number("test_loss")[mine])
        seconds = curves.number("total_seconds")[mine]
        power = (runs.number("step_energy_j_measured")[run] / step[run]) if unit == "J" else 1.0
        if not power == power:
            continue
        found.setdefault(runs.text("dataset")[run], []).append((run, losses, seconds * power))
    return found, unit


def draw(results):
    found, unit = cost_to_losses(results)
    points = {letter: [] for letter in "lfb"}
    compared = 0
    for dataset, trainings in found.items():
        if len(trainings) < 2:
            continue
        best = min(losses[-1] for _, losses, _ in trainings)
        worst = max(losses[0] for _, losses, _ in trainings)
        for target in np.linspace(best, worst, LEVELS + 1)[:-1] + (worst - best) * 0.02:
            costs = [(run, cost[np.argmax(losses <= target)]) for run, losses, cost in trainings if losses[-1] <= target]
            costs = [(run, cost) for run, cost in costs if cost > 0]
            if len(costs) < 2:
                continue
            compared += 1
            cheapest = min(cost for _, cost in costs)
            for run, cost in costs:
                for letter in "lfb":
                    points[letter].append((results.runs.number(f"working_set_{letter}_bytes")[run], cost / cheapest))
    if not compared:
        raise NotHere("Fewer than two training curves of one dataset share a test loss; train several networks of "
                      "one dataset into the file.")
    figure, grid = style.new(columns=3, height=4.4, sharey=True)
    texts = []
    for index, (axes, letter) in enumerate(zip(grid, "lfb")):
        sizes, ratios = np.array(points[letter]).T
        octave = 2.0 ** np.round(np.log2(np.where(sizes > 0, sizes, np.nan)))
        style.band(axes, octave, ratios, index, "median and quartiles")
        x, middle, _, _ = style.medians_by(octave, ratios)
        if len(x):
            texts.append(f"{letter} at {style.bytes_text(x[np.argmin(middle)])}")
        axes.set_yscale("log", base=2)
        style.size_axis(axes, f"working set {letter} [bytes]")
        if results.machines:
            style.capacity_lines(axes, results.capacities(results.machines[0]))
    grid[0].set_ylabel("cost to the loss, over the best network's")
    provenance = "measured" if unit == "J" else "measured (seconds; no energy in these files)"
    return figure, (f"{compared} target losses over {len(found)} dataset(s). The minimum of the median lies for "
                    + ", ".join(texts) + ". The study: with f near L2 (GPU) or between L2 and L3 (CPU)."), provenance

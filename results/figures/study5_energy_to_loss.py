"""Cost to reach a test loss, relative to the best network for that loss, by working sets."""

import numpy as np
import style
from results import NotHere

ORDER = 50
TITLE = "5. Cost to a target test loss by working set"
LEVELS = 12


def network_key(runs, machine, row):
    """A network on one machine's backend: joules of another are not its own."""
    return tuple([machine[row]] + [runs.text(name)[row] for name in ("backend", "dataset", "shape")]
                 + [runs.number(name)[row] for name in ("size", "depth", "batch")])


def energy_of_steps(results, provenance):
    """{network: joules a step} from the training steps that a meter (or a model of power) looked on."""
    runs = results.training()
    energy = runs.number(f"step_energy_j_{provenance}")
    machine = results.machine_of(runs)
    found = {}
    for row in np.flatnonzero(energy > 0):
        found.setdefault(network_key(runs, machine, row), []).append(energy[row])
    return {key: float(np.median(values)) for key, values in found.items()}


def energies(results):
    """({run row: joules a second of training}, provenance): by the training's own meter, else by the recorded steps of
    the same network, whose number an epoch is known."""
    runs = results.runs
    machine = results.machine_of(runs)
    curves_of = np.unique(results.curves.number("run_row").astype(int))
    for provenance in ("measured", "modelled"):
        own = runs.number(f"power_w_{provenance}")
        power = {run: own[run] for run in curves_of if own[run] > 0}
        steps = energy_of_steps(results, provenance)
        for run in curves_of:
            joules = steps.get(network_key(runs, machine, run))
            if run not in power and joules and runs.number("step_s")[run] > 0:
                power[run] = joules / runs.number("step_s")[run]
        if len(power) >= 2:
            return power, provenance
    return {}, ""


def cost_to_losses(results):
    """Per machine, backend and dataset the trained networks, each with its losses and the cost it had reached them
    at; and the unit."""
    curves, runs = results.curves, results.runs
    if not len(curves):
        raise NotHere("No training curve in these files; mlpwatt train --out FILE records some.")
    power, provenance = energies(results)
    found = {}
    run_rows = curves.number("run_row").astype(int)
    machine = results.machine_of(runs)
    for run in np.unique(run_rows):
        mine = run_rows == run
        losses = np.minimum.accumulate(np.nan_to_num(curves.number("test_loss")[mine], nan=np.inf))
        seconds = curves.number("total_seconds")[mine]
        if (provenance and run not in power) or not np.isfinite(losses[0]):
            continue
        key = machine[run], runs.text("backend")[run], runs.text("dataset")[run]
        found.setdefault(key, []).append((run, losses, seconds * power.get(run, 1.0)))
    return found, "J" if provenance else "s", provenance


def draw(results):
    found, unit, provenance = cost_to_losses(results)
    points = {}
    compared = 0
    for (machine, backend, _), trainings in found.items():
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
                points.setdefault((machine, backend), []).append((run, cost / cheapest))
    if not compared:
        raise NotHere("Fewer than two training curves of one dataset share a test loss; train several networks of "
                      "one dataset into the file.")
    trained = np.unique(results.curves.number("run_row").astype(int))
    reached = np.full(len(results.runs), np.nan)
    reached[[run for some in points.values() for run, _ in some]] = 1
    groups, note = results.groups(results.runs.where(np.isin(np.arange(len(reached)), trained)), reached[trained])
    figure, grid = style.new(columns=3, height=4.4, sharey=True)
    texts = []
    for axes, letter in zip(grid, "lfb"):
        sets = results.runs.number(f"working_set_{letter}_bytes")
        for index, (row, backend, _, name) in enumerate(groups):
            rows, ratios = np.array(points[row, backend]).T
            sizes = sets[rows.astype(int)]
            octave = 2.0 ** np.round(np.log2(np.where(sizes > 0, sizes, np.nan)))
            style.band(axes, octave, ratios, index, f"{name}: median and quartiles")
            x, middle, _, _ = style.medians_by(octave, ratios)
            if len(x):
                best = int(np.argmin(middle))
                texts.append(f"{letter} at {style.bytes_text(x[best])}" + (f" ({name})" if len(groups) > 1 else ""))
                axes.plot(x[best], middle[best], marker="*", markersize=15, linestyle="", zorder=5, markeredgecolor="black",
                          color=style.COLOURS[index % len(style.COLOURS)], label=f"least: {style.bytes_text(x[best])}")
        axes.legend(fontsize=7, markerscale=0.6)
        axes.set_yscale("log", base=2)
        style.size_axis(axes, f"working set {letter} [bytes]")
        style.capacities_of_groups(axes, results, groups, style.COLOURS)
    grid[0].set_ylabel("cost to the loss, over the best network's")
    if unit == "s":
        provenance = "measured (seconds; no energy in these files)"
    return figure, (f"{compared} target losses over {len({dataset for _, _, dataset in found})} dataset(s).{note} The minimum of the median lies for "
                    + ", ".join(texts) + ". The study: with f near L2 (GPU) or between L2 and L3 (CPU)."), provenance

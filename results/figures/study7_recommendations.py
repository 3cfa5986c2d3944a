"""What the choice of shape and depth is worth at a given size."""

import numpy as np
import style
from results import NotHere, cost_per_datum

ORDER = 70
TITLE = "7. What a good shape saves at a given size"


def draw(results):
    runs = results.training()
    if not len(runs):
        raise NotHere("No training run in these files; mlpwatt run --filter '^cpu/mlp_train/' records some.")
    datum, unit, provenance = cost_per_datum(runs)
    runs, datum, ways = results.cheapest_ways(runs, datum)
    machine = results.machine_of(runs)
    backends = runs.text("backend")
    parts, note = results.groups(runs, datum)
    groups = {}
    for i in range(len(runs)):
        key = (runs.text("dataset")[i], runs.number("size")[i], machine[i], backends[i])
        groups.setdefault(key, []).append(i)
    sizes, savings, winners = {}, {}, {}
    for (dataset, size, *part), members in groups.items():
        distinct = {(runs.text("shape")[i], runs.number("depth")[i]) for i in members}
        if len(distinct) < 3:
            continue
        values = datum[members]
        if not np.all(values > 0):
            continue
        part = tuple(part)
        sizes.setdefault(part, []).append(size)
        savings.setdefault(part, []).append(1 - np.min(values) / np.median(values))
        shape = runs.text("shape")[members[int(np.argmin(values))]]
        won = winners.setdefault(shape, {})
        won[part] = won.get(part, 0) + 1
    if not sizes:
        raise NotHere("No dataset and size with three networks or more to choose from; a campaign over the grid has them.")
    figure, (left, right) = style.new(columns=2)
    order = sorted(winners, key=lambda shape: sum(winners[shape].values()))
    names = [name.replace("_", " ") for name in order]
    before, texts = np.zeros(len(order)), []
    for index, (row, backend, _, label) in enumerate(parts):
        part = row, backend
        if part not in sizes:
            continue
        style.band(left, sizes[part], 100 * np.array(savings[part]), index, f"{label}: each dataset")
        won = np.array([winners[name].get(part, 0) for name in order], float)
        right.barh(names, won, left=before, color=style.COLOURS[index % len(style.COLOURS)], label=label)
        before += won
        texts.append(f"{label}: of {len(sizes[part])} dataset-and-size pairs the cheapest recorded network costs "
                     f"{100 * np.median(savings[part]):.0f} % (median) less per datum than the median one of the same number "
                     "of parameters")
    left.legend(fontsize=8)
    if len(texts) > 1:
        right.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.15))
    left.set_ylabel("cheapest network below the median one [%]")
    style.size_axis(left, "trainable parameters asked for", "count")
    right.set_xlabel("times the cheapest of its dataset and size")
    return figure, ("; ".join(texts) + f".{note}{ways} mlpwatt recommend ranks all shapes, depths and batch sizes and says which "
                    "working set sits where."), provenance

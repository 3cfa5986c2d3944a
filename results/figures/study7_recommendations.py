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
    machine = results.machine_of(runs)
    groups = {}
    for i in range(len(runs)):
        key = (runs.text("dataset")[i], runs.number("size")[i], machine[i])
        groups.setdefault(key, []).append(i)
    sizes, savings, winners = [], [], {}
    for (dataset, size, _), members in groups.items():
        distinct = {(runs.text("shape")[i], runs.number("depth")[i]) for i in members}
        if len(distinct) < 3:
            continue
        values = datum[members]
        if not np.all(values > 0):
            continue
        sizes.append(size)
        savings.append(1 - np.min(values) / np.median(values))
        shape = runs.text("shape")[members[int(np.argmin(values))]]
        winners[shape] = winners.get(shape, 0) + 1
    if not sizes:
        raise NotHere("No dataset and size with three networks or more to choose from; a campaign over the grid has them.")
    figure, (left, right) = style.new(columns=2)
    style.band(left, sizes, 100 * np.array(savings), 0, "each dataset")
    left.set_ylabel("cheapest network below the median one [%]")
    style.size_axis(left, "trainable parameters asked for", "count")
    order = sorted(winners, key=winners.get)
    right.barh([name.replace("_", " ") for name in order], [winners[name] for name in order], color=style.COLOURS[0])
    right.set_xlabel("times the cheapest of its dataset and size")
    return figure, (f"Of {len(sizes)} dataset-and-size pairs the cheapest recorded network costs {100 * np.median(savings):.0f} % "
                    "(median) less per datum than the median one of the same number of parameters. mlpwatt recommend "
                    "ranks all shapes and depths and says which working set sits where."), provenance

"""The look of every figure: colours that colour-blind readers can tell apart, sizes in powers of two, units."""

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter  # noqa: E402

# Okabe and Ito's palette, dark first
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#F0E442")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
WIDTH, HEIGHT = 7.2, 4.2

plt.rcParams.update({
    "font.size": 10, "axes.grid": True, "grid.alpha": 0.25, "grid.linewidth": 0.6,
    "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False,
    "svg.fonttype": "none", "svg.hashsalt": "mlpwatt", "figure.dpi": 110, "savefig.bbox": "tight",
    "figure.constrained_layout.use": True,
})


def new(columns=1, rows=1, height=HEIGHT, **more):
    return plt.subplots(rows, columns, figsize=(WIDTH if columns == 1 else 1.45 * WIDTH, height), **more)


def bytes_text(value, _=None):
    for power, name in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if value >= 2.0**power:
            return f"{value / 2.0**power:g} {name}"
    return f"{value:g} B"


def si(value):
    """Three digits with an SI prefix: "85.3 G"."""
    if not value == value or value == 0:
        return "0 " if value == 0 else "- "
    for power, name in ((12, "T"), (9, "G"), (6, "M"), (3, "k"), (0, ""), (-3, "m"), (-6, "u"), (-9, "n"), (-12, "p")):
        if abs(value) >= 10.0**power:
            break
    return f"{value / 10.0**power:.3g} {name}"


def count_text(value, _=None):
    return f"$2^{{{round(np.log2(value))}}}$" if value > 0 else "0"


def size_axis(axes, label, what="bytes"):
    """x in powers of two."""
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(LogLocator(base=2, numticks=12))
    axes.xaxis.set_major_formatter(FuncFormatter(bytes_text if what == "bytes" else count_text))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(label)
    if what == "bytes":
        axes.tick_params(axis="x", labelrotation=35)


GREY = "#555555"


def capacity_lines(axes, capacities, colour=GREY, lift=0):
    """Vertical lines where a cache ends; `lift` lines of text above the axes for its names."""
    low, high = axes.get_xlim()
    for level, capacity, _ in capacities:
        if low <= capacity <= high:
            axes.axvline(capacity, color=colour, linestyle="--", linewidth=0.9, zorder=0)
            axes.annotate(level, (capacity, 1), xycoords=axes.get_xaxis_transform(), xytext=(0, 1 + 9 * lift),
                          textcoords="offset points", ha="center", va="bottom", fontsize=8, color=colour)
    axes.set_xlim(low, high)


def capacities_of_groups(axes, results, groups, colours):
    """The cache capacities of each machine's processor and GPU once, in the colour of its own points where there
    are several."""
    drawn = []
    for (row, backend, _, _), colour in zip(groups, colours):
        levels = results.levels_of(row, backend)
        if levels and (row, backend) not in [one for one, _, _ in drawn]:
            drawn.append(((row, backend), levels, colour))
    for lift, (_, levels, colour) in enumerate(drawn):
        capacity_lines(axes, levels, *((colour, lift) if len(drawn) > 1 else ()))


def series(index):
    return {"color": COLOURS[index % len(COLOURS)], "marker": MARKERS[index % len(MARKERS)]}


def medians_by(keys, values):
    """Sorted distinct keys, with median and quartiles of the values at each."""
    keys, values = np.asarray(keys, float), np.asarray(values, float)
    good = np.isfinite(keys) & np.isfinite(values)
    distinct = np.unique(keys[good])
    parts = [values[good & (keys == key)] for key in distinct]
    return (distinct, np.array([np.median(p) for p in parts]), np.array([np.percentile(p, 25) for p in parts]),
            np.array([np.percentile(p, 75) for p in parts]))


def band(axes, keys, values, index, label, line="-"):
    """Points, their median line and quartile band."""
    x, middle, low, high = medians_by(keys, values)
    look = series(index)
    axes.plot(np.asarray(keys, float), values, linestyle="", alpha=0.18, markersize=3, **look)
    axes.plot(x, middle, label=label, markersize=4, linewidth=1.4, linestyle=line, **look)
    axes.fill_between(x, low, high, alpha=0.15, color=look["color"], linewidth=0)

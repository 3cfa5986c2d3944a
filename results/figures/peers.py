#!/usr/bin/python3
"""How much longer than ours the best peer takes, against the network's parameters and depth.

    results/figures/peers.py FILE.h5 OUT.svg|OUT.png      (a figure of `mlpwatt report` as well)
"""
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402

try:
    from results import NotHere
except ImportError:  # run by itself

    class NotHere(Exception):
        pass


ORDER = 95
TITLE = "Ours beside the libraries people use"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
BANDS = ((0, 2**12, "to $2^{12}$ parameters"), (2**12, 2**16, "to $2^{16}$"), (2**16, 2**20 - 1, "below $2^{20}$"),
         (2**20 - 1, np.inf, "from $2^{20}$"))  # of the size asked for, as the program's table has them


COLUMNS = ("parameters", "size", "depth", "ratio_to_ours", "ratio_low95", "ratio_high95")


class Runs:
    """The columns of /runs, by the two names the report's tables have."""

    def __init__(self, path):
        import h5py

        with h5py.File(path, "r") as file:
            group = file["runs"]
            self._text = {name: [v.decode() for v in group[name]] for name in group
                          if h5py.check_string_dtype(group[name].dtype)}
            self._number = {name: np.where(group[name][:] == -9223372036854775806, np.nan, group[name][:])
                            for name in group if name not in self._text}
        self.rows = len(self._text["name"])

    def text(self, name):
        return self._text.get(name, [""] * self.rows)

    def number(self, name):
        return self._number.get(name, np.full(self.rows, np.nan))


def comparisons(runs):
    """[(ours, {peer: row number})] with times on both sides; of repeated comparisons (same benchmark, threads and
    host) the last one. Row numbers count in /runs."""
    together = {}
    texts, backends, status = runs.text("comparison"), runs.text("backend"), runs.text("status")
    hosts = runs.text("host")
    for row, text in enumerate(texts):
        if text:
            together.setdefault((text, hosts[row]), []).append(row)
    last = {}
    for rows in together.values():
        ours = [row for row in rows if not backends[row].startswith("peer/")]
        if len(ours) != 1 or status[ours[0]] != "ok":
            continue
        peers = {backends[row][5:]: row for row in rows if backends[row].startswith("peer/") and status[row] == "ok"}
        # everybody was allowed as many threads as the most that any of them took
        threads = np.nanmax(runs.number("threads")[rows])
        last[runs.text("name")[ours[0]], threads, runs.text("host")[ours[0]]] = (ours[0], peers, threads)
    return list(last.values())


def best_peer(runs, peers):
    return min(peers, key=lambda name: runs.number("step_s")[peers[name]]) if peers else None


def draw(results):
    runs = results.runs
    groups = {}  # by device and threads: one core's ratios are none of all cores'
    for ours, peers, threads in comparisons(runs):
        name = best_peer(runs, peers)
        if name is None or not runs.text("dataset")[ours]:
            continue
        row = peers[name]
        device = runs.text("backend")[ours]
        key = (device, threads if device == "cpu" else 0)
        groups.setdefault(key, []).append([runs.number(c)[row] for c in COLUMNS] + [runs.text("host")[ours]])
    if not groups:
        raise NotHere("No comparison of training steps in these files; make compare-quick records one.")
    figure, grid = plt.subplots(len(groups), 2, figsize=(10.4, 4.2 * len(groups)), sharey=True, constrained_layout=True,
                                squeeze=False)
    texts = []
    for (left, right), ((device, threads), points) in zip(grid, sorted(groups.items())):
        what = device if device != "cpu" else f"{threads:.0f} thread{'s' if threads != 1 else ''}"
        hosts = {point.pop() for point in points}
        left.set_title(what, fontsize=10, loc="left")
        mean = draw_group(left, right, np.array(points, float).T)
        together = f" on {len(hosts)} machines together" if len(hosts) > 1 else ""
        texts.append(f"{what}: {len(points)} networks{together}, geometric mean {mean:.2f}")
    return figure, ("; ".join(texts) + "; the best peer of each point, in turns with ours. "
                    "Bars: 95 % bootstrap intervals. Below the dashed line the peer is quicker."), "measured"


def draw_group(left, right, columns):
    """The points of one device and number of threads. @return the geometric mean of their ratios"""
    parameters, size, depth, ratio, low, high = columns

    def scatter(axes, x, groups):
        for index, (some, label) in enumerate(groups):
            if some.any():
                axes.errorbar(x[some], ratio[some], [np.maximum(0, ratio - low)[some], np.maximum(0, high - ratio)[some]],
                              linestyle="", marker="o", markersize=4, linewidth=0.8, label=label,
                              color=COLOURS[index % len(COLOURS)])
        axes.axhline(1, color="#555555", linewidth=0.9, linestyle="--", zorder=0)
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.grid(alpha=0.25)
        axes.legend(fontsize=8, frameon=False)

    scatter(left, parameters, [(depth == d, f"depth {int(d)}") for d in np.unique(depth)])
    left.set_xscale("log", base=2)
    left.set_xlabel("trainable parameters")
    left.set_ylabel("best peer's time over ours")
    # points of one depth lie side by side, by size
    shifted = depth * (1 + 0.02 * (np.argsort(np.argsort(parameters)) / len(parameters) - 0.5))
    scatter(right, shifted, [((size > least) & (size <= most), label) for least, most, label in BANDS])
    right.set_xlabel("depth")
    return np.exp(np.mean(np.log(ratio)))


def main(argv):
    if len(argv) != 2:
        sys.exit(__doc__)

    class Results:
        runs = Runs(argv[0])

    try:
        figure, caption, _ = draw(Results)
    except NotHere as reason:
        sys.exit(f"{argv[0]}: {reason}")
    figure.savefig(argv[1], dpi=150)
    print(f"{argv[1]}: {caption}")


if __name__ == "__main__":
    main(sys.argv[1:])

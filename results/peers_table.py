#!/usr/bin/python3
"""The comparison with other libraries as Markdown, from a results file that `make compare-quick` wrote.

    results/peers_table.py FILE.h5                      prints it
    results/peers_table.py FILE.h5 --within README.md   puts it between <!-- peers --> and <!-- /peers -->

With --within the document stays as it was when the file holds no comparison or the document no markers.
"""
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "figures"))
from peers import Runs, best_peer, comparisons  # noqa: E402

MARKED = re.compile(r"(<!-- peers -->\n).*?(<!-- /peers -->)", re.S)


def markdown(head, rows):
    lines = ["| " + " | ".join(cells) + " |" for cells in [head, ["---"] * len(head)] + rows]
    return "\n".join(lines) + "\n"


def verdict(runs, peers):
    name = best_peer(runs, peers)
    if name is None:
        return ["-", "-"]
    ratio, low, high = (runs.number(c)[peers[name]] for c in ("ratio_to_ours", "ratio_low95", "ratio_high95"))
    return [name, f"{ratio:.2f} [{low:.2f}, {high:.2f}]"]


def refused(runs, ours):
    """Peers of the same comparison whose answer was not ours."""
    together = runs.text("comparison")[ours], runs.text("host")[ours]
    return {runs.text("backend")[row][5:] for row in range(runs.rows)
            if (runs.text("comparison")[row], runs.text("host")[row]) == together
            and runs.text("backend")[row].startswith("peer/") and runs.text("status")[row] == "failed"}


def table(runs, found, what, cell):
    """One table: ours, every peer, the best of them."""
    wrong = {ours: refused(runs, ours) for ours, _, _ in found}
    names = sorted({name for ours, peers, _ in found for name in (*peers, *wrong[ours])})
    rows = []
    for ours, peers, threads in found:
        name = runs.text("name")[ours].split("/", 2)[2]
        floor = runs.number("floor_ratio")[ours]
        cells = [name, f"{threads:.0f}", cell(ours), "-" if floor != floor else f"{floor:.2f}"]
        cells += [cell(peers[n]) if n in peers else "refused" if n in wrong[ours] else "-" for n in names]
        rows.append(cells + verdict(runs, peers))
    return markdown([what, "threads", "ours", "ours / floor"] + names + ["best peer", "its time over ours [95 %]"], rows)


def document(runs):
    found = comparisons(runs)
    products = [c for c in found if runs.text("layout")[c[0]]]
    networks = [c for c in found if runs.text("dataset")[c[0]]]
    if not products and not networks:
        return None
    ours = (products + networks)[0][0]
    versions = sorted({runs.text("algorithm")[row].split(":")[0] for _, peers, _ in found for row in peers.values()
                       if not runs.text("algorithm")[row].startswith("plain C++")})
    target = "compare-quick" if "--quick" in runs.text("command")[ours] else "compare"
    parts = [f"Measured {runs.text('started_utc')[ours][:10]} on {runs.text('host')[ours]} with `make {target}`: turns, "
             f"medians; {', '.join(versions)}. A dash: not found here, left out, or without that product; refused: another answer than ours.\n"]
    if products:
        rate = runs.number("flops_per_s")
        parts.append(table(runs, products, "matrix product, GFLOP/s", lambda row: f"{rate[row] * 1e-9:.1f}"))
    if networks:
        step_s = runs.number("step_s")
        parts.append(table(runs, networks, "training step, us", lambda row: f"{step_s[row] * 1e6:.4g}"))
    return "\n".join(parts)


def main(argv):
    if len(argv) not in (1, 3) or (len(argv) == 3 and argv[1] != "--within"):
        sys.exit(__doc__)
    text = document(Runs(argv[0]))
    if text is None:
        sys.exit(f"{argv[0]}: no comparison with peers in it; make compare-quick records one")
    if len(argv) == 1:
        sys.stdout.write(text)
        return
    with open(argv[2], encoding="utf-8") as file:
        old = file.read()
    if not MARKED.search(old):
        sys.exit(f"{argv[2]}: no <!-- peers --> ... <!-- /peers --> to write between")
    new = MARKED.sub(lambda match: match[1] + text + match[2], old)
    with open(argv[2] + ".tmp", "w", encoding="utf-8") as file:
        file.write(new)
    os.replace(argv[2] + ".tmp", argv[2])


if __name__ == "__main__":
    main(sys.argv[1:])

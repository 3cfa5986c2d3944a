"""Predicted over recorded, by configurations the fit had not seen, beside the study's spread."""

import numpy as np
import style
from page import best_forms
from results import NotHere

ORDER = 60
TITLE = "6. The model's errors, unseen"
STUDY_SD = (("CPU", 0.27, ":"), ("GPU", 0.08, "--"))


def draw(results):
    predictions = results.model_predictions
    if not len(predictions):
        raise NotHere("No fitted model in these files; mlpwatt fit FILE makes one.")
    best = best_forms(results)
    parts = []
    for row, backend, mine, label in results.groups(predictions)[0]:
        # not energies that the estimate made of times: a model fitted to a model would look far too good
        targets = [t for t in ("energy_measured", "time") if (row, backend, t) in best]
        if targets:
            form = best[row, backend, targets[0]]
            chosen = mine & (predictions.text("target") == targets[0]) & (predictions.text("form") == form)
            parts.append((label, targets[0], form, chosen))
    if not parts:
        raise NotHere("The files hold baselines only: too few runs for the model's own forms.")
    figure, grid = style.new(columns=2, rows=len(parts), height=style.HEIGHT * len(parts), squeeze=False)
    texts = [draw_errors(left, right, results, *part) for (left, right), part in zip(grid, parts)]
    return figure, ("; ".join(texts) + ". Standard deviations by what was left out. The study's own model of energy: 0.27 on "
                    "CPU, 0.08 on GPU."), "modelled"


def draw_errors(left, right, results, label, target, form, chosen):
    """One machine and backend: its histogram, and its errors along the size axis. What to say of it."""
    predictions = results.model_predictions
    edges = np.linspace(0, 2, 41)
    texts = []
    for index, kind in enumerate(("dataset", "shape", "size")):
        mine = chosen & (predictions.text("held_out") == kind)
        if not mine.any():
            continue
        ratio = predictions.number("ratio")[mine]
        left.hist(np.clip(ratio, 0, 2), bins=edges, histtype="step", linewidth=1.6, density=True,
                  color=style.COLOURS[index], label=f"{kind} left out: sd {np.std(ratio, ddof=1):.3f}")
        texts.append(f"{kind} {np.std(ratio, ddof=1):.3f}")
    x = np.linspace(0, 2, 200)
    for name, sd, line in STUDY_SD:
        left.plot(x, np.exp(-0.5 * ((x - 1) / sd) ** 2) / (sd * np.sqrt(2 * np.pi)), color="#777777", linestyle=line,
                  linewidth=1, label=f"the study's {name} spread, {sd}")
    left.set_title(label, fontsize=10, loc="left")
    left.set_xlabel("predicted / recorded")
    left.set_ylabel("density")
    left.legend(fontsize=8)
    one = chosen & (predictions.text("held_out") == "size")
    if not one.any():
        one = chosen
    rows = predictions.number("run_row")[one].astype(int)
    right.plot(results.runs.number("size")[rows], predictions.number("ratio")[one], linestyle="", alpha=0.5,
               markersize=3.5, **style.series(0))
    right.axhline(1, color="#555555", linewidth=0.8)
    right.set_yscale("log", base=2)
    style.size_axis(right, "trainable parameters asked for", "count")
    right.set_ylabel("predicted / recorded")
    return f"{label}: form '{form}' of {target.replace('_', ' ')} per step, {', '.join(texts)}"

"""The page around the figures: no script, no network, readable at once."""

import collections
import html
import math

import numpy as np

from style import bytes_text, si

STYLE = """
body{font:16px/1.5 system-ui,sans-serif;color:#1b1b1b;background:#fff;max-width:62rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.7rem;margin-bottom:.2rem}h2{font-size:1.25rem;margin:2.4rem 0 .4rem;border-top:1px solid #ddd;
padding-top:1rem}figure{margin:0}img{max-width:100%;height:auto}figcaption{color:#333}
table{border-collapse:collapse;margin:.6rem 0;font-size:.9rem}th,td{text-align:left;padding:.2rem .8rem .2rem 0;
border-bottom:1px solid #e5e5e5;vertical-align:top}td.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
.provenance{display:inline-block;font-size:.8rem;padding:0 .5rem;border:1px solid #888;border-radius:.6rem}
.missing{color:#555;background:#f6f6f6;padding:.6rem .8rem}nav{font-size:.9rem}nav a{margin-right:.9rem}
.wide{overflow-x:auto}.wide table{font-size:.8rem}footer{margin-top:3rem;color:#555;font-size:.85rem}
"""


def esc(value):
    return html.escape(str(value))


def figure(name, title, caption, provenance, svg_base64):
    return (f'<section id="{name}"><h2>{esc(title)}</h2><figure>'
            f'<img alt="{esc(title)}" src="data:image/svg+xml;base64,{svg_base64}">'
            f'<figcaption><span class="provenance">{esc(provenance)}</span> {esc(caption)}</figcaption>'
            f"</figure></section>")


def missing(name, title, reason):
    return f'<section id="{name}"><h2>{esc(title)}</h2><p class="missing">{esc(reason)}</p></section>'


def table(rows, numeric=()):
    head, *body = rows
    cells = "".join(f"<th>{esc(cell)}</th>" for cell in head)
    lines = [f"<tr>{cells}</tr>"]
    for row in body:
        lines.append("<tr>" + "".join(
            f'<td class="n">{esc(cell)}</td>' if i in numeric else f"<td>{esc(cell)}</td>"
            for i, cell in enumerate(row)) + "</tr>")
    return "<table>" + "".join(lines) + "</table>"


def number(value, digits=3):
    return "-" if value is None or (isinstance(value, float) and math.isnan(value)) else f"{value:.{digits}g}"


def machines(results):
    rows = [["machine", "processor", "cores", "caches", "instruction sets", "system"]]
    for row in results.machines:
        machine = results.machine
        caches = ", ".join(f"{level} {bytes_text(size)} / {shared} core(s)"
                           for level, size, shared in results.capacities(row))
        rows.append([machine.text("host")[row], machine.text("processor")[row],
                     f"{number(machine.number('cores')[row], 6)} ({number(machine.number('hardware_threads')[row], 6)} threads)",
                     caches, machine.text("isas")[row], machine.text("system")[row]])
        device = results.device_of(row, "gpu")
        if device["name"]:
            rows.append([machine.text("host")[row], device["name"], f"{number(device['units'], 6)} multiprocessors",
                         ", ".join(f"{level} {bytes_text(size)} / {shared:.0f} multiprocessor(s)"
                                   for level, size, shared in results.levels_of(row, "gpu")), "", ""])
    return table(rows)


def provenance_table(results):
    """What stands in the files, by how it came there."""
    ok = results.ok()
    rows = [["quantity", "provenance", "runs that have it"]]

    def line(quantity, provenance, values):
        count = int(np.count_nonzero(np.isfinite(values)))
        rows.append([quantity, provenance, count if count else "none"])

    line("time per step", "measured", ok.number("step_s"))
    for provenance in ("measured", "modelled"):
        line("energy per step", provenance, ok.number(f"step_energy_j_{provenance}"))
    if results.energies_left_out:
        rows.append(["energy per step", "flagged, left out (--flagged-energies)", results.energies_left_out])
    for provenance in ("measured", "simulated"):
        line("cache misses (L1)", provenance, ok.number(f"l1_miss_{provenance}"))
    line("FLOPs, bytes, working sets", "computed", ok.number("flops"))
    rows.append(["model coefficients", "modelled", len(results.model) or "none: mlpwatt fit FILE"])
    return table(rows, numeric=(2,))


def model_table(results):
    if not len(results.model_tests):
        return ('<section id="model-table"><h2>The model, tested</h2><p class="missing">No model in these files; '
                "mlpwatt fit FILE makes one.</p></section>")
    tests = results.model_tests
    where = {(row, backend): label for table in (tests, results.model) for row, backend, _, label in results.groups(table)[0]}

    def of(table, i):
        return where[results.machine_of(table)[i], table.text("backend")[i]]

    rows = [["of", "target", "form", "left out", "parts", "configurations", "sd(predicted/recorded)", "median |error|"]]
    for i in range(len(tests)):
        rows.append([of(tests, i), tests.text("target")[i], tests.text("form")[i], tests.text("held_out")[i],
                     number(tests.number("parts")[i], 6), number(tests.number("predictions")[i], 6),
                     f"{tests.number('sd_ratio')[i]:.3f}", f"{tests.number('median_error')[i]:.3f}"])
    rows.append(["the study", "energy", "its own model, CPU", "not stated", "-", "-", "0.27", "-"])
    rows.append(["the study", "energy", "its own model, GPU", "not stated", "-", "-", "0.08", "-"])
    model = results.model
    coefficients = [["of", "target", "form", "algorithm", "term", "value", "95 % interval", "unit", "state"]]
    best = best_forms(results)
    machine = results.machine_of(model)
    for i in range(len(model)):
        if best.get((machine[i], model.text("backend")[i], model.text("target")[i])) != model.text("form")[i]:
            continue
        coefficients.append([of(model, i), model.text("target")[i], model.text("form")[i], model.text("algorithm")[i],
                             model.text("term")[i], number(model.number("value")[i]),
                             f"{number(model.number('low95')[i])} .. {number(model.number('high95')[i])}",
                             model.text("unit")[i],
                             " ".join(filter(None, (model.text("state")[i], model.text("reason")[i])))])
    repeat = tests.number("repeat_sd")
    statistic = ", ".join(sorted({name for name in tests.text("statistic") if name}))
    noise = (f"<p>Repetitions of one configuration scatter by {np.nanmedian(repeat):.3f} about their median; fitted: "
             f"the {esc(statistic)} of them.</p>" if np.any(np.isfinite(repeat)) else "")
    return ('<section id="model-table"><h2>The model, tested</h2><p><span class="provenance">modelled</span> Every '
            "line left whole datasets, shapes or size octaves out in turn and predicted them.</p>"
            + table(rows, numeric=(4, 5, 6, 7)) + noise
            + "<p>Coefficients of the form that predicts best unseen:</p>" + table(coefficients, numeric=(5,))
            + "</section>")


def best_forms(results):
    """Per machine, backend and target the form with the smallest worst-case sd of those that predict (nearly) as many
    runs as any, baselines aside."""
    tests = results.model_tests
    worst, predicted = collections.defaultdict(dict), collections.defaultdict(collections.Counter)
    for machine, backend, target, form, sd, count in zip(
            results.machine_of(tests), tests.text("backend"), tests.text("target"), tests.text("form"),
            tests.number("sd_ratio"), tests.number("predictions")):
        if form not in ("parameters", "flops", "roofline") and sd == sd:
            forms = worst[machine, backend, target]
            forms[form] = max(forms.get(form, 0), sd)
            predicted[machine, backend, target][form] += count
    # Not a form that was asked about a few easy runs only (those with counters, say) against others asked about all.
    return {key: min((form for form in forms if predicted[key][form] >= 0.9 * max(predicted[key].values())), key=forms.get)
            for key, forms in worst.items() if forms}


def advice_section(advice):
    """The network the model would take of each size, and why."""
    if not advice:
        return ('<section id="recommendations"><h2>Recommendations</h2><p class="missing">No fitted model of training '
                "steps in these files: mlpwatt fit FILE makes one, mlpwatt recommend asks it.</p></section>")
    machines_of_it = {one["machine"] for one in advice}
    several = len(machines_of_it) > 1
    rows = [["machine"] * several + ["dataset", "parameters", "take", "per datum (modelled)", "95 % interval",
                                     "the median network", "saves", "working sets in", "mainly by"]]
    for one in advice:
        unit = "s" if one["target"] == "time" else "J"
        best, median = one["best"], one["median"]
        rows.append([one["machine"]] * several + [one["dataset"], f"{best['parameters']:,}", network_text(best), f"{si(best['per_datum'])}{unit}",
                     f"{si(best['per_datum_low95'])}{unit} .. {si(best['per_datum_high95'])}{unit}",
                     f"{network_text(median)}: {si(median['per_datum'])}{unit}", f"{100 * one['saving']:.0f} %",
                     ", ".join(f"{name} {level}" for name, level in best["working_set_levels"].items()), one["why"]])
    notes = "".join(f" {note}" for note, said in (
        ("Extrapolated ones (*): no fitted run had such a batch, so many threads or that instruction set.", "extrapolated"),
        ("Some have terms no run of the file had (+): they cost something that is not in their number.", "unpriced"))
        if any(one[who][said] for one in advice for who in ("best", "median")))
    numeric = tuple(column + several for column in (1, 3, 6))
    return ('<section id="recommendations"><h2>Recommendations</h2><p><span class="provenance">modelled</span> '
            f"{'Of ' + esc(min(machines_of_it)) + ': of' if not several else 'Of'} all "
            "shapes and depths with the same number of parameters (within 10 %) and all batches that were recorded, the one "
            f"a training datum is predicted to cost least with.{notes} mlpwatt recommend --verify runs it beside the median "
            f'one.</p><div class="wide">{table(rows, numeric=numeric)}</div></section>')


def network_text(network):
    return (f"{network['shape'].replace('_', ' ')}, {network['depth']} layers ({network['algorithm']}, batch "
            f"{network['batch']}, {network['threads']} thread{'s' if network['threads'] != 1 else ''})"
            f"{'*' if network['extrapolated'] else ''}{'+' if network['unpriced'] else ''}")


def page(results, sections, sources, advice):
    runs = results.runs
    statuses = collections.Counter(runs.text("status"))
    summary = ", ".join(f"{count} {name or 'without status'}" for name, count in statuses.most_common())
    links = "".join(f'<a href="#{s.split(chr(34))[1]}">{s.split("<h2>")[1].split("</h2>")[0]}</a>' for s in sections)
    commits = ", ".join(sorted({c for c in runs.text("commit") if c})) or "unknown"
    several = ("<p>These files come from more than one machine: figures keep machines and backends apart, but for the "
               "comparison with peers, whose ratios are each from one machine.</p>"
               if len(results.machines) > 1 else "")
    return (f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>mlpwatt report</title>'
            f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>'
            f"<h1>What training these networks cost</h1><p>{len(runs)} runs ({esc(summary)}).</p>"
            f"{machines(results)}{several}<h2>Measured, modelled, simulated</h2>{provenance_table(results)}"
            f'<nav>{links}<a href="#model-table">The model, tested</a>'
            f'<a href="#recommendations">Recommendations</a></nav>'
            f"{''.join(sections)}{model_table(results)}{advice_section(advice)}"
            f"<footer>From {esc(sources)}. Program: {esc(commits)}. Made by mlpwatt report.</footer></body></html>\n")

#!/usr/bin/python3
"""What a model says another algorithm, batch or twin would cost, put to the test on this machine.

    results/verify_predictions.py MODEL.h5 [--threads N] [--repetitions N] [--window-s S] [--mlpwatt PROGRAM]

Each line is one `mlpwatt predict --against ... --verify`, or one `mlpwatt recommend --verify` (the network it would take
against the median one of as many parameters): both are run in turns. Times are ratios, the other over the one asked
about; the twins do the same sums blocked for caches that are not there, so that their line is what the memory hierarchy
takes: by the model, and by the clock (or the meter).
"""
import argparse
import json
import math
import statistics
import subprocess
import sys

NETWORKS = (  # of every octave from 2^10 to 2^24 one, and of the widest and the narrowest dataset
    ("wine_quality_white", "rectangle", 10, 3), ("adult", "trapezoid", 12, 5), ("mnist", "rectangle", 14, 4),
    ("connect_4", "wide_first_4x", 15, 7), ("sleep", "exponential", 16, 4), ("banana", "rectangle", 17, 10),
    ("mnist", "trapezoid", 18, 6), ("adult", "rectangle", 19, 3), ("wine_quality_white", "rectangle", 20, 8),
    ("connect_4", "rectangle", 21, 5), ("mnist", "wide_first_2x", 22, 3), ("adult", "rectangle", 24, 4),
)
QUESTIONS = (
    ("what the hierarchy takes", ("--algorithm", "blocked", "--against", "twin_unblocked")),
    ("what the hierarchy takes", ("--algorithm", "blocked", "--against", "twin_shallow")),
    ("another kernel", ("--algorithm", "fused", "--against", "blocked")),
    ("another batch", ("--algorithm", "fused", "--against-batch", "64")),
)
WISHES = (  # a recommendation of every fourth octave or so
    ("wine_quality_white", 10), ("adult", 13), ("mnist", 16), ("connect_4", 18), ("sleep", 20), ("mnist", 22),
)
SAVINGS = ("predicted_saving", "saving", "saving_low95", "saving_high95")


def ask(options, words):
    """What the program answers with --verify, or why not."""
    command = [options.mlpwatt, words[0], "--model", options.model, *words[1:], "--threads", str(options.threads),
               "--verify", "--repetitions", str(options.repetitions), "--window-s", str(options.window_s), "--meters",
               options.meters, "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    refuted = words[0] == "recommend" and done.returncode == 1 and done.stdout.startswith("{")
    if done.returncode != 0 and not refuted:
        message = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return None, f"{' '.join(command)}: exit {done.returncode}: {message}"
    answer = json.loads(done.stdout)
    answer = answer.get("against", answer)
    missing = [name for name in SAVINGS if answer["verification"].get(name) is None]  # as JSON writes NaN
    if missing:
        return None, f"{' '.join(command)}: no {', '.join(missing)}"
    return answer, ""


def about(network):
    dataset, shape, power, depth = network
    return ["predict", "--dataset", dataset, "--shape", shape, "--size", str(1 << power), "--depth", str(depth)]


def name_of(candidate):
    return f"{candidate['shape']} depth {candidate['depth']} batch {candidate['batch']}"


def times(saving):
    """A saving of the one asked about, as the other's cost over its own."""
    return 1 / (1 - saving)


def summary(kind, pairs):
    """Predicted over measured, and how often the model names the cheaper one where the clock can tell."""
    ratios = [predicted / measured for predicted, measured, _, _ in pairs]
    decided = [(predicted, measured) for predicted, measured, low, high in pairs if low > 1 or high < 1]
    right = sum((predicted > 1) == (measured > 1) for predicted, measured in decided)
    spread = f", sd of its logarithm {statistics.stdev(map(math.log, ratios)):.3f}" if len(ratios) > 1 else ""
    return (f"{kind}: predicted / measured median {statistics.median(ratios):.3f} ({min(ratios):.2f} to "
            f"{max(ratios):.2f}){spread}; the cheaper one named in {right} of {len(decided)} that differ measurably")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="results file that mlpwatt fit wrote a model into, of runs of fused and blocked")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--window-s", type=float, default=0.1)
    parser.add_argument("--meters", default="auto")
    parser.add_argument("--batches", default="64,256", help="that recommendations choose among: those of the model's runs")
    parser.add_argument("--mlpwatt", default="build/mlpwatt")
    options = parser.parse_args()
    print("| network | asked about, against | unit | predicted x | measured x [95 %] |\n| --- | --- | --- | --- | --- |")
    found, failures = {}, []

    def line(kind, words, title, what):
        answer, failure = ask(options, words)
        if failure:
            failures.append(failure)
            return
        check = answer["verification"]
        predicted, measured, low, high = (times(check[name]) for name in SAVINGS)
        print(f"| {title} | {what(answer)} | {'J' if 'energy' in check['target'] else 's'} | "
              f"{predicted:.2f} | {measured:.2f} [{low:.2f}, {high:.2f}] |", flush=True)
        found.setdefault(kind, []).append((predicted, measured, low, high))

    for network in NETWORKS:
        for kind, question in QUESTIONS:
            line(kind, [*about(network), *question], "/".join(map(str, (*network[:2], 1 << network[2], network[3]))),
                 lambda answer, asked=question[1]: f"{asked}, {answer['name']}")
    for dataset, power in WISHES:
        line("a recommendation", ["recommend", "--dataset", dataset, "--parameters", str(1 << power), "--batches", options.batches],
             f"{dataset}, 2^{power} parameters", lambda answer: "{}, {}".format(
                 name_of(answer["candidates"][0]), name_of(answer["candidates"][len(answer["candidates"]) // 2])))
    print()
    for kind, pairs in found.items():
        print(summary(kind, pairs))
    for failure in failures:
        print(failure, file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

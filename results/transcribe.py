#!/usr/bin/python3
"""Renews the transcripts in documents: what a `console run` block shows after each "$ command" line is what
that command really printed, run from the repository's root.

    results/transcribe.py README.md results/SCHEMA.md
    results/transcribe.py --minutes README.md      also the `console run minutes` blocks: suites that take their time

A command that fails leaves its document as it was, and the exit status is 1.
"""
import re
import subprocess
import sys

BLOCK = re.compile(r"(```console run(?: minutes)?\n)(.*?)(```\n)", re.S)


def transcript(body):
    lines = []
    for line in body.splitlines():
        if not line.startswith("$ "):
            continue
        command = line[2:]
        done = subprocess.run(["bash", "-o", "pipefail", "-c", command], text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT)
        if done.returncode not in (0, 141):  # 141: cut off by `head`
            raise RuntimeError(f"'{command}' ended with status {done.returncode}: {done.stdout.strip()}")
        lines.append(line)
        lines += [text.rstrip() for text in done.stdout.rstrip("\n").split("\n") if done.stdout]
    return "\n".join(lines) + "\n"


def main():
    paths = [argument for argument in sys.argv[1:] if argument != "--minutes"]
    if not paths:
        sys.exit(__doc__)

    def renewed(match):
        slow = match[1].endswith("minutes\n")
        return match[0] if slow and "--minutes" not in sys.argv else match[1] + transcript(match[2]) + match[3]

    for path in paths:
        with open(path, encoding="utf-8") as file:
            old = file.read()
        try:
            new = BLOCK.sub(renewed, old)
        except RuntimeError as error:
            sys.exit(f"{path}: {error}")
        if new != old:
            with open(path, "w", encoding="utf-8") as file:
                file.write(new)


if __name__ == "__main__":
    main()

#!/usr/bin/python3
"""Renews the transcripts in documents: what a `console run` block shows after each "$ command" line is what
that command really printed, run from the repository's root.

    results/transcribe.py README.md results/SCHEMA.md

A command that fails leaves its document as it was, and the exit status is 1.
"""
import re
import subprocess
import sys

BLOCK = re.compile(r"(```console run\n)(.*?)(```\n)", re.S)


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
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    for path in sys.argv[1:]:
        with open(path, encoding="utf-8") as file:
            old = file.read()
        try:
            new = BLOCK.sub(lambda match: match[1] + transcript(match[2]) + match[3], old)
        except RuntimeError as error:
            sys.exit(f"{path}: {error}")
        if new != old:
            with open(path, "w", encoding="utf-8") as file:
                file.write(new)


if __name__ == "__main__":
    main()

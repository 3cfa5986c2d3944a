#!/bin/sh
# Records what scale_test.cpp simulates with, on the machine it runs on: a calibration, the step times of a
# space-filling sample of the grid, and the caches that the model looks at. Takes a few minutes.
#   tests/harness/campaign/measured/record.sh [BUILD]      from the repository root
set -eu
mlpwatt=${1:-build}/mlpwatt
here=tests/harness/campaign/measured
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$mlpwatt" plan --sample 120 --seed 3 --window-s 0.1 --max-window-s 0.5 --dataset-source synthetic \
  --recalibrate --calibration "$here/calibration.json" --out "$work/plan"
"$mlpwatt" campaign "$work/plan" --out "$work/campaign" --counters none --peaks-s 0
"$mlpwatt" export "$work/campaign/campaign.h5" --csv --columns name,step_s | tr -d '\r' | grep -v ',$' > "$here/runs.csv" # runs without a time are left out
"$mlpwatt" export "$work/campaign/campaign.h5" --json --table machine | /usr/bin/python3 -c '
import json, sys
machine = json.load(sys.stdin)[0]
print(machine["cores"])
for level in "L1", "L2", "L3":
    bytes = machine.get(level.lower() + "_bytes")
    if bytes:
        print(level, bytes, machine[level.lower() + "_shared_by"])
' > "$here/hierarchy.txt"

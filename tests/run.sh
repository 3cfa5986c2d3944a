#!/bin/sh
# Runs the test program of a build folder and closes with one line: N passed, N failed, N skipped.
#   tests/run.sh BUILD [GoogleTest flags]      from the repository root
# Exit status: 0 only when tests ran and none failed.
set -u
build=$1; shift
report=$build/test-report.json
rm -f "$report"
MLPWATT_BUILD=$build "$build/mlpwatt_tests" --gtest_brief=1 --gtest_output="json:$report" "$@"
status=$?
[ -s "$report" ] || { echo "tests/run.sh: the test program died (status $status) before it wrote its report; run" >&2
  echo "  $build/mlpwatt_tests $*" >&2; exit 1; }
/usr/bin/python3 tests/summary.py "$report" "$status"

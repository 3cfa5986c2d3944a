#!/bin/sh
# Runs the test program of a build folder and closes with one line: N passed, N failed, N skipped.
#   tests/run.sh BUILD [GoogleTest flags]      from the repository root
# Tests wait for instruments most of the time: MLPWATT_TEST_JOBS processes (1) share them.
# Exit status: 0 only when tests ran and none failed.
set -u
build=$1; shift
jobs=${MLPWATT_TEST_JOBS:-1}
rm -f "$build"/test-report-*.json "$build"/test-status-*
job=0
while [ "$job" -lt "$jobs" ]; do
  {
    GTEST_TOTAL_SHARDS=$jobs GTEST_SHARD_INDEX=$job MLPWATT_BUILD=$build "$build/mlpwatt_tests" --gtest_brief=1 \
      --gtest_output="json:$build/test-report-$job.json" "$@"
    echo $? > "$build/test-status-$job"
  } &
  job=$((job + 1))
done
wait
job=0 status=0
while [ "$job" -lt "$jobs" ]; do
  one=$(cat "$build/test-status-$job")
  [ -s "$build/test-report-$job.json" ] || { echo "tests/run.sh: the test program died (status $one) before it wrote its report; run" >&2
    echo "  GTEST_TOTAL_SHARDS=$jobs GTEST_SHARD_INDEX=$job $build/mlpwatt_tests $*" >&2; exit 1; }
  [ "$one" = 0 ] || status=$one
  job=$((job + 1))
done
/usr/bin/python3 tests/summary.py "$status" "$build"/test-report-*.json

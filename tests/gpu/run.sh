#!/bin/sh
# The tests of gpu/ on this machine's device, then again, on small shapes, under compute-sanitizer.
#   tests/gpu/run.sh PROGRAM [GoogleTest flags]
# Exit status: 0 only when all ran and none failed. A missing compute-sanitizer is said, and fails only when
# MLPWATT_NEED_SANITIZER is set.
set -u
program=$1; shift
# one line when there is no device, not one a test
said=$("$program" --gtest_brief=1 --gtest_filter=GpuDevice.RoundingToTf32AndBf16IsToNearest 2>&1) || {
  echo "make test-gpu: $(echo "$said" | sed -n '/^Failed$/{n;p;}')" >&2; exit 1; }
"$program" --gtest_brief=1 "$@" || exit 1
sanitizer=$(command -v compute-sanitizer 2>/dev/null || true)
[ -n "$sanitizer" ] || sanitizer=${CUDA_HOME:-/usr/local/cuda}/bin/compute-sanitizer
if [ ! -x "$sanitizer" ]; then
  echo "tests/gpu/run.sh: compute-sanitizer is neither on PATH nor in CUDA_HOME/bin: memcheck and racecheck did not run" >&2
  [ -z "${MLPWATT_NEED_SANITIZER:-}" ]; exit
fi
for tool in memcheck racecheck; do
  echo "compute-sanitizer $tool"
  MLPWATT_SMALL_SHAPES=1 "$sanitizer" --tool "$tool" --error-exitcode 1 "$program" --gtest_brief=1 "$@" || exit 1
done

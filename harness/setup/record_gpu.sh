#!/bin/sh
# On a machine with a GPU: build, test, probe, train 300 networks of the grid, report; in under nine minutes.
#   make record-gpu OUT=FOLDER      leaves FOLDER/gpu.h5, FOLDER/record.log and, where its tools are there, FOLDER/report.html
# With a bundle in the build folder (make bundle, carried along) nothing is built or installed.
# Environment: BUILD (default build), MAKE (default make), RECORD_GPU_S (default 530: seconds in all).
set -u
out=${1:-}
build=${BUILD:-build}
limit_s=${RECORD_GPU_S:-530}
[ -n "$out" ] || { echo "make record-gpu: say where to, e.g. make record-gpu OUT=results/h100" >&2; exit 2; }
mkdir -p "$out" || exit 1
log=$out/record.log
begin=$(date +%s)
: > "$log"
say() { echo "record-gpu $(( $(date +%s) - begin )) s: $*" | tee -a "$log"; }
left() { echo $(( limit_s - $(date +%s) + begin )); }
# step NAME SECONDS COMMAND...: at most that long, and never past the end
status=0
step() {
  name=$1; most=$2; shift 2
  [ "$(left)" -lt "$most" ] && most=$(left)
  [ "$most" -gt 5 ] || { say "$name: no time left"; status=1; return 1; }
  say "$name (at most $most s): $*"
  timeout -k 5 "$most" "$@" >> "$log" 2>&1
  code=$?
  case $code in
    0) say "$name: done" ;;
    124) say "$name: stopped after $most s, going on with what it left"; status=1 ;;
    *) say "$name: failed (status $code), see $log"; status=1 ;;
  esac
  return $code
}

if [ -x "$build/bundle/mlpwatt" ]; then
  mlpwatt=$build/bundle/mlpwatt; tests=$build/bundle/mlpwatt_gpu_tests
  say "using the bundle in $build/bundle"
else
  mlpwatt=$build/mlpwatt; tests=$build/mlpwatt_gpu_tests
  step build 200 "${MAKE:-make}" GPU_ARCH="${GPU_ARCH:-native}" BUILD="$build" build "$build/mlpwatt_gpu_tests" || exit 1
fi
data=kernels/data
reason=$("$mlpwatt" list | sed -n 's/^gpu\/fma: \([0-9]*\) of \1 unavailable here: //p')
[ -z "$reason" ] || { say "$reason"; exit 1; }
# The grid gets what the others leave, at least 100 s after a build, 300 s with a bundle.
# short windows: what is recorded is many points, each long enough for its own statistics
# (compute-sanitizer takes longer than there is: make test-gpu)
step tests 70 "$tests" --gtest_brief=1
step probes 80 "$mlpwatt" run --suite --filter '^gpu/(fma|stream|chase)/' --window-s 0.05 --max-warm-up-s 0.2 --out "$out/gpu.h5"
step products 40 "$mlpwatt" run --suite --filter '^gpu/gemm/' --window-s 0.05 --max-warm-up-s 0.2 --out "$out/gpu.h5"
without=$("$mlpwatt" list | sed -n 's/^gpu\/gemm_cublas: \([0-9]*\) of \1 unavailable here: //p')
if [ -n "$without" ]; then
  say "cublas: left out: $without (BUNDLE_CUBLAS=1 make bundle takes it along)"
else
  # the large ones of the tensor cores first: what a stopped step loses is the least asked for
  step cublas-large 30 "$mlpwatt" compare-cublas --filter '/(bf16|tf32)/nn/8192' --rounds 5 --turn-s 0.02 --out "$out/gpu.h5"
  step cublas 30 "$mlpwatt" compare-cublas --filter '/(fp32/nn/8192|nn/256x|tn/.*x256$|nt/256x)' --rounds 5 --turn-s 0.02 --out "$out/gpu.h5"
fi
if "$mlpwatt" list | grep -q '^gpu/mlp_train'; then
  # the study's grid, sampled as for a CPU; the same networks under the other backend's name
  if step plan 30 "$mlpwatt" plan --sample 300 --window-s 0.2 --max-window-s 0.3 --no-calibration \
      --dataset-source synthetic --any-machine --out "$out/grid.plan"; then
    sed -i 's#^run cpu/mlp_train/#run gpu/mlp_train/#' "$out/grid.plan"
    step grid "$(( $(left) - 25 ))" "$mlpwatt" campaign "$out/grid.plan" --out "$out/grid.campaign" --resume --data-dir "$data"
  else
    status=1
  fi
else
  say "grid: this program has no gpu/mlp_train"; status=1
fi
files=$out/gpu.h5
[ -e "$out/grid.campaign/campaign.h5" ] && files="$files $out/grid.campaign/campaign.h5"
if /usr/bin/python3 -c 'import h5py, matplotlib' 2>/dev/null; then
  # shellcheck disable=SC2086
  step report 25 "$mlpwatt" report $files -o "$out/report.html" --figures "$out/figures"
else
  say "report: no python3 with h5py and matplotlib here; elsewhere: mlpwatt report $files -o report.html"
fi
say "everything is in $out (status $status)"
exit $status

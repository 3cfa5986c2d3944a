#!/bin/sh
# On a machine with a GPU: build, test, probe, train networks of the grid, report; in under nine minutes.
#   make record-gpu OUT=FOLDER      leaves FOLDER/recording.h5 (of FOLDER/gpu.h5 and the campaigns), FOLDER/record.log and, where its tools are there,
#                                   FOLDER/report.html
# With a bundle in the build folder (make bundle, carried along) nothing is built or installed.
# Environment: BUILD (default build), MAKE (default make), RECORD_GPU_S (default 530: seconds in all).
set -u
out=${1:-}
build=${BUILD:-build}
limit_s=${RECORD_GPU_S:-530}
[ -n "$out" ] || { echo "make record-gpu: say where to, e.g. make record-gpu OUT=results/h100" >&2; exit 2; }
[ ! -e "$out/grid-1.plan" ] || { echo "make record-gpu: $out holds a recording already; choose another folder for OUT" >&2; exit 2; }
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
  [ "$most" -gt 5 ] || { say "$name: no time left"; status=1; code=124; return 1; }
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
# What comes before the grid takes 70 + 80 + 40 + 30 + 30 = 250 s at the very most, a build 200 s more.
# Short windows: what is recorded is many points, each long enough for its own statistics. Without meters, for which
# each window would be prolonged to the 10 s that are best for NVML's average.
# (compute-sanitizer takes longer than there is: make test-gpu)
step tests 70 "$tests" --gtest_brief=1
step probes 80 "$mlpwatt" run --suite --filter '^gpu/(fma|stream|chase)/' --meters none --window-s 0.05 --max-warm-up-s 0.2 --out "$out/gpu.h5"
step products 40 "$mlpwatt" run --suite --filter '^gpu/gemm/' --meters none --window-s 0.05 --max-warm-up-s 0.2 --out "$out/gpu.h5"
without=$("$mlpwatt" list | sed -n 's/^gpu\/gemm_cublas: \([0-9]*\) of \1 unavailable here: //p')
if [ -n "$without" ]; then
  say "cublas: left out: $without (BUNDLE_CUBLAS=1 make bundle takes it along)"
else
  # the large ones of the tensor cores first: what a stopped step loses is the least asked for
  step cublas-large 30 "$mlpwatt" compare-cublas --filter '/(bf16|tf32)/nn/8192' --rounds 5 --turn-s 0.02 --out "$out/gpu.h5"
  step cublas 30 "$mlpwatt" compare-cublas --filter '/(fp32/nn/8192|nn/256x|tn/.*x256$|nt/256x)' --rounds 5 --turn-s 0.02 --out "$out/gpu.h5"
fi

# The grid: as many of 300 networks as the time left holds, the others left out by the plan, not by the clock.
# How long a window has to be: NVML renews its readings every 0.1 s, and joules of fewer than ten renewals are flagged
# under_sampled. The program asks for one renewal more and a tenth for periods that are not kept exactly:
# 1.1 x 11 x 0.1 s = 1.21 s. Hence windows of 1.25 s. For its best an energy counter wants 5 s and an average over one
# second 10 s (meters/power_session.h): what is left of uncertainty is in the rows, and a longer campaign has less.
# How many fit: a network has 0.125 s of warm-up, its window, and 1.1 s until the average of the last second is on
# display; 300 x 2.475 s = 743 s, so with NVML 300 never fit. 530 s less the 250 s above and 55 s for what follows leave
# 225 s: 90 networks were there nothing else; twice as many (475 / 2.475 = 191) were nothing before.
# What else a network takes (set-up, calibration, check, counters) differs from machine to machine: the first twenty
# tell. A plan of N networks is the first N of one sequence that fills the grid evenly, so each round takes the plan of
# as many as will fit, less those that are done.
networks=300 first=20 worthwhile=10 after_s=55
if "$mlpwatt" info | grep -q '^ *nvml  *found'; then
  window_s=1.25
else
  say "grid: no NVML here, so no joules: short windows"
  window_s=0.25
fi
grid() {
  known=0 wanted=$first round=0
  : > "$out/grid.done"
  while [ $(( wanted - known )) -gt 0 ]; do
    round=$(( round + 1 ))
    step "plan-$round" 30 "$mlpwatt" plan --backends gpu --sample "$wanted" --window-s $window_s --max-window-s $window_s \
      --no-calibration --dataset-source synthetic --any-machine --out "$out/grid.plan" || return 1
    grep -v -x -F -f "$out/grid.done" "$out/grid.plan" > "$out/grid-$round.plan"
    started=$(date +%s)
    step "grid-$round" "$(( $(left) - after_s ))" \
      "$mlpwatt" campaign "$out/grid-$round.plan" --out "$out/grid-$round.campaign" --resume --data-dir "$data"
    [ "$code" -lt 124 ] || return 1   # out of time, or killed; rows that failed are in the file
    grep '^run ' "$out/grid-$round.plan" >> "$out/grid.done"
    # in milliseconds, rounded up; what a round needs to start is in it, so the next one rather ends early
    each_ms=$(( ( ($(date +%s) - started) * 1000 + 999 ) / (wanted - known) + 1 ))
    known=$wanted
    fit=$(( ($(left) - after_s - 5) * 1000 / each_ms ))
    wanted=$(( known + fit ))
    [ $wanted -le $networks ] || wanted=$networks
    say "grid: $known of $networks networks, $each_ms ms each; room for $fit more"
    [ $fit -ge $worthwhile ] || break
  done
}
if "$mlpwatt" list | grep -q '^gpu/mlp_train'; then
  grid
else
  say "grid: this program has no gpu/mlp_train"; status=1
fi
# One file of all, so that the model finds the probes of the device it was fitted on.
files=
[ ! -e "$out/gpu.h5" ] || files=$out/gpu.h5
all=$out/recording.h5
# shellcheck disable=SC2086
if [ -d "$out/grid-1.campaign" ] && step merge 15 "$mlpwatt" merge --replace "$all" $files "$out"/grid-*.campaign; then
  files=$all
  step fit 15 "$mlpwatt" fit "$all" --resamples 100
  # a datum is a row of a batch
  "$mlpwatt" export "$all" --csv --columns name,batch,step_energy_j_measured,energy_quality | tr -d '\r' |
    awk -F, 'NR > 1 && $3 > 0 && $4 == "ok" { print $3 / $2, $1 }' | sort -g > "$out/joules_per_datum.txt"
  say "joules: $(wc -l < "$out/joules_per_datum.txt") networks with unflagged energies; J/datum from $(
    awk '{ j[NR] = $1 } END { if (NR) printf "%.3g to %.3g, median %.3g", j[1], j[NR], j[int((NR + 1) / 2)]; else print "none" }' \
      "$out/joules_per_datum.txt") ($out/joules_per_datum.txt)"
fi
if /usr/bin/python3 -c 'import h5py, matplotlib' 2>/dev/null; then
  # shellcheck disable=SC2086
  step report 25 "$mlpwatt" report $files -o "$out/report.html" --figures "$out/figures"
else
  say "report: no python3 with h5py and matplotlib here; elsewhere: mlpwatt report $files -o report.html"
fi
say "everything is in $out (status $status)"
exit $status

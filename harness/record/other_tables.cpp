// The columns of every group but /runs.

#include "harness/record/table.h"

namespace mlpwatt {
namespace {

constexpr Type R = Type::kReal, I = Type::kInteger, O = Type::kOptionalInteger, T = Type::kText;

}  // namespace

const Table& machine_table() {
  static const Table table(
      "machine", "machine", "One row a machine, as it was when the runs that refer to it were made.",
      {
          {"host", T, "", "host", "Name of the machine."},
          {"processor", T, "", "processor", "Model name from /proc/cpuinfo."},
          {"isas", T, "", "instruction sets", "Those our kernels can use here, space-separated."},
          {"cores", I, "1", "cores", "Physical cores this process may run on."},
          {"hardware_threads", I, "1", "hardware threads", "Logical processors this process may run on."},
          {"l1_bytes", O, "B", "L1 data cache", "Of one instance."},
          {"l1_ways", O, "1", "L1 ways", ""},
          {"l1_shared_by", O, "1", "cores per L1", ""},
          {"l2_bytes", O, "B", "L2 cache", "Of one instance."},
          {"l2_ways", O, "1", "L2 ways", ""},
          {"l2_shared_by", O, "1", "cores per L2", ""},
          {"l3_bytes", O, "B", "L3 cache", "Of one instance."},
          {"l3_ways", O, "1", "L3 ways", ""},
          {"l3_shared_by", O, "1", "cores per L3", ""},
          {"line_bytes", O, "B", "cache line", ""},
          {"memory_bytes", I, "B", "memory", "Of the whole machine."},
          {"hierarchy_source", T, "", "source of the cache sizes", ""},
          {"system", T, "", "operating system", "Distribution, kernel release and architecture."},
          {"governor", T, "", "frequency governor", "Of processor 0, where the system has one."},
      });
  return table;
}

const Table& meters_table() {
  static const Table table("meters", "meter", "One row a meter and domain that looked on.",
                           {
                               {"meter", T, "", "meter", "Which meter."},
                               {"domain", T, "", "domain", "What it covers: node, package0, dram0, gpu0 ..."},
                               {"provenance", T, "", "provenance", "measured, modelled or simulated."},
                               {"unit", T, "", "unit of its readings", "W or J."},
                               {"host", T, "", "host", "Where it was read."},
                               {"update_period_s", R, "s", "update period", "", "given"},
                               {"resolution", R, "1", "resolution", "In the meter's unit.", "given"},
                               {"accuracy_relative", R, "1", "relative accuracy", "Of the reading.", "given"},
                           });
  return table;
}

const Table& samples_table() {
  static const Table table(
      "samples", "sample", "Raw readings, one row each, in the order in which they were taken.",
      {
          {"meter_row", I, "1", "meter", "Row of /meters.", "", "meters"},
          {"run_row", I, "1", "run", "Row of /runs in whose window (or idle time around it) it falls.", "",
           "runs"},
          {"monotonic_s", R, "s", "time", "CLOCK_MONOTONIC of the host.", "measured"},
          {"value", R, "1", "reading", "In the meter's unit; absent when the meter gave a reason instead."},
          {"reason", T, "", "why there is no reading", "", ""},
      });
  return table;
}

const Table& curves_table() {
  static const Table table(
      "curves", "point", "Training curves: one row an epoch.",
      {
          {"run_row", I, "1", "run", "Row of /runs this training is.", "", "runs"},
          {"epoch", I, "1", "epoch", "1-based; 0 is the untrained network.", "measured"},
          {"train_loss", R, "1", "training loss", "Mean over the epoch's batches, before each update.",
           "measured"},
          {"test_loss", R, "1", "test loss", "Over the test split after the epoch.", "measured"},
          {"train_accuracy", R, "1", "training accuracy", "Share of rows; absent for regression.",
           "measured"},
          {"test_accuracy", R, "1", "test accuracy", "Share of rows; absent for regression.", "measured"},
          {"seconds", R, "s", "time of the epoch", "Training only, without the evaluation.", "measured"},
          {"total_seconds", R, "s", "time so far", "Training only, since the first epoch.", "measured"},
      });
  return table;
}

}  // namespace mlpwatt

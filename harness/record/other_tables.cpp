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
  static const Table table(
      "meters", "meter", "One row a meter and domain that looked on.",
      {
          {"name", T, "", "meter", "Which meter."},
          {"domain", T, "", "domain", "What it covers: node, package0, dram0, gpu0 ..."},
          {"provenance", T, "", "provenance", "measured, modelled or simulated."},
          {"unit", T, "", "unit of its readings", "W or J."},
          {"host", T, "", "host", "Where it was read."},
          {"update_period_s", R, "s", "update period", "", "given"},
          {"resolution", R, "1", "resolution", "In the meter's unit.", "given"},
          {"accuracy_relative", R, "1", "relative accuracy", "Limit of error, of the reading.", "given"},
          {"accuracy_source", T, "", "source of the accuracy", "Who states it; assumed = nobody."},
          {"parent", T, "", "parent domain", "The domain that contains this one."},
          {"includes", T, "", "included domains",
           "The other domains that looked on and lie in this one, separated by spaces."},
          {"duplicate_of", T, "", "mirrored domain", "The domain this one is a copy of."},
          {"summable", O, "1", "may be summed",
           "0 = a sensor of a chip whose place in the power chain is not known."},
          {"kind", T, "", "kind of reading", "counter, instant or average."},
          {"averaging_s", R, "s", "averaging window", "Time a reading looks back on.", "given"},
          {"lag_s", R, "s", "lag", "How late a reading shows what happened.", "given"},
          {"timing_source", T, "", "source of period and lag",
           "assumed, declared, or measured by mlpwatt calibrate."},
          {"lag_spread_s", R, "s", "standard uncertainty of the lag", "Where it was measured.", "measured"},
          {"calibrated_utc", T, "", "date of the calibration", "Where period, lag and window were measured."},
          {"wrap_j", R, "J", "range of the counter", "It starts again after so much.", "given"},
          {"place", T, "", "place in the power chain", "AC inlet, DC bus, BMC, die, battery, model."},
          {"accuracy_absolute_w", R, "W", "absolute accuracy", "Limit of error beside the relative one.",
           "given"},
          {"maximum_w", R, "W", "largest power", "What the domain can draw: beyond it a reading is absurd.",
           "given"},
      });
  return table;
}

const Table& energies_table() {
  static const Table table(
      "energies", "energy", "One row a run and meter channel that looked on, and one for the node's rest.",
      {
          {"run_row", I, "1", "run", "Row of /runs.", "", "runs"},
          {"meter_row", I, "1", "meter", "Row of /meters.", "", "meters"},
          {"meter", T, "", "meter", "Which meter."},
          {"domain", T, "", "domain",
           "node, package0, dram0 ...; rest = the node minus the domains inside it."},
          {"parent", T, "", "parent domain", "The domain that contains this one."},
          {"provenance", T, "", "provenance", "measured or modelled."},
          {"summed", O, "1", "part of the run's energy", "1 when /runs has it in its energy."},
          {"energy_j", R, "J", "energy of the window", "Idle included; absent when it could not be had."},
          {"energy_uncertainty_j", R, "J", "its standard uncertainty", "About 68 %; twice it is about 95 %."},
          {"energy_random_j", R, "J", "random part of it", "Without the accuracy class of the meter."},
          {"energy_above_idle_j", R, "J", "energy above idle", "energy_j - idle_w x window."},
          {"energy_above_idle_uncertainty_j", R, "J", "its standard uncertainty", ""},
          {"idle_w", R, "W", "idle power", "Mean of the idle times before and after, or of the sitting."},
          {"idle_uncertainty_w", R, "W", "its standard uncertainty", "Without the accuracy class."},
          {"flags", T, "", "quality flags",
           "ok, or space-separated: under_sampled, stuck, dropout, "
           "wrapped_twice, clock_jump, out_of_range, lost, idle_drift, exceeds_node."},
          {"flags_above_idle", T, "", "quality flags of the energy above idle",
           "Those of flags, and what was wrong with the idle times."},
          {"reason", T, "", "why it is flagged", "Of the first fault; names the meter."},
          {"distinct_updates", I, "1", "distinct updates", "Of the device, inside the window.", "measured"},
          {"readings", I, "1", "readings", "Taken inside the window.", "measured"},
          {"failures", I, "1", "failed readings", "Inside the window.", "measured"},
          {"wraps", I, "1", "wraps", "Of a counter, inside the window.", "measured"},
          {"samples_kept_every", I, "1", "samples kept",
           "/samples holds every n-th of its readings; 1 = all."},
      },
      true);
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
          {"device_stamp", O, "1", "stamp of the device",
           "Its own time or sequence number, in its own unit: equal = the same update read again.",
           "measured"},
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

// The columns of /runs.

#include "harness/record/table.h"
#include "meters/counters/counter_source.h"

namespace mlpwatt {
namespace {

constexpr Type R = Type::kReal, I = Type::kInteger, O = Type::kOptionalInteger, T = Type::kText;

std::vector<Column> identity_columns() {
  return {
      {"name", T, "", "benchmark", "The benchmark's name in the catalogue; what --filter searches."},
      {"family", T, "", "family", "The family of benchmarks it belongs to."},
      {"backend", T, "", "backend", "cpu, gpu, or peer/<name>: a library of others that was compared with."},
      {"dataset", T, "", "dataset", "Of a training benchmark: the study's task."},
      {"shape", T, "", "network shape", "Of a training benchmark: one of the study's eight shapes."},
      {"size", O, "1", "parameters asked for", "Of a training benchmark: target number of parameters."},
      {"depth", O, "1", "dense layers", "Of a training benchmark: layers, the output layer included."},
      {"parameters", O, "1", "trainable parameters", "Weights and biases the network really has."},
      {"batch", O, "1", "batch size", "Rows of a training batch."},
      {"m", O, "1", "rows of C", "Of a matrix product: C[m x n] = A[m x k] B[k x n]."},
      {"n", O, "1", "columns of C", "Of a matrix product."},
      {"k", O, "1", "inner dimension", "Of a matrix product."},
      {"layout", T, "", "operand layout", "Of a matrix product: nn, nt or tn (transposed operands)."},
      {"bytes", O, "B", "working set", "Of a hierarchy probe: bytes the loop walks over."},
      {"other_parameters", T, "", "other parameters",
       "JSON object of the benchmark's parameters that have no column of their own."},
      {"isa", T, "", "instruction set", "What really ran: avx512, avx2, avx2_nofma, generic, or the GPU's."},
      {"threads", O, "1", "threads", "Threads that really ran."},
      {"device", T, "", "device", "Name of the GPU that ran it; empty for the processor."},
      {"device_uuid", T, "", "UUID of the device", "As NVML and nvidia-smi write it."},
      {"device_multiprocessors", O, "1", "multiprocessors of the device",
       "Streaming multiprocessors; absent on the processor, which /machine describes."},
      {"device_l1_bytes", O, "B", "L1 of the device", "Of one multiprocessor, shared memory included."},
      {"device_l2_bytes", O, "B", "L2 of the device", "Of the whole device."},
      {"device_memory_bytes", O, "B", "memory of the device", "Of the whole device."},
      {"algorithm", T, "", "algorithm", "What really ran, where a kernel has several."},
      {"binding", T, "", "thread binding", "OMP_PROC_BIND, OMP_PLACES and the processors allowed."},
      {"dataset_source", T, "", "dataset source", "file or synthetic."},
      {"dataset_checksum", T, "", "dataset checksum", "sha256 of the file, or of a stand-in's values."},
      {"seed", I, "1", "seed", "Of initial weights, split and synthetic values.", "given"},
      {"order_seed", I, "1", "order seed", "Of the shuffle of runs.", "given"},
      {"order_index", I, "1", "place in the order", "0-based place of this run in its session.", "given"},
      {"campaign", T, "", "campaign",
       "Checksum of the plan whose entry order_index this run is; empty outside campaigns."},
      {"repetition", I, "1", "repetition", "0-based repetition of this configuration in its session."},
      {"command", T, "", "command", "The full command line that made this row."},
      {"commit", T, "", "git commit", "Of the program; +modified when the tree was not clean."},
      {"compiler", T, "", "compiler", "Name and version."},
      {"compiler_flags", T, "", "compiler flags",
       "Of the harness, and after \"kernels:\" what the kernels of the row's instruction set were given "
       "besides."},
      {"host", T, "", "host", "Name of the machine (of the Slurm node inside a job)."},
      {"machine_row", I, "1", "machine", "Row of /machine that describes the host.", "", "machine"},
      {"started_utc", T, "", "start", "Start of the window, ISO 8601, UTC."},
      {"start_realtime_ns", I, "ns", "start, wall clock", "Since 1970-01-01T00:00:00Z.", "measured"},
      {"start_monotonic_ns", I, "ns", "start, monotonic clock",
       "CLOCK_MONOTONIC; the time base of /samples on this host and boot.", "measured"},
      {"status", T, "", "status",
       "ok; failed (the check found a wrong result); error (the kernel said "
       "why it cannot run); unavailable (it cannot run on this machine)."},
      {"reason", T, "", "reason", "Why status is not ok; of an ok row why it has no floor."},
      {"quality", T, "", "quality flags",
       "ok, or space-separated flags: not_steady (the step time still "
       "drifted when the warm-up ended), few_blocks (fewer than 10), wide_interval (the longest window "
       "ended before the interval of step_s was as tight as asked), gpu_throttled (power, heat or the board "
       "held its clocks down at an end of the window, or for more than a hundredth of it)."},
  };
}

std::vector<Column> time_columns() {
  return {
      {"window_target_s", R, "s", "window asked for", "Length of the timed window asked for.", "given"},
      {"set_up_s", R, "s", "set-up time", "Allocation and filling, not part of the window.", "measured"},
      {"check_error", R, "1", "error of the check", "Largest error against the reference before timing.",
       "measured"},
      {"check_bound", R, "1", "bound of the check", "What the error had to stay within.", "computed"},
      {"idle_s", R, "s", "idle time", "Before the warm-up and after the window, each; for the meters.",
       "given"},
      {"warm_up_s", R, "s", "warm-up time", "Until the step time was steady.", "measured"},
      {"warm_up_steps", O, "1", "warm-up steps", "Steps run before the window.", "measured"},
      {"duration_s", R, "s", "window",
       "First to last stamp of the window; a training's holds its evaluations too.", "measured"},
      {"steps", O, "1", "steps", "Units of work in the window.", "measured"},
      {"blocks", O, "1", "blocks", "Equal parts of the window, each timed.", "measured"},
      {"steps_per_block", O, "1", "steps per block", "", "measured"},
      {"step_s", R, "s", "time per step", "Median over the window's blocks.", "measured"},
      {"step_low95_s", R, "s", "time per step, lower end", "Distribution-free 95 % interval of the median.",
       "measured"},
      {"step_high95_s", R, "s", "time per step, upper end", "Distribution-free 95 % interval of the median.",
       "measured"},
      {"step_mean_s", R, "s", "time per step, mean",
       "duration_s / steps; of a training without its evaluations.", "measured"},
      {"step_mad_s", R, "s", "time per step, spread", "Median absolute deviation of the blocks from step_s.",
       "measured"},
      {"step_min_s", R, "s", "time per step, quickest block", "", "measured"},
      {"step_max_s", R, "s", "time per step, slowest block", "", "measured"},
      {"step_cpu_s", R, "s", "processor time per step", "User + system time of all threads.", "measured"},
  };
}

/// Every name of the counters' vocabulary in each provenance it can have.
std::vector<Column> counter_columns() {
  std::vector<Column> columns;
  for (const CounterName& counter : counter_vocabulary())
    for (const Provenance provenance : {Provenance::kMeasured, Provenance::kSimulated})
      columns.push_back(
          {counter_column(counter.name, provenance), R, counter.unit,
           counter.name + (counter.share ? ", " : " per step, ") + to_string(provenance),
           counter.description + (counter.share ? "; the exact event stands in counter_details"
                                                : ", per step; the exact event stands in counter_details"),
           to_string(provenance)});
  columns.push_back(
      {"counter_details", T, "", "counter details",
       "JSON object by counter: exact event, source, steps and threads it covers, pass, standard "
       "uncertainty (what starting and stopping count themselves; 0 = simulated, deterministic), or the "
       "reason why there is no value; native events with their values."});
  return columns;
}

/// One set measured, one modelled; the joules stand for the whole window, the others for a step.
std::vector<Column> energy_columns() {
  std::vector<Column> columns;
  struct Quantity {
    const char *name, *unit, *long_name, *description;
  };
  static constexpr Quantity kQuantities[] = {
      {"energy_j", "J", "energy of the window", "Sum over the outermost domains, idle included."},
      {"energy_uncertainty_j", "J", "its standard uncertainty", "meters/energy.h has the formula."},
      {"energy_above_idle_j", "J", "energy of the window above idle", "Idle power x window subtracted."},
      {"energy_above_idle_uncertainty_j", "J", "its standard uncertainty", "The idle's spread included."},
      {"step_energy_j", "J", "energy per step", "power_w x step_mean_s."},
      {"step_energy_uncertainty_j", "J", "its standard uncertainty", ""},
      {"step_energy_above_idle_j", "J", "energy per step above idle", "The same above idle."},
      {"step_energy_above_idle_uncertainty_j", "J", "its standard uncertainty", ""},
      {"power_w", "W", "mean power of the window", "energy_j / the window as the meters saw it."},
      {"idle_power_w", "W", "idle power", "Of the same domains."},
  };
  for (const Provenance provenance : {Provenance::kMeasured, Provenance::kModelled})
    for (const Quantity& quantity : kQuantities)
      columns.push_back({std::string(quantity.name) + "_" + to_string(provenance), R, quantity.unit,
                         std::string(quantity.long_name) + ", " + to_string(provenance), quantity.description,
                         to_string(provenance)});
  const std::vector<Column> more{
      {"energy_domains", T, "", "domains of the energy", "What was summed: node, or package0+dram0 ..."},
      {"energy_meters", T, "", "meters of the energy", "Whose readings they are."},
      {"energy_quality", T, "", "quality flags of the energy",
       "ok, or flags of /energies. Flagged energies stay out of fits and summaries."},
      {"energy_above_idle_quality", T, "", "quality flags of the energy above idle",
       "Those of the energy, and what was wrong with the idle times."},
      {"energy_reason", T, "", "why it is flagged", "Of the first fault; names the meter."},
      {"energy_updates", O, "1", "distinct updates", "Of the slowest meter that was summed.", "measured"},
      {"ee_hpc_wg_level", O, "1", "EE HPC WG level",
       "Level 1 to 3 of that methodology the window would satisfy; 0 = none.", "computed"},
      {"sampler_cpu_share", R, "1", "cost of the sampling", "Of one processor, during the window.",
       "measured"},
      {"wall_offset_s", R, "s", "wall clock at the window's end",
       "CLOCK_REALTIME - CLOCK_MONOTONIC; at the start it is start_realtime_ns - start_monotonic_ns.",
       "measured"},
      {"temperature_before_c", R, "degC", "processor temperature before", "The hottest sensor.", "measured"},
      {"temperature_after_c", R, "degC", "processor temperature after", "The hottest sensor.", "measured"},
      {"frequency_before_hz", R, "Hz", "processor frequency before", "Mean of all processors.", "measured"},
      {"frequency_after_hz", R, "Hz", "processor frequency after", "Mean of all processors.", "measured"},
      {"throttle_events", O, "1", "throttle events", "Of all processors, during the window.", "measured"},
      {"gpu_temperature_before_c", R, "degC", "GPU temperature before", "Of the GPU that the kernel ran on.",
       "measured"},
      {"gpu_temperature_after_c", R, "degC", "GPU temperature after", "Of the GPU that the kernel ran on.",
       "measured"},
      {"gpu_clock_before_hz", R, "Hz", "GPU clock before", "Of its multiprocessors.", "measured"},
      {"gpu_clock_after_hz", R, "Hz", "GPU clock after", "Of its multiprocessors.", "measured"},
      {"gpu_memory_clock_before_hz", R, "Hz", "GPU memory clock before", "", "measured"},
      {"gpu_memory_clock_after_hz", R, "Hz", "GPU memory clock after", "", "measured"},
      {"gpu_throttle_before", T, "", "what held the GPU's clocks down, before",
       "NVML's clock event reasons: none, idle, application_clocks, sw_power_cap, hw_slowdown, sync_boost, "
       "sw_thermal, hw_thermal, hw_power_brake, display_clock. Empty: not known."},
      {"gpu_throttle_after", T, "", "what held the GPU's clocks down, after", "As gpu_throttle_before."},
      {"gpu_held_back_s", R, "s", "time the GPU was held back",
       "How long its driver counted power, heat or the board (the longest of the three) to hold its clocks "
       "down between the two looks at it.",
       "measured"},
  };
  columns.insert(columns.end(), more.begin(), more.end());
  return columns;
}

std::vector<Column> cost_columns() {
  return {
      {"flops", O, "1", "FLOPs per step", "Every multiply and every add.", "computed"},
      {"multiplies", O, "1", "multiplies per step", "", "computed"},
      {"adds", O, "1", "adds per step", "Adds, subtracts and compares of the maths.", "computed"},
      {"study_forward_macs", O, "1", "multiply-accumulates, forward", "The study's own counting.",
       "computed"},
      {"study_backward_macs", O, "1", "multiply-accumulates, backward", "The study's own counting.",
       "computed"},
      {"compulsory_read_bytes", O, "B", "compulsory reads per step", "Each input and state once.",
       "computed"},
      {"compulsory_write_bytes", O, "B", "compulsory writes per step", "Each output and state once.",
       "computed"},
      {"working_set_l_bytes", O, "B", "working set l", "Inter-layer: replicated + distributed.", "computed"},
      {"working_set_f_bytes", O, "B", "working set f", "Forward pass.", "computed"},
      {"working_set_b_bytes", O, "B", "working set b", "Backward pass.", "computed"},
      {"working_set_d_bytes", O, "B", "working set d", "Dataset.", "computed"},
      {"working_set_l_level", T, "", "level of l", "Where l lives on this machine: L1, L2, L3, memory.",
       "computed"},
      {"working_set_f_level", T, "", "level of f", "Where f lives on this machine.", "computed"},
      {"working_set_b_level", T, "", "level of b", "Where b lives on this machine.", "computed"},
      {"working_set_d_level", T, "", "level of d", "Where d lives on this machine.", "computed"},
      {"flops_per_s", R, "1/s", "FLOP rate", "flops / step_s.", "measured"},
      {"compulsory_bytes_per_s", R, "B/s", "rate of compulsory bytes",
       "(compulsory reads + writes) / step_s.", "measured"},
      {"floor_s", R, "s", "least time per step",
       "What the machine's measured peaks allow at best; absent while they are unknown.", "modelled"},
      {"floor_ratio", R, "1", "time over its floor",
       "step_s / floor_s. Of run and train the floor of the row's own threads; of compare-peers that of all "
       "threads everybody might use.",
       "modelled"},
  };
}

std::vector<Column> comparison_columns() {
  return {
      {"comparison", T, "", "comparison",
       "Rows with the same text took turns at the same work: start, host and benchmark; empty for other "
       "rows. Their times are of the turns; where they have joules, those are of a window that followed, "
       "which duration_s, steps, step_mean_s and the start describe."},
      {"ratio_to_ours", R, "1", "time over ours",
       "step_s over that of our row of the same comparison: above 1 ours is quicker.", "measured"},
      {"ratio_low95", R, "1", "time over ours, lower end", "95 % bootstrap interval over the turns.",
       "measured"},
      {"ratio_high95", R, "1", "time over ours, upper end", "95 % bootstrap interval over the turns.",
       "measured"},
  };
}

}  // namespace

const Table& runs_table() {
  static const Table table("runs", "run", "One row a run: one kernel, one configuration, one window.", [] {
    std::vector<Column> columns = identity_columns();
    for (auto more :
         {time_columns(), cost_columns(), comparison_columns(), counter_columns(), energy_columns()})
      columns.insert(columns.end(), more.begin(), more.end());
    return columns;
  }());
  return table;
}

}  // namespace mlpwatt

#include "harness/run/run_one.h"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

#include "harness/build_facts.h"
#include "harness/run/power_rows.h"
#include "harness/run/step_command.h"
#include "kernels/backend.h"

namespace mlpwatt {
namespace {

using Json = nlohmann::ordered_json;

/// Parameters with a column of their own go there, the others into one JSON object.
void set_parameters(Row& row, const std::map<std::string, ParameterValue>& parameters) {
  static const std::vector<std::string> own{"dataset", "shape", "size", "depth",  "parameters", "batch",
                                            "m",       "n",     "k",    "layout", "bytes"};
  Json others = Json::object();
  for (const auto& [name, value] : parameters) {
    const bool has_column = std::find(own.begin(), own.end(), name) != own.end();
    const Type type = has_column ? runs_table().columns()[runs_table().index(name)].type : Type::kReal;
    if (const auto* text = std::get_if<std::string>(&value); text != nullptr && type == Type::kText)
      row.set(name, *text);
    else if (const auto* number = std::get_if<std::int64_t>(&value);
             number != nullptr && type == Type::kOptionalInteger)
      row.set(name, *number);
    else
      std::visit([&, key = name](const auto& held) { others[key] = held; }, value);
  }
  if (!others.empty()) row.set("other_parameters", others.dump());
}

/// Of the device that the row's backend computes on; none on the processor.
std::optional<Hierarchy> device_hierarchy_of(const Row& row) {
  const Backend* backend = find_backend(row.text("backend"));
  if (backend == nullptr || !backend->hierarchy || !backend->unavailable().empty()) return std::nullopt;
  return backend->hierarchy();
}

void set_identity(Row& row, const Benchmark& benchmark, const RunSettings& settings, const RunPlace& place) {
  const BuildFacts& build = build_facts();
  row.set("name", benchmark.name);
  row.set("family", benchmark.family);
  row.set("backend", benchmark.name.substr(0, benchmark.name.find('/')));
  set_parameters(row, benchmark.parameters);
  if (benchmark.parameters.contains("dataset")) row.set("batch", settings.kernel.batch);
  row.set("seed", static_cast<std::int64_t>(settings.kernel.seed));
  row.set("order_seed", static_cast<std::int64_t>(settings.order_seed));
  row.set("order_index", place.order_index);
  row.set("repetition", place.repetition);
  row.set("command", settings.command);
  row.set("commit", build.commit);
  row.set("compiler", build.compiler);
  row.set("compiler_flags", build.compiler_flags);  // until it is known what the kernel runs
  row.set("host", settings.machine.host);
  row.set("window_target_s", settings.protocol.window_s);
}

}  // namespace

std::string substitution(const RunOptions& asked, const std::map<std::string, std::string>& facts) {
  const auto fact = [&](const char* name) {
    const auto found = facts.find(name);
    return found == facts.end() ? std::string() : found->second;
  };
  const std::string isa = fact("isa"), algorithm = fact("algorithm");
  if (!asked.isa.empty() && isa != asked.isa)
    return fmt::format("--isa {} was asked for, this benchmark runs {} only", asked.isa, isa);
  if (!asked.algorithm.empty() && algorithm_name(algorithm) != asked.algorithm)
    return fmt::format("--algorithm {} was asked for, this benchmark runs {}", asked.algorithm,
                       algorithm.empty() ? "the only one it has" : algorithm);
  return "";
}

void set_facts(Row& row, const std::map<std::string, std::string>& facts) {
  for (const auto& [name, value] : facts) {
    if (name == "threads")
      row.set("threads", std::int64_t{std::stoll(value)});
    else if (name == "isa" || name == "algorithm" || name == "device" || name == "device_uuid" ||
             name == "dataset_source" || name == "dataset_checksum")
      row.set(name, value);
    if (name == "isa") row.set("compiler_flags", compiler_flags_of(value));
  }
  if (const std::optional<Hierarchy> device = device_hierarchy_of(row)) {
    row.set("device_multiprocessors", device->cores);
    row.set("device_memory_bytes", device->memory_bytes);
    for (const auto& [level, column] : {std::pair{"L1", "device_l1_bytes"}, {"L2", "device_l2_bytes"}})
      if (const CacheLevel* cache = device->find(level)) row.set(column, cache->capacity_bytes);
  }
}

void set_cost(Row& row, const Cost& cost, const RunSettings& settings) {
  row.set("flops", cost.flops());
  row.set("multiplies", cost.multiplies);
  row.set("adds", cost.adds);
  if (cost.study_forward_macs > 0) {
    row.set("study_forward_macs", cost.study_forward_macs);
    row.set("study_backward_macs", cost.study_backward_macs);
  }
  row.set("compulsory_read_bytes", cost.compulsory_read_bytes);
  row.set("compulsory_write_bytes", cost.compulsory_write_bytes);
  const WorkingSets& sets = cost.working_sets;
  if (sets.inter_layer.total_bytes() == 0) return;
  const std::int64_t threads = row.integer("threads");
  const int units = threads > 0 ? static_cast<int>(threads) : settings.machine.hierarchy.cores;
  // The sets lie in the caches of whatever computes.
  const std::optional<Hierarchy> device = device_hierarchy_of(row);
  const Placement placement =
      device ? place(sets, *device, device->cores) : place(sets, settings.machine.hierarchy, units);
  const auto set = [&](const std::string& letter, const WorkingSet& bytes, const std::string& level) {
    row.set("working_set_" + letter + "_bytes", bytes.total_bytes());
    row.set("working_set_" + letter + "_level", level);
  };
  set("l", sets.inter_layer, placement.inter_layer);
  set("f", sets.forward_pass, placement.forward_pass);
  set("b", sets.backward_pass, placement.backward_pass);
  set("d", sets.dataset, placement.dataset);
}

void set_check(Row& row, const Check& check) {
  row.set("check_error", check.error);
  row.set("check_bound", check.bound);
}

void set_window(Row& row, const WarmUp& warm, const Window& window, const Cost& cost) {
  row.set("warm_up_s", warm.duration_s);
  row.set("warm_up_steps", warm.steps);
  row.set("started_utc", utc_text(window.start_realtime_ns));
  row.set("start_realtime_ns", window.start_realtime_ns);
  row.set("start_monotonic_ns", window.start_monotonic_ns);
  row.set("duration_s", window.duration_s);
  row.set("steps", window.steps);
  row.set("blocks", static_cast<std::int64_t>(window.block_step_s.size()));
  row.set("steps_per_block", window.steps_per_block);
  row.set("step_s", window.step.median);
  row.set("step_low95_s", window.step.low95);
  row.set("step_high95_s", window.step.high95);
  row.set("step_mean_s", window.duration_s / static_cast<double>(window.steps));
  row.set("step_mad_s", window.step.mad);
  row.set("step_min_s", window.step.minimum);
  row.set("step_max_s", window.step.maximum);
  row.set("step_cpu_s", window.cpu_s / static_cast<double>(window.steps));
  // Rates are computed here and nowhere else: kernels declare work, they never divide by time.
  if (window.step.median > 0) {
    if (cost.flops() > 0) row.set("flops_per_s", static_cast<double>(cost.flops()) / window.step.median);
    if (cost.compulsory_bytes() > 0)
      row.set("compulsory_bytes_per_s", static_cast<double>(cost.compulsory_bytes()) / window.step.median);
  }
  std::string quality;
  if (!warm.steady) quality += " not_steady";
  if (window.few_blocks) quality += " few_blocks";
  if (window.wide_interval) quality += " wide_interval";
  row.set("quality", quality.empty() ? "ok" : quality.substr(1));
}

namespace {

void set_counters(Row& row, const std::vector<CounterValue>& values) {
  Json details = Json::object();
  for (const CounterValue& counter : values) {
    Json& detail = details[counter.name];
    if (!counter.value) {
      detail["reason"] = counter.reason;
      continue;
    }
    const double per_step = counter.per_step().value_or(kAbsentReal);
    const std::string column = counter_column(counter.name, counter.provenance);
    if (runs_table().has(column))
      row.set(column, per_step);
    else
      detail["per_step"] = per_step;
    if (counter.standard_uncertainty)
      detail["standard_uncertainty_per_step"] =
          *counter.standard_uncertainty / static_cast<double>(std::max<std::int64_t>(1, counter.steps));
    detail["source"] = counter.source;
    detail["event"] = counter.event;
    detail["provenance"] = to_string(counter.provenance);
    detail["steps"] = counter.steps;
    detail["threads"] = fmt::format("{} of {}", counter.threads_counted, counter.threads_total);
    if (counter.passes > 1) detail["pass"] = fmt::format("{} of {}", counter.pass + 1, counter.passes);
  }
  if (!details.empty()) row.set("counter_details", details.dump());
}

class CounterObserver : public Observer {
 public:
  explicit CounterObserver(CounterSession& session) : session_(session) {}
  void begin() override { session_.start(0); }
  void end(std::int64_t steps) override { session_.stop(steps); }

 private:
  CounterSession& session_;
};

CounterRequest counter_request(const Benchmark& benchmark, const RunSettings& settings, bool simulate) {
  CounterRequest request;
  request.names = settings.counters.names;
  request.backend = benchmark.name.substr(0, benchmark.name.find('/'));
  // What only a GPU's counters tell is asked of a GPU only.
  if (request.backend == "gpu" && request.names == default_counters())
    request.names.insert(request.names.end(), {"l1_bytes", "occupancy"});
  for (const CacheLevel& level : settings.machine.hierarchy.levels)
    request.caches.push_back({level.name, level.capacity_bytes, level.associativity, level.line_bytes});
  if (simulate) {
    request.step_command = step_command(benchmark.name, settings.kernel);
    // Another instruction set than the row's: the counts themselves say which.
    const auto isa = std::find(request.step_command.begin(), request.step_command.end(), "--isa");
    if (request.step_command.end() - isa >= 2)
      request.step_command_facts = fmt::format("run with --isa {}", *(isa + 1));
  }
  return request;
}

/// After a pause: as long as the pause was, a second at most.
void warm_again(Kernel& kernel, const WarmUp& warm, double pause_s) {
  constexpr double kNoPause_s = 0.01, kLongest_s = 1;
  if (pause_s < kNoPause_s || !(warm.step_s > 0)) return;
  kernel.run(
      std::max<std::int64_t>(1, static_cast<std::int64_t>(std::min(pause_s, kLongest_s) / warm.step_s)));
}

/// What its family knew when it was listed, or what has become of its device since.
std::string why_unavailable(const Benchmark& benchmark, const Row& row) {
  if (!benchmark.unavailable.empty()) return benchmark.unavailable;
  const Backend* device = find_backend(row.text("backend"));
  return device == nullptr ? "" : device->unavailable();
}

/// Set up, prove, warm up, time. Throws whatever the kernel throws.
void fill(Record& record, const Benchmark& benchmark, const RunSettings& settings, Clock& clock) {
  Row& row = record.run;
  if (const std::string reason = why_unavailable(benchmark, row); !reason.empty()) {
    row.set("status", "unavailable");
    row.set("reason", reason);
    return;
  }
  const std::unique_ptr<Kernel> kernel = benchmark.make(settings.kernel);
  const double before = clock.monotonic_s();
  kernel->set_up();
  row.set("set_up_s", clock.monotonic_s() - before);
  const std::map<std::string, std::string> facts = kernel->facts();
  set_facts(row, facts);
  if (const std::string reason = substitution(settings.kernel, facts); !reason.empty()) {
    row.set("status", "unavailable");
    row.set("reason", reason);
    return;
  }
  const Cost cost = kernel->cost();
  set_cost(row, cost, settings);
  const Check check = kernel->check();
  set_check(row, check);
  if (const std::string wrong = failure_of(check); !wrong.empty()) {
    row.set("status", "failed");
    row.set("reason", wrong);
    return;
  }
  PowerSession* power = settings.power.get();
  if (power != nullptr) {
    row.set("idle_s", power->idle_s());
    power->be_idle(power->idle_s());
  }
  const WarmUp warm = warm_up(*kernel, settings.protocol, clock);
  row.set("binding", thread_binding());  // now that all of the kernel's threads are there
  const bool simulate = settings.simulate && settings.simulate(benchmark, cost);
  // Opened now, since a kernel's threads are counted that are there; a GPU's profiler takes seconds to open,
  // in which its clocks fall.
  const double opening_s = clock.monotonic_s();
  CounterSession counters(settings.counters, counter_request(benchmark, settings, simulate));
  warm_again(*kernel, warm, clock.monotonic_s() - opening_s);
  CounterObserver counter_observer(counters);
  // Meters innermost: starting and stopping counters is not part of what the steps cost.
  PowerObserver power_observer(power);
  const Window window = run_window(*kernel, settings.protocol, clock, warm.step_s,
                                   {&counter_observer, &power_observer}, more_for_energy(settings));
  set_window(row, warm, window, cost);
  if (power != nullptr) {
    power->be_idle(power->idle_s());
    set_power(record, power->result(window_of(row)));
  }
  for (int pass = 1; pass < counters.passes(); ++pass) {  // the same steady state again, for the other events
    // A profiler's passes hold whole sums over many steps; one block of the window is plenty.
    const std::int64_t steps = counters.apart_only(pass) ? window.steps_per_block : window.steps;
    counters.start(pass);
    kernel->run(steps);
    counters.stop(steps);
  }
  if (simulate) counters.count_aside();
  set_machine_state(row, power_observer.before, power_observer.after);
  set_gpu_state(row, power_observer.gpus_before, power_observer.gpus_after);
  if (settings.peaks) set_floor(row, cost, *settings.peaks);
  set_counters(row, counters.values());
  row.set("status", "ok");
}

}  // namespace

void open_meters(RunSettings& settings, PowerOptions power, double energy_target, bool quick) {
  if (quick && power.idle_s < 0) power.idle_s = 0;
  settings.energy_target = quick ? 0 : energy_target;
  settings.power = std::make_shared<PowerSession>(power);
  // Without a cap of the user's a window may last until the slowest meter has been read often enough.
  if (settings.energy_target > 0 && settings.protocol.maximum_window_s == 0)
    settings.protocol.maximum_window_s =
        std::max(settings.protocol.longest_window_s(), settings.power->least_window_s());
  settings.power->be_idle_once();
}

std::function<bool()> more_for_energy(const RunSettings& settings) {
  if (!settings.power || !settings.power->active() || !(settings.energy_target > 0)) return {};
  const double begin_s = system_clock().monotonic_s();
  return [&settings, begin_s] {
    // A meter that sees a quarter of the time may look certain of what it saw after a few looks.
    return system_clock().monotonic_s() - begin_s < settings.power->least_window_s() ||
           settings.power->relative_uncertainty() > settings.energy_target;
  };
}

Row machine_row(const Machine& machine) {
  Row row(machine_table());
  const Hierarchy& hierarchy = machine.hierarchy;
  row.set("host", machine.host);
  row.set("processor", machine.processor);
  row.set("isas", fmt::format("{}", fmt::join(machine.isas, " ")));
  row.set("cores", hierarchy.cores);
  row.set("hardware_threads", hierarchy.hardware_threads);
  for (const CacheLevel& level : hierarchy.levels) {
    const std::string prefix = level.name == "L1"   ? "l1"
                               : level.name == "L2" ? "l2"
                               : level.name == "L3" ? "l3"
                                                    : "";
    if (prefix.empty()) continue;
    row.set(prefix + "_bytes", level.capacity_bytes);
    if (level.associativity > 0) row.set(prefix + "_ways", level.associativity);
    row.set(prefix + "_shared_by", level.shared_by_cores);
    row.set("line_bytes", level.line_bytes);
  }
  row.set("memory_bytes", hierarchy.memory_bytes);
  row.set("hierarchy_source", hierarchy.source);
  row.set("system", machine.system);
  row.set("governor", machine.governor);
  return row;
}

Record begin_record(const Benchmark& benchmark, const RunSettings& settings, const RunPlace& place,
                    Clock& clock) {
  Record record;
  record.machine = machine_row(settings.machine);
  set_identity(record.run, benchmark, settings, place);
  const std::int64_t now = clock.realtime_ns();
  record.run.set("started_utc", utc_text(now));
  record.run.set("start_realtime_ns", now);
  record.run.set("start_monotonic_ns", clock.monotonic_ns());
  return record;
}

Record run_one(const Benchmark& benchmark, const RunSettings& settings, const RunPlace& place, Clock& clock) {
  Record record = begin_record(benchmark, settings, place, clock);
  try {
    fill(record, benchmark, settings, clock);
  } catch (const std::exception& error) {
    record.run.set("status", "error");
    record.run.set("reason", error.what());
  }
  return record;
}

}  // namespace mlpwatt

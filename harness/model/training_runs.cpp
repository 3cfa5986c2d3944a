#include "harness/model/training_runs.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "cpu/mlp/traffic.h"
#include "harness/model/fit.h"
#include "harness/record/energy_quality.h"
#include "kernels/dataset.h"
#include "kernels/dataset_parts.h"
#include "kernels/kernel.h"

namespace mlpwatt::model {

namespace {

std::size_t level_index(const std::string& name) {
  const auto& names = level_names();
  return static_cast<std::size_t>(std::find(names.begin(), names.end(), name) - names.begin());
}

/// The bytes of the working sets, at the levels of work.placement.
void place_bytes(StepWork& work, const Configuration& c) {
  work.placement_bytes.assign(level_names().size(), 0);
  const auto add = [&](const std::string& level, double bytes) {
    if (const std::size_t i = level_index(level); i < level_names().size()) work.placement_bytes[i] += bytes;
  };
  const WorkingSets& sets = work.working_sets;
  add(work.placement.inter_layer, static_cast<double>(sets.inter_layer.total_bytes()));
  add(work.placement.forward_pass, static_cast<double>(sets.forward_pass.total_bytes()));
  add(work.placement.backward_pass, static_cast<double>(sets.backward_pass.total_bytes()));
  // Of the dataset a step uses one batch.
  add(work.placement.dataset, 4.0 * c.batch * (c.network.inputs + c.network.outputs()));
}

void add_traffic(StepWork& work, const Traffic& traffic, double share) {
  for (std::size_t i = 0; i < traffic.levels.size(); ++i)
    if (const std::size_t at = level_index(traffic.levels[i]); at < work.traffic_bytes.size())
      work.traffic_bytes[at] += share * traffic.bytes[i];
  work.issued_flops += share * traffic.issued_flops;
  work.tiles += share * traffic.tiles;
  work.roots += share * traffic.roots;
  work.barriers += share * (traffic.threads > 1 ? traffic.barriers : 0);
  work.imbalance += share * traffic.imbalance;
}

double optional(std::int64_t value) {
  return value == kAbsentInteger ? std::nan("") : static_cast<double>(value);
}

/// Of a device's run whose row does not describe the device: /machine has the processor's caches only, but
/// where the working sets were the row knows (and where it does not, they stay where /machine's caches would
/// have them).
void place_as_recorded(TrainingRun& run, const Row& row) {
  if (row.text("working_set_f_level").empty()) return;
  Placement& placement = run.work.placement;
  for (const auto& [level, letter] : {std::pair{&placement.inter_layer, "l"},
                                      {&placement.forward_pass, "f"},
                                      {&placement.backward_pass, "b"},
                                      {&placement.dataset, "d"}})
    *level = row.text("working_set_" + std::string(letter) + "_level");
  place_bytes(run.work, run.configuration);
}

void read_counters(TrainingRun& run, const Row& row, double line_bytes) {
  for (const std::string provenance : {"measured", "simulated"}) {
    const auto count = [&](const std::string& name) {
      const std::string column = name + "_" + provenance;
      return runs_table().has(column) ? row.real(column) : std::nan("");
    };
    if (run.configuration.backend != "cpu") {  // a device counts the bytes themselves, and has no third level
      const double first = count("l1_bytes"), second = count("l2_bytes"), far = count("dram_bytes");
      if (std::isnan(second) || std::isnan(far)) continue;
      run.counter_bytes[provenance] = {std::isnan(first) ? 0 : std::max(0.0, first - second),
                                       std::max(0.0, second - far), 0, far};
      continue;
    }
    const double l1 = count("l1_miss"), l2 = count("l2_miss"), l3 = count("l3_miss");
    if (std::isnan(l1) || std::isnan(l3)) continue;
    // Without a count of the second level its share stays with the third.
    const double second = std::isnan(l2) ? l1 : l2;
    run.counter_bytes[provenance] = {0, std::max(0.0, l1 - second) * line_bytes,
                                     std::max(0.0, second - l3) * line_bytes, l3 * line_bytes};
    if (std::isnan(l2)) run.counter_bytes[provenance][1] = 0;
  }
}

void read_energy(TrainingRun& run, const Row& row, bool flagged) {
  for (const std::string provenance : {"measured", "modelled"}) {
    const std::string column = "step_energy_j_" + provenance;
    if (!runs_table().has(column)) continue;
    if (const double joules = unflagged_real(row, column, flagged); joules > 0)
      run.energy_j[provenance] = joules;
  }
}

}  // namespace

const std::vector<std::string>& level_names() {
  static const std::vector<std::string> names{"L1", "L2", "L3", "memory"};
  return names;
}

const char* to_string(Statistic statistic) { return statistic == Statistic::kMedian ? "median" : "quickest"; }

std::string Configuration::name() const {
  std::string text = fmt::format("{}/{}/{}/{}", dataset, shape, size, depth);
  if (batch != 256) text += fmt::format(" batch {}", batch);
  return text;
}

StepWork step_work(const Configuration& c, const Hierarchy& hierarchy) {
  const std::int64_t train_rows = c.dataset_rows - test_split_rows(c.dataset_rows);
  const int batch = static_cast<int>(std::min<std::int64_t>(c.batch, train_rows));
  const std::int64_t whole = train_rows / batch, rest = train_rows % batch;
  const double steps = static_cast<double>(whole + (rest > 0 ? 1 : 0));
  const double whole_share = static_cast<double>(whole) / steps, rest_share = 1 - whole_share;

  const Cost cost = mlp_train_cost(c.network, batch, c.dataset_rows);
  StepWork work;
  work.layers = c.network.depth();
  work.parameters = static_cast<double>(c.network.parameters());
  work.flops = whole_share * static_cast<double>(cost.flops());
  work.compulsory_bytes = static_cast<double>(cost.compulsory_bytes());
  work.working_sets = cost.working_sets;
  if (rest > 0)
    work.flops += rest_share * static_cast<double>(
                                   mlp_train_cost(c.network, static_cast<int>(rest), c.dataset_rows).flops());
  // a device's caches are those of all its multiprocessors, however many threads were started on them
  work.placement =
      place(work.working_sets, hierarchy, c.backend == "cpu" ? std::max(1, c.threads) : hierarchy.cores);
  place_bytes(work, c);

  const auto& known = mlp_traffic_algorithms();
  if (c.backend != "cpu" || std::find(known.begin(), known.end(), c.algorithm) == known.end()) return work;
  work.has_traffic = true;
  work.traffic_bytes.assign(level_names().size(), 0);
  work.imbalance = 0;
  const MlpTrafficProblem problem{c.algorithm, c.isa, std::max(1, c.threads), batch, c.dataset_rows};
  add_traffic(work, mlp_train_traffic(c.network, problem, hierarchy), whole_share);
  if (rest > 0) {
    MlpTrafficProblem last = problem;
    last.batch = static_cast<int>(rest);
    last.whole_batch = batch;
    add_traffic(work, mlp_train_traffic(c.network, last, hierarchy), rest_share);
  }
  return work;
}

std::vector<TrainingRun> merge_repetitions(std::vector<TrainingRun> runs, Statistic statistic) {
  std::map<std::string, std::vector<TrainingRun>> by_configuration;
  for (TrainingRun& run : runs) {
    const Configuration& c = run.configuration;
    by_configuration[fmt::format("{}|{}|{}|{}|{}|{}|{}", run.machine_row, c.backend, c.device, c.name(),
                                 c.algorithm, c.isa, c.threads)]
        .push_back(std::move(run));
  }
  std::vector<TrainingRun> merged;
  for (const auto& configuration : by_configuration) {
    const std::vector<TrainingRun>& repetitions = configuration.second;
    TrainingRun one = repetitions.front();
    const auto value_over = [&](const auto& value_of) {
      std::vector<double> values;
      for (const TrainingRun& run : repetitions)
        if (const double value = value_of(run); !std::isnan(value)) values.push_back(value);
      return values.empty() ? std::nan("")
                            : quantile(std::move(values), statistic == Statistic::kMedian ? 0.5 : 0);
    };
    one.step_s = value_over([](const TrainingRun& run) { return run.step_s; });
    one.repetitions = static_cast<int>(repetitions.size());
    one.statistic = statistic;
    std::vector<double> times;
    for (const TrainingRun& run : repetitions) times.push_back(run.step_s);
    const double middle = quantile(times, 0.5);
    if (times.size() > 1)
      for (const double time : times) one.repeat_ratios.push_back(time / middle);
    for (const std::string provenance : {"measured", "modelled"}) {
      const double joules = value_over([&](const TrainingRun& run) {
        const auto found = run.energy_j.find(provenance);
        return found == run.energy_j.end() ? std::nan("") : found->second;
      });
      if (joules > 0) one.energy_j[provenance] = joules;
    }
    for (const TrainingRun& run : repetitions)
      for (const auto& [provenance, bytes] : run.counter_bytes) one.counter_bytes.emplace(provenance, bytes);
    merged.push_back(std::move(one));
  }
  std::sort(merged.begin(), merged.end(),
            [](const TrainingRun& a, const TrainingRun& b) { return a.run_row < b.run_row; });
  return merged;
}

std::vector<std::int64_t> same_machines(const std::vector<Row>& machines) {
  std::vector<std::int64_t> first;
  for (const Row& machine : machines) {
    const auto equal = [&](const Row& other) {
      for (const char* name : {"host", "processor"})
        if (machine.text(name) != other.text(name)) return false;
      for (const char* name : {"cores", "hardware_threads", "l1_bytes", "l2_bytes", "l3_bytes"})
        if (machine.integer(name) != other.integer(name)) return false;
      return true;
    };
    first.push_back(std::find_if(machines.begin(), machines.end(), equal) - machines.begin());
  }
  return first;
}

Hierarchy hierarchy_of(const Row& machine) {
  Hierarchy hierarchy;
  hierarchy.source = machine.text("hierarchy_source");
  hierarchy.cores = static_cast<int>(machine.integer("cores"));
  hierarchy.hardware_threads = static_cast<int>(machine.integer("hardware_threads"));
  hierarchy.memory_bytes = machine.integer("memory_bytes");
  for (const std::string level : {"1", "2", "3"}) {
    const std::int64_t bytes = machine.integer("l" + level + "_bytes");
    if (bytes == kAbsentInteger) continue;
    CacheLevel cache;
    cache.name = "L" + level;
    cache.capacity_bytes = bytes;
    if (const auto line = machine.integer("line_bytes"); line != kAbsentInteger)
      cache.line_bytes = static_cast<int>(line);
    if (const auto ways = machine.integer("l" + level + "_ways"); ways != kAbsentInteger)
      cache.associativity = static_cast<int>(ways);
    if (const auto shared = machine.integer("l" + level + "_shared_by"); shared != kAbsentInteger)
      cache.shared_by_cores = static_cast<int>(shared);
    hierarchy.levels.push_back(cache);
  }
  return hierarchy;
}

bool describes_device(const Row& run) { return run.integer("device_l2_bytes") != kAbsentInteger; }

bool knows_hierarchy(const Row& machine, const Row& run) {
  return run.text("backend") == "cpu" || describes_device(run) ||
         machine.text("hierarchy_source").starts_with("published");
}

Hierarchy hierarchy_of(const Row& machine, const Row& run) {
  if (!describes_device(run)) return hierarchy_of(machine);
  constexpr int kLine_bytes = 128;  // of every CUDA device so far
  Hierarchy hierarchy;
  hierarchy.source = "cuda: " + run.text("device");
  hierarchy.cores = hierarchy.hardware_threads = static_cast<int>(run.integer("device_multiprocessors"));
  hierarchy.memory_bytes = run.integer("device_memory_bytes");
  if (const std::int64_t l1 = run.integer("device_l1_bytes"); l1 != kAbsentInteger)
    hierarchy.levels.push_back({"L1", l1, kLine_bytes, 0, 1});
  hierarchy.levels.push_back({"L2", run.integer("device_l2_bytes"), kLine_bytes, 0, hierarchy.cores});
  return hierarchy;
}

bool is_training_step(const Row& run) {
  return run.text("family").ends_with("mlp_train") && run.text("status") == "ok";
}

int batch_of(const Row& run) {
  if (run.integer("batch") != kAbsentInteger) return static_cast<int>(run.integer("batch"));
  const std::string& command = run.text("command");
  const std::size_t at = command.find("--batch");
  return at == std::string::npos ? Configuration{}.batch
                                 : std::atoi(command.c_str() + command.find_first_of("0123456789", at));
}

Configuration configuration_of(const Row& run) {
  Configuration c;
  c.backend = run.text("backend");
  c.dataset = run.text("dataset");
  c.shape = run.text("shape");
  c.algorithm = algorithm_name(run.text("algorithm"));
  c.isa = run.text("isa");
  c.device = run.text("device");
  if (c.dataset.empty() || c.shape.empty()) throw std::invalid_argument("not a training step");
  c.size = run.integer("size");
  c.depth = static_cast<int>(run.integer("depth"));
  c.batch = batch_of(run);
  if (run.integer("threads") != kAbsentInteger) c.threads = static_cast<int>(run.integer("threads"));
  const DatasetInfo& info = dataset_info(c.dataset);
  c.dataset_rows = info.observations;
  c.network = make_network(parse_shape(c.shape), c.size, c.depth, info.features, info.outputs, info.task);
  return c;
}

std::vector<TrainingRun> training_runs(const Contents& contents, std::map<std::string, int>* skipped,
                                       bool flagged_energies) {
  std::vector<TrainingRun> found;
  const std::vector<Row>& runs = contents.rows(runs_table());
  const std::vector<Row>& machines = contents.rows(machine_table());
  const std::vector<std::int64_t> same = same_machines(machines);
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const Row& row = runs[i];
    if (!row.text("family").ends_with("mlp_train")) continue;
    try {
      if (row.text("status") != "ok") throw std::invalid_argument("status " + row.text("status"));
      TrainingRun run;
      run.run_row = static_cast<std::int64_t>(i);
      run.machine_row = same.at(static_cast<std::size_t>(row.integer("machine_row")));
      const Row& machine = machines.at(static_cast<std::size_t>(run.machine_row));
      run.configuration = configuration_of(row);
      run.work = step_work(run.configuration, hierarchy_of(machine, row));
      if (!knows_hierarchy(machine, row)) place_as_recorded(run, row);
      run.step_s = row.real("step_s");
      if (!(run.step_s > 0)) throw std::invalid_argument("no time per step");
      const double line = optional(machine.integer("line_bytes"));
      read_counters(run, row, std::isnan(line) ? 64 : line);
      read_energy(run, row, flagged_energies);
      found.push_back(std::move(run));
    } catch (const std::exception& error) {
      if (skipped != nullptr) ++(*skipped)[error.what()];
    }
  }
  return found;
}

}  // namespace mlpwatt::model

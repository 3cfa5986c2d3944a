#include "harness/import/butter_e.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <optional>
#include <stdexcept>

#include "harness/import/civil_time.h"
#include "harness/import/csv.h"
#include "harness/model/training_runs.h"
#include "kernels/cost.h"
#include "kernels/dataset.h"
#include "kernels/dataset_parts.h"
#include "kernels/network.h"

namespace mlpwatt {
namespace {

constexpr double kLongestRun_s = 75000, kLongestGap_s = 90, kOutlierSigmas = 4;

/// One row of the published runs, checked.
struct PublishedRun {
  std::string run_id, job, node, dataset, shape;
  std::int64_t size = 0, batch = 0, line = 0;
  int depth = 0;
  bool gpu = false, marked = false;
  double start_s = 0, end_s = 0, run_time_s = 0, runtime_overhead_s = 0;
  double energy_j = 0, overhead_j = 0;
  double std_energy_j = std::numeric_limits<double>::quiet_NaN();  ///< idle offset taken out
};

double utc(const CsvReader& csv, const std::string& column) {
  const std::optional<double> time = parse_utc_s(csv.text(column));
  if (!time) csv.fail(fmt::format("{} is '{}', not a time stamp", column, csv.text(column)));
  return *time;
}

std::vector<PublishedRun> read_runs(const std::string& path) {
  CsvReader csv(
      path, {"run_id", "slurm_job_id", "start_time", "update_time", "node", "size", "depth", "shape",
             "dataset", "batch_size", "is_gpu", "energy", "run_time", "energy_overhead", "runtime_overhead"});
  std::vector<std::string> filters;
  for (const std::string& column : csv.columns())
    if (column.starts_with("filter")) filters.push_back(column);
  std::vector<PublishedRun> runs;
  while (csv.next()) {
    PublishedRun run;
    run.line = csv.line();
    run.run_id = csv.text("run_id");
    run.job = csv.text("slurm_job_id");
    if (const std::size_t point = run.job.find(".0"); point != std::string::npos) run.job.erase(point);
    run.node = csv.text("node");
    run.dataset = csv.text("dataset");
    run.shape = csv.text("shape");
    run.size = csv.whole("size");
    run.depth = static_cast<int>(csv.whole("depth"));
    run.batch = csv.whole("batch_size");
    run.gpu = csv.truth("is_gpu");
    run.start_s = utc(csv, "start_time");
    run.end_s = utc(csv, "update_time");
    run.run_time_s = csv.number("run_time");
    run.energy_j = csv.number("energy");
    run.overhead_j = csv.number("energy_overhead");
    run.runtime_overhead_s = csv.number("runtime_overhead");
    if (csv.has("std_energy")) run.std_energy_j = csv.number("std_energy");
    for (const std::string& filter : filters) run.marked = run.marked || csv.truth(filter);
    if (run.batch < 1) csv.fail(fmt::format("batch_size is {}", run.batch));
    try {
      const DatasetInfo& info = dataset_info(run.dataset);
      make_network(parse_shape(run.shape), run.size, run.depth, info.features, info.outputs, info.task);
    } catch (const std::invalid_argument& error) {
      csv.fail(error.what());
    }
    runs.push_back(std::move(run));
  }
  return runs;
}

struct Watts {
  std::vector<double> time_s, power_w;
};

/// A job's readings by node. Its stamps are Denver's wall clock behind a wrong Z.
std::map<std::string, Watts> read_job(const std::string& path) {
  CsvReader csv(path, {"timestamp", "node", "watts"});
  std::map<std::string, Watts> nodes;
  while (csv.next()) {
    Watts& watts = nodes[csv.text("node")];
    const auto time =
        parse_denver_s(csv.text("timestamp"), watts.time_s.empty() ? -1e300 : watts.time_s.back());
    if (!time) csv.fail("timestamp is '" + csv.text("timestamp") + "', not a time stamp");
    if (!watts.time_s.empty() && *time <= watts.time_s.back()) csv.fail("timestamp goes back");
    watts.time_s.push_back(*time);
    watts.power_w.push_back(csv.number("watts"));
  }
  return nodes;
}

/// Integral between start and end; why not, in `reason`.
double integrate(const Watts& watts, double start_s, double end_s, std::string& reason) {
  const std::vector<double>&t = watts.time_s, &p = watts.power_w;
  if (t.size() < 2 || t.front() > start_s || t.back() < end_s) {
    reason = "missing minutes";
    return 0;
  }
  double energy = 0;
  for (std::size_t i = 0; i + 1 < t.size(); ++i) {
    const double from = std::max(start_s, t[i]), to = std::min(end_s, t[i + 1]);
    if (from >= to) continue;
    if (t[i + 1] - t[i] > kLongestGap_s || std::isnan(p[i]) || std::isnan(p[i + 1])) {
      reason = "missing minutes";
      return 0;
    }
    if (p[i] <= 0 || p[i + 1] <= 0) {
      reason = "zero watts";
      return 0;
    }
    const double slope = (p[i + 1] - p[i]) / (t[i + 1] - t[i]);
    energy += (to - from) * (p[i] + slope * ((from + to) / 2 - t[i]));
  }
  return energy;
}

std::map<std::string, double> read_idle(const std::string& path, const std::string& percentile) {
  CsvReader csv(path, {"node", percentile});
  std::map<std::string, double> idle;
  while (csv.next()) idle[csv.text("node")] = csv.number(percentile);
  return idle;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values.empty() ? std::nan("") : (values[(values.size() - 1) / 2] + values[values.size() / 2]) / 2;
}

Row machine(bool gpu) {
  Row row(machine_table());
  row.set("host", gpu ? "BUTTER-E GPU node" : "BUTTER-E CPU node");
  row.set("hierarchy_source", "published description of the study's nodes");
  // Streaming multiprocessors of one V100 stand where a processor's cores do.
  row.set("processor", gpu ? "Tesla V100 (2 a node)" : "Xeon Gold 6154 (2 a node)");
  row.set("cores", gpu ? 84 : 36);
  row.set("hardware_threads", gpu ? 84 : 36);
  row.set("l1_bytes", std::int64_t{gpu ? 112 : 32} << 10);
  row.set("l1_shared_by", 1);
  row.set("l2_bytes", std::int64_t{gpu ? 6 : 1} << 20);
  row.set("l2_shared_by", gpu ? 84 : 1);
  if (!gpu) {
    row.set("l3_bytes", (std::int64_t{99} << 20) / 4);
    row.set("l3_shared_by", 18);
  }
  row.set("line_bytes", 64);
  return row;
}

void set_if_there(Row& row, const std::string& column, double value) {
  if (runs_table().has(column)) row.set(column, value);
}

Row run_row(const PublishedRun& run, const ButterEOptions& options, const Hierarchy& hierarchy,
            double energy_j) {
  const DatasetInfo& info = dataset_info(run.dataset);
  const Shape shape = canonical_shape(parse_shape(run.shape), run.depth);
  const Network network = make_network(shape, run.size, run.depth, info.features, info.outputs, info.task);
  const std::int64_t train_rows = info.observations - test_split_rows(info.observations);
  const std::int64_t epoch_steps = (train_rows + run.batch - 1) / run.batch;
  const double steps = static_cast<double>(epoch_steps) * static_cast<double>(options.epochs);
  const double time_s = run.run_time_s - run.runtime_overhead_s;
  const Cost cost =
      mlp_train_epoch_mean_cost(network, static_cast<int>(run.batch), info.observations, train_rows);
  Row row(runs_table());
  const std::string backend = run.gpu ? "gpu" : "cpu";
  row.set("name", fmt::format("butter_e/{}/mlp_train/{}/{}/{}/{}", backend, run.dataset, shape_name(shape),
                              run.size, run.depth));
  row.set("family", "butter_e/" + backend + "/mlp_train");
  row.set("backend", backend);
  row.set("dataset", run.dataset);
  row.set("shape", shape_name(shape));
  row.set("size", run.size);
  row.set("depth", run.depth);
  row.set("parameters", network.parameters());
  row.set("batch", run.batch);
  row.set("threads", hierarchy.cores);
  row.set("algorithm", "tensorflow");
  row.set("host", run.node);
  row.set("status", "ok");
  row.set("quality", "ok");
  row.set("command", "mlpwatt import-butter-e, run " + run.run_id);
  row.set("steps", static_cast<std::int64_t>(steps));
  row.set("duration_s", time_s);
  row.set("step_s", time_s / steps);
  row.set("step_mean_s", time_s / steps);
  row.set("start_realtime_ns", static_cast<std::int64_t>(run.start_s * 1e9));
  row.set("flops", cost.flops());
  row.set("study_forward_macs", cost.study_forward_macs);
  row.set("study_backward_macs", cost.study_backward_macs);
  row.set("compulsory_read_bytes", cost.compulsory_read_bytes);
  row.set("compulsory_write_bytes", cost.compulsory_write_bytes);
  row.set("working_set_l_bytes", cost.working_sets.inter_layer.total_bytes());
  row.set("working_set_f_bytes", cost.working_sets.forward_pass.total_bytes());
  row.set("working_set_b_bytes", cost.working_sets.backward_pass.total_bytes());
  row.set("working_set_d_bytes", cost.working_sets.dataset.total_bytes());
  const Placement placement = place(cost.working_sets, hierarchy, hierarchy.cores);
  row.set("working_set_l_level", placement.inter_layer);
  row.set("working_set_f_level", placement.forward_pass);
  row.set("working_set_b_level", placement.backward_pass);
  row.set("working_set_d_level", placement.dataset);
  row.set("flops_per_s", static_cast<double>(cost.flops()) * steps / time_s);
  set_if_there(row, "energy_j_measured", energy_j);
  set_if_there(row, "step_energy_j_measured", energy_j / steps);
  set_if_there(row, "power_w_measured", energy_j / time_s);
  return row;
}

/// Marks run times beyond 4 sigma of log within (hardware, dataset, size).
std::vector<char> outliers(const std::vector<PublishedRun>& runs, const std::vector<std::string>& reasons) {
  std::map<std::string, std::vector<std::size_t>> groups;
  for (std::size_t i = 0; i < runs.size(); ++i)
    if (reasons[i].empty())
      groups[fmt::format("{}|{}|{}", runs[i].gpu, runs[i].dataset, runs[i].size)].push_back(i);
  std::vector<char> far(runs.size(), 0);
  for (const auto& [name, members] : groups) {
    const double n = static_cast<double>(members.size());
    double mean = 0, squares = 0;
    for (const std::size_t i : members) mean += std::log(runs[i].run_time_s) / n;
    for (const std::size_t i : members) {
      const double off = std::log(runs[i].run_time_s) - mean;
      squares += off * off;
    }
    const double sd = std::sqrt(squares / std::max(1.0, n - 1));
    for (const std::size_t i : members)
      far[i] = std::abs(std::log(runs[i].run_time_s) - mean) > kOutlierSigmas * sd && sd > 0;
  }
  return far;
}

}  // namespace

ButterEImport import_butter_e(const std::string& folder, const ButterEOptions& options) {
  namespace fs = std::filesystem;
  const std::vector<PublishedRun> runs = read_runs(folder + "/runs_with_standardized_energy.csv");
  if (fs::exists(folder + "/butter_e_energy.zip") && !fs::exists(folder + "/butter_e_energy"))
    throw std::runtime_error(
        fmt::format("{0}/butter_e_energy.zip is packed: unzip -d {0}/butter_e_energy {0}/butter_e_energy.zip "
                    "(or move it away to "
                    "take the published energies)",
                    folder));
  std::map<std::string, double> idle;
  if (const std::string path = folder + "/node_power_dist.csv"; fs::exists(path))
    idle = read_idle(path, options.idle_percentile);
  std::vector<double> idle_of_type[2];
  std::map<std::string, bool> counted;
  for (const PublishedRun& run : runs)
    if (idle.contains(run.node) && !counted[run.node]) {
      counted[run.node] = true;
      idle_of_type[run.gpu].push_back(idle.at(run.node));
    }
  const double type_idle[2] = {median(idle_of_type[0]), median(idle_of_type[1])};

  ButterEImport result;
  result.rows = static_cast<std::int64_t>(runs.size());
  std::vector<std::string> reasons(runs.size());
  std::vector<double> energies(runs.size());
  std::vector<char> from_watts(runs.size(), 0);
  std::string job_read;
  std::map<std::string, Watts> job;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const PublishedRun& run = runs[i];
    const double idle_offset_j =
        idle.contains(run.node) ? (idle.at(run.node) - type_idle[run.gpu]) * (run.end_s - run.start_s) : 0;
    energies[i] = std::isnan(run.std_energy_j) ? run.energy_j - idle_offset_j : run.std_energy_j;
    if (run.marked) reasons[i] = "marked by the publishers' filter";
    if (!(run.run_time_s <= kLongestRun_s)) reasons[i] = "run time over 75,000 s";
    if (!(run.run_time_s > run.runtime_overhead_s)) reasons[i] = "no run time beyond the overhead";
    const std::string path = folder + "/butter_e_energy/" + run.job + ".csv";
    if (reasons[i].empty() && !run.job.empty() && fs::exists(path)) {
      if (job_read != path) job = read_job(path), job_read = path;
      const auto watts = job.find(run.node);
      if (watts == job.end()) {
        reasons[i] = "missing minutes";
      } else {
        energies[i] = integrate(watts->second, run.start_s, run.end_s, reasons[i]) - idle_offset_j;
        from_watts[i] = 1;
      }
    }
    energies[i] -= std::isnan(run.overhead_j) ? 0 : run.overhead_j;
    if (reasons[i].empty() && !(energies[i] > 0)) reasons[i] = "no energy beyond the overhead";
  }
  const std::vector<char> far = outliers(runs, reasons);
  for (std::size_t i = 0; i < runs.size(); ++i) {
    if (reasons[i].empty() && far[i]) reasons[i] = "run time beyond 4 standard deviations";
    if (!reasons[i].empty()) {
      ++result.rejected[reasons[i]];
      continue;
    }
    Record record;
    record.machine = machine(runs[i].gpu);
    record.run = run_row(runs[i], options, model::hierarchy_of(record.machine), energies[i]);
    result.contents.add(std::move(record));
    result.integrated += from_watts[i];
  }
  return result;
}

}  // namespace mlpwatt

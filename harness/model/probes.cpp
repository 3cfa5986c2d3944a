#include "harness/model/probes.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "harness/model/fit.h"
#include "harness/model/training_runs.h"
#include "harness/text.h"
#include "kernels/random.h"

namespace mlpwatt::model {

namespace {

constexpr double kNothing = std::numeric_limits<double>::quiet_NaN();
constexpr std::size_t kShortestPlateau = 3;

/// Median with a bootstrap interval.
Interval middle(const std::vector<double>& values) {
  if (values.empty()) return {kNothing, kNothing, kNothing};
  RandomStream random(1);
  std::vector<double> medians;
  for (int r = 0; r < 500; ++r) {
    std::vector<double> drawn;
    for (std::size_t i = 0; i < values.size(); ++i)
      drawn.push_back(values[uniform_below(random, values.size())]);
    medians.push_back(quantile(std::move(drawn), 0.5));
  }
  return {quantile(values, 0.5), quantile(medians, 0.025), quantile(medians, 0.975)};
}

/// One probe run.
struct Probe {
  double bytes = 0, step_s = 0, loads = 0, bytes_per_step = 0, flops = 0, joules = kNothing;
};

struct Probes {
  std::vector<Probe> read, chase, fma;
};

Probes collect(const Contents& contents, std::int64_t machine_row, const std::string& energy) {
  Probes probes;
  for (const Row& row : contents.rows(runs_table())) {
    if (row.text("status") != "ok" || row.integer("machine_row") != machine_row ||
        row.integer("threads") != 1)
      continue;
    Probe one;
    one.step_s = row.real("step_s");
    if (!(one.step_s > 0)) continue;
    if (!row.text("other_parameters").empty()) {
      const auto more = nlohmann::json::parse(row.text("other_parameters"), nullptr, false);
      if (more.is_object()) {
        one.bytes = more.value("working_set_bytes", 0.0);
        one.loads = more.value("loads_per_step", 0.0);
      }
    }
    if (!energy.empty()) one.joules = row.real(energy);
    one.bytes_per_step = static_cast<double>(std::max<std::int64_t>(0, row.integer("compulsory_read_bytes")));
    one.flops = static_cast<double>(std::max<std::int64_t>(0, row.integer("flops")));
    const std::string& name = row.text("name");
    if (name.starts_with("cpu/stream/read/") && one.bytes > 0) probes.read.push_back(one);
    if (name.starts_with("cpu/chase/") && !name.ends_with("/huge") && one.bytes > 0 && one.loads > 0)
      probes.chase.push_back(one);
    if (row.text("family") == "cpu/fma" && one.flops > 0) probes.fma.push_back(one);
  }
  return probes;
}

/// Repetitions of a size become their median.
template <typename Value>
std::vector<SweepPoint> sweep_of(const std::vector<Probe>& probes, const Value& value) {
  std::map<double, std::vector<double>> sizes;
  for (const Probe& probe : probes) sizes[probe.bytes].push_back(value(probe));
  std::vector<SweepPoint> points;
  for (auto& [bytes, values] : sizes) points.push_back({bytes, quantile(values, 0.5)});
  return points;
}

template <typename Value>
Interval inside(const std::vector<Probe>& probes, double low, double high, const Value& value) {
  std::vector<double> values;
  for (const Probe& probe : probes)
    if (probe.bytes > low && probe.bytes <= high && !std::isnan(value(probe))) values.push_back(value(probe));
  return middle(values);
}

std::string where(const Step& step) {
  return fmt::format("{} to {}", human_bytes(step.last_before_bytes), human_bytes(step.first_after_bytes));
}

void judge(LevelFinding& level) {
  for (const auto& [steps, name] :
       {std::pair{&level.by_latency, "latency"}, std::pair{&level.by_bandwidth, "bandwidth"}})
    for (const Step& step : *steps)
      if (!step.agrees_with(level.capacity_bytes))
        level.disagreement +=
            fmt::format("{}{} steps at {}", level.disagreement.empty() ? "" : "; ", name, where(step));
}

}  // namespace

bool Step::agrees_with(double capacity_bytes) const {
  return capacity_bytes >= 0.9 * last_before_bytes && capacity_bytes <= 1.1 * first_after_bytes;
}

std::vector<Step> find_steps(const std::vector<SweepPoint>& points, int count) {
  const std::size_t n = points.size();
  std::vector<Step> steps;
  for (; count > 0 && n < (static_cast<std::size_t>(count) + 1) * kShortestPlateau; --count) {
  }
  if (count <= 0) return steps;
  // cost(i, j): squared deviation of the logarithms of points i..j-1 from their mean
  std::vector<double> sum(n + 1, 0), squares(n + 1, 0);
  for (std::size_t i = 0; i < n; ++i) {
    const double log = std::log(points[i].value);
    sum[i + 1] = sum[i] + log;
    squares[i + 1] = squares[i] + log * log;
  }
  const auto cost = [&](std::size_t i, std::size_t j) {
    const double total = sum[j] - sum[i];
    return squares[j] - squares[i] - total * total / static_cast<double>(j - i);
  };
  const std::size_t plateaus = static_cast<std::size_t>(count) + 1;
  std::vector<std::vector<double>> best(plateaus + 1, std::vector<double>(n + 1, 1e300));
  std::vector<std::vector<std::size_t>> from(plateaus + 1, std::vector<std::size_t>(n + 1, 0));
  best[0][0] = 0;
  for (std::size_t k = 1; k <= plateaus; ++k)
    for (std::size_t j = k * kShortestPlateau; j <= n; ++j)
      for (std::size_t i = (k - 1) * kShortestPlateau; i + kShortestPlateau <= j; ++i)
        if (best[k - 1][i] < 1e299 && best[k - 1][i] + cost(i, j) < best[k][j]) {
          best[k][j] = best[k - 1][i] + cost(i, j);
          from[k][j] = i;
        }
  std::vector<std::size_t> ends{n};
  for (std::size_t k = plateaus; k > 0; --k) ends.push_back(from[k][ends.back()]);
  std::reverse(ends.begin(), ends.end());
  const auto plateau = [&](std::size_t k) {
    return std::exp((sum[ends[k + 1]] - sum[ends[k]]) / static_cast<double>(ends[k + 1] - ends[k]));
  };
  for (std::size_t k = 0; k + 1 < plateaus; ++k) {
    const double before = plateau(k), after = plateau(k + 1);
    if (std::abs(std::log(after / before)) < std::log(1.1)) continue;
    steps.push_back({points[ends[k + 1] - 1].bytes, points[ends[k + 1]].bytes, before, after});
  }
  return steps;
}

ProbeFindings find_hierarchy(const Contents& contents, const std::string& path) {
  ProbeFindings findings;
  const std::vector<Row>& runs = contents.rows(runs_table());
  const auto first = std::find_if(runs.begin(), runs.end(), [](const Row& row) {
    return row.text("status") == "ok" &&
           (row.text("family") == "cpu/stream" || row.text("family") == "cpu/chase");
  });
  if (first == runs.end())
    throw std::invalid_argument(path +
                                ": holds no memory probes; record them with: mlpwatt run --suite --filter "
                                "'^cpu/(fma|stream|chase)/' --out " +
                                path);
  findings.machine_row = first->integer("machine_row");
  std::string energy;
  for (const std::string provenance : {"measured", "modelled"}) {
    const std::string column = "step_energy_j_" + provenance;
    if (!energy.empty() || !runs_table().has(column)) continue;
    if (std::any_of(runs.begin(), runs.end(), [&](const Row& row) { return row.real(column) > 0; }))
      energy = column, findings.energy_provenance = provenance;
  }
  const Probes probes = collect(contents, findings.machine_row, energy);
  const Hierarchy hierarchy =
      hierarchy_of(contents.rows(machine_table()).at(static_cast<std::size_t>(findings.machine_row)));
  const int caches = static_cast<int>(hierarchy.levels.size());
  const auto bandwidth = [](const Probe& probe) { return probe.bytes_per_step / probe.step_s; };
  const auto latency = [](const Probe& probe) { return probe.step_s / probe.loads; };
  const auto joules = [](const Probe& probe) { return probe.joules / probe.bytes_per_step; };
  const std::vector<Step> by_latency = find_steps(sweep_of(probes.chase, latency), caches);
  const std::vector<Step> by_bandwidth = find_steps(sweep_of(probes.read, bandwidth), caches);

  double below = 0;
  for (int i = 0; i <= caches; ++i) {
    LevelFinding level;
    const bool cache = i < caches;
    level.level = cache ? hierarchy.levels[i].name : "memory";
    level.capacity_bytes = cache ? static_cast<double>(hierarchy.levels[i].capacity_bytes) : kNothing;
    const double high = cache ? 0.75 * level.capacity_bytes : std::numeric_limits<double>::infinity();
    level.bandwidth_bytes_per_s = inside(probes.read, below, high, bandwidth);
    level.latency_s = inside(probes.chase, below, high, latency);
    level.j_per_byte = inside(probes.read, below, high, joules);
    below = 1.5 * level.capacity_bytes;
    if (cache) {
      if (static_cast<std::size_t>(i) < by_latency.size()) level.by_latency = {by_latency[i]};
      if (static_cast<std::size_t>(i) < by_bandwidth.size()) level.by_bandwidth = {by_bandwidth[i]};
      judge(level);
    }
    findings.levels.push_back(std::move(level));
  }
  std::vector<double> rates, costs;
  double best = 0;
  for (const Probe& probe : probes.fma) best = std::max(best, probe.flops / probe.step_s);
  for (const Probe& probe : probes.fma)
    if (probe.flops / probe.step_s > 0.8 * best) {  // repetitions of the fastest instruction set
      rates.push_back(probe.flops / probe.step_s);
      if (probe.joules > 0) costs.push_back(probe.joules / probe.flops);
    }
  findings.flops_per_s = middle(rates);
  findings.j_per_flop = middle(costs);
  return findings;
}

}  // namespace mlpwatt::model

#include "harness/model/probes.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <tuple>

#include "harness/model/fit.h"
#include "harness/model/training_runs.h"
#include "harness/record/energy_quality.h"
#include "harness/text.h"
#include "kernels/random.h"

namespace mlpwatt::model {

namespace {

constexpr double kNothing = std::numeric_limits<double>::quiet_NaN();
constexpr std::size_t kShortestPlateau = 3;
/// Share of accesses that miss when the working set is as large as the cache: pages lie at random, so that
/// some sets hold more lines than ways and others fewer. A true LRU of 8 or 16 ways would miss half of them,
/// others less. Where a level's sets are chosen by the address inside a page (L1) the step is sharp and any
/// share does.
constexpr double kMissesAtCapacity = 0.4;

/// Median with a bootstrap interval.
Interval middle(const std::vector<double>& values) {
  if (values.empty()) return {kNothing, kNothing, kNothing};
  if (values.size() == 1) return {values[0], kNothing, kNothing};
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
  double bytes = 0, step_s = 0, quickest_s = 0, loads = 0, bytes_per_step = 0, flops = 0, joules = kNothing;
  double step_low95_s = kNothing, step_high95_s = kNothing;  // of its own window
  double idle_w = kNothing;
};

struct Probes {
  std::vector<Probe> read, chase, local, fma;
};

/// The probes of a file that ran, of one machine's processor or of its GPU.
struct ProbeRows {
  std::int64_t machine_row = 0;
  std::vector<const Row*> rows;
};

/// @param machine_row as find_hierarchy's
ProbeRows probe_rows(const Contents& contents, std::int64_t machine_row, const std::string& backend) {
  ProbeRows found{machine_row, {}};
  const std::vector<std::int64_t> same = same_machines(contents.rows(machine_table()));
  bool memory = false;
  for (const Row& row : contents.rows(runs_table())) {
    const std::string& family = row.text("family");
    const bool of_memory = family == backend + "/stream" || family == backend + "/chase";
    if (row.text("status") != "ok" || (!of_memory && family != backend + "/fma")) continue;
    if (backend != "cpu") {
      if (!describes_device(row)) continue;
      if (!found.rows.empty() && row.text("device") != found.rows.front()->text("device")) continue;
    }
    const std::int64_t machine = same.at(static_cast<std::size_t>(row.integer("machine_row")));
    if (found.machine_row < 0 && of_memory) {
      found.machine_row = machine;  // the arithmetic before it may be another's
      std::erase_if(found.rows, [&](const Row* earlier) {
        return same.at(static_cast<std::size_t>(earlier->integer("machine_row"))) != machine;
      });
    }
    if (found.machine_row >= 0 && machine != found.machine_row) continue;
    memory |= of_memory;
    found.rows.push_back(&row);
  }
  if (!memory) found.rows.clear();
  return found;
}

/// @param energy column of the joules, of this provenance; "" = none
Probes collect(const std::vector<const Row*>& rows, const std::string& energy, const std::string& provenance,
               const std::string& backend) {
  Probes probes;
  const bool of_processor = backend == "cpu";
  for (const Row* one_row : rows) {
    const Row& row = *one_row;
    const bool arithmetic = row.text("family") == backend + "/fma";
    // Registers are each core's own: a team's rate is its members' sum. Caches are shared: one thread only.
    if (of_processor && row.integer("threads") != 1 && !arithmetic) continue;
    const double team =
        of_processor ? static_cast<double>(std::max<std::int64_t>(1, row.integer("threads"))) : 1;
    Probe one;
    one.step_s = row.real("step_s");
    if (!(one.step_s > 0)) continue;
    one.step_low95_s = row.real("step_low95_s");
    one.step_high95_s = row.real("step_high95_s");
    one.quickest_s = row.real("step_min_s") > 0 ? row.real("step_min_s") : one.step_s;
    if (!row.text("other_parameters").empty()) {
      const auto more = nlohmann::json::parse(row.text("other_parameters"), nullptr, false);
      if (more.is_object()) {
        one.bytes = more.value("working_set_bytes", 0.0);
        one.loads = more.value("loads_per_step", 0.0);
      }
    }
    if (!energy.empty()) {
      one.joules = unflagged_real(row, energy);
      if (!std::isnan(one.joules)) one.idle_w = unflagged_real(row, "idle_power_w_" + provenance);
    }
    one.bytes_per_step = static_cast<double>(std::max<std::int64_t>(0, row.integer("compulsory_read_bytes")));
    one.flops =
        static_cast<double>(std::max<std::int64_t>(0, row.integer("flops"))) / (arithmetic ? team : 1);
    if (arithmetic) one.joules /= team;
    const std::string& name = row.text("name");
    if (name.ends_with("/shared")) continue;  // memory of a device's own, no level of its caches
    if (name.starts_with(backend + "/stream/read/") && one.bytes > 0) probes.read.push_back(one);
    if (name.starts_with(backend + "/chase/") && !name.ends_with("/huge") && one.bytes > 0 && one.loads > 0)
      (name.ends_with("/local") ? probes.local : probes.chase).push_back(one);
    // what training computes in; tensor cores are another unit
    if (arithmetic && one.flops > 0 && (of_processor || name == backend + "/fma/fp32"))
      probes.fma.push_back(one);
  }
  return probes;
}

/// Of repetitions of a size the quickest block counts: what the machine does while nobody else uses the
/// cache.
template <typename Value>
std::vector<SweepPoint> sweep_of(const std::vector<Probe>& probes, const Value& value) {
  std::map<double, std::vector<double>> sizes;
  for (const Probe& probe : probes) sizes[probe.bytes].push_back(value(probe));
  std::vector<SweepPoint> points;
  for (auto& [bytes, values] : sizes) points.push_back({bytes, quantile(std::move(values), 0)});
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

/// A plateau's worth of sizes on either side of the capacity, and no gap of more than an octave there: a
/// step would have been seen. A handful of sizes (the quick suite's) shows none.
bool covers(const std::vector<SweepPoint>& sweep, double capacity_bytes) {
  const auto beyond = std::partition_point(sweep.begin(), sweep.end(), [&](const SweepPoint& point) {
    return point.bytes <= 1.1 * capacity_bytes;
  });
  if (beyond - sweep.begin() < static_cast<std::ptrdiff_t>(kShortestPlateau) ||
      sweep.end() - beyond < static_cast<std::ptrdiff_t>(kShortestPlateau))
    return false;
  return beyond->bytes <= 2 * std::prev(beyond)->bytes;
}

/// Which level each step belongs to, -1 for a level without one: in order, the steps as near to the
/// capacities as can be. As many steps as levels leave no choice.
std::vector<int> steps_of_levels(const std::vector<Step>& steps, const std::vector<double>& capacities) {
  const std::size_t levels = capacities.size();
  std::vector<int> best(levels, -1);
  double least = std::numeric_limits<double>::infinity();
  for (unsigned chosen = 0; chosen < 1u << levels; ++chosen) {
    if (static_cast<std::size_t>(std::popcount(chosen)) != steps.size()) continue;
    std::vector<int> of_level(levels, -1);
    double distance = 0;
    int next = 0;
    for (std::size_t i = 0; i < levels; ++i) {
      if ((chosen >> i & 1) == 0) continue;
      const Step& step = steps[static_cast<std::size_t>(next)];
      distance +=
          std::abs(std::log(std::sqrt(step.last_before_bytes * step.first_after_bytes) / capacities[i]));
      of_level[i] = next++;
    }
    if (distance < least) least = distance, best = of_level;
  }
  return best;
}

/// @param latency, bandwidth the whole sweeps, empty where none was recorded
void judge(LevelFinding& level, const std::vector<SweepPoint>& latency,
           const std::vector<SweepPoint>& bandwidth) {
  const auto disagree = [&](const std::string& how) {
    level.disagreement += (level.disagreement.empty() ? "" : "; ") + how;
  };
  for (const auto& [steps, name, capacity_bytes] :
       {std::tuple{&level.by_latency, "latency", level.capacity_bytes},
        std::tuple{&level.by_bandwidth, "bandwidth", level.swept_capacity_bytes}})
    for (const Step& step : *steps)
      if (!step.agrees_with(capacity_bytes)) disagree(fmt::format("{} steps at {}", name, where(step)));
  const bool by_latency = !latency.empty();
  const std::vector<SweepPoint>& sweep = by_latency ? latency : bandwidth;
  if ((by_latency ? level.by_latency : level.by_bandwidth).empty() &&
      covers(sweep, by_latency ? level.capacity_bytes : level.swept_capacity_bytes))
    disagree(fmt::format("no step in {} up to {}", by_latency ? "latency" : "bandwidth",
                         human_bytes(sweep.back().bytes)));
  // A TLB that reaches less far than the cache would look like a smaller cache.
  if (level.disagreement.empty() || level.by_latency.empty() || level.by_local_latency.empty()) return;
  const Step &random = level.by_latency[0], &local = level.by_local_latency[0];
  const bool same = local.last_before_bytes < 1.5 * random.first_after_bytes &&
                    local.first_after_bytes > random.last_before_bytes / 1.5;
  disagree(same ? fmt::format("page by page it steps there too ({}): not the TLB", where(local))
                : fmt::format("page by page it steps at {}: the TLB's part", where(local)));
}

}  // namespace

bool Step::agrees_with(double capacity_bytes) const {
  return capacity_bytes >= 0.9 * last_before_bytes && capacity_bytes <= 1.1 * first_after_bytes;
}

namespace {

/// The nearest rising sequence (least squares; pool adjacent violators): noise goes, order stays.
std::vector<double> rising(const std::vector<double>& values) {
  struct Pool {
    double sum;
    int count;
    double mean() const { return sum / count; }
  };
  std::vector<Pool> pools;
  for (const double value : values) {
    pools.push_back({value, 1});
    while (pools.size() > 1 && pools[pools.size() - 2].mean() >= pools.back().mean()) {
      const Pool last = pools.back();
      pools.pop_back();
      pools.back().sum += last.sum;
      pools.back().count += last.count;
    }
  }
  std::vector<double> result;
  for (const Pool& pool : pools) result.insert(result.end(), pool.count, pool.mean());
  return result;
}

/// Sums that give the squared deviation of points i..j-1 from their mean, or from their line, in O(1).
class Deviations {
 public:
  Deviations(const std::vector<double>& x, const std::vector<double>& y) {
    sums_.push_back({});
    for (std::size_t i = 0; i < x.size(); ++i) {
      Sums next = sums_.back();
      next.n += 1, next.x += x[i], next.y += y[i];
      next.xx += x[i] * x[i], next.xy += x[i] * y[i], next.yy += y[i] * y[i];
      sums_.push_back(next);
    }
  }
  double mean(std::size_t i, std::size_t j) const {
    return (sums_[j].y - sums_[i].y) / (sums_[j].n - sums_[i].n);
  }
  double of_plateau(std::size_t i, std::size_t j) const {
    const double n = sums_[j].n - sums_[i].n, y = sums_[j].y - sums_[i].y;
    return std::max(0.0, sums_[j].yy - sums_[i].yy - y * y / n);
  }
  double of_ramp(std::size_t i, std::size_t j) const {
    if (j - i < 3) return 0;
    const double n = sums_[j].n - sums_[i].n, x = sums_[j].x - sums_[i].x, y = sums_[j].y - sums_[i].y;
    const double xx = sums_[j].xx - sums_[i].xx - x * x / n, xy = sums_[j].xy - sums_[i].xy - x * y / n;
    return std::max(0.0, of_plateau(i, j) - xy * xy / xx);
  }

 private:
  struct Sums {
    double n = 0, x = 0, y = 0, xx = 0, xy = 0, yy = 0;
  };
  std::vector<Sums> sums_;
};

/// Plateau, ramp, plateau ... plateau: where each begins.
struct Segments {
  std::vector<std::pair<std::size_t, std::size_t>> plateaus;  ///< [first, end)
};

/// The `count` + 1 plateaus, ramps of any length up to two octaves between them, that deviate least.
Segments split(const std::vector<double>& octaves, const Deviations& deviations, std::size_t plateaus) {
  constexpr double kLongestRamp = 2, kNever = 1e300;
  const std::size_t n = octaves.size();
  // best[k][j]: k plateaus, the last of which ends before j
  std::vector best(plateaus + 1, std::vector<double>(n + 1, kNever));
  std::vector from(plateaus + 1, std::vector<std::pair<std::size_t, std::size_t>>(n + 1));
  best[0][0] = 0;
  for (std::size_t k = 1; k <= plateaus; ++k)
    for (std::size_t end_before = 0; end_before <= n; ++end_before) {
      if (best[k - 1][end_before] >= kNever) continue;
      for (std::size_t first = end_before; first + kShortestPlateau <= n; ++first) {
        if (k == 1 && first > 0) break;
        if (first > end_before && octaves[first] - octaves[end_before] > kLongestRamp) break;
        const double before =
            best[k - 1][end_before] + (first > end_before ? deviations.of_ramp(end_before, first) : 0);
        for (std::size_t end = first + kShortestPlateau; end <= n; ++end)
          if (const double cost = before + deviations.of_plateau(first, end); cost < best[k][end]) {
            best[k][end] = cost;
            from[k][end] = {first, end_before};
          }
      }
    }
  Segments segments;
  for (std::size_t k = plateaus, end = n; k > 0; --k) {
    segments.plateaus.emplace_back(from[k][end].first, end);
    end = from[k][end].second;
  }
  std::reverse(segments.plateaus.begin(), segments.plateaus.end());
  return segments;
}

}  // namespace

std::vector<Step> find_steps(const std::vector<SweepPoint>& points, int count) {
  const std::size_t n = points.size();
  std::vector<Step> steps;
  while (count > 0 && n < (static_cast<std::size_t>(count) + 1) * kShortestPlateau) --count;
  if (count <= 0) return steps;
  std::vector<double> octaves, logs;
  for (const SweepPoint& point : points) {
    octaves.push_back(std::log2(point.bytes));
    logs.push_back(std::log(point.value));
  }
  logs = rising(logs);
  const Deviations deviations(octaves, logs);
  const std::vector<std::pair<std::size_t, std::size_t>> plateaus =
      split(octaves, deviations, static_cast<std::size_t>(count) + 1).plateaus;
  for (std::size_t k = 0; k + 1 < plateaus.size(); ++k) {
    const double before = std::exp(deviations.mean(plateaus[k].first, plateaus[k].second));
    const double after = std::exp(deviations.mean(plateaus[k + 1].first, plateaus[k + 1].second));
    if (after < 1.1 * before) continue;
    const double crossing = std::log(before + kMissesAtCapacity * (after - before));
    std::size_t first_after = plateaus[k].first + 1;
    while (first_after + 1 < plateaus[k + 1].second && logs[first_after] < crossing) ++first_after;
    steps.push_back({points[first_after - 1].bytes, points[first_after].bytes, before, after});
  }
  return steps;
}

std::string probed_backend(const Contents& contents) {
  for (const std::string backend : {"cpu", "gpu"})
    if (!probe_rows(contents, -1, backend).rows.empty()) return backend;
  return "cpu";
}

ProbeFindings find_hierarchy(const Contents& contents, const std::string& path, std::int64_t machine_row,
                             const std::string& backend) {
  ProbeFindings findings;
  const ProbeRows found = probe_rows(contents, machine_row, backend);
  const bool of_processor = backend == "cpu";
  if (found.rows.empty())
    throw std::invalid_argument(
        fmt::format("{}: holds no memory probes{}; record them with: mlpwatt run --suite "
                    "--filter '^{}/(fma|stream|chase)/' --out {}",
                    path, of_processor ? "" : " that describe their device", backend, path));
  findings.machine_row = found.machine_row;
  std::string energy;
  for (const std::string provenance : {"measured", "modelled"})
    for (const bool above_idle : {true, false}) {
      const std::string column = (above_idle ? "step_energy_above_idle_j_" : "step_energy_j_") + provenance;
      if (!energy.empty() || !runs_table().has(column)) continue;
      if (std::any_of(found.rows.begin(), found.rows.end(),
                      [&](const Row* row) { return unflagged_real(*row, column) > 0; }))
        energy = column, findings.energy_provenance = provenance, findings.energy_above_idle = above_idle;
    }
  const Probes probes = collect(found.rows, energy, findings.energy_provenance, backend);
  findings.hierarchy = hierarchy_of(
      contents.rows(machine_table()).at(static_cast<std::size_t>(findings.machine_row)), *found.rows.front());
  std::vector<double> capacities,
      swept_capacities;  // of one cache, and of those that bandwidth is swept over
  for (const CacheLevel& cache : findings.hierarchy.levels) {
    const int shared_by = std::max(1, cache.shared_by_cores);
    const int instances = of_processor ? 1 : (findings.hierarchy.cores + shared_by - 1) / shared_by;
    capacities.push_back(static_cast<double>(cache.capacity_bytes));
    swept_capacities.push_back(capacities.back() * instances);
  }
  const int caches = static_cast<int>(capacities.size());
  const auto bandwidth = [](const Probe& probe) { return probe.bytes_per_step / probe.step_s; };
  const auto latency = [](const Probe& probe) { return probe.step_s / probe.loads; };
  const auto joules = [](const Probe& probe) { return probe.joules / probe.bytes_per_step; };
  const auto quickest = [](const Probe& probe) { return probe.quickest_s / probe.loads; };
  const std::vector<SweepPoint> latencies = sweep_of(probes.chase, quickest);
  const std::vector<SweepPoint> costs_of_bytes =
      sweep_of(probes.read, [](const Probe& probe) { return probe.quickest_s / probe.bytes_per_step; });
  const std::vector<Step> by_latency = find_steps(latencies, caches);
  const std::vector<Step> by_bandwidth = find_steps(costs_of_bytes, caches);
  const std::vector<Step> by_local_latency = find_steps(sweep_of(probes.local, quickest), caches);
  const std::vector<int> latency_step = steps_of_levels(by_latency, capacities);
  const std::vector<int> bandwidth_step = steps_of_levels(by_bandwidth, swept_capacities);
  const std::vector<int> local_step = steps_of_levels(by_local_latency, capacities);

  double below = 0, below_swept = 0;  // where the levels before end, by latency and by bandwidth
  for (int i = 0; i <= caches; ++i) {
    LevelFinding level;
    const bool cache = i < caches;
    level.level = cache ? findings.hierarchy.levels[i].name : "memory";
    level.capacity_bytes = cache ? capacities[i] : kNothing;
    level.swept_capacity_bytes = cache ? swept_capacities[i] : kNothing;
    if (cache) {
      if (latency_step[i] >= 0) level.by_latency = {by_latency[latency_step[i]]};
      if (bandwidth_step[i] >= 0) level.by_bandwidth = {by_bandwidth[bandwidth_step[i]]};
      if (local_step[i] >= 0) level.by_local_latency = {by_local_latency[local_step[i]]};
      judge(level, latencies, costs_of_bytes);
    }
    // Sizes well inside the level: below its capacity, and below where it was found to end (a virtual machine
    // has a part of an L3). Between that and the reported capacity nothing belongs to any level. (Closer
    // where a device's L1, all together, leave less than an octave below its L2.)
    const auto end_of = [](const std::vector<Step>& steps, double capacity_bytes) {
      return steps.empty() ? capacity_bytes : std::min(capacity_bytes, steps[0].last_before_bytes);
    };
    const auto beyond = [](const std::vector<Step>& steps, double capacity_bytes) {
      return steps.empty() ? capacity_bytes : std::max(capacity_bytes, steps[0].first_after_bytes);
    };
    const auto take = [&](Interval& interval, const std::vector<Probe>& some, double begin, double end,
                          const auto& value) {
      const bool wide = 1.5 * begin < 0.75 * end;
      interval = inside(some, (wide ? 1.5 : 1.1) * begin, (wide ? 0.75 : 0.95) * end, value);
    };
    constexpr double kNoEnd = std::numeric_limits<double>::infinity();
    const double end = cache ? end_of(level.by_latency, level.capacity_bytes) : kNoEnd;
    const double swept_end = cache ? end_of(level.by_bandwidth, level.swept_capacity_bytes) : kNoEnd;
    take(level.bandwidth_bytes_per_s, probes.read, below_swept, swept_end, bandwidth);
    take(level.j_per_byte, probes.read, below_swept, swept_end, joules);
    take(level.latency_s, probes.chase, below, end, latency);
    if (cache) {
      below = beyond(level.by_latency, level.capacity_bytes);
      below_swept = beyond(level.by_bandwidth, level.swept_capacity_bytes);
      // one cache under both sweeps: where either leaves it
      if (level.capacity_bytes == level.swept_capacity_bytes)
        below = below_swept = std::max(below, below_swept);
    }
    findings.levels.push_back(std::move(level));
  }
  std::vector<double> rates, costs, idle;
  for (const auto* some : {&probes.read, &probes.chase, &probes.fma})
    for (const Probe& probe : *some)
      if (probe.idle_w > 0) idle.push_back(probe.idle_w);
  findings.idle_power_w = middle(idle);
  double best = 0;
  for (const Probe& probe : probes.fma) best = std::max(best, probe.flops / probe.step_s);
  for (const Probe& probe : probes.fma)
    if (probe.flops / probe.step_s > 0.8 * best) {  // repetitions of the fastest instruction set
      rates.push_back(probe.flops / probe.step_s);
      if (probe.joules > 0) costs.push_back(probe.joules / probe.flops);
    }
  findings.flops_per_s = middle(rates);
  if (rates.size() == 1)  // of one run its window's own interval
    for (const Probe& probe : probes.fma)
      if (probe.flops / probe.step_s == rates[0] && probe.step_low95_s > 0)
        findings.flops_per_s = {rates[0], probe.flops / probe.step_high95_s,
                                probe.flops / probe.step_low95_s};
  findings.j_per_flop = middle(costs);
  return findings;
}

}  // namespace mlpwatt::model

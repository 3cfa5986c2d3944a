#include "harness/campaign/planner.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>

#include "harness/campaign/sample.h"
#include "harness/program.h"
#include "harness/record/durable.h"

namespace mlpwatt {
namespace {

std::string default_calibration_path(const std::string& host) {
  const char* cache = std::getenv("XDG_CACHE_HOME");
  const char* home = std::getenv("HOME");
  const std::filesystem::path folder = cache != nullptr && *cache != '\0' ? std::filesystem::path(cache)
                                       : home != nullptr ? std::filesystem::path(home) / ".cache"
                                                         : std::filesystem::path("/tmp");
  return (folder / "mlpwatt" / ("calibration-" + host + ".json")).string();
}

/// Updates that a meter's window must hold, and some for its lag.
constexpr double kUpdatesPerWindow = 12;

/// A kept one of this processor and these meters that knows all ways; else none.
bool usable(const Calibration& calibration, const Machine& machine, const std::set<Way>& ways,
            const PowerOptions& power) {
  return calibration.processor == machine.processor && calibration.power.asked == power.meters &&
         std::all_of(ways.begin(), ways.end(),
                     [&](const Way& way) { return calibration.has(way.backend, way.isa, way.threads); });
}

Calibration calibration_for(const PlannerOptions& options, const std::set<Way>& ways, const Machine& machine,
                            const std::function<void(const std::string&)>& say) {
  const std::string path =
      options.calibration_path.empty() ? default_calibration_path(machine.host) : options.calibration_path;
  if (!options.recalibrate && std::filesystem::exists(path)) {
    std::ifstream file(path);
    try {
      Calibration kept = parse_calibration(nlohmann::json::parse(file));
      if (usable(kept, machine, ways, options.power)) {
        say(fmt::format("calibration of {} from {} (--recalibrate measures again)", kept.measured_utc, path));
        return kept;
      }
    } catch (const std::exception& error) {
      if (!options.calibration_path.empty())
        throw UsageError(fmt::format("--calibration {}: {} (--recalibrate replaces it)", path, error.what()));
    }
  }
  say(fmt::format("calibrating this machine, about {:.0f} s", options.calibration_budget_s));
  PowerSession power(options.power);
  Calibration calibration = calibrate({ways.begin(), ways.end()}, machine, options.settings.protocol,
                                      options.calibration_budget_s, power, system_clock(), say);
  calibration.power.asked = options.power.meters;
  if (const auto folder = std::filesystem::path(path).parent_path(); !folder.empty())
    std::filesystem::create_directories(folder);
  write_durably(path, calibration_json(calibration).dump(2) + '\n');
  say("calibration kept in " + path);
  return calibration;
}

/// How many of the first entries fit, each at its predicted time.
std::size_t fitting(const std::vector<GridPoint>& points, const std::vector<std::size_t>& order,
                    const Plan& settings, double budget_s) {
  double sum_s = 0;
  std::size_t count = 0;
  for (; count < order.size(); ++count) {
    sum_s += points[order[count]].entry.predicted_s * settings.repetitions;
    if (sum_s > budget_s) break;
  }
  return count;
}

double budget_seconds(const Budget& budget, const NodePower& power) {
  if (budget.time_s) return *budget.time_s;
  if (!budget.energy_j) return HUGE_VAL;
  if (!power.known())
    throw UsageError("an energy budget needs the draw of a working node: --watts, or a meter (--meters)");
  return *budget.energy_j / power.watts;
}

/// What was given goes before what the calibration saw.
NodePower node_power(const PlannerOptions& options, const NodePower& seen) {
  NodePower power = seen;
  if (!std::isnan(options.watts)) {
    power = {.provenance = "given", .watts = options.watts, .slowest_period_s = seen.slowest_period_s};
    if (!std::isnan(seen.idle_watts) && std::isnan(options.idle_watts) && seen.idle_watts <= options.watts &&
        seen.provenance == "measured")
      power.idle_watts = seen.idle_watts;
  }
  if (!std::isnan(options.idle_watts)) power.idle_watts = options.idle_watts;
  return power;
}

/// What a window must hold for the meters; 0 = any will do.
double window_for_energy_s(const Plan& settings, const NodePower& power) {
  return settings.energy_target > 0 && power.provenance == "measured"
             ? kUpdatesPerWindow * power.slowest_period_s
             : 0;
}

std::string power_source(const NodePower& power) {
  if (power.provenance == "given") return fmt::format("{:.4g} W given", power.watts);
  return fmt::format("{:.4g} W of {} during the calibration ({} by {})", power.watts, power.domains,
                     power.provenance, power.meters);
}

std::vector<std::string> describe(const Planned& planned, const Machine& machine, double step_error) {
  const Plan& plan = planned.plan;
  std::vector<std::string> lines{
      fmt::format("{} configurations x {} repetition(s) of {} distinct ones; {} depth-2 duplicates merged, "
                  "{} infeasible",
                  plan.entries.size(), plan.repetitions, planned.grid_configurations, planned.duplicates,
                  planned.infeasible.size())};
  if (std::isnan(planned.time_s)) {
    lines.push_back("predicted time: - (not calibrated)");
    return lines;
  }
  lines.push_back(
      fmt::format("predicted time: {} on {} ({}); modelled, median error of a step in the "
                  "calibration {:.0f} %",
                  human_duration(planned.time_s), machine.host, machine.processor, 100 * step_error));
  lines.push_back(planned.power.known()
                      ? fmt::format("predicted energy: {}; modelled, from {}", human_energy(planned.energy_j),
                                    power_source(planned.power))
                      : "predicted energy: - (no meter; give --watts, the draw of a working node)");
  return lines;
}

}  // namespace

Planned make_plan(const PlannerOptions& options, const std::function<void(const std::string&)>& say) {
  const bool budgeted = options.budget.time_s || options.budget.energy_j;
  if (budgeted && !options.calibrate) throw UsageError("--budget and --no-calibration exclude each other");
  parse_dataset_source(options.settings.dataset_source);
  Grid grid = make_grid(options.filter);
  Planned planned;
  planned.plan = options.settings;
  planned.duplicates = grid.duplicates;
  planned.grid_configurations = static_cast<std::int64_t>(grid.points.size());
  planned.infeasible = std::move(grid.infeasible);
  if (grid.points.empty())
    throw UsageError(planned.infeasible.empty()
                         ? "the filters leave no configuration"
                         : fmt::format("the filters leave no feasible configuration; the first of {}: {}: {}",
                                       planned.infeasible.size(), planned.infeasible.front().configuration,
                                       planned.infeasible.front().reason));
  const Machine machine = read_machine();
  double step_error = std::nan("");
  std::vector<double> dataset_load_s(all_datasets().size(), 0.0);
  double budget_s = HUGE_VAL;
  if (options.calibrate) {
    std::set<Way> ways;
    for (const GridPoint& point : grid.points)
      ways.insert({point.backend, point.entry.isa, point.entry.threads});
    const Calibration calibration = calibration_for(options, ways, machine, say);
    planned.power = node_power(options, calibration.power);
    budget_s = budget_seconds(options.budget, planned.power);
    const double for_energy_s = window_for_energy_s(options.settings, calibration.power);
    ProtocolOptions& protocol = planned.plan.protocol;
    if (!options.longest_window_given && protocol.longest_window_s() < for_energy_s) {
      protocol.maximum_window_s = for_energy_s;
      say(fmt::format("windows of up to {:.3g} s, for {:.0f} updates of {}", for_energy_s, kUpdatesPerWindow,
                      calibration.power.meters));
    }
    for (GridPoint& point : grid.points) {
      const TimeModel& model = calibration.model(point.backend, point.entry.isa, point.entry.threads);
      const DatasetInfo& dataset = all_datasets()[static_cast<std::size_t>(point.dataset)];
      const double step_s =
          model.step_s(point.network, point.entry.batch, dataset.observations, machine.hierarchy);
      point.entry.predicted_s = model.run_s(step_s, point.network.parameters(), protocol, for_energy_s);
      dataset_load_s[static_cast<std::size_t>(point.dataset)] = model.load_s(dataset);
      step_error = model.step_error;
    }
  }
  std::vector<std::size_t> order;
  if (options.sample > 0 || budgeted) {
    std::vector<std::vector<double>> coordinates;
    for (const GridPoint& point : grid.points) coordinates.push_back(point.coordinates);
    order = space_filling_order(coordinates, options.sample > 0 ? options.sample : coordinates.size(),
                                options.settings.seed);
    order.resize(fitting(grid.points, order, options.settings, budget_s));
    if (order.empty()) throw UsageError("the budget is too small for one configuration");
    std::sort(order.begin(), order.end());
  } else {
    for (std::size_t i = 0; i < grid.points.size(); ++i) order.push_back(i);
  }
  double runs_s = 0;
  std::set<int> datasets;
  for (const std::size_t i : order) {
    planned.plan.entries.push_back(grid.points[i].entry);
    runs_s += grid.points[i].entry.predicted_s * options.settings.repetitions;
    datasets.insert(grid.points[i].dataset);
  }
  for (const int dataset : datasets) runs_s += dataset_load_s[static_cast<std::size_t>(dataset)];
  planned.time_s = runs_s;
  planned.energy_j = runs_s * planned.power.watts;
  planned.plan.comments = describe(planned, machine, step_error);
  return planned;
}

}  // namespace mlpwatt

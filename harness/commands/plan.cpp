// mlpwatt plan: chooses configurations of the study's grid and predicts what they take here.

#include <fmt/format.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <ostream>

#include "harness/campaign/budget.h"
#include "harness/campaign/planner.h"
#include "harness/campaign/shard.h"
#include "harness/options.h"
#include "harness/program.h"
#include "harness/record/durable.h"
#include "harness/text.h"

namespace mlpwatt {
namespace {

using Json = nlohmann::ordered_json;

struct Options {
  std::vector<std::string> datasets, shapes, sizes, depths, backends, threads, batches, isas;
  PlannerOptions planner;
  std::string budget, nodes, out, calibration, meter_config;
  bool recalibrate = false, no_calibration = false, json = false;
};

std::vector<int> integers(const std::string& option, const std::vector<std::string>& words,
                          const std::vector<int>& grid, std::int64_t least, std::int64_t most) {
  std::vector<int> numbers;
  for (const std::int64_t value : parse_numbers(option, words, {grid.begin(), grid.end()})) {
    if (value < least || value > most)
      throw UsageError(fmt::format("{} {} is not within {} .. {}", option, value, least, most));
    numbers.push_back(static_cast<int>(value));
  }
  return numbers;
}

void read_filter(const Options& options, GridFilter& filter) {
  filter.datasets = options.datasets;
  filter.shapes = options.shapes;
  filter.backends = options.backends;
  filter.isas = options.isas;
  filter.sizes = parse_numbers("--sizes", options.sizes, all_sizes());
  filter.depths = integers("--depths", options.depths, all_depths(), 2, 20);
  filter.threads = integers("--threads", options.threads, {}, 0, 65536);
  filter.batches = integers("--batch-sizes", options.batches, {}, 1, 1 << 24);
}

/// "1..1024": both ends and the powers of two between; "64": that one.
std::vector<int> node_counts(const std::string& text) {
  const std::size_t dots = text.find("..");
  const auto one = [&](const std::string& word) {
    return integers("--nodes", {word}, {}, 1, 1 << 20).front();
  };
  if (dots == std::string::npos) return {one(text)};
  const int low = one(text.substr(0, dots)), high = one(text.substr(dots + 2));
  if (low > high) throw UsageError(fmt::format("--nodes '{}': the first number is the larger one", text));
  std::vector<int> counts{low};
  for (int n = 1; n < high; n *= 2)
    if (n > low) counts.push_back(n);
  if (high > low) counts.push_back(high);
  return counts;
}

constexpr const char* kScaleAssumes =
    "assumes: nodes like this machine, every run as long as predicted, shards handed out as by campaign "
    "--slurm; without starting tasks and reading datasets\n";

Json number_or_null(double value) { return std::isnan(value) ? Json() : Json(value); }

/// What numbers of nodes make of the plan: shards of whole configurations as campaign --slurm cuts and hands
/// them out, were everything as predicted.
Json scale_table(const Planned& planned, const Options& options,
                 std::vector<std::vector<std::string>>& rows) {
  rows = {{"nodes", "shards a node", "wall time", "imbalance", "node-hours", "idle waste", "energy",
           "of it idle"}};
  Json table = Json::array();
  std::vector<double> durations;
  for (const PlanEntry& entry : planned.plan.entries)
    durations.push_back(entry.predicted_s * planned.plan.repetitions);
  for (const int nodes : node_counts(options.nodes)) {
    const int per_node = shards_per_node(durations.size(), nodes);
    const std::vector<int> shard_of = shard_by_longest_first(durations, nodes, per_node);
    const Balance balance = balance_of(handed_out(shard_loads(durations, shard_of, nodes * per_node), nodes));
    const double busy_j = balance.busy_s * planned.power.watts,
                 idle_j = balance.idle_s * planned.power.idle_watts;
    const double energy_j = balance.idle_s > 0 ? busy_j + idle_j : busy_j;
    table.push_back({{"nodes", nodes},
                     {"shards_per_node", per_node},
                     {"wall_s", balance.wall_s},
                     {"imbalance", balance.imbalance},
                     {"busy_node_s", balance.busy_s},
                     {"idle_node_s", balance.idle_s},
                     {"energy_j", number_or_null(energy_j)},
                     {"idle_energy_j", number_or_null(balance.idle_s > 0 ? idle_j : 0)}});
    rows.push_back({std::to_string(nodes), std::to_string(per_node), human_duration(balance.wall_s),
                    fmt::format("{:.2f} %", 100 * balance.imbalance),
                    fmt::format("{:.4g}", (balance.busy_s + balance.idle_s) / 3600),
                    fmt::format("{:.2f} %", 100 * balance.idle_share()), human_energy(energy_j),
                    human_energy(balance.idle_s > 0 ? idle_j : 0)});
  }
  return table;
}

void print_text(const Planned& planned, const Options& options, Context& context) {
  constexpr std::size_t kShown = 5;
  const Plan& plan = planned.plan;
  for (const std::string& line : plan.comments) context.out << line << '\n';
  for (std::size_t i = 0; i < std::min(kShown, planned.infeasible.size()); ++i)
    context.out << "infeasible: " << planned.infeasible[i].configuration << ": "
                << planned.infeasible[i].reason << '\n';
  if (planned.infeasible.size() > kShown)
    context.out << fmt::format("infeasible: {} more{}\n", planned.infeasible.size() - kShown,
                               options.out.empty() ? " (--json, or --out PLAN, lists them all)"
                                                   : ", all listed at the end of " + options.out);
}

int plan(Options& options, Context& context) {
  read_filter(options, options.planner.filter);
  if (!options.budget.empty()) options.planner.budget = parse_budget(options.budget);
  if (!options.nodes.empty()) node_counts(options.nodes);
  options.planner.calibration_path = options.calibration;
  options.planner.recalibrate = options.recalibrate;
  options.planner.calibrate = !options.no_calibration;
  options.planner.power.config = read_meter_config(options.meter_config);
  const Planned planned =
      make_plan(options.planner, [&](const std::string& line) { context.err << line << '\n'
                                                                            << std::flush; });
  std::vector<std::vector<std::string>> scale_rows;
  Json scale;
  if (!options.nodes.empty()) {
    if (std::isnan(planned.time_s))
      throw UsageError("--nodes needs predicted times: leave --no-calibration out");
    scale = scale_table(planned, options, scale_rows);
  }
  if (!options.out.empty()) {
    std::string text = plan_text(planned.plan);
    for (const Infeasible& none : planned.infeasible)
      text += "# infeasible " + none.configuration + ": " + none.reason + '\n';
    write_durably(options.out, text);
  }
  if (options.json) {
    Json infeasible = Json::array();
    for (const Infeasible& none : planned.infeasible)
      infeasible.push_back({{"configuration", none.configuration}, {"reason", none.reason}});
    Json object{{"configurations", planned.plan.entries.size()},
                {"repetitions", planned.plan.repetitions},
                {"grid_configurations", planned.grid_configurations},
                {"duplicates_merged", planned.duplicates},
                {"predicted_s", number_or_null(planned.time_s)},
                {"predicted_j", number_or_null(planned.energy_j)},
                {"node_power_w", number_or_null(planned.power.watts)},
                {"node_power_provenance", planned.power.provenance},
                {"node_idle_power_w", number_or_null(planned.power.idle_watts)},
                {"campaign", planned.plan.campaign()},
                {"plan", options.out},
                {"infeasible", infeasible}};
    if (!scale.is_null()) object["scale"] = scale;
    context.out << object.dump(2) << '\n';
    return kExitOk;
  }
  print_text(planned, options, context);
  if (!scale_rows.empty()) context.out << '\n' << text_table(scale_rows) << kScaleAssumes;
  if (options.out.empty())
    context.out << "write it:  add --out PLAN\n";
  else
    context.out << fmt::format("run it:    mlpwatt campaign {} --out FOLDER\n", options.out);
  return kExitOk;
}

void declare_axes(CLI::App& app, Options& options) {
  const auto list = [&](const std::string& name, std::vector<std::string>& values, const std::string& help) {
    app.add_option(name, values, help)->delimiter(',')->group("Axes (default: all of the study's)");
  };
  list("--datasets", options.datasets, "names, comma-separated");
  list("--shapes", options.shapes, "rectangle, trapezoid, exponential, wide_first_2x ...");
  list("--sizes", options.sizes, "4096,2^14 or ranges 2^5..2^10");
  list("--depths", options.depths, "3,5 or ranges 2..10");
  list("--backends", options.backends, "cpu (default), gpu");
  list("--threads", options.threads, "0 = the kernel chooses (default)");
  list("--batch-sizes", options.batches, "rows of a training batch (default 256)");
  list("--isas", options.isas, "any (default: the machine's best), avx512, avx2, avx2_nofma, generic");
  app.add_flag("--any-machine", options.planner.filter.any_machine,
               "keep what this machine cannot run: the plan is for another");
}

const CommandRegistration registration{
    "plan", "chooses configurations of the study's grid and predicts time and energy",
    [](CLI::App& app) -> Action {
      auto options = std::make_shared<Options>();
      Plan& plan_options = options->planner.settings;
      declare_axes(app, *options);
      whole_number(
          app.add_option("--sample", options->planner.sample, "only this many, seeded and space-filling"), 1,
          1'000'000'000);
      app.add_option("--budget", options->budget,
                     "only as many, space-filling, as are predicted to fit: 20m, 2h, 500Wh, 1kWh");
      whole_number(app.add_option("--repetitions", plan_options.repetitions, "windows of each configuration")
                       ->capture_default_str(),
                   1, 1'000'000);
      app.add_option("--out", options->out, "the plan file to write");
      app.add_option("--nodes", options->nodes,
                     "what this many nodes make of it: 256, or 1..1024 for the powers of two between");
      app.add_option("--meters", options->planner.power.meters,
                     "what sees the node's draw during the calibration: auto (every meter found, else the "
                     "estimate), none, or names (mlpwatt info)")
          ->capture_default_str();
      app.add_option("--meter-config", options->meter_config,
                     "JSON file of meter addresses and options (default $MLPWATT_METERS)");
      real_number(app.add_option("--watts", options->planner.watts,
                                 "a node's draw while it works, instead of what the meters saw"),
                  1e-6, 1e9);
      real_number(app.add_option("--idle-watts", options->planner.idle_watts,
                                 "a node's draw while it waits for others (--nodes), likewise"),
                  0, 1e9);
      real_number(app.add_option("--window-s", plan_options.protocol.window_s, "least length of a window")
                      ->capture_default_str(),
                  1e-6, 1e6);
      CLI::Option* longest =
          real_number(app.add_option("--max-window-s", plan_options.protocol.maximum_window_s,
                                     "longest window; longer by default where a meter is slow")
                          ->capture_default_str(),
                      0, 1e6);
      real_number(
          app.add_option("--precision", plan_options.protocol.precision,
                         "a window ends when the 95 % interval of the step time is within +- this share")
              ->capture_default_str(),
          0, 1);
      real_number(
          app.add_option(
                 "--energy-target", plan_options.energy_target,
                 "and when the random part of the energy's relative standard uncertainty is below this; 0 = "
                 "whatever it is")
              ->capture_default_str(),
          0, 1);
      whole_number(app.add_option("--seed", plan_options.seed,
                                  "of the sample, initial weights, splits, synthetic values")
                       ->capture_default_str(),
                   0, kLargestSeed);
      whole_number(app.add_option("--order-seed", plan_options.order_seed, "of the order of runs")
                       ->capture_default_str(),
                   0, kLargestSeed);
      app.add_option("--dataset-source", plan_options.dataset_source, "file, synthetic, or auto")
          ->capture_default_str();
      app.add_option("--calibration", options->calibration,
                     "file of this machine's calibration, made when missing (default in the user cache)");
      app.add_flag("--recalibrate", options->recalibrate, "measure again (a minute)");
      app.add_flag("--no-calibration", options->no_calibration, "predict nothing");
      app.add_flag("--json", options->json, "one JSON object");
      return [options, longest](Context& context) {
        options->planner.longest_window_given = longest->count() > 0;
        return plan(*options, context);
      };
    }};

}  // namespace
}  // namespace mlpwatt

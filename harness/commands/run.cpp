// mlpwatt run: measures a selection of benchmarks and records every window.

#include <fmt/format.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <ostream>

#include "harness/options.h"
#include "harness/program.h"
#include "harness/record/record_file.h"
#include "harness/run/output.h"
#include "harness/run/row_json.h"
#include "harness/run/sitting.h"
#include "harness/run/summary.h"
#include "harness/selection.h"
#include "kernels/mlp_grid.h"

namespace mlpwatt {
namespace {

using Json = nlohmann::ordered_json;

/// The quick suite's windows share this much time; with set-up, checks, warm-up and the simulated
/// counters it ends in under three minutes.
constexpr double kQuickWindows_s = 40;

struct Options {
  KernelOptions kernel;
  Selection selection;
  std::string out, counters = "auto";
  int repetitions = 1;
  double window_s = 0, peaks_s = 0.5;
  ProtocolOptions protocol;
  std::uint64_t order_seed = 1;
  PowerOptions power{.meters = "auto"};
  std::string meter_config;
  double energy_target = 0.02;
  bool json = false, list_tests = false, random_interleaving = false;
  GoogleOptions google;
};

void add_google_options(CLI::App& app, Options& options) {
  // Google Benchmark reads the same names in capitals from the environment.
  const auto option = [&](const std::string& name, auto& value, const std::string& help) {
    return app.add_option("--benchmark_" + name, value, help)->group("Google Benchmark");
  };
  const auto flag = [&](const std::string& name, bool& value, const std::string& help) {
    return app.add_flag("--benchmark_" + name, value, help)->group("Google Benchmark");
  };
  GoogleOptions& google = options.google;
  flag("list_tests", options.list_tests, "print the names and do nothing");
  flag("enable_random_interleaving", options.random_interleaving, "always so here, with our own seed");
  flag("report_aggregates_only", google.report_aggregates_only,
       "only mean, median, stddev, cv of repetitions");
  flag("display_aggregates_only", google.display_aggregates_only, "the same, on the display only");
  flag("counters_tabular", google.counters_tabular, "counters in columns");
  const CLI::IsMember formats({"console", "json", "csv"});
  option("format", google.format, "console, json or csv on the display")
      ->check(formats)
      ->envname("BENCHMARK_FORMAT");
  option("out", google.out, "a second report into this file")->envname("BENCHMARK_OUT");
  option("out_format", google.out_format, "its format")->check(formats)->envname("BENCHMARK_OUT_FORMAT");
  option("color", google.color, "yes, no, auto")
      ->check(CLI::IsMember({"auto", "yes", "no", "true", "false", "on", "off", "1", "0"}));
  option("perf_counters", google.perf_counters, "of Google Benchmark's own (see --counters for ours)");
  option("context", google.context, "KEY=VALUE,... for the report");
  option("time_unit", google.time_unit, "of the report")->check(CLI::IsMember({"ns", "us", "ms", "s"}));
  app.add_option("--v", google.verbosity, "verbosity of Google Benchmark")->group("Google Benchmark");
}

void check_options(const Options& options) {
  if (options.selection.quick && options.selection.suite)
    throw UsageError("--quick and --suite exclude each other");
  if (!options.google.context.empty() && options.google.context.find('=') == std::string::npos)
    throw UsageError(fmt::format("--benchmark_context '{}' is not KEY=VALUE", options.google.context));
}

ProtocolOptions protocol_of(const Options& options, std::size_t runs) {
  ProtocolOptions protocol = options.protocol;
  protocol.window_s =
      options.window_s > 0 ? options.window_s
      : options.selection.quick
          ? std::clamp(kQuickWindows_s / static_cast<double>(std::max<std::size_t>(1, runs)), 0.1, 1.0)
          : 1.0;
  return protocol;
}

/// Simulation takes seconds a run: done when asked for by name; of its own accord only in the quick suite,
/// and there only for steps small enough to take about a second under the simulator.
std::function<bool(const Benchmark&, const Cost&)> simulation_rule(const Options& options,
                                                                   const CounterSelection& counters) {
  if (counters.choice == CounterChoice::kSimulate) return [](const Benchmark&, const Cost&) { return true; };
  if (counters.choice == CounterChoice::kAuto && options.selection.quick)
    return [](const Benchmark& benchmark, const Cost& cost) {
      return benchmark.family == "cpu/mlp_train" && cost.flops() <= 50'000'000;
    };
  return {};
}

int list_only(const std::vector<Benchmark>& chosen, Context& context) {
  for (const Benchmark& benchmark : chosen) context.out << benchmark.name << '\n';
  return kExitOk;
}

/// Among many a hole of the grid is an error of its row; asked for alone it is a wrong call, of which no file
/// is left. Errors: InfeasibleNetwork.
void check_alone_feasible(const std::vector<Benchmark>& chosen) {
  if (chosen.size() == 1) network_of(chosen.front());
}

/// Of many, those that cannot run here are no failure; asked for by name they are, and when nothing ran.
int exit_status(const std::vector<Row>& rows, const Selection& selection) {
  bool ran = selection.quick || selection.suite;
  for (const Row& row : rows) {
    const std::string& status = row.text("status");
    if (status != "ok" && status != "unavailable") return kExitFailure;
    if (status == "unavailable" && row.text("name") == selection.filter) return kExitFailure;
    ran = ran || status == "ok";
  }
  return ran ? kExitOk : kExitFailure;
}

int run(const Options& options, Context& context) {
  check_options(options);
  if (options.selection.filter.empty() && !options.selection.quick && !options.selection.suite)
    throw UsageError(
        "say what to run: --filter REGEX, --quick (a few minutes) or --suite (everything but the grids); "
        "mlpwatt list shows what there is");
  Sitting sitting;
  RunSettings& settings = sitting.settings;
  settings.machine = read_machine();
  settings.kernel = to_run_options(options.kernel, settings.machine.hierarchy);
  settings.counters = parse_counter_selection(options.counters);
  settings.simulate = simulation_rule(options, settings.counters);
  settings.command = context.command_line();
  settings.order_seed = options.order_seed;
  sitting.benchmarks = select(catalogue(), settings.kernel, options.selection);
  if (options.list_tests) return list_only(sitting.benchmarks, context);
  check_alone_feasible(sitting.benchmarks);
  sitting.repetitions = options.repetitions;
  settings.protocol =
      protocol_of(options, sitting.benchmarks.size() * static_cast<std::size_t>(options.repetitions));
  if (options.peaks_s > 0)
    settings.peaks = std::make_shared<PeaksOnDemand>(settings.kernel, options.peaks_s, system_clock());
  sitting.google = options.google;
  // last of all: nothing is left behind by a call that does not run
  if (!options.google.out.empty() && !std::ofstream(options.google.out, std::ios::app))
    throw UsageError(fmt::format("--benchmark_out '{}' cannot be written", options.google.out));
  RecordFile file(options.out.empty() ? default_output(settings.machine.host) : options.out);
  PowerOptions power = options.power;
  power.config = read_meter_config(options.meter_config);
  open_meters(settings, power, options.energy_target, options.selection.quick);
  // The protocol stands before the first result.
  context.err << fmt::format(
      "{} benchmark(s) x {} repetition(s), order seed {}, windows of {:.3g} s in >= {} blocks, median of "
      "blocks; to {}\n",
      sitting.benchmarks.size(), sitting.repetitions, settings.order_seed, settings.protocol.window_s,
      settings.protocol.minimum_blocks, file.path());
  const std::int64_t before = file.runs();
  const std::vector<Row> rows =
      run_sitting(sitting, system_clock(), context.out, context.err, context.terminal,
                  [&](Record record) { file.append(std::move(record)); });
  if (options.json) {
    Json array = Json::array();
    for (const Row& row : rows) array.push_back(row_json(row));
    context.out << Json{{"file", file.path()}, {"runs", array}}.dump(2, ' ', false,
                                                                     Json::error_handler_t::replace)
                << '\n';
  } else if (options.google.format.empty()) {
    context.out << summary_table(rows) << '\n'
                << where_to_look_next(file.path(), file.runs() - before, file.runs());
  }
  context.err << summary_of_trouble(rows);
  return exit_status(rows, options.selection);
}

const CommandRegistration registration{
    "run", "measures a selection of benchmarks and records every window", [](CLI::App& app) -> Action {
      auto options = std::make_shared<Options>();
      app.add_option("--filter,--benchmark_filter", options->selection.filter,
                     "regular expression searched in the name; a leading '-' means all but these")
          ->envname("BENCHMARK_FILTER");
      app.add_flag("--quick", options->selection.quick, "the quick suite, under 3 minutes");
      app.add_flag("--suite", options->selection.suite, "every benchmark but the large grids");
      app.add_option("--out", options->out,
                     "results file; an existing one is appended to (default results/<host>-<date>.h5)");
      constexpr double month_s = 30 * 86400;
      whole_number(app.add_option("--repetitions,--benchmark_repetitions", options->repetitions,
                                  "windows of each configuration")
                       ->capture_default_str(),
                   1, 1'000'000);
      real_number(app.add_option("--window-s,--benchmark_min_time", options->window_s,
                                 "least length of a window (default 1, shorter with --quick); Google "
                                 "Benchmark's later form 0.5s is taken too"),
                  1e-6, month_s)
          ->transform([](std::string text) {
            if (text.size() > 1 && text.back() == 's') text.pop_back();
            return text;
          });
      real_number(
          app.add_option("--warm-up-s,--benchmark_min_warmup_time", options->protocol.warm_up_minimum_s,
                         "least warm-up (default a tenth of the window)"),
          0, month_s);
      real_number(app.add_option("--max-warm-up-s", options->protocol.warm_up_maximum_s,
                                 "longest warm-up (default two windows)"),
                  0, month_s);
      real_number(app.add_option("--max-window-s", options->protocol.maximum_window_s,
                                 "longest window, for slow steps and slow meters (default ten windows, or "
                                 "11 updates of the slowest meter)"),
                  0, month_s);
      real_number(app.add_option("--peaks-s", options->peaks_s,
                                 "time for measuring the peaks that floors are made of, once a thread count "
                                 "and precision; 0 = no floor")
                      ->capture_default_str(),
                  0, 3600);
      whole_number(app.add_option("--order-seed", options->order_seed, "of the shuffle of runs")
                       ->capture_default_str(),
                   0, kLargestSeed);
      app.add_option("--counters", options->counters,
                     "auto, papi, simulate, none, and/or names: l1_miss,l2_miss ...")
          ->capture_default_str();
      add_meter_options(app, options->power, options->meter_config);
      app.add_option(
             "--idle-s", options->power.idle_s,
             "idle time before and after each window; 0 = one for the sitting (default: 10 updates of "
             "the slowest meter, 1 to 30 s)")
          ->check(CLI::NonNegativeNumber);
      app.add_option("--energy-target", options->energy_target,
                     "a window goes on until the random part of the energy's relative standard uncertainty "
                     "(what more time "
                     "makes smaller; the meter's accuracy class is not) is below this, or up "
                     "to --max-window-s; 0 = never")
          ->capture_default_str()
          ->check(CLI::Range(0.0, 1.0));
      app.add_flag("--json", options->json, "one JSON object instead of the table");
      add_kernel_options(app, options->kernel);
      add_google_options(app, *options);
      return [options](Context& context) { return run(*options, context); };
    }};

}  // namespace
}  // namespace mlpwatt

// mlpwatt compare-peers: ours and other people's libraries, in turns, on the same work.

#include <fmt/format.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <cstdlib>
#include <filesystem>
#include <future>
#include <nlohmann/json.hpp>
#include <ostream>
#include <regex>

#include "cpu/isa.h"
#include "harness/build_facts.h"
#include "harness/compare/comparison.h"
#include "harness/compare/driver.h"
#include "harness/compare/points.h"
#include "harness/compare/processors.h"
#include "harness/compare/tables.h"
#include "harness/options.h"
#include "harness/program.h"
#include "harness/record/record_file.h"
#include "harness/run/output.h"
#include "harness/run/row_json.h"
#include "harness/text.h"
#include "kernels/backend.h"
#include "kernels/nearest.h"
#include "meters/counters/child_process.h"

namespace mlpwatt {
namespace {

struct Options {
  KernelOptions kernel;
  PointSelection points;
  TurnOptions turns;
  std::string out, peers = ".", folder, scripts, python;
  double limit_s = 600, peaks_s = 3, energy_target = 0.02;
  PowerOptions power{.meters = "none"};
  std::string meter_config;
  bool json = false;
};

std::string default_folder() {
  if (const char* given = std::getenv("MLPWATT_PEERS"); given != nullptr && *given != 0) return given;
  const char *cache = std::getenv("XDG_CACHE_HOME"), *home = std::getenv("HOME");
  return (cache != nullptr && *cache != 0 ? std::string(cache)
                                          : std::string(home != nullptr ? home : "") + "/.cache") +
         "/mlpwatt/peers";
}

std::string default_scripts() {
  const std::string installed = build_facts().prefix + "/share/mlpwatt/peers";
  const std::string source = build_facts().source_dir + "/results/peers";
  return std::filesystem::exists(source) ? source : installed;
}

class Entry {
 public:
  Entry(const std::string& pattern) try : expression_(pattern, std::regex::extended) {
  } catch (const std::regex_error& error) {
    throw UsageError(fmt::format("--peers '{}' is not a regular expression: {}", pattern, error.what()));
  }
  bool admits(const std::string& name) const { return std::regex_search(name, expression_); }

 private:
  std::regex expression_;
};

/// Everybody who can train here, ours first; who cannot is named on `err`.
std::vector<std::unique_ptr<Learner>> enrol(const Options& options, const CompareSettings& settings,
                                            BlasLibraries& libraries, const std::string& scratch,
                                            std::ostream& err) {
  const Entry entry(options.peers);
  std::vector<std::unique_ptr<Learner>> learners;
  const bool on_gpu = options.points.device == "gpu";
  if (!on_gpu) choose_isa(settings.run.kernel.isa);  // one that is not here ends it before anybody is started
  RunOptions ours = settings.run.kernel;
  if (on_gpu) {
    ours.threads = 0;  // those of the processor are the drivers'
    if (precision_of("", ours.algorithm) != "fp32")
      throw UsageError("compare-peers: --algorithm " + ours.algorithm +
                       " is of another precision than the peers, which compute in fp32");
  }
  learners.push_back(make_our_learner(on_gpu ? "gpu" : "cpu", ours));
  if (!on_gpu && entry.admits("cxx_blas") && !libraries.found.empty())
    learners.push_back(make_blas_learner(libraries));
  const DriverSetting setting{options.python.empty() ? options.folder + "/bin/python" : options.python,
                              options.scripts, on_gpu ? "cuda" : "cpu", scratch, options.limit_s};
  std::vector<std::pair<std::string, std::future<std::unique_ptr<Learner>>>> starting;
  for (const std::string& name : driver_names(options.scripts)) {
    if (!entry.admits(name)) continue;
    // what torch.compile makes of one network takes longer than the whole of the quick comparison
    if (options.points.quick && options.peers == "." && name == "torch_compiled") {
      err << "left out: torch_compiled, whose compiler takes half a minute a network (--peers torch)\n";
      continue;
    }
    if (find_program(setting.python).empty()) {
      err << fmt::format("absent: {} (no {}; make peers installs it)\n", name, setting.python);
      continue;
    }
    starting.emplace_back(name, std::async(std::launch::async, [name, &setting, &settings] {
                            return make_driver_learner(name, setting, settings.run.kernel.threads);
                          }));
  }
  for (auto& [name, started] : starting) {
    try {
      learners.push_back(started.get());
      err << fmt::format("found: {} ({})\n", name, learners.back()->library());
    } catch (const PeerAbsent& error) {
      err << fmt::format("absent: {} ({}; make peers installs it)\n", name, error.what());
    } catch (const std::exception& error) {
      err << fmt::format("absent: {} ({})\n", name, error.what());
    }
  }
  return learners;
}

void report_libraries(const BlasLibraries& libraries, std::ostream& err) {
  for (const auto& blas : libraries.found)
    err << fmt::format("found: {} ({}, {})\n", blas->name(), blas->library(), blas->path());
  for (const auto& [name, reason] : libraries.absent) err << fmt::format("absent: {} ({})\n", name, reason);
}

void report_peaks(const Peaks& peaks, const Ceiling& ceiling, std::ostream& err) {
  err << fmt::format("peaks of {}: {}FLOP/s;",
                     ceiling.threads > 0 ? fmt::format("{} thread(s)", ceiling.threads)
                                         : fmt::format("the {}, {}", ceiling.device, ceiling.precision),
                     human_si(peaks.flops_per_s));
  for (const Bandwidth& level : peaks.levels)
    err << fmt::format(" {} {}B/s", level.level, human_si(level.bytes_per_s));
  err << '\n';
}

int run(Options options, Context& context) {
  refuse_openmp_binding();
  if (options.folder.empty()) options.folder = default_folder();
  if (options.scripts.empty()) options.scripts = default_scripts();
  CompareSettings settings;
  constexpr double kQuickTurn_s = 0.02;
  constexpr int kQuickRounds = 11;
  constexpr double kQuickPeaks_s = 1;
  if (options.points.quick) {  // what was asked for explicitly may be less, not more
    options.turns.turn_s = std::min(options.turns.turn_s, kQuickTurn_s);
    options.turns.rounds = std::min(options.turns.rounds, kQuickRounds);
    options.peaks_s = std::min(options.peaks_s, kQuickPeaks_s);
  }
  settings.turns = options.turns;
  settings.run.machine = read_machine();
  RunOptions& kernel = settings.run.kernel;
  kernel = to_run_options(options.kernel, settings.run.machine.hierarchy);
  const int cores = settings.run.machine.hierarchy.cores;
  if (kernel.threads > cores)
    throw UsageError(fmt::format("--threads {}: this process may run on {} core(s)", kernel.threads, cores));
  if (kernel.threads == 0) kernel.threads = cores;
  settings.run.command = context.command_line();
  settings.run.protocol.window_s = options.turns.turn_s * options.turns.rounds;
  if (options.points.device != "cpu" && options.points.device != "gpu")
    throw UsageError(unknown_name("device", options.points.device, {"cpu", "gpu"}));
  if (options.points.device == "gpu") require_backend("gpu");
  const std::vector<Benchmark> points = comparison_points(options.points, kernel);
  const auto is_gemm = [](const Benchmark& point) { return point.family == "cpu/gemm"; };
  const bool on_gpu = options.points.device == "gpu";

  if (options.power.meters != "none") {  // before the threads of all are kept to some cores, and told at once
    options.power.config = read_meter_config(options.meter_config);
    // a model of what this process alone does would miss the peers in processes of their own
    if (!options.power.config["estimate"].contains("utilisation"))
      options.power.config["estimate"]["utilisation"] = "system";
    open_meters(settings.run, options.power, options.energy_target, options.points.quick);
  }
  BlasLibraries& libraries = blas_libraries(options.folder);
  if (!on_gpu) report_libraries(libraries, context.err);
  keep_to_cores(kernel.threads);  // drivers inherit it
  Clock& clock = system_clock();
  const ScratchFolder scratch;
  std::vector<std::unique_ptr<Learner>> learners;
  if (!std::all_of(points.begin(), points.end(), is_gemm))
    learners = enrol(options, settings, libraries, scratch.path(), context.err);
  if (options.peaks_s > 0) {
    const Ceiling ceiling{options.points.device, precision_of("", kernel.algorithm),
                          on_gpu ? 0 : kernel.threads};
    settings.peaks = measure_peaks(kernel, options.peaks_s, clock, ceiling);
    report_peaks(settings.peaks, ceiling, context.err);
  }
  RecordFile file(options.out.empty() ? default_output(settings.run.machine.host) : options.out);
  context.err << fmt::format("{} comparison(s) on {} thread(s), {} turns of {:g} s each, medians; to {}\n",
                             points.size(), kernel.threads, options.turns.rounds, options.turns.turn_s,
                             file.path());

  std::vector<Learner*> all;
  for (const auto& learner : learners) all.push_back(learner.get());
  std::vector<Comparison> products, trainings;
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const Benchmark& point : points) {
    Comparison comparison = is_gemm(point) ? compare_gemm(point, settings, libraries, clock)
                                           : compare_training(point, settings, all, scratch.path(), clock);
    std::string line =
        fmt::format("[{}/{}] {}:", products.size() + trainings.size() + 1, points.size(), point.name);
    for (const Standing& standing : comparison.standings) {
      file.append(standing.record);
      rows.push_back(row_json(standing.record.run));
      line += fmt::format(" {} {}", standing.name,
                          standing.step_s.empty() ? standing.record.run.text("status")
                                                  : human_seconds(standing.record.run.real("step_s")));
    }
    context.err << line << '\n' << std::flush;
    (is_gemm(point) ? products : trainings).push_back(std::move(comparison));
  }
  if (options.json) {
    context.out << nlohmann::ordered_json{{"file", file.path()}, {"runs", rows}}.dump(2) << '\n';
  } else {
    if (!products.empty())
      context.out << gemm_comparison_table(products, settings.peaks) << '\n'
                  << comparison_means(products) << '\n';
    if (!trainings.empty())
      context.out << training_comparison_table(trainings) << '\n'
                  << comparison_means(trainings) << floor_table(trainings);
    context.out << energy_comparison_table(products) << energy_comparison_table(trainings);
  }
  context.err << energy_troubles(products) << energy_troubles(trainings);
  const std::string troubles = comparison_troubles(products) + comparison_troubles(trainings);
  context.err << troubles;
  return troubles.empty() ? kExitOk : kExitFailure;
}

const CommandRegistration registration{
    "compare-peers", "ours in turns with BLAS libraries and training frameworks, on the same work",
    [](CLI::App& app) -> Action {
      auto options = std::make_shared<Options>();
      options->kernel.dataset_source = "auto";  // times do not depend on the values
      app.add_flag("--quick", options->points.quick, "a handful of points, under 3 minutes");
      app.add_flag("--grid", options->points.grid, "search every configuration, not only the sample of them");
      app.add_option("--device", options->points.device, "cpu, or gpu: ours and the frameworks' on the GPU")
          ->capture_default_str();
      app.add_option("--filter", options->points.filter, "regular expression searched in the names of ours");
      app.add_option("--only", options->points.only, "gemm or training");
      app.add_option("--peers", options->peers,
                     "regular expression: which drivers (and cxx_blas) take part in training")
          ->capture_default_str();
      app.add_option("--rounds", options->turns.rounds, "turns of each contestant")
          ->capture_default_str()
          ->check(CLI::Range(1, 1'000'000));
      app.add_option("--turn-s", options->turns.turn_s, "length of a turn aimed at")
          ->capture_default_str()
          ->check(CLI::PositiveNumber);
      app.add_option("--limit-s", options->limit_s, "longest wait for one answer of a driver")
          ->capture_default_str()
          ->check(CLI::PositiveNumber);
      app.add_option("--peaks-s", options->peaks_s,
                     "time for the peaks that the floor is made of; 0 = no floor")
          ->capture_default_str()
          ->check(CLI::NonNegativeNumber);
      add_meter_options(app, options->power, options->meter_config);
      app.add_option("--idle-s", options->power.idle_s,
                     "idle time before and after each window for joules (default as run's)")
          ->check(CLI::NonNegativeNumber);
      app.add_option("--energy-target", options->energy_target,
                     "relative standard uncertainty at which such a window ends; as run's")
          ->capture_default_str()
          ->check(CLI::Range(0.0, 1.0));
      app.add_option("--peers-folder", options->folder,
                     "what make peers made (default $MLPWATT_PEERS, else ~/.cache/mlpwatt/peers)");
      app.add_option("--drivers", options->scripts, "folder of the drivers (default results/peers)");
      app.add_option("--python", options->python,
                     "interpreter of the drivers (default that of --peers-folder)");
      app.add_option("--out", options->out,
                     "results file; an existing one is appended to (default results/<host>-<date>.h5)");
      app.add_flag("--json", options->json, "one JSON object instead of the tables");
      add_kernel_options(app, options->kernel);
      return [options](Context& context) { return run(*options, context); };
    }};

}  // namespace
}  // namespace mlpwatt

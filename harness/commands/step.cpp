// mlpwatt step: a benchmark's steps and nothing else, inside the bracket that a cache simulation looks for.
// `run --counters simulate` starts it; by hand it serves debuggers and profilers.

#include <unistd.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <ostream>

#include "cpu/isa.h"
#include "harness/options.h"
#include "harness/program.h"
#include "harness/run/step_command.h"
#include "harness/selection.h"
#include "meters/counters/valgrind_bracket.h"

namespace mlpwatt {

std::vector<std::string> step_command(const std::string& benchmark, const RunOptions& options) {
  // AVX2 without FMA misses the same lines and is simulated some twenty times faster; a simulator
  // serialises threads over one cache, so there is one thread.
  std::vector<std::string> command{std::filesystem::read_symlink("/proc/self/exe").string(),
                                   "step",
                                   benchmark,
                                   "--threads",
                                   "1",
                                   "--isa",
                                   isa_name(simulated_isa(options.isa)),
                                   "--batch",
                                   std::to_string(options.batch),
                                   "--seed",
                                   std::to_string(options.seed)};
  if (!options.algorithm.empty()) command.insert(command.end(), {"--algorithm", options.algorithm});
  if (!options.dataset.data_dir.empty())
    command.insert(command.end(), {"--data-dir", options.dataset.data_dir});
  const DatasetSource source = options.dataset.source;
  command.insert(command.end(), {"--dataset-source", source == DatasetSource::kFile        ? "file"
                                                     : source == DatasetSource::kSynthetic ? "synthetic"
                                                                                           : "auto"});
  return command;
}

namespace {

struct Options {
  std::string name;
  KernelOptions kernel;
  std::int64_t steps = 1, warm_up_steps = 1;
  bool json = false;
};

int step(const Options& options, Context& context) {
  const RunOptions run = to_run_options(options.kernel, read_hierarchy());
  const std::vector<Benchmark> chosen = select(catalogue(), run, {.filter = options.name});
  if (chosen.front().name != options.name)
    throw UsageError("step: '" + options.name +
                     "' is not the full name of a benchmark (nearest: " + chosen.front().name + ")");
  if (!chosen.front().unavailable.empty()) throw std::runtime_error(chosen.front().unavailable);
  const std::unique_ptr<Kernel> kernel = chosen.front().make(run);
  kernel->set_up();
  run_in_valgrind_bracket(options.warm_up_steps, options.steps,
                          [&](std::int64_t steps) { kernel->run(steps); });
  if (options.json)
    context.out << nlohmann::ordered_json{{"name", options.name}, {"steps", options.steps}}.dump(2) << '\n';
  else
    context.out << options.name << ": " << options.steps << " step(s)\n";
  return kExitOk;
}

const CommandRegistration registration{
    "step", "a benchmark's steps and nothing else, for simulators, debuggers and profilers",
    [](CLI::App& app) -> Action {
      auto options = std::make_shared<Options>();
      app.add_option("name", options->name, "full name of a benchmark")->required();
      constexpr std::int64_t most = 1'000'000'000;
      whole_number(app.add_option("--steps", options->steps, "counted steps")->capture_default_str(), 1,
                   most);
      whole_number(app.add_option("--warm-up-steps", options->warm_up_steps, "steps before them")
                       ->capture_default_str(),
                   0, most);
      app.add_flag("--json", options->json, "one JSON object");
      add_kernel_options(app, options->kernel);
      return [options](Context& context) { return step(*options, context); };
    }};

}  // namespace
}  // namespace mlpwatt

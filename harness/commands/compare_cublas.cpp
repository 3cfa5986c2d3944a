// mlpwatt compare-cublas: our matrix products on the device in turns with cuBLAS's.

#include <fmt/format.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <nlohmann/json.hpp>
#include <ostream>

#include "harness/compare/compare_kernels.h"
#include "harness/compare/tables.h"
#include "harness/options.h"
#include "harness/program.h"
#include "harness/record/record_file.h"
#include "harness/run/output.h"
#include "harness/run/row_json.h"
#include "harness/selection.h"
#include "harness/text.h"

namespace mlpwatt {
namespace {

constexpr const char* kOurs = "gpu/gemm";
constexpr const char* kTheirs = "gpu/gemm_cublas";

struct Options {
  KernelOptions kernel;
  TurnOptions turns;
  std::string filter, out;
  bool json = false;
};

std::vector<Benchmark> entries_of(const std::string& family_name, const RunOptions& options,
                                  const std::string& filter) {
  std::vector<Family> families;
  for (const Family& family : catalogue())
    if (family.name == family_name) families.push_back(family);
  if (families.empty())
    throw std::runtime_error(
        fmt::format("this program has no {}: it was built without nvcc (PATH, CUDA_HOME)", family_name));
  return select(families, options, {filter, false, false});
}

int run(const Options& options, Context& context) {
  CompareSettings settings;
  settings.turns = options.turns;
  settings.run.machine = read_machine();
  settings.run.kernel = to_run_options(options.kernel, settings.run.machine.hierarchy);
  settings.run.command = context.command_line();
  settings.run.protocol.window_s = options.turns.turn_s * options.turns.rounds;
  const std::vector<Benchmark> ours = entries_of(kOurs, settings.run.kernel, options.filter);
  if (ours.empty())
    throw UsageError(fmt::format("--filter '{}' matches nothing of {}", options.filter, kOurs));
  if (!ours.front().unavailable.empty()) throw std::runtime_error(ours.front().unavailable);
  std::map<std::string, Benchmark> theirs;
  for (const Benchmark& benchmark : entries_of(kTheirs, settings.run.kernel, ""))
    theirs[benchmark.name.substr(benchmark.family.size())] = benchmark;
  RecordFile file(options.out.empty() ? default_output(settings.run.machine.host) : options.out);
  std::vector<Comparison> comparisons;
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const Benchmark& benchmark : ours) {
    comparisons.push_back(compare_kernels(benchmark,
                                          theirs.at(benchmark.name.substr(benchmark.family.size())), "cublas",
                                          settings, system_clock()));
    std::string line = fmt::format("[{}/{}] {}:", comparisons.size(), ours.size(), benchmark.name);
    for (const Standing& standing : comparisons.back().standings) {
      file.append(standing.record);
      rows.push_back(row_json(standing.record.run));
      line += fmt::format(" {} {}", standing.name,
                          standing.step_s.empty() ? standing.record.run.text("status")
                                                  : human_seconds(standing.record.run.real("step_s")));
    }
    context.err << line << '\n' << std::flush;
  }
  if (options.json)
    context.out << nlohmann::ordered_json{{"file", file.path()}, {"runs", rows}}.dump(2) << '\n';
  else
    context.out << gemm_comparison_table(comparisons, settings.peaks) << '\n'
                << comparison_means(comparisons) << '\n';
  const std::string troubles = comparison_troubles(comparisons);
  context.err << troubles;
  return troubles.empty() ? kExitOk : kExitFailure;
}

const CommandRegistration registration{
    "compare-cublas",
    "our matrix products on the GPU in turns with cuBLAS's (fp32 with tf32 off, tf32, bf16)",
    [](CLI::App& app) -> Action {
      auto options = std::make_shared<Options>();
      app.add_option("--filter", options->filter, "regular expression searched in the names of ours");
      app.add_option("--rounds", options->turns.rounds, "turns of each contestant")
          ->capture_default_str()
          ->check(CLI::Range(1, 1'000'000));
      app.add_option("--turn-s", options->turns.turn_s, "length of a turn aimed at")
          ->capture_default_str()
          ->check(CLI::PositiveNumber);
      app.add_option("--out", options->out, "the HDF5 file that gets the rows");
      app.add_flag("--json", options->json, "one JSON object instead of the tables");
      add_kernel_options(app, options->kernel);
      return [options](Context& context) { return run(*options, context); };
    }};

}  // namespace
}  // namespace mlpwatt

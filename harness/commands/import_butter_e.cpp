// mlpwatt import-butter-e: the study's published files as a results file of ours.

#include <fmt/format.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <ostream>

#include "harness/import/butter_e.h"
#include "harness/program.h"

namespace mlpwatt {
namespace {

struct Options {
  std::string folder, out = "butter_e.h5";
  ButterEOptions import;
  bool json = false;
};

int import(const Options& options, Context& context) {
  if (!std::filesystem::is_directory(options.folder)) throw UsageError("no folder " + options.folder);
  if (std::filesystem::exists(options.out)) throw UsageError(options.out + " exists; choose another --out");
  const ButterEImport imported = import_butter_e(options.folder, options.import);
  for (const auto& [rule, count] : imported.rejected)
    context.err << fmt::format("{} run(s) rejected: {}\n", count, rule);
  const auto kept = imported.contents.rows(runs_table()).size();
  if (kept == 0) throw std::runtime_error(options.folder + ": every run was rejected");
  write_file(options.out, imported.contents);
  if (options.json) {
    context.out << nlohmann::ordered_json{{"file", options.out},
                                          {"runs", imported.rows},
                                          {"kept", kept},
                                          {"integrated", imported.integrated},
                                          {"rejected", imported.rejected}}
                       .dump(2)
                << '\n';
    return kExitOk;
  }
  context.out << fmt::format(
      "{}: {} of {} runs kept, energy of {} integrated from their job's watts, of {} as published\n"
      "next: mlpwatt fit {}\n",
      options.out, kept, imported.rows, imported.integrated,
      static_cast<std::int64_t>(kept) - imported.integrated, options.out);
  return kExitOk;
}

const CommandRegistration registration{
    "import-butter-e", "the study's published files (OEDI 5991) as a results file",
    [](CLI::App& app) -> Action {
      auto options = std::make_shared<Options>();
      app.add_option("folder", options->folder, "folder with runs_with_standardized_energy.csv")->required();
      app.add_option("--out", options->out, "results file to make")->capture_default_str();
      app.add_option("--epochs", options->import.epochs, "of every run")
          ->capture_default_str()
          ->check(CLI::PositiveNumber);
      app.add_option("--idle-percentile", options->import.idle_percentile,
                     "column of node_power_dist.csv that is a node's idle power")
          ->capture_default_str();
      app.add_flag("--json", options->json, "one JSON object");
      return [options](Context& context) { return import(*options, context); };
    }};

}  // namespace
}  // namespace mlpwatt

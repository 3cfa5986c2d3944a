// mlpwatt merge: shards, reruns and hosts into one file.

#include <fmt/format.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <memory>
#include <nlohmann/json.hpp>
#include <ostream>

#include "harness/campaign/merge.h"
#include "harness/program.h"

namespace mlpwatt {
namespace {

struct Options {
  std::string out;
  std::vector<std::string> inputs;
  bool no_samples = false, replace = false, json = false;
};

int merge(const Options& options, Context& context) {
  const MergeReport report =
      merge_files(options.out, options.inputs, {.samples = !options.no_samples, .replace = options.replace});
  if (options.json)
    context.out << nlohmann::ordered_json{{"file", options.out},
                                          {"inputs", options.inputs},
                                          {"runs_in", report.runs_in},
                                          {"runs", report.runs_out},
                                          {"duplicates", report.duplicates()},
                                          {"samples", report.samples_out},
                                          {"coefficients_left_out", report.coefficients_left_out}}
                       .dump(2)
                << '\n';
  else
    context.out << fmt::format("{}: {} runs of {} in {} input(s), {} duplicates left out, {} samples\n",
                               options.out, report.runs_out, report.runs_in, options.inputs.size(),
                               report.duplicates(), report.samples_out);
  if (report.coefficients_left_out > 0)
    context.err << fmt::format(
        "{} coefficients of models left out, fitted to the inputs' rows; again for these: mlpwatt fit {}\n",
        report.coefficients_left_out, options.out);
  return kExitOk;
}

const CommandRegistration registration{
    "merge", "results files and campaign folders into one file, duplicates once",
    [](CLI::App& app) -> Action {
      auto options = std::make_shared<Options>();
      app.add_option("out", options->out, "the file to write")->required();
      app.add_option("inputs", options->inputs, "results files and folders of campaigns")->required();
      app.add_flag("--no-samples", options->no_samples, "leave the meters' raw series out");
      app.add_flag("--replace", options->replace, "overwrite the output when it exists");
      app.add_flag("--json", options->json, "one JSON object");
      app.footer(
          "The same run: host, campaign and place in its order agree, or host, name and start. Kept of the\n"
          "same: status ok, then quality ok, then the latest start.");
      return [options](Context& context) { return merge(*options, context); };
    }};

}  // namespace
}  // namespace mlpwatt

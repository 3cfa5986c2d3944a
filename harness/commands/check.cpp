// mlpwatt check: whether results files keep the schema.

#include <fmt/format.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <memory>
#include <nlohmann/json.hpp>
#include <ostream>

#include "harness/campaign/check_file.h"
#include "harness/program.h"

namespace mlpwatt {
namespace {

struct Options {
  std::vector<std::string> files;
  std::string plan;
  bool json = false;
};

int check(const Options& options, Context& context) {
  std::optional<Plan> plan;
  if (!options.plan.empty()) plan = read_plan(options.plan);
  nlohmann::ordered_json array = nlohmann::ordered_json::array();
  bool valid = true;
  for (const std::string& file : options.files) {
    const FileVerdict verdict = check_file(file, plan);
    valid = valid && verdict.problems.empty();
    if (options.json) {
      array.push_back({{"file", file},
                       {"valid", verdict.problems.empty()},
                       {"runs", verdict.runs},
                       {"runs_ok", verdict.runs_ok},
                       {"flagged", verdict.flagged},
                       {"problems", verdict.problems},
                       {"unknown", verdict.unknown}});
      continue;
    }
    for (const std::string& problem : verdict.problems) context.out << file << ": " << problem << '\n';
    if (verdict.more) context.out << file << ": and more\n";
    for (const std::string& name : verdict.unknown)
      context.out << file << ": " << name
                  << ": not in this program's schema (kept by nothing but the file)\n";
    if (verdict.problems.empty())
      context.out << fmt::format("{}: valid, {} runs, {} ok, {} of them flagged\n", file, verdict.runs,
                                 verdict.runs_ok, verdict.flagged);
  }
  if (options.json) context.out << nlohmann::ordered_json{{"valid", valid}, {"files", array}}.dump(2) << '\n';
  return valid ? kExitOk : kExitFailure;
}

const CommandRegistration registration{
    "check", "validates results files against the schema and says what is wrong",
    [](CLI::App& app) -> Action {
      auto options = std::make_shared<Options>();
      app.add_option("file", options->files, "results files")->required();
      app.add_option("--plan", options->plan, "also: is every run of this plan there?");
      app.add_flag("--json", options->json, "one JSON object");
      return [options](Context& context) { return check(*options, context); };
    }};

}  // namespace
}  // namespace mlpwatt

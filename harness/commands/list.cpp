// mlpwatt list: the families of benchmarks, or the names a filter means.

#include <fmt/format.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <memory>
#include <nlohmann/json.hpp>
#include <ostream>

#include "harness/options.h"
#include "harness/program.h"
#include "harness/selection.h"
#include "harness/text.h"

namespace mlpwatt {
namespace {

using Json = nlohmann::ordered_json;

struct Options {
  KernelOptions kernel;
  Selection selection;
  bool names = false;
  bool json = false;
};

Json benchmark_json(const Benchmark& benchmark) {
  Json parameters = Json::object();
  for (const auto& [name, value] : benchmark.parameters)
    std::visit([&, key = name](const auto& held) { parameters[key] = held; }, value);
  return {{"name", benchmark.name},
          {"family", benchmark.family},
          {"quick", benchmark.quick},
          {"unavailable", benchmark.unavailable},
          {"parameters", parameters}};
}

struct FamilyFacts {
  std::size_t benchmarks = 0, quick = 0, unavailable = 0;
  std::string example, reason;
};

FamilyFacts survey(const Family& family, const RunOptions& options) {
  FamilyFacts facts;
  family.enumerate(options, [&](const Benchmark& benchmark) {
    if (facts.example.empty() || (benchmark.quick && facts.quick == 0)) facts.example = benchmark.name;
    ++facts.benchmarks;
    facts.quick += benchmark.quick ? 1 : 0;
    if (!benchmark.unavailable.empty()) {
      ++facts.unavailable;
      facts.reason = benchmark.unavailable;
    }
  });
  return facts;
}

int list_families(const Options& options, const RunOptions& run, Context& context) {
  Json array = Json::array();
  std::vector<std::vector<std::string>> rows{{"family", "benchmarks", "quick", "an example", "what it is"}};
  std::vector<std::string> unavailable;
  for (const Family& family : catalogue()) {
    const FamilyFacts facts = survey(family, run);
    array.push_back({{"name", family.name},
                     {"backend", family.backend},
                     {"summary", family.summary},
                     {"benchmarks", facts.benchmarks},
                     {"quick", facts.quick},
                     {"unavailable", facts.unavailable},
                     {"reason", facts.reason},
                     {"example", facts.example}});
    rows.push_back({family.name, std::to_string(facts.benchmarks), std::to_string(facts.quick), facts.example,
                    family.summary});
    if (facts.unavailable > 0)
      unavailable.push_back(fmt::format("{}: {} of {} unavailable here: {}", family.name, facts.unavailable,
                                        facts.benchmarks, facts.reason));
  }
  if (options.json) {
    context.out << Json{{"families", array}}.dump(2) << '\n';
    return kExitOk;
  }
  context.out << text_table(rows);
  for (const std::string& line : unavailable) context.out << line << '\n';
  context.out << "\nnames:  mlpwatt list --names [--filter REGEX]\n"
                 "run:    mlpwatt run --filter REGEX    or    make run KERNEL=REGEX\n";
  return kExitOk;
}

int list(const Options& options, Context& context) {
  const RunOptions run = to_run_options(options.kernel, read_hierarchy());
  const Selection& selection = options.selection;
  const bool names = options.names || selection.quick || selection.suite || !selection.filter.empty();
  if (!names) return list_families(options, run, context);
  Json array = Json::array();
  for (const Benchmark& benchmark : select(catalogue(), run, selection)) {
    if (options.json)
      array.push_back(benchmark_json(benchmark));
    else
      context.out << benchmark.name
                  << (benchmark.unavailable.empty() ? "" : "   unavailable: " + benchmark.unavailable)
                  << '\n';
  }
  if (options.json) context.out << Json{{"benchmarks", array}}.dump(2) << '\n';
  return kExitOk;
}

const CommandRegistration registration{
    "list", "the families of benchmarks, or the names a filter means", [](CLI::App& app) -> Action {
      auto options = std::make_shared<Options>();
      app.add_option("--filter,--benchmark_filter", options->selection.filter,
                     "regular expression searched in the name; a leading '-' means all but these");
      app.add_flag("--quick", options->selection.quick, "the quick suite");
      app.add_flag("--suite", options->selection.suite, "the suite: all but the large grids");
      app.add_flag("--names", options->names, "every name instead of the families");
      app.add_flag("--json", options->json, "one JSON object");
      add_kernel_options(app, options->kernel);
      return [options](Context& context) { return list(*options, context); };
    }};

}  // namespace
}  // namespace mlpwatt

// mlpwatt compare: two results files, configuration by configuration, with significance.

#include <fmt/format.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <ostream>
#include <set>

#include "harness/model/comparison.h"
#include "harness/program.h"
#include "harness/text.h"

namespace mlpwatt {
namespace {

using Json = nlohmann::ordered_json;

struct Options {
  std::string a, b;
  std::size_t top = 30;
  bool json = false, flagged_energies = false;
};

std::string machines_of(const Contents& contents) {
  std::set<std::string> names;
  for (const Row& row : contents.rows(machine_table()))
    names.insert(row.text("host") + " (" + row.text("processor") + ")");
  return fmt::format("{}", fmt::join(names, ", "));
}

Json comparison_json(const model::Comparison& comparison) {
  Json object{{"quantity", comparison.quantity},
              {"unit", comparison.unit},
              {"configurations", comparison.configurations.size()},
              {"median_ratio", comparison.median_ratio},
              {"median_ratio_low95", comparison.low95},
              {"median_ratio_high95", comparison.high95},
              {"significantly_less", comparison.faster},
              {"significantly_more", comparison.slower},
              {"rows", Json::array()}};
  for (const model::Compared& one : comparison.configurations)
    object["rows"].push_back({{"name", one.name},
                              {"a", one.a.middle},
                              {"a_repetitions", one.a.values.size()},
                              {"b", one.b.middle},
                              {"b_repetitions", one.b.values.size()},
                              {"ratio", one.ratio},
                              {"ratio_low95", one.low95},
                              {"ratio_high95", one.high95},
                              {"p", one.p},
                              {"significant", one.significant}});
  return object;
}

void print(const model::Comparison& comparison, std::size_t top, std::ostream& out) {
  std::vector<const model::Compared*> order;
  for (const model::Compared& one : comparison.configurations) order.push_back(&one);
  std::stable_sort(order.begin(), order.end(), [](const auto* x, const auto* y) {
    return std::abs(std::log(x->ratio)) > std::abs(std::log(y->ratio));
  });
  std::vector<std::vector<std::string>> lines{{"configuration", "A", "B", "B/A", "95 % interval", "verdict"}};
  for (std::size_t i = 0; i < std::min(top, order.size()); ++i) {
    const model::Compared& one = *order[i];
    lines.push_back({one.name, human_si(one.a.middle) + comparison.unit,
                     human_si(one.b.middle) + comparison.unit, fmt::format("{:.3f}", one.ratio),
                     std::isnan(one.low95) ? "-" : fmt::format("{:.3f} .. {:.3f}", one.low95, one.high95),
                     !one.significant ? "no difference shown"
                     : one.ratio < 1  ? "B costs less"
                                      : "B costs more"});
  }
  out << fmt::format("{} of {} configurations both have, largest difference first\n", comparison.quantity,
                     comparison.configurations.size())
      << text_table(lines);
  if (order.size() > top) out << fmt::format("({} more; --top {})\n", order.size() - top, order.size());
  out << fmt::format(
      "median B/A {:.3f} ({:.3f} .. {:.3f}, 95 %); B costs significantly less in {}, more in {}\n\n",
      comparison.median_ratio, comparison.low95, comparison.high95, comparison.faster, comparison.slower);
}

int compare(const Options& options, Context& context) {
  for (const std::string& file : {options.a, options.b})
    if (!std::filesystem::exists(file)) throw UsageError("no file " + file);
  const Contents a = read_file(options.a), b = read_file(options.b);
  std::vector<model::Comparison> comparisons;
  for (const std::string quantity : {"step_s", "step_energy_j_measured", "step_energy_j_modelled"})
    if (model::Comparison one = model::compare(a, b, quantity, options.flagged_energies);
        !one.configurations.empty())
      comparisons.push_back(std::move(one));
  if (comparisons.empty())
    throw std::runtime_error(fmt::format("{} and {} have no configuration in common that ended well in both",
                                         options.a, options.b));
  if (options.json) {
    Json object{{"a", options.a},
                {"b", options.b},
                {"a_machines", machines_of(a)},
                {"b_machines", machines_of(b)},
                {"comparisons", Json::array()}};
    for (const model::Comparison& one : comparisons) object["comparisons"].push_back(comparison_json(one));
    context.out << object.dump(2) << '\n';
    return kExitOk;
  }
  context.out << fmt::format("A  {}  {}\nB  {}  {}\n\n", options.a, machines_of(a), options.b,
                             machines_of(b));
  for (const model::Comparison& one : comparisons) print(one, options.top, context.out);
  context.out << "significance: Welch's t on logarithms, corrected for the number of configurations (false "
                 "discovery 5 %);\n"
                 "with fewer than three repetitions a side's error is its windows' own and misses drift "
                 "between them\n";
  return kExitOk;
}

const CommandRegistration registration{
    "compare", "two results files or machines side by side, with significance", [](CLI::App& app) -> Action {
      auto options = std::make_shared<Options>();
      app.add_option("a", options->a, "results file A")->required();
      app.add_option("b", options->b, "results file B")->required();
      app.add_option("--top", options->top, "lines to print")->capture_default_str();
      app.add_flag("--flagged-energies", options->flagged_energies,
                   "compare energies with quality flags as well (under_sampled, stuck ...)");
      app.add_flag("--json", options->json, "one JSON object");
      return [options](Context& context) { return compare(*options, context); };
    }};

}  // namespace
}  // namespace mlpwatt

// mlpwatt fit: fits the model of time and energy per step to the training runs of a file, tests it on parts
// left out, and writes both into the file.

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

#include "harness/model/model.h"
#include "harness/program.h"
#include "harness/record/record_file.h"
#include "harness/run/row_json.h"
#include "harness/text.h"

namespace mlpwatt {
namespace {

using Json = nlohmann::ordered_json;

struct Options {
  std::string file;
  model::BootstrapOptions bootstrap;
  std::string statistic = "median";
  bool json = false, dry = false, flagged_energies = false;
};

std::string number(double value, const char* format = "{:.3g}") {
  return std::isnan(value) ? "-" : fmt::format(fmt::runtime(format), value);
}

/// "cpu 0": the backend, and the row of /machine.
std::string whose(const Row& row) {
  return fmt::format("{} {}", row.text("backend"), row.integer("machine_row"));
}

/// A table without its first column, where that says the same in every line.
std::vector<std::vector<std::string>> told_apart(std::vector<std::vector<std::string>> lines) {
  const auto differs = [&](const auto& line) { return line[0] != lines[1][0]; };
  if (lines.size() > 1 && std::any_of(lines.begin() + 1, lines.end(), differs)) return lines;
  for (auto& line : lines) line.erase(line.begin());
  return lines;
}

std::vector<std::vector<std::string>> coefficient_lines(const std::vector<Row>& rows) {
  std::vector<std::vector<std::string>> lines{
      {"of", "target", "form", "algorithm", "term", "value", "95 % interval", "unit", "state"}};
  for (const Row& row : rows)
    lines.push_back(
        {whose(row), row.text("target"), row.text("form"), row.text("algorithm"), row.text("term"),
         number(row.real("value")),
         std::isnan(row.real("low95"))
             ? "-"
             : fmt::format("{:.3g} .. {:.3g}", row.real("low95"), row.real("high95")),
         row.text("unit"),
         row.text("state") + (row.text("reason").empty() ? "" : " (" + row.text("reason") + ")")});
  return lines;
}

std::vector<std::vector<std::string>> test_lines(const std::vector<Row>& rows) {
  std::vector<std::vector<std::string>> lines{{"of", "target", "form", "left out", "parts", "predicted",
                                               "sd(predicted/recorded)", "median |error|", "bias"}};
  for (const Row& row : rows)
    lines.push_back({whose(row), row.text("target"), row.text("form"), row.text("held_out"),
                     std::to_string(row.integer("parts")), std::to_string(row.integer("predictions")),
                     number(row.real("sd_ratio"), "{:.3f}"), number(row.real("median_error"), "{:.3f}"),
                     number(row.real("median_ratio"), "{:.3f}")});
  return lines;
}

int fit_file(const Options& options, Context& context) {
  if (!std::filesystem::exists(options.file))
    throw UsageError(
        fmt::format("no file {}; make one with: mlpwatt run --quick --out {}", options.file, options.file));
  const auto fit = [&](const Contents& contents) {
    std::map<std::string, int> skipped;
    const std::vector<model::TrainingRun> runs = model::merge_repetitions(
        model::training_runs(contents, &skipped, options.flagged_energies),
        options.statistic == "median" ? model::Statistic::kMedian : model::Statistic::kQuickest);
    for (const auto& [reason, count] : skipped)
      context.err << fmt::format("{} row(s) left out: {}\n", count, reason);
    if (runs.empty())
      throw std::runtime_error(options.file +
                               ": holds no training run that ended well; record some with: mlpwatt run "
                               "--filter '^cpu/mlp_train/' ...");
    const model::Fitting fitting = model::fit_all(runs, options.bootstrap);
    for (const std::string& line : fitting.left_out) context.err << "not fitted: " << line << '\n';
    if (fitting.forms.empty())
      throw std::runtime_error(
          fmt::format("{}: {} configuration(s) are too few to fit anything; a campaign over "
                      "the grid records more",
                      options.file, runs.size()));
    return model::rows_of(fitting, runs);
  };
  std::map<const Table*, std::vector<Row>> tables;
  if (options.dry) {
    tables = fit(read_file(options.file));
  } else {
    RecordFile file(options.file);
    tables = fit(file.contents());
    file.replace(tables);
  }
  const std::vector<Row>&coefficients = tables[&model_table()], &tests = tables[&model_tests_table()];
  if (options.json) {
    Json object{{"file", options.file},
                {"provenance", "modelled"},
                {"model", Json::array()},
                {"model_tests", Json::array()}};
    for (const Row& row : coefficients) object["model"].push_back(row_json(row));
    for (const Row& row : tests) object["model_tests"].push_back(row_json(row));
    context.out << object.dump(2) << '\n';
    return kExitOk;
  }
  context.out << text_table(told_apart(coefficient_lines(coefficients))) << '\n'
              << text_table(told_apart(test_lines(tests)));
  for (const Row& row : tests)
    if (!std::isnan(row.real("repeat_sd"))) {
      context.out << fmt::format(
          "repetitions of one configuration scatter by {:.3f} about their median; the {} of them was "
          "fitted\n",
          row.real("repeat_sd"), row.text("statistic"));
      break;
    }
  context.out << "modelled; the study's own models: sd 0.27 (CPU), 0.08 (GPU)\n";
  if (!options.dry)
    context.out << fmt::format("written to {} (/model, /model_tests, /model_predictions)\n", options.file);
  return kExitOk;
}

const CommandRegistration registration{
    "fit", "fits the time and energy model to a file's training runs and writes it into the file",
    [](CLI::App& app) -> Action {
      auto options = std::make_shared<Options>();
      app.add_option("file", options->file, "results file with training runs")->required();
      app.add_option("--resamples", options->bootstrap.resamples, "of the bootstrap")
          ->capture_default_str()
          ->check(CLI::Range(20, 100000));
      app.add_option("--seed", options->bootstrap.seed, "of the bootstrap")->capture_default_str();
      app.add_option("--statistic", options->statistic,
                     "which of several repetitions stands for a configuration: median, quickest")
          ->capture_default_str()
          ->check(CLI::IsMember({"median", "quickest"}));
      app.add_flag("--flagged-energies", options->flagged_energies,
                   "fit energies with quality flags as well (under_sampled, stuck ...)");
      app.add_flag("--dry", options->dry, "print only, leave the file as it is");
      app.add_flag("--json", options->json, "one JSON object");
      return [options](Context& context) { return fit_file(*options, context); };
    }};

}  // namespace
}  // namespace mlpwatt

#include "harness/model/verification.h"

#include <fmt/format.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <ostream>
#include <stdexcept>

#include "harness/machine.h"
#include "harness/options.h"
#include "harness/run/run_one.h"
#include "harness/text.h"
#include "kernels/backend.h"
#include "kernels/random.h"

namespace mlpwatt::model {

namespace {

TrainingRun measure(const Candidate& candidate, RunSettings settings, int repetition) {
  const Configuration& c = candidate.configuration;
  settings.kernel.batch = c.batch;
  settings.kernel.algorithm = c.algorithm;
  if (c.backend == "cpu") {  // a device's engine chooses the one, and is built for the other
    settings.kernel.threads = c.threads;
    settings.kernel.isa = c.isa;
  }
  const Backend& backend = require_backend(c.backend);
  const std::string family = c.backend + "/mlp_train";
  const std::string name = fmt::format("{}/{}/{}/{}/{}", family, c.dataset, c.shape, c.size, c.depth);
  Benchmark benchmark;  // the size may be off the grid: no entry of the catalogue
  benchmark.name = name;
  benchmark.family = family;
  benchmark.parameters = {
      {"dataset", c.dataset}, {"shape", c.shape}, {"size", c.size}, {"depth", std::int64_t{c.depth}}};
  benchmark.make = [&](const RunOptions& options) {
    return backend.make_step(c.network, c.dataset, options);
  };
  Record record = run_one(benchmark, settings, {0, repetition}, system_clock());
  if (record.run.text("status") != "ok")
    throw std::runtime_error(fmt::format("{}: {}", name, record.run.text("reason")));
  Contents contents;
  contents.add(std::move(record));
  const std::vector<TrainingRun> runs = training_runs(contents);
  if (runs.empty()) throw std::runtime_error(name + ": its record is no training run");
  return runs.front();
}

}  // namespace

void add_verify_options(CLI::App& app, VerifyOptions& options) {
  app.add_option("--repetitions", options.repetitions, "windows of each with --verify")
      ->capture_default_str()
      ->check(CLI::Range(3, 1000));
  app.add_option("--window-s", options.window_s, "length of a window with --verify")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  app.add_option("--dataset-source", options.dataset_source, "file, synthetic, auto")->capture_default_str();
  app.add_option("--meters", options.meters, "that look on with --verify: auto, none, or names")
      ->capture_default_str();
}

void summarise_pairs(Verification& v) {
  std::vector<double> savings;
  for (std::size_t i = 0; i < v.top.size(); ++i) savings.push_back(1 - v.top[i] / v.median.at(i));
  RandomStream random(1);
  std::vector<double> medians;
  for (int r = 0; r < 2000; ++r) {
    std::vector<double> drawn;
    for (std::size_t i = 0; i < savings.size(); ++i)
      drawn.push_back(savings[uniform_below(random, savings.size())]);
    medians.push_back(quantile(drawn, 0.5));
  }
  v.top_per_datum = quantile(v.top, 0.5);
  v.median_per_datum = quantile(v.median, 0.5);
  v.saving = quantile(savings, 0.5);
  v.saving_low95 = quantile(medians, 0.025);
  v.saving_high95 = quantile(medians, 0.975);
}

std::string verification_text(const Verification& v) {
  const char* unit = v.target == Target::kTime ? "s" : "J";
  return fmt::format(
      "measured, {} alternating windows each: {}{} against {}{} per datum; saving {:.1f} % ({:.1f} .. {:.1f} "
      "%, 95 %), "
      "predicted {:.1f} %",
      v.top.size(), human_si(v.top_per_datum), unit, human_si(v.median_per_datum), unit, 100 * v.saving,
      100 * v.saving_low95, 100 * v.saving_high95, 100 * v.predicted_saving);
}

nlohmann::ordered_json verification_json(const Verification& v) {
  return {{"target", to_string(v.target)},
          {"provenance", "measured"},
          {"repetitions", v.top.size()},
          {"top_per_datum", v.top_per_datum},
          {"median_per_datum", v.median_per_datum},
          {"saving", v.saving},
          {"saving_low95", v.saving_low95},
          {"saving_high95", v.saving_high95},
          {"predicted_saving", v.predicted_saving},
          {"decides", v.decides()},
          {"winner_is_cheaper", v.holds()}};
}

Verification verify(const Candidate& top, const Candidate& median, const VerifyOptions& options,
                    std::ostream& progress) {
  RunSettings settings;
  settings.machine = read_machine();
  KernelOptions kernel;
  kernel.dataset_source = options.dataset_source;
  settings.kernel = to_run_options(kernel, settings.machine.hierarchy);
  settings.protocol.window_s = options.window_s;
  settings.command = "mlpwatt, --verify";
  PowerOptions power;
  power.meters = options.meters;
  power.config = read_meter_config("");
  settings.power = std::make_shared<PowerSession>(power);
  settings.power->be_idle_once();
  Verification v;
  std::vector<TrainingRun> tops, medians;
  for (int r = 0; r < options.repetitions; ++r) {
    progress << fmt::format("verify {}/{}\n", r + 1, options.repetitions);
    tops.push_back(measure(top, settings, r));
    medians.push_back(measure(median, settings, r));
  }
  const auto all_have = [&](Target target) {
    const auto has = [&](const TrainingRun& run) { return target_value(run, target) > 0; };
    return std::all_of(tops.begin(), tops.end(), has) && std::all_of(medians.begin(), medians.end(), has);
  };
  // joules where a meter looked on and joules were predicted, else seconds against predicted seconds
  const bool joules = top.estimate.target != Target::kTime && all_have(Target::kEnergyMeasured);
  v.target = joules ? Target::kEnergyMeasured : Target::kTime;
  for (std::size_t i = 0; i < tops.size(); ++i) {
    v.top.push_back(target_value(tops[i], v.target) / rows_per_step(top.configuration));
    v.median.push_back(target_value(medians[i], v.target) / rows_per_step(median.configuration));
  }
  v.predicted_saving = 1 - (joules ? top.per_datum / median.per_datum : top.s_per_datum / median.s_per_datum);
  summarise_pairs(v);
  return v;
}

}  // namespace mlpwatt::model

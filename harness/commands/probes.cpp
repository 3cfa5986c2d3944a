// mlpwatt probes: the memory hierarchy as the probes of a file found it, against what hwloc reports, or what
// is described of a GPU.

#include <fmt/format.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <cmath>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <ostream>

#include "harness/model/hierarchy_file.h"
#include "harness/model/probes.h"
#include "harness/model/training_runs.h"
#include "harness/program.h"
#include "harness/text.h"

namespace mlpwatt {
namespace {

using Json = nlohmann::ordered_json;

struct Options {
  std::string file, backend;
  bool json = false, hierarchy = false;
};

std::string steps_text(const std::vector<model::Step>& steps) {
  if (steps.empty()) return "no step";
  return fmt::format("{} to {}", human_bytes(steps[0].last_before_bytes),
                     human_bytes(steps[0].first_after_bytes));
}

std::string interval_text(const model::Interval& interval, const std::string& unit) {
  if (std::isnan(interval.value)) return "-";
  if (std::isnan(interval.low95)) return human_si(interval.value) + unit;
  return fmt::format("{}{} ({} .. {})", human_si(interval.value), unit, human_si(interval.low95),
                     human_si(interval.high95));
}

Json step_json(const std::vector<model::Step>& steps) {
  if (steps.empty()) return nullptr;
  return {{"last_before_bytes", steps[0].last_before_bytes},
          {"first_after_bytes", steps[0].first_after_bytes}};
}

Json interval_json(const model::Interval& interval) {
  if (std::isnan(interval.value)) return nullptr;
  Json object{{"value", interval.value}};
  if (!std::isnan(interval.low95)) object["low95"] = interval.low95, object["high95"] = interval.high95;
  return object;
}

/// JSON has no NaN.
Json number_json(double value) { return std::isnan(value) ? Json(nullptr) : Json(value); }

Json findings_json(const model::ProbeFindings& findings) {
  Json levels = Json::array();
  for (const model::LevelFinding& level : findings.levels)
    levels.push_back({{"level", level.level},
                      {"capacity_bytes", number_json(level.capacity_bytes)},
                      {"swept_capacity_bytes", number_json(level.swept_capacity_bytes)},
                      {"step_by_latency", step_json(level.by_latency)},
                      {"step_by_bandwidth", step_json(level.by_bandwidth)},
                      {"disagreement", level.disagreement},
                      {"bandwidth_bytes_per_s", interval_json(level.bandwidth_bytes_per_s)},
                      {"latency_s", interval_json(level.latency_s)},
                      {"j_per_byte", interval_json(level.j_per_byte)}});
  return {{"levels", levels},
          {"flops_per_s", interval_json(findings.flops_per_s)},
          {"j_per_flop", interval_json(findings.j_per_flop)},
          {"energy_provenance", findings.energy_provenance},
          {"energy_above_idle", findings.energy_above_idle},
          {"idle_power_w", interval_json(findings.idle_power_w)}};
}

/// What `mlpwatt info --json` prints of a machine, with the rates found; for --hierarchy of predict and
/// recommend.
Json hierarchy_json(const model::ProbeFindings& findings, const Row& machine, const std::string& backend) {
  const bool of_processor = backend == "cpu";
  Json object{{"host", machine.text("host")},
              {"processor", of_processor ? machine.text("processor") : findings.hierarchy.source}};
  object.update(model::hierarchy_json(findings.hierarchy, backend));
  const auto fill = [](Json& rate, const model::Interval& found) {
    if (!std::isnan(found.value)) rate = found.value;
  };
  const auto fill_level = [&](Json& level, const model::LevelFinding& found) {
    fill(level["bandwidth_bytes_per_s"], found.bandwidth_bytes_per_s);
    // the model's prices are what a byte adds: joules that hold the machine's whole power are none
    if (findings.energy_above_idle) fill(level["j_per_byte"], found.j_per_byte);
  };
  for (std::size_t i = 0; i < object["caches"].size(); ++i)
    fill_level(object["caches"][i], findings.levels[i]);
  fill_level(object["memory"], findings.levels.back());
  fill(object["flops_per_s"], findings.flops_per_s);
  if (findings.energy_above_idle) fill(object["j_per_flop"], findings.j_per_flop);
  if (findings.energy_above_idle) fill(object["idle_power_w"], findings.idle_power_w);
  Json isas = Json::array();
  const std::string text = of_processor ? machine.text("isas") : "";
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find(' ', at), text.size());
    isas.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  object["isas"] = isas;
  return object;
}

int show(const Options& options, Context& context) {
  if (!std::filesystem::exists(options.file)) throw UsageError("no file " + options.file);
  const Contents contents = read_file(options.file);
  const std::string backend = options.backend.empty() ? model::probed_backend(contents) : options.backend;
  const bool of_processor = backend == "cpu";
  const model::ProbeFindings findings = model::find_hierarchy(contents, options.file, -1, backend);
  const Row& machine = contents.rows(machine_table()).at(static_cast<std::size_t>(findings.machine_row));
  if (options.hierarchy || options.json) {
    context.out
        << (options.hierarchy ? hierarchy_json(findings, machine, backend) : findings_json(findings)).dump(2)
        << '\n';
    return kExitOk;
  }
  // a device's driver tells its L2 and how much of its L1 may be shared memory
  const std::string reported = of_processor ? "hwloc" : "described";
  std::vector<std::vector<std::string>> lines{
      {"level", reported, "step in latency", "step in bandwidth", "bandwidth", "latency", "energy per byte"}};
  for (const model::LevelFinding& level : findings.levels)
    lines.push_back({level.level, std::isnan(level.capacity_bytes) ? "-" : human_bytes(level.capacity_bytes),
                     level.level == "memory" ? "-" : steps_text(level.by_latency),
                     level.level == "memory" ? "-" : steps_text(level.by_bandwidth),
                     interval_text(level.bandwidth_bytes_per_s, "B/s"), interval_text(level.latency_s, "s"),
                     interval_text(level.j_per_byte, "J")});
  context.out << fmt::format("{}, {}; {}, medians with 95 % intervals\n", machine.text("host"),
                             of_processor ? machine.text("processor") : findings.hierarchy.source,
                             of_processor ? "one thread" : "the whole device, its latency by one thread")
              << text_table(lines)
              << fmt::format("arithmetic  {} per second, {} per FLOP\n",
                             interval_text(findings.flops_per_s, "FLOP"),
                             interval_text(findings.j_per_flop, "J"));
  if (findings.energy_provenance.empty())
    context.out << "energy      none in this file (mlpwatt info lists the meters looked for)\n";
  else
    context.out << fmt::format("energy      {}, {}\n", findings.energy_provenance,
                               findings.energy_above_idle
                                   ? "above an idle power of " + interval_text(findings.idle_power_w, "W")
                                   : "the machine's whole power: no run has its idle power");
  for (const model::LevelFinding& level : findings.levels)
    if (!level.disagreement.empty())
      context.out << fmt::format(
          "disagreement: {} of {} {}{}, but {}\n", level.level, human_bytes(level.capacity_bytes),
          of_processor ? "by hwloc" : "as described",
          level.swept_capacity_bytes > level.capacity_bytes
              ? fmt::format(", {} all together", human_bytes(level.swept_capacity_bytes))
              : "",
          level.disagreement);
  return kExitOk;
}

const CommandRegistration registration{
    "probes", "the memory hierarchy as a file's probes found it, against the capacities that are reported",
    [](CLI::App& app) -> Action {
      auto options = std::make_shared<Options>();
      app.add_option("file", options->file, "results file with runs of stream, chase and fma")->required();
      app.add_option("--backend", options->backend,
                     "whose: cpu, or gpu for gpu/stream, gpu/chase, gpu/fma; default: what "
                     "the file has, cpu first")
          ->check(CLI::IsMember({"cpu", "gpu"}));
      app.add_flag("--json", options->json, "one JSON object");
      app.add_flag("--hierarchy", options->hierarchy,
                   "the machine with its rates as JSON, for --hierarchy of predict and recommend");
      return [options](Context& context) { return show(*options, context); };
    }};

}  // namespace
}  // namespace mlpwatt

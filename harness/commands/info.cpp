// mlpwatt info: what machine, caches, instruction sets, counters and meters were found.

#include <fmt/format.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <memory>
#include <nlohmann/json.hpp>
#include <ostream>

#include "harness/build_facts.h"
#include "harness/machine.h"
#include "harness/model/hierarchy_file.h"
#include "harness/program.h"
#include "harness/text.h"
#include "kernels/backend.h"
#include "meters/counters/counter_source.h"
#include "meters/power_session.h"

namespace mlpwatt {
namespace {

using Json = nlohmann::ordered_json;

struct Options {
  std::string meter_config, backend = "cpu";
  bool json = false;
};

/// One counter source or meter, and what to do when it is not there.
struct Finding {
  std::string name, state, detail, remedy;
};

std::vector<Finding> find_counters() {
  std::vector<Finding> findings;
  for (const CounterSourceEntry& entry : counter_sources()) {
    const auto source = entry.make();
    const CounterStatus status = source->probe();
    findings.push_back({entry.name, to_string(status.state), status.detail, status.remedy});
  }
  return findings;
}

std::vector<Finding> find_watt_meters(const nlohmann::json& config) {
  std::vector<Finding> findings;
  for (const MeterFinding& meter : find_meters(config))
    findings.push_back(
        {meter.name, meter.state, meter.detail.empty() ? meter.summary : meter.detail, meter.remedy});
  return findings;
}

Json findings_json(const std::vector<Finding>& findings) {
  Json array = Json::array();
  for (const Finding& finding : findings)
    array.push_back({{"name", finding.name},
                     {"status", finding.state},
                     {"detail", finding.detail},
                     {"remedy", finding.remedy}});
  return array;
}

void print_findings(std::ostream& out, const std::string& title, const std::vector<Finding>& findings) {
  out << '\n' << title << '\n';
  for (const Finding& finding : findings) {
    out << fmt::format("  {:<16}{:<14}  {}\n", finding.name, finding.state, finding.detail);
    if (!finding.remedy.empty()) out << fmt::format("  {:<32}remedy: {}\n", "", finding.remedy);
  }
  if (findings.empty()) out << "  none in this build\n";
}

int show_json(const Machine& machine, const std::string& backend, const nlohmann::json& meter_config,
              Context& context) {
  const BuildFacts& build = build_facts();
  Json object{{"host", machine.host}, {"processor", machine.processor}, {"system", machine.system}};
  object.update(model::hierarchy_json(machine.hierarchy, backend));
  object.update(Json{{"hierarchy_source", machine.hierarchy.source},
                     {"isas", machine.isas},
                     {"governor", machine.governor},
                     {"binding", thread_binding()},
                     {"commit", build.commit},
                     {"compiler", build.compiler},
                     {"compiler_flags", build.compiler_flags},
                     {"counters", findings_json(find_counters())},
                     {"meters", findings_json(find_watt_meters(meter_config))}});
  context.out << object.dump(2) << '\n';
  return kExitOk;
}

int show_text(const Machine& machine, const nlohmann::json& meter_config, Context& context) {
  std::ostream& out = context.out;
  const BuildFacts& build = build_facts();
  const Hierarchy& hierarchy = machine.hierarchy;
  out << fmt::format("host        {}\nprocessor   {}\nsystem      {}\n", machine.host, machine.processor,
                     machine.system);
  out << fmt::format("cores       {} ({} hardware threads), {}\n", hierarchy.cores,
                     hierarchy.hardware_threads, thread_binding());
  if (!machine.isas.empty()) out << fmt::format("ISAs        {}\n", fmt::join(machine.isas, " "));
  out << fmt::format("memory      {}\n", human_bytes(static_cast<double>(hierarchy.memory_bytes)));
  for (const CacheLevel& level : hierarchy.levels)
    out << fmt::format("{:<12}{}, {}lines of {} bytes, {} core(s) each\n", level.name,
                       human_bytes(static_cast<double>(level.capacity_bytes)),
                       level.associativity > 0 ? fmt::format("{}-way, ", level.associativity) : "",
                       level.line_bytes, level.shared_by_cores);
  out << fmt::format("hierarchy   {}\n", hierarchy.source);
  if (!machine.governor.empty()) out << fmt::format("governor    {}\n", machine.governor);
  out << fmt::format("program     {} by {}\n", build.commit, build.compiler);
  print_findings(out, "counters", find_counters());
  print_findings(out, "meters", find_watt_meters(meter_config));
  return kExitOk;
}

const CommandRegistration registration{
    "info", "what machine, caches, instruction sets, counters and meters were found",
    [](CLI::App& app) -> Action {
      auto options = std::make_shared<Options>();
      app.add_option("--meter-config", options->meter_config,
                     "JSON file of meter addresses and options (default $MLPWATT_METERS)");
      app.add_option("--backend", options->backend,
                     "whose memory hierarchy: cpu, or gpu for the device's (what --hierarchy of predict and "
                     "recommend reads)")
          ->capture_default_str()
          ->check(CLI::IsMember({"cpu", "gpu"}));
      app.add_flag("--json", options->json, "one JSON object");
      return [options](Context& context) {
        const nlohmann::json meter_config = read_meter_config(options->meter_config);
        Machine machine = read_machine();
        if (const Backend& backend = require_backend(options->backend); backend.hierarchy) {
          machine.hierarchy = backend.hierarchy();
          machine.processor = machine.hierarchy.source;
          machine.isas.clear();  // the processor's
        }
        return options->json ? show_json(machine, options->backend, meter_config, context)
                             : show_text(machine, meter_config, context);
      };
    }};

}  // namespace
}  // namespace mlpwatt

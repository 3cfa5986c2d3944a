// mlpwatt calibrate: what a meter's timing really is, and what looking on costs.

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

#include "harness/machine.h"
#include "harness/options.h"
#include "harness/program.h"
#include "harness/record/durable.h"
#include "harness/run/sampler_cost.h"
#include "harness/run/square_load.h"
#include "harness/selection.h"
#include "harness/text.h"
#include "meters/calibration_file.h"
#include "meters/power_session.h"

namespace mlpwatt {
namespace {

using Json = nlohmann::ordered_json;

/// Draws the most of a GPU that the catalogue can.
constexpr const char* kGpuLoad = "gpu/fma/fp32";

struct Options {
  std::string meter, meter_config, store, load;
  CalibrationOptions calibration;
  bool dry_run = false, json = false, sampler_cost = false;
  // of --sampler-cost
  std::string step = "cpu/mlp_train/wine_quality_white/rectangle/16384/4";
  int pairs = 30;
  double turn_s = 0.5;
  KernelOptions kernel;
};

/// The meters a name stands for, opened.
std::vector<std::unique_ptr<Meter>> open_named(const std::string& name, const nlohmann::json& config) {
  const std::string family = name.substr(0, name.find(':'));
  std::vector<std::string> known;
  for (const MeterEntry& entry : meter_entries()) {
    known.push_back(entry.name);
    if (entry.name != family) continue;
    MeterProbe probe =
        entry.open(config.is_object() && config.contains(family) ? config[family] : nlohmann::json());
    if (probe.state != MeterProbe::State::kFound)
      throw std::runtime_error(fmt::format("meter {}: {}: {}{}", family, to_string(probe.state), probe.detail,
                                           probe.remedy.empty() ? "" : "; remedy: " + probe.remedy));
    std::vector<std::unique_ptr<Meter>> chosen;
    std::vector<std::string> instances;
    for (std::unique_ptr<Meter>& meter : probe.meters) {
      instances.push_back(meter->name());
      if (name == family || name == meter->name()) chosen.push_back(std::move(meter));
    }
    if (chosen.empty()) throw UsageError(fmt::format("'{}' is none of {}", name, fmt::join(instances, ", ")));
    return chosen;
  }
  throw UsageError(fmt::format("'{}' is no meter; known: {}", name, fmt::join(known, ", ")));
}

/// A meter of nothing but GPUs sees no work of the processor.
bool measures_gpus_only(const Meter& meter) {
  const std::vector<Channel>& channels = meter.channels();
  return !channels.empty() && std::all_of(channels.begin(), channels.end(), [](const Channel& channel) {
    return channel.domain.starts_with("gpu:");
  });
}

/// A benchmark of the catalogue, set up. Errors: UsageError for no such name; std::runtime_error when it
/// cannot run here.
std::unique_ptr<Kernel> kernel_named(const std::string& name, const RunOptions& options) {
  Selection selection;
  selection.filter = "^" + name + "$";
  const Benchmark benchmark = select(catalogue(), options, selection).front();
  if (!benchmark.unavailable.empty())
    throw std::runtime_error(fmt::format("{} cannot run here: {}", name, benchmark.unavailable));
  std::unique_ptr<Kernel> kernel = benchmark.make(options);
  kernel->set_up();
  return kernel;
}

struct NamedLoad {
  std::string text;
  SquareLoad load;
};
/// What goes on and off: the benchmark asked for, or multiply-adds where the meter can see them.
NamedLoad load_for(const Meter& meter, const Options& options, const Hierarchy& hierarchy) {
  std::string name = options.load;
  if (name.empty() && !measures_gpus_only(meter)) {
    const int threads = options.kernel.threads > 0 ? options.kernel.threads : hierarchy.cores;
    return {fmt::format("multiply-adds on {} core(s) go", threads), fma_load(threads)};
  }
  if (name.empty()) {
    name = kGpuLoad;
    if (std::none_of(catalogue().begin(), catalogue().end(),
                     [](const Family& family) { return family.backend == "gpu"; }))
      throw std::runtime_error(fmt::format(
          "{} measures GPUs only ({} ...), and a program built without nvcc cannot load one; build it "
          "with the CUDA toolkit, or leave the meter at what it declares",
          meter.name(), meter.channels().front().domain));
  }
  return {name + " goes", kernel_load(kernel_named(name, to_run_options(options.kernel, hierarchy)))};
}

std::string estimated_text(const Estimated& value, bool bound = false) {
  if (std::isnan(value.value)) return "-";
  // a lag may come out below nothing by its spread
  const std::string text = (value.value < 0 ? "-" : "") + human_seconds(std::fabs(value.value));
  if (bound) return "<= " + text;
  return std::isnan(value.spread) ? text : text + " +- " + human_seconds(value.spread);
}

void print_timing(std::ostream& out, const ChannelTiming& timing) {
  if (!timing.reason.empty()) {
    out << fmt::format("{:<24} not found: {}\n", timing.domain, timing.reason);
    return;
  }
  out << fmt::format("{:<24} period {}, lag {}, window {}, quantum {}; {:.4g} W idle, {:.4g} W under load\n",
                     timing.domain, estimated_text(timing.update_period_s, timing.period_is_bound),
                     estimated_text(timing.lag_s), estimated_text(timing.averaging_s),
                     timing.quantum > 0 ? fmt::format("{:.3g}", timing.quantum) : "not seen", timing.idle_w,
                     timing.load_w);
}

int find_timing(const Options& options, Context& context) {
  const Machine machine = read_machine();
  const std::string path = options.store.empty() ? default_calibration_path() : options.store;
  const std::vector<ChannelTiming> known = read_calibrations(path);
  std::vector<ChannelTiming> found;
  const std::vector<std::unique_ptr<Meter>> meters =
      open_named(options.meter, read_meter_config(options.meter_config));
  for (const auto& meter : meters) {
    const auto [text, load] = load_for(*meter, options, machine.hierarchy);
    context.err << fmt::format("{}: {} on and off; keep the machine quiet\n", meter->name(), text);
    const CalibrationRecord record = record_under_load(*meter, load, options.calibration, monotonic_clock());
    for (const Series& series : record.series) {
      ChannelTiming timing = fit_timing(series, record.load);
      timing.host = calibration_host();
      timing.utc = utc_text(system_clock().realtime_ns());
      found.push_back(std::move(timing));
    }
  }
  std::size_t good = 0;
  for (const ChannelTiming& timing : found) good += timing.reason.empty() ? 1 : 0;
  if (good > 0 && !options.dry_run) {
    std::filesystem::create_directories(std::filesystem::absolute(path).parent_path());
    write_durably(path, calibration_text(known, found));
  }
  if (options.json) {
    Json list = Json::array();
    for (const ChannelTiming& timing : found) list.push_back(timing_json(timing));
    context.out << Json{{"file", options.dry_run ? "" : path}, {"calibrations", list}}.dump(2) << '\n';
  } else {
    for (const ChannelTiming& timing : found) print_timing(context.out, timing);
    if (good > 0 && !options.dry_run)
      context.out << fmt::format("kept in {}; windows and integrals use it from now on\n", path);
  }
  return good > 0 ? kExitOk : kExitFailure;
}

int show_sampler_cost(const Options& options, Context& context) {
  const Machine machine = read_machine();
  const RunOptions kernel_options = to_run_options(options.kernel, machine.hierarchy);
  const std::unique_ptr<Kernel> kernel = kernel_named(options.step, kernel_options);
  PowerOptions power;
  power.meters = options.meter;
  power.config = read_meter_config(options.meter_config);
  const auto open = [&] { return std::make_unique<PowerSession>(power); };
  std::vector<std::string> meters;
  {
    const auto session = open();
    for (const MeterFinding& finding : session->findings())
      if (finding.state == to_string(MeterProbe::State::kFound)) meters.push_back(finding.name);
  }
  if (meters.empty()) throw UsageError(fmt::format("no meter of '{}' is here", options.meter));
  const SamplerCost cost = measure_sampler_cost(*kernel, open, options.turn_s, options.pairs, system_clock());
  if (options.json) {
    context.out << Json{{"meters", meters},
                        {"step", options.step},
                        {"step_s", cost.step_s},
                        {"pairs", cost.pairs},
                        {"turn_s", options.turn_s},
                        {"reads_per_s", static_cast<double>(cost.reads) / cost.seconds},
                        {"core_share", cost.core_share},
                        {"slow_down", cost.slow_down},
                        {"slow_down_low95", cost.low95},
                        {"slow_down_high95", cost.high95},
                        {"turn_to_turn", cost.noise}}
                       .dump(2)
                << '\n';
    return kExitOk;
  }
  context.out << fmt::format(
      "meters      {}, {:.1f} reads/s\n"
      "processor   {:.3f} % of one core\n"
      "slow-down   {:+.2f} % (95 %: {:+.2f} to {:+.2f} %), median of {} pairs of {} turns of {}\n"
      "noise       one turn without to the next: {:.2f} % (median)\n",
      fmt::join(meters, ", "), static_cast<double>(cost.reads) / cost.seconds, 100 * cost.core_share,
      100 * cost.slow_down, 100 * cost.low95, 100 * cost.high95, cost.pairs, human_seconds(options.turn_s),
      options.step, 100 * cost.noise);
  return kExitOk;
}

const CommandRegistration registration{
    "calibrate", "finds a meter's update period, lag, averaging window and quantum; or the sampler's cost",
    [](CLI::App& app) -> Action {
      auto options = std::make_shared<Options>();
      app.add_option("meter", options->meter, "name of a meter (mlpwatt info); with --sampler-cost also auto")
          ->required();
      app.add_option("--meter-config", options->meter_config,
                     "JSON file of meter addresses and options (default $MLPWATT_METERS)");
      real_number(app.add_option("--seconds", options->calibration.length_s,
                                 "length of the record (default: 100 update periods, 20 s to 1 h)"),
                  1, 1e6);
      real_number(
          app.add_option("--hold-s", options->calibration.hold_s,
                         "mean time between switches of the load (default: a thirtieth of the record)"),
          1e-3, 1e6);
      real_number(app.add_option("--poll-s", options->calibration.poll_s,
                                 "time between readings (default: a twentieth of the update period)"),
                  1e-4, 1e4);
      app.add_option(
          "--load", options->load,
          "benchmark whose steps are the load (default: multiply-adds on all cores; gpu/fma/fp32 for a "
          "meter of GPUs only)");
      app.add_option("--store", options->store,
                     "calibration file (default $MLPWATT_CALIBRATION or ~/.config/mlpwatt/calibration.json)");
      app.add_flag("--dry-run", options->dry_run, "store nothing");
      app.add_flag("--json", options->json, "one JSON object");
      const char* group = "Sampler's cost";
      app.add_flag("--sampler-cost", options->sampler_cost,
                   "instead: run steps with and without the sampler, in turns")
          ->group(group);
      app.add_option("--step", options->step, "name of the benchmark whose steps are run")
          ->capture_default_str()
          ->group(group);
      whole_number(app.add_option("--pairs", options->pairs, "of turns")->capture_default_str(), 6, 100'000)
          ->group(group);
      real_number(app.add_option("--turn-s", options->turn_s, "length of a turn")->capture_default_str(),
                  1e-3, 3600)
          ->group(group);
      add_kernel_options(app, options->kernel);
      return [options](Context& context) {
        options->calibration.seed = options->kernel.seed;
        return options->sampler_cost ? show_sampler_cost(*options, context) : find_timing(*options, context);
      };
    }};

}  // namespace
}  // namespace mlpwatt

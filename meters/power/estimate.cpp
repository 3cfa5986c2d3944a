// estimate: no instrument at all. Power = idle + utilisation x (TDP - idle), from the processor's name and a
// table of design powers, or from the user's numbers; only where there is no real meter, and marked modelled.

#include <fmt/format.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>
#include <sstream>

#include "meters/power/sysfs.h"
#include "meters/sampler.h"

namespace mlpwatt {
namespace {

constexpr const char* kName = "estimate";
constexpr double kPoll_s = 0.5;
/// Share of the design power that an idle processor is taken to draw.
constexpr double kIdleShare = 0.3;
/// Of a processor that is not in the table.
constexpr double kUnknownThread_w = 3;

struct KnownProcessor {
  const char* name;  ///< as it stands in /proc/cpuinfo
  double tdp_w;      ///< the maker's design power of one socket
  int threads;       ///< of one socket: a virtual machine gets its share
};

/// Design powers as published by the makers.
constexpr std::array<KnownProcessor, 30> kProcessors{{
    {"EPYC 9654", 360, 192},
    {"EPYC 9554", 360, 128},
    {"EPYC 9354", 280, 64},
    {"EPYC 7763", 280, 128},
    {"EPYC 7713", 225, 128},
    {"EPYC 7543", 225, 64},
    {"EPYC 7742", 225, 128},
    {"EPYC 7702", 200, 128},
    {"EPYC 7532", 200, 64},
    {"EPYC 7452", 155, 64},
    {"EPYC 7402", 180, 48},
    {"EPYC 7551", 180, 64},
    {"Xeon(R) Platinum 8490H", 350, 120},
    {"Xeon(R) Platinum 8480+", 350, 112},
    {"Xeon(R) Platinum 8470QL", 350, 104},
    {"Xeon(R) Platinum 8468", 350, 96},
    {"Xeon(R) Platinum 8380", 270, 80},
    {"Xeon(R) Platinum 8358", 250, 64},
    {"Xeon(R) Platinum 8280", 205, 56},
    {"Xeon(R) Platinum 8180", 205, 56},
    {"Xeon(R) Platinum 8160", 150, 48},
    {"Xeon(R) Gold 6330", 205, 56},
    {"Xeon(R) Gold 6248", 150, 40},
    {"Xeon(R) Gold 6154", 200, 36},
    {"Xeon(R) Gold 6148", 150, 40},
    {"Xeon(R) CPU E5-2690 v4", 135, 28},
    {"Xeon(R) CPU E5-2680 v3", 120, 24},
    {"Ryzen 9 7950X", 170, 32},
    {"Ryzen 9 5950X", 105, 32},
    {"i9-13900K", 125, 32},
}};

struct Model {
  double idle_w = 0, tdp_w = 0;
  int threads = 1;
  std::string source;
};

Model model_of(const nlohmann::json& config) {
  std::ifstream cpuinfo(rooted(kName, config, "/proc/cpuinfo"));
  std::string processor;
  int threads = 0;
  for (std::string line; std::getline(cpuinfo, line);) {
    if (line.starts_with("processor")) ++threads;
    if (line.starts_with("model name") && processor.empty() && line.find(": ") != std::string::npos)
      processor = line.substr(line.find(": ") + 2);
  }
  Model model;
  model.threads = std::max(1, threads);
  const auto known = std::find_if(kProcessors.begin(), kProcessors.end(), [&](const KnownProcessor& each) {
    return processor.find(each.name) != std::string::npos;
  });
  if (known != kProcessors.end()) {
    model.tdp_w = known->tdp_w * model.threads / known->threads;
    model.source = fmt::format("{} W for {} threads of {}, {} of them here", known->tdp_w, known->threads,
                               known->name, model.threads);
  } else {
    model.tdp_w = kUnknownThread_w * model.threads;
    model.source = fmt::format("'{}' is not in the table: {} W for each of {} threads", processor,
                               kUnknownThread_w, model.threads);
  }
  const double tdp_w = number_setting(kName, config, "tdp_w", -1),
               idle_w = number_setting(kName, config, "idle_w", -1);
  if (tdp_w >= 0) {
    model.tdp_w = tdp_w;
    model.source = fmt::format("{} W as configured", tdp_w);
  }
  model.idle_w = idle_w >= 0 ? idle_w : kIdleShare * model.tdp_w;
  model.source += idle_w >= 0 ? fmt::format(", idle {} W as configured", idle_w)
                              : fmt::format(", idle taken as {:.0f} % of it", 100 * kIdleShare);
  if (model.idle_w > model.tdp_w)
    throw std::invalid_argument(
        fmt::format("{}: \"idle_w\" {} is above \"tdp_w\" {}", kName, model.idle_w, model.tdp_w));
  return model;
}

/// Busy seconds of this process, or of all processors.
class BusyTime {
 public:
  BusyTime(bool whole_system, std::string stat) : whole_system_(whole_system), stat_(std::move(stat)) {}
  /// nullopt when /proc/stat cannot be understood.
  std::optional<double> seconds() const {
    if (!whole_system_) {
      timespec now{};
      clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
      return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
    }
    std::istringstream words(read_text(stat_).text);
    std::string cpu;
    std::array<double, 8> ticks{};  // user nice system idle iowait irq softirq steal
    words >> cpu;
    for (double& tick : ticks) words >> tick;
    if (!words || cpu != "cpu") return std::nullopt;
    return (ticks[0] + ticks[1] + ticks[2] + ticks[5] + ticks[6]) / 100.0;
  }

 private:
  bool whole_system_;
  std::string stat_;
};

class Estimate : public Meter {
 public:
  Estimate(Model model, BusyTime busy, double poll_s)
      : model_(std::move(model)), busy_(std::move(busy)), poll_s_(poll_s) {
    Channel channel;
    channel.domain = "processor";
    channel.parent = "node";
    channel.kind = ReadingKind::kEnergyCounter;
    channel.provenance = Provenance::kModelled;
    channel.update_period_s = 1e-3;  // processor time is exact at any moment it is asked for
    channel.update_period_known = Known::kDeclared;
    channel.accuracy_relative = 0.5;
    channel.accuracy_source = "assumed: a design power is no measurement";
    channel.place = "model";
    channels_.push_back(channel);
    last_s_ = monotonic_now_s();
    last_busy_s_ = busy_.seconds();
  }
  std::string name() const override { return kName; }
  const std::vector<Channel>& channels() const override { return channels_; }
  double poll_period_s() const override { return poll_s_; }
  bool slow() const override { return false; }

  std::vector<Reading> read(double) override {
    Reading reading;
    const std::optional<double> busy_s = busy_.seconds();
    reading.monotonic_s = monotonic_now_s();
    if (!busy_s || !last_busy_s_) {
      reading.reason = std::string(kName) + ": /proc/stat has no processor times";
      last_busy_s_ = busy_s;
      last_s_ = reading.monotonic_s;
      return {reading};
    }
    const double elapsed_s = reading.monotonic_s - last_s_;
    const double busy = std::clamp(*busy_s - *last_busy_s_, 0.0, elapsed_s * model_.threads);
    joules_ += model_.idle_w * elapsed_s + busy / model_.threads * (model_.tdp_w - model_.idle_w);
    last_s_ = reading.monotonic_s;
    last_busy_s_ = busy_s;
    reading.value = joules_;
    return {reading};
  }

 private:
  Model model_;
  BusyTime busy_;
  double poll_s_;
  std::vector<Channel> channels_;
  double last_s_ = 0, joules_ = 0;
  std::optional<double> last_busy_s_;
};

MeterProbe open(const nlohmann::json& config) {
  only_known_settings(kName, config, {"root", "poll_s", "tdp_w", "idle_w", "utilisation"});
  const std::string utilisation = text_setting(kName, config, "utilisation", "process");
  if (utilisation != "process" && utilisation != "system")
    throw std::invalid_argument(
        fmt::format("{}: \"utilisation\" '{}' is neither process nor system", kName, utilisation));
  MeterProbe probe;
  Model model = model_of(config);
  probe.state = MeterProbe::State::kFound;
  probe.detail = fmt::format("modelled, used only without a real meter: {:.3g} W idle to {:.3g} W busy ({})",
                             model.idle_w, model.tdp_w, model.source);
  BusyTime busy(utilisation == "system", rooted(kName, config, "/proc/stat"));
  probe.meters.push_back(std::make_unique<Estimate>(std::move(model), std::move(busy),
                                                    number_setting(kName, config, "poll_s", kPoll_s)));
  return probe;
}

const MeterRegistration registration{
    {.name = kName,
     .summary = "idle + utilisation x (TDP - idle): a model, where there is no meter",
     .rank = 1000,
     .fallback = true,
     .open = [](const nlohmann::json& config) { return guarded([&] { return open(config); }); }}};

}  // namespace
}  // namespace mlpwatt

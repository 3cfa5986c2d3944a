// battery: the discharge power of a laptop's batteries. It is the node's power only while off the mains.

#include <fmt/format.h>

#include <cerrno>
#include <cmath>

#include "meters/power/sysfs.h"
#include "meters/sampler.h"

namespace mlpwatt {
namespace {

constexpr const char* kName = "battery";
constexpr double kPoll_s = 0.5;

class Batteries : public Meter {
 public:
  Batteries(std::vector<std::string> folders, double poll_s) : folders_(std::move(folders)), poll_s_(poll_s) {
    Channel channel;
    channel.domain = "node";
    channel.kind = ReadingKind::kInstantPower;
    channel.resolution = 1e-3;
    channel.accuracy_relative = 0.05;
    channel.accuracy_source = "assumed";
    channel.place = "battery";
    channels_.push_back(channel);
  }
  std::string name() const override { return kName; }
  const std::vector<Channel>& channels() const override { return channels_; }
  double poll_period_s() const override { return poll_s_; }
  bool slow() const override { return true; }  // some embedded controllers take a tenth of a second

  std::vector<Reading> read(double) override {
    Reading reading;
    double watts = 0;
    int discharging = 0;
    for (const std::string& folder : folders_) {
      const FileText status = read_text(folder + "/status");
      if (!status.ok()) {
        reading.reason = fmt::format("{}: {}", kName, status.reason(folder + "/status"));
        break;
      }
      // The other battery of two rests at 0 W.
      if (status.text != "Discharging") continue;
      ++discharging;
      std::optional<double> microwatts = read_number(folder + "/power_now");
      const auto ua = read_number(folder + "/current_now"), uv = read_number(folder + "/voltage_now");
      if (!microwatts && ua && uv) microwatts = *ua * *uv * 1e-6;
      if (!microwatts) {
        const std::string file = folder + "/power_now";
        const FileText why = read_text(file);
        reading.reason =
            why.error == EACCES
                ? fmt::format("{}: {}", kName, why.reason(file))
                : fmt::format("{}: {} has neither power_now nor current_now and voltage_now", kName, folder);
        break;
      }
      watts += std::fabs(*microwatts) * 1e-6;  // some drivers count discharge as negative
    }
    reading.monotonic_s = monotonic_now_s();
    if (reading.reason.empty() && discharging == 0)
      reading.reason = fmt::format("{}: not discharging: the mains feed the node", kName);
    if (reading.reason.empty() && watts == 0)
      reading.reason = fmt::format("{}: 0 W is no reading of a running machine", kName);
    if (reading.reason.empty()) reading.value = watts;
    return {reading};
  }

 private:
  std::vector<std::string> folders_;
  double poll_s_;
  std::vector<Channel> channels_;
};

MeterProbe open(const nlohmann::json& config) {
  only_known_settings(kName, config, {"root", "poll_s"});
  MeterProbe probe;
  const std::string base = rooted(kName, config, "/sys/class/power_supply");
  std::vector<std::string> folders;
  bool discharging = false;
  for (const std::string& entry : folder_entries(base, "")) {
    const std::string folder = base + "/" + entry;
    // Batteries of mice and keyboards are batteries too.
    if (read_text(folder + "/type").text != "Battery" || read_text(folder + "/scope").text == "Device")
      continue;
    folders.push_back(folder);
    discharging = discharging || read_text(folder + "/status").text == "Discharging";
  }
  if (folders.empty()) {
    probe.detail = base + ": no battery";
    return probe;
  }
  if (!discharging) {
    probe.detail = fmt::format("{} is not discharging: the mains feed the node", folders.front());
    probe.remedy = "unplug the mains and start again";
    return probe;
  }
  probe.state = MeterProbe::State::kFound;
  probe.detail = fmt::format("{} discharging", fmt::join(folders, ", "));
  probe.meters.push_back(
      std::make_unique<Batteries>(std::move(folders), number_setting(kName, config, "poll_s", kPoll_s)));
  return probe;
}

const MeterRegistration registration{
    {.name = kName,
     .summary = "discharge power of a laptop off the mains (/sys/class/power_supply)",
     .rank = 80,
     .open = [](const nlohmann::json& config) { return guarded([&] { return open(config); }); }}};

}  // namespace
}  // namespace mlpwatt

// pm_counters: out-of-band telemetry of HPE Cray nodes, 10 times a second, in /sys/cray/pm_counters. All
// files belong to one scan; `freshness` counts scans, so a read with the same freshness before and after saw
// one. Where `startup` or `generation` changed one read is given up, which flags the window with the reason:
// the counters began anew, or the node was given another power cap, and half of the window is not like the
// other.

#include <fmt/format.h>

#include <array>
#include <cerrno>
#include <cmath>
#include <sstream>

#include "meters/power/sysfs.h"
#include "meters/sampler.h"

namespace mlpwatt {
namespace {

constexpr const char* kName = "pm_counters";
constexpr double kUsualScan_hz = 10;
/// Reads until the scan stays the same, then a reason.
constexpr int kTries = 4;
/// A stamp farther than this from our own clock is not used as the reading's time.
constexpr double kNearby_s = 5;

struct Number {
  std::optional<double> value;
  std::optional<std::int64_t> stamp_us;  ///< since 1970, where the file has one
};

/// "85 W 1620000000000000 us", or without the stamp on older systems
Number parse(const std::string& text) {
  std::istringstream words(text);
  std::string value, unit, stamp, stamp_unit;
  words >> value >> unit >> stamp >> stamp_unit;
  Number number{as_number(value), std::nullopt};
  if (const auto us = as_number(stamp); us && stamp_unit == "us") number.stamp_us = std::llround(*us);
  return number;
}

/// A number whose change says that what follows is not like what was before.
struct Epoch {
  KeptFile file;
  const char* what;
  std::optional<double> last;
};

class PmCounters : public Meter {
 public:
  PmCounters(const std::string& folder, const std::vector<FileChannel>& files, double poll_s)
      : freshness_(folder + "/freshness"),
        epochs_{{{KeptFile(folder + "/startup"), "the counters began anew (startup changed)", {}},
                 {KeptFile(folder + "/generation"), "the power cap was changed (generation changed)", {}}}},
        poll_s_(poll_s) {
    look_at_epochs();
    for (const FileChannel& file : files) {
      channels_.push_back(file.channel);
      kept_.emplace_back(file.path);
    }
  }
  std::string name() const override { return kName; }
  const std::vector<Channel>& channels() const override { return channels_; }
  double poll_period_s() const override { return poll_s_; }
  bool slow() const override { return false; }

  std::vector<Reading> read(double) override {
    std::vector<Reading> readings(kept_.size());
    std::string reason = fmt::format("{}: freshness changed during {} reads in a row", kName, kTries);
    for (int attempt = 0; attempt < kTries; ++attempt) {
      const FileText before = freshness_.read();
      for (std::size_t i = 0; i < kept_.size(); ++i) readings[i] = read_one(i);
      const FileText after = freshness_.read();
      if (before.ok() && before.text != after.text) continue;
      if (const char* change = look_at_epochs()) {
        reason = fmt::format("{}: {}", kName, change);
        break;
      }
      if (const auto scan = as_number(before.text); before.ok() && scan)
        for (Reading& reading : readings)
          if (reading.value && !reading.device_stamp) reading.device_stamp = std::llround(*scan);
      return readings;
    }
    for (Reading& reading : readings) {
      reading.value.reset();
      reading.reason = reason;
    }
    return readings;
  }

 private:
  /// @return what changed since the last look, or nullptr
  const char* look_at_epochs() {
    const char* change = nullptr;
    for (Epoch& epoch : epochs_) {
      // one that cannot be read tells nothing; the counters' own files say what is wrong
      const std::optional<double> now = parse(epoch.file.read().text).value;
      if (now && epoch.last && *now != *epoch.last && change == nullptr) change = epoch.what;
      if (now) epoch.last = now;
    }
    return change;
  }

  Reading read_one(std::size_t i) {
    Reading reading;
    const FileText text = kept_[i].read();
    reading.monotonic_s = monotonic_now_s();
    const Number number = text.ok() ? parse(text.text) : Number{};
    if (!number.value) {
      reading.reason = fmt::format("{}: {}", kName, text.reason(kept_[i].path()));
      return reading;
    }
    reading.value = *number.value;
    if (number.stamp_us) reading.device_stamp = *number.stamp_us;
    if (number.stamp_us && channels_[i].stamped_by_device)
      reading.monotonic_s = static_cast<double>(*number.stamp_us) * 1e-6 - wall_offset_s();
    return reading;
  }

  KeptFile freshness_;
  std::array<Epoch, 2> epochs_;
  std::vector<KeptFile> kept_;  ///< of each channel
  std::vector<Channel> channels_;
  double poll_s_;
};

MeterProbe open(const nlohmann::json& config) {
  only_known_settings(kName, config, {"root", "poll_s"});
  MeterProbe probe;
  const std::string folder = rooted(kName, config, "/sys/cray/pm_counters");
  const double scan_hz = read_number(folder + "/raw_scan_hz").value_or(kUsualScan_hz);
  std::vector<FileChannel> files;
  std::vector<std::string> domains;
  bool stamped = true;
  const auto add = [&](const std::string& file, const std::string& domain, ReadingKind kind) {
    const FileText text = read_text(folder + "/" + file);
    const Number number = parse(text.text);
    if (!text.ok() || !number.value) return false;
    FileChannel channel;
    channel.path = folder + "/" + file;
    Channel& what = channel.channel;
    what.domain = domain;
    what.parent = domain == "node" ? "" : "node";
    what.kind = kind;
    what.update_period_s = scan_hz > 0 ? 1 / scan_hz : 0;
    what.update_period_known = Known::kDeclared;
    what.resolution = 1;
    what.accuracy_relative = 0.05;
    what.accuracy_source = "assumed";
    what.place = "DC bus";
    // A stamp that is nowhere near our clock tells scans apart, but not when they were.
    what.stamped_by_device = number.stamp_us && std::fabs(static_cast<double>(*number.stamp_us) * 1e-6 -
                                                          wall_offset_s() - monotonic_now_s()) < kNearby_s;
    stamped = stamped && what.stamped_by_device;
    files.push_back(std::move(channel));
    domains.push_back(domain);
    return true;
  };
  std::vector<std::pair<std::string, std::string>> parts{
      {"", "node"}, {"cpu_", "cpu"}, {"memory_", "memory"}};
  for (const std::string& file : folder_entries(folder, "accel"))
    if (file.ends_with("_energy")) {
      const std::string accelerator = file.substr(0, file.find('_'));
      parts.emplace_back(accelerator + "_", accelerator);
    }
  for (const auto& [prefix, domain] : parts)
    if (!add(prefix + "energy", domain, ReadingKind::kEnergyCounter))
      add(prefix + "power", domain, ReadingKind::kInstantPower);
  if (files.empty()) {
    const int error = readable(folder + "/energy");
    if (error == EACCES || error == EPERM) {
      probe.state = MeterProbe::State::kNotPermitted;
      probe.detail = folder + " is not readable";
      probe.remedy = "ask the site for read access to " + folder;
    } else {
      probe.detail = folder + ": not there (no HPE Cray node)";
    }
    return probe;
  }
  probe.state = MeterProbe::State::kFound;
  probe.detail = fmt::format("{} Hz: {}", scan_hz, fmt::join(domains, ", "));
  // Without stamps the time of an update is only known to the distance of two reads: a third of a scan is
  // 17 ms either way, and each read wakes a core.
  const double poll_s = scan_hz > 0 ? (stamped ? 0.5 : 1.0 / 3) / scan_hz : 0.05;
  probe.meters.push_back(
      std::make_unique<PmCounters>(folder, files, number_setting(kName, config, "poll_s", poll_s)));
  return probe;
}

const MeterRegistration registration{
    {.name = kName,
     .summary = "HPE Cray node telemetry: node, cpu, memory, accelerators (/sys/cray/pm_counters)",
     .rank = 30,
     .open = [](const nlohmann::json& config) { return guarded([&] { return open(config); }); }}};

}  // namespace
}  // namespace mlpwatt

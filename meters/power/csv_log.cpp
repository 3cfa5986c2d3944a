// csv_log: a power log that another program on this machine or a shared file system keeps writing, tailed
// live.

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <deque>
#include <filesystem>

#include "meters/power/power_log.h"
#include "meters/power/sysfs.h"
#include "meters/sampler.h"

namespace mlpwatt {
namespace {

constexpr const char* kName = "csv_log";
constexpr double kUsualPeriod_s = 60;  // the study's

class CsvLog : public Meter {
 public:
  CsvLog(std::string path, PowerLogFormat format, Channel channel)
      : path_(std::move(path)), reader_(std::move(format)), channels_{std::move(channel)} {
    // Lines of before are nobody's business; half a line at the end is finished by the next read.
    std::error_code none;
    const std::uintmax_t size = std::filesystem::file_size(path_, none);
    position_ = none ? 0 : static_cast<std::int64_t>(size);
  }
  std::string name() const override { return kName; }
  const std::vector<Channel>& channels() const override { return channels_; }
  double poll_period_s() const override { return std::clamp(channels_[0].update_period_s / 4, 0.01, 5.0); }
  bool slow() const override { return true; }  // the file may be on a network

  std::vector<Reading> read(double) override {
    if (const std::string trouble = read_new_lines(); !trouble.empty()) return {failure(trouble)};
    if (!waiting_.empty()) {
      last_ = waiting_.front();
      waiting_.pop_front();
    }
    if (!last_) return {failure("no line for this node yet")};
    return {*last_};
  }

 private:
  static Reading failure(const std::string& what) {
    Reading reading;
    reading.monotonic_s = monotonic_now_s();
    reading.reason = fmt::format("{}: {}", kName, what);
    return reading;
  }

  std::string read_new_lines() {
    // By name each time: the writer may have put a new file in its place.
    const int descriptor = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC);
    struct stat status;
    if (descriptor < 0 || fstat(descriptor, &status) != 0) {
      const int error = errno;
      if (descriptor >= 0) close(descriptor);
      return fmt::format("{}: {}", path_, strerror(error));
    }
    if (status.st_size < position_) {  // rotated
      position_ = 0;
      unfinished_.clear();
    }
    std::string fresh(static_cast<std::size_t>(status.st_size - position_), '\0');
    const ssize_t got = pread(descriptor, fresh.data(), fresh.size(), position_);
    const int error = errno;
    close(descriptor);
    if (got < 0) return fmt::format("{}: {}", path_, strerror(error));
    fresh.resize(static_cast<std::size_t>(got));
    position_ += got;
    unfinished_ += fresh;
    std::string trouble;
    for (std::size_t end; (end = unfinished_.find('\n')) != std::string::npos;
         unfinished_.erase(0, end + 1)) {
      try {
        if (const auto logged = reader_.take(unfinished_.substr(0, end)))
          waiting_.push_back(as_reading(*logged));
      } catch (const std::exception& refused) {
        trouble = fmt::format("{}: {}", path_, refused.what());
      }
    }
    return trouble;
  }

  static Reading as_reading(const LoggedPower& logged) {
    Reading reading;
    reading.monotonic_s = logged.wall_s - wall_offset_s();
    reading.value = logged.watts;
    reading.reason = logged.reason;
    reading.device_stamp = std::llround(logged.wall_s * 1e6);
    return reading;
  }

  std::string path_;
  PowerLogReader reader_;
  std::vector<Channel> channels_;
  std::int64_t position_ = 0;
  std::string unfinished_;
  std::deque<Reading> waiting_;
  std::optional<Reading> last_;
};

MeterProbe open(const nlohmann::json& config) {
  MeterProbe probe;
  if (config.is_null()) {
    probe.state = MeterProbe::State::kNotConfigured;
    probe.detail = "which file is to be tailed is to be given";
    probe.remedy =
        R"(--meter-config FILE with {"csv_log": {"path": "power.csv", "node": "n1", "period_s": 60}})";
    return probe;
  }
  only_known_settings(kName, config,
                      {"path", "node", "timezone", "offset_s", "period_s", "averaging_s", "lag_s",
                       "accuracy_relative", "domain", "zero_is_reading"});
  const std::string path = text_setting(kName, config, "path", "");
  if (path.empty()) throw std::invalid_argument(fmt::format("{}: \"path\" is missing", kName));
  if (const int error = readable(path); error != 0) {
    probe.state = error == EACCES ? MeterProbe::State::kNotPermitted : MeterProbe::State::kAbsent;
    probe.detail = fmt::format("{}: {}", path, strerror(error));
    probe.remedy = error == EACCES ? "chmod a+r " + path : "start the logger first";
    return probe;
  }
  PowerLogFormat format;
  format.timezone = text_setting(kName, config, "timezone", "");
  format.offset_s = number_setting(kName, config, "offset_s", 0);
  format.node = text_setting(kName, config, "node", "");
  format.zero_is_reading = config.value("zero_is_reading", false);
  Channel channel;
  channel.domain = text_setting(kName, config, "domain", "node");
  channel.parent = channel.domain == "node" ? "" : "node";
  channel.kind = ReadingKind::kAveragePower;
  channel.update_period_s = number_setting(kName, config, "period_s", kUsualPeriod_s);
  channel.update_period_known = config.contains("period_s") ? Known::kDeclared : Known::kAssumed;
  channel.averaging_s = number_setting(kName, config, "averaging_s", channel.update_period_s);
  channel.lag_s = number_setting(kName, config, "lag_s", 0);
  channel.accuracy_relative = number_setting(kName, config, "accuracy_relative", 0.05);
  channel.accuracy_source = config.contains("accuracy_relative") ? "configuration" : "assumed";
  channel.stamped_by_device = true;
  if (!(channel.update_period_s > 0))
    throw std::invalid_argument(fmt::format("{}: \"period_s\" must be above 0", kName));
  probe.state = MeterProbe::State::kFound;
  probe.detail = fmt::format("{}, a line every {} s", path, channel.update_period_s);
  probe.meters.push_back(std::make_unique<CsvLog>(path, std::move(format), std::move(channel)));
  return probe;
}

const MeterRegistration registration{
    {.name = kName,
     .summary = "a log of another program, timestamp,node,watts, tailed live",
     .rank = 90,
     .open = [](const nlohmann::json& config) { return guarded([&] { return open(config); }); }}};

}  // namespace
}  // namespace mlpwatt

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
#include <fstream>

#include "meters/power/power_log.h"
#include "meters/power/sysfs.h"
#include "meters/sampler.h"

namespace mlpwatt {
namespace {

constexpr const char* kName = "csv_log";
constexpr double kUsualPeriod_s = 60;  // the study's

/// What a log ends with when it is opened.
struct LogEnd {
  std::int64_t position = 0;  ///< behind its last whole line
  double period_s = 0;        ///< by the stamps of its last lines; 0 = too few to tell
};

LogEnd end_of(const std::string& path, const PowerLogFormat& format) {
  constexpr std::int64_t kLook = 1 << 20;  // a node's line may stand among those of many
  constexpr std::size_t kFewest = 5, kMost = 100;
  LogEnd found;
  std::error_code none;
  if (!std::filesystem::is_regular_file(path, none)) return found;
  const auto size = static_cast<std::int64_t>(std::filesystem::file_size(path, none));
  const std::int64_t from = found.position = std::max<std::int64_t>(0, size - kLook);
  std::ifstream in(path, std::ios::binary);
  in.seekg(from);
  PowerLogReader reader(format);
  std::vector<LoggedPower> lines;
  for (std::string line; std::getline(in, line) && !in.eof();) {
    const bool whole = from == 0 || found.position > from;
    found.position += static_cast<std::int64_t>(line.size()) + 1;
    try {
      if (auto logged = whole ? reader.take(line) : std::nullopt) lines.push_back(std::move(*logged));
    } catch (const std::invalid_argument&) {
      continue;  // nobody's business; of those that come read() tells
    }
  }
  if (lines.size() > kMost) lines.erase(lines.begin(), lines.end() - kMost);
  if (lines.size() >= kFewest) found.period_s = median_step_s(lines);
  return found;
}

class CsvLog : public Meter {
 public:
  /// @param position where reading begins: lines of before are nobody's business
  CsvLog(std::string path, PowerLogFormat format, Channel channel, std::int64_t position)
      : path_(std::move(path)),
        reader_(std::move(format)),
        channels_{std::move(channel)},
        position_(position) {}
  std::string name() const override { return kName; }
  const std::vector<Channel>& channels() const override { return channels_; }
  double poll_period_s() const override { return std::clamp(channels_[0].update_period_s / 4, 0.01, 5.0); }
  bool slow() const override { return true; }  // the file may be on a network

  std::vector<Reading> read(double) override {
    std::string trouble = read_new_lines();
    if (waiting_.size() > kMostWaiting) {
      waiting_.clear();
      if (trouble.empty())
        trouble = fmt::format("{}: {} lines came faster than they are read at \"period_s\" {:.6g}: left out",
                              path_, kMostWaiting, channels_[0].update_period_s);
    }
    if (!trouble.empty()) return {failure(trouble)};
    if (!waiting_.empty()) {
      last_ = waiting_.front();
      waiting_.pop_front();
    }
    if (!last_) return {failure("no line for this node yet")};
    return {*last_};
  }

 private:
  /// Lines that no merging keeps few: out of order, or with and without a power in turns.
  static constexpr std::size_t kMostWaiting = 10000;

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
    std::size_t begin = 0;
    for (std::size_t end; (end = unfinished_.find('\n', begin)) != std::string::npos; begin = end + 1) {
      try {
        if (const auto logged = reader_.take(unfinished_.substr(begin, end - begin)))
          put(as_reading(*logged));
      } catch (const std::exception& refused) {
        trouble = fmt::format("{}: {}", path_, refused.what());
      }
    }
    unfinished_.erase(0, begin);
    return trouble;
  }

  /// Adds a reading to those that wait. One is handed out at a time: of a log that is written faster than it
  /// is read, those within two polls become one, their mean over the time since the reading before them.
  void put(Reading next) {
    if (!waiting_.empty()) {
      Reading& last = waiting_.back();
      const double had_s = stamp_s(last) - before_waiting_s_, more_s = stamp_s(next) - stamp_s(last);
      const double had_w = last.value.value_or(-1), more_w = next.value.value_or(-1);
      const bool powers = had_w >= 0 && more_w >= 0, gaps = !last.value && !next.value;
      if ((powers || gaps) && had_s > 0 && more_s > 0 && had_s + more_s < 2 * poll_period_s()) {
        if (powers) next.value = (had_w * had_s + more_w * more_s) / (had_s + more_s);
        last = std::move(next);
        return;
      }
    }
    if (!waiting_.empty())
      before_waiting_s_ = stamp_s(waiting_.back());
    else if (last_)
      before_waiting_s_ = stamp_s(*last_);
    waiting_.push_back(std::move(next));
  }
  static double stamp_s(const Reading& reading) {
    return 1e-6 * static_cast<double>(reading.device_stamp.value_or(0));
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
  double before_waiting_s_ = -1e300;  ///< stamp of the reading before the last of those
  std::optional<Reading> last_;       ///< handed out
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
  const LogEnd end = end_of(path, format);
  const bool declared = config.contains("period_s"), shown = !declared && end.period_s > 0;
  channel.update_period_s = number_setting(kName, config, "period_s", shown ? end.period_s : kUsualPeriod_s);
  // the log's own stamps declare it, as they do to attach-power
  channel.update_period_known = declared || shown ? Known::kDeclared : Known::kAssumed;
  channel.averaging_s = number_setting(kName, config, "averaging_s", channel.update_period_s);
  channel.lag_s = number_setting(kName, config, "lag_s", 0);
  channel.accuracy_relative = number_setting(kName, config, "accuracy_relative", 0.05);
  channel.accuracy_source = config.contains("accuracy_relative") ? "configuration" : "assumed";
  channel.stamped_by_device = true;
  if (!(channel.update_period_s > 0))
    throw std::invalid_argument(fmt::format("{}: \"period_s\" must be above 0", kName));
  probe.state = MeterProbe::State::kFound;
  probe.detail = fmt::format("{}, a line every {:.6g} s{}", path, channel.update_period_s,
                             declared ? ""
                             : shown  ? " by its last lines"
                                      : " is assumed: \"period_s\" declares it");
  probe.meters.push_back(std::make_unique<CsvLog>(path, std::move(format), std::move(channel), end.position));
  return probe;
}

const MeterRegistration registration{
    {.name = kName,
     .summary = "a log of another program, timestamp,node,watts, tailed live",
     .rank = 90,
     .open = [](const nlohmann::json& config) { return guarded([&] { return open(config); }); }}};

}  // namespace
}  // namespace mlpwatt

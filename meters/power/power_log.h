#pragma once
// Power logs that another program wrote: lines `timestamp,node,watts`, the form of the BUTTER-E study. Their
// stamps may be local times (the study's are, although marked Z), of a clock that is off by a constant.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace mlpwatt {

/// A zone of the tz database ("America/Denver"), "UTC", or a fixed offset ("+01:00").
class Timezone {
 public:
  /// Errors: std::invalid_argument naming the zone and what would be right.
  explicit Timezone(const std::string& name);
  /// Seconds since 1970 UTC of a local time given as seconds since 1970 on the wall. Of the two moments of a
  /// repeated hour the first that is not before `after_s`.
  double to_utc(double local_s, double after_s) const;

 private:
  double offset_at(double utc_s) const;
  std::vector<std::int64_t> transitions_;  ///< UTC
  std::vector<int> offsets_;               ///< in force from the transition on; one more in front
};

struct PowerLogFormat {
  std::string
      timezone;  ///< "" = as the stamps say (Z, +01:00), UTC where they say nothing; else all are local to it
  double offset_s = 0;           ///< added to every stamp: how far the logger's clock is behind ours
  std::string node;              ///< lines of other nodes are skipped; "" = take the one node there is
  bool zero_is_reading = false;  ///< else 0 W is a missing reading
};

struct LoggedPower {
  double wall_s = 0;  ///< seconds since 1970 UTC
  std::optional<double> watts;
  std::string reason;  ///< why there are none
};

/// Takes a log line by line.
class PowerLogReader {
 public:
  explicit PowerLogReader(PowerLogFormat format);
  /// Nothing for headers, empty lines and other nodes. Windows line ends are cut.
  /// Errors: std::invalid_argument for a line that is none of those and no reading; for a second node when
  /// none was chosen.
  std::optional<LoggedPower> take(std::string line);
  const std::string& node() const { return node_; }

 private:
  double stamp(const std::string& text);
  PowerLogFormat format_;
  std::optional<Timezone> zone_;
  std::string node_;
  double last_wall_s_ = -1e300;
};

/// Names in the node column, in order of appearance. Errors: std::invalid_argument when it cannot be read.
std::vector<std::string> nodes_of_power_log(const std::string& path);

/// A whole log, ordered by time; equal stamps once. Errors: std::invalid_argument naming file and line.
std::vector<LoggedPower> read_power_log(const std::string& path, const PowerLogFormat& format);

}  // namespace mlpwatt

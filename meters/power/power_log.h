#pragma once
// Power logs that another program wrote: lines `timestamp,node,watts`, the form of the BUTTER-E study. Their
// stamps may be local times (the study's are, although marked Z), of a clock that is off by a constant.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "meters/power/timezone.h"

namespace mlpwatt {

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
  std::string reason;     ///< why there are none
  std::int64_t line = 0;  ///< of the file, from 1; 0 = not known
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

/// Median of the steps by which stamps go on; 0 = they never do.
double median_step_s(const std::vector<LoggedPower>& lines);

/// Stamps, ends included, that do not tell what was read when.
struct DoubtfulTime {
  double begin_s = 0, end_s = 0;
  std::string reason;  ///< names file and line, and the remedy
};

struct PowerLog {
  /// Ordered by time; equal stamps once: the first in the file, or the mean where most stamps come
  /// repeatedly.
  std::vector<LoggedPower> lines;
  double period_s = 0;  ///< 0 = not even two lines
  /// Where a stamp has two powers, and what lies on both sides of a step back of the logger's clock: either
  /// is off by it. A step forward looks like a gap, and is one.
  std::vector<DoubtfulTime> doubtful;
};

/// A whole log of one node. Lines a few places out of order, lines that are there twice and files joined in
/// the wrong order are put right. Errors: std::invalid_argument naming file and line.
PowerLog read_power_log(const std::string& path, const PowerLogFormat& format);

}  // namespace mlpwatt

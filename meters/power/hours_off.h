#pragma once
// Whether a log's stamps seem to be of another zone: its load is not where the runs were, but whole hours
// off.

#include <optional>
#include <vector>

#include "meters/power/power_log.h"

namespace mlpwatt {

/// Readings farther from a run than this many periods say nothing about it.
inline constexpr double kLogMarginPeriods = 12;

/// A time of load by the wall clock, warm-up included, and the log of its node.
struct LoggedLoad {
  const std::vector<LoggedPower>* lines = nullptr;
  double period_s = 0, lag_s = 0;  ///< of the log
  double begin_s = 0, end_s = 0;
};

/// Hours, if any, by which the logs' stamps seem to be off: no load stands out where it was, and all do where
/// one single other whole hour puts them. Loads closer together than the margin count as one.
std::optional<int> hours_off(const std::vector<LoggedLoad>& loads);

}  // namespace mlpwatt

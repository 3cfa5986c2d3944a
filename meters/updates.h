#pragma once
// From readings to the distinct updates of the device behind them: repeats folded, counters unwrapped, absurd
// and disordered readings left out, each update with the time at which it came.

#include <string>
#include <vector>

#include "meters/energy.h"

namespace mlpwatt {

struct Update {
  double at_s = 0;     ///< when it came, not yet shifted by lag
  double width_s = 0;  ///< it came within at_s +- width_s / 2
  double value = 0;    ///< W; J since the first update for counters
  bool held = false;   ///< no update of the device: the value was still the same here
};

struct Updates {
  std::vector<Update> list;
  double period_s = 0;    ///< of the channel, else found from the gaps, else the poll period
  double resolution = 0;  ///< of the channel, or the coarser one that all readings share
  std::int64_t readings = 0, failures = 0, wraps = 0;
  unsigned flags = 0;
  std::string reason;
};

/// Counts and flags concern `interval`; the list covers everything in the series.
Updates distinct_updates(const Series& series, const Interval& interval);

}  // namespace mlpwatt

#pragma once
// The timing of a meter, found by looking instead of assumed. While the meter is read fast, a load goes on
// and off at pseudo-random moments that are known; then
//   update period   the time whose whole multiples lie between the changes of the reading (coherence of the
//                   changes over candidate periods, then least squares)
//   lag L, window W reading at update u = idle + (load - idle) x share of [u - L - W, u - L] that the load
//   was
//                   on: the pair that leaves the least squares, by grid and then pattern search
//   quantum         what all values are whole multiples of
// Spreads are standard uncertainties: of the period from the residuals, of lag and window from the scatter of
// four quarters of the record. Switching at random moments keeps a load period from hiding in a meter period.

#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "meters/energy.h"
#include "meters/power/meter.h"

namespace mlpwatt {

/// On and off in turns; off before the first edge and after the last.
class SquareWave {
 public:
  SquareWave() = default;
  /// @param edges_s ascending, an even number of them, CLOCK_MONOTONIC: on at [0], off at [1], on at [2] ...
  explicit SquareWave(std::vector<double> edges_s);
  /// Holds of 0.5 to 1.5 times `hold_s` from `begin_s` on; off at the end.
  static SquareWave random(std::uint64_t seed, double begin_s, double end_s, double hold_s);
  const std::vector<double>& edges_s() const { return edges_s_; }
  bool on(double t) const;
  /// Seconds in [from, to] that it was on.
  double on_s(double from, double to) const;

 private:
  double on_until(double t) const;
  std::vector<double> edges_s_, on_before_s_;  ///< of each edge: seconds on until then
};

/// Starts a load that follows the wave on threads of its own; it ends with the handle.
using SquareLoad = std::function<std::shared_ptr<void>(const SquareWave&)>;

/// The time by which a meter is read; scripted in tests.
class CalibrationClock {
 public:
  virtual ~CalibrationClock() = default;
  virtual double now_s() = 0;
  virtual void sleep_until(double t) = 0;
};
CalibrationClock& monotonic_clock();

struct CalibrationOptions {
  std::uint64_t seed = 1;
  double length_s = 0;  ///< 0 = 100 update periods of the slowest channel, within 20 s and 1 h
  double hold_s = 0;    ///< mean time between switches; 0 = a thirtieth of the length
  double poll_s = 0;  ///< 0 = a twentieth of the update period, but no slow device faster than it is used to
};

/// What was seen of one meter under the load.
struct CalibrationRecord {
  SquareWave load;
  std::vector<Series> series;
};
/// Takes options.length_s of `clock`. Errors: whatever the load throws.
CalibrationRecord record_under_load(Meter& meter, const SquareLoad& load, const CalibrationOptions& options,
                                    CalibrationClock& clock);

struct Estimated {
  double value = std::numeric_limits<double>::quiet_NaN();
  double spread = std::numeric_limits<double>::quiet_NaN();  ///< standard uncertainty
};

/// Found timing of one channel.
struct ChannelTiming {
  std::string meter, domain, host, utc;  ///< whose, where and when
  Estimated update_period_s, lag_s, averaging_s;
  /// It updates at least as often as it was read: update_period_s is an upper bound.
  bool period_is_bound = false;
  double quantum = 0;  ///< W or J; 0 = finer than could be seen
  double idle_w = 0, load_w = 0;
  double unexplained = 1;  ///< share of the variance that load, lag and window leave
  std::int64_t updates = 0;
  double poll_s = 0, length_s = 0;
  std::string reason;  ///< why nothing was found, naming the meter; "" = found
};

/// Never throws. Host and utc stay empty.
ChannelTiming fit_timing(const Series& series, const SquareWave& load);

/// Puts what was found in the place of what was assumed or declared. Powers that look on for most of their
/// update period are averages from then on, others instants.
void apply_timing(Channel& channel, const ChannelTiming& timing);

}  // namespace mlpwatt

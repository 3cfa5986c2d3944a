#pragma once
// From the raw readings of one channel to the energy of an interval, with a standard uncertainty and flags.
//
// Method. Repeated reads of the same update are folded into one; counters are unwrapped; times are shifted by
// the channel's lag (and to the middle of its averaging window). Then
//   energy counter   E = C(b) - C(a)
//   average power    each update holds back to the one before it, so that C() is again a sum: E = C(b) - C(a)
//   instant power    trapezoid between updates
// An interval that an end of the window cuts is shared out by its own total and the powers of the intervals
// on both sides: the powers inside and outside are the least change of the neighbours' that makes up the
// total (a step exactly at the end is then got exactly). Averages over a window W longer than the update
// period overlap: W times the average at t is the energy of [t - W, t], so pieces of W are laid on from both
// ends, and the remainder shorter than W is taken from the smoothed curve where the load is steadiest.
//
// Standard uncertainty (GUM, independent terms in quadrature; P_in, P_out are the powers on the two sides of
// an end, dt the update intervals, dP the change over them, f the share of a cut interval that is inside):
//   accuracy      (a_rel E / sqrt 3) (+) (a_abs (b - a) / sqrt 3): limits of the class taken as rectangular
//   quantisation  counters q / sqrt 6 (two readings); powers q (b - a) / sqrt(12 n), n changes of the value
//   sampling      instant powers sqrt(sum (dP dt)^2 / 2): what happened between updates is not seen; powers
//                 averaged over W the same with max(0, dt - W) for dt, which a slow reader makes long;
//                 counters 0; and for all powers the time error of each update: sqrt(sum (dP u_t)^2).
//                 Not in it: a load that repeats itself at the very period of an instrument's looks. One
//                 window cannot tell; several, each begun at a random phase, scatter by it
//   edges         at each end: counters P u_t, powers |P_in - P_out| u_t; lag: |P_in - P_out| T / sqrt 12
//                 when assumed or declared, its spread for T / sqrt 12 when measured; for the cut interval
//                 |r| dt s / sqrt 3 (+) |P_in - P_out| dt f (1 - f) / sqrt 12 with r what the neighbours
//                 leave unexplained of its mean power and s = f^2 or (1 - f)^2 over f^2 + (1 - f)^2, the
//                 larger unless one step explains r; for overlapping averages |dP| W / (8 sqrt 3) at
//                 both ends of the remainder, dP over W
// u_t is the width of the time in which an update must have come, / sqrt 12. The expanded uncertainty (about
// 95 %) is twice the standard one.

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "meters/power/meter.h"

namespace mlpwatt {

/// What can be wrong with an energy; a set of them.
enum EnergyFlag : unsigned {
  kUnderSampled = 1u << 0,  ///< fewer than 10 distinct updates: no headline number
  kStuck = 1u << 1,         ///< the reading stood still while it had to move
  kDropout = 1u << 2,       ///< readings missing inside the window
  kWrappedTwice = 1u << 3,  ///< between two readings the counter may have wrapped more than once
  kClockJump = 1u << 4,     ///< stamps that repeat or run backwards, or a step of the wall clock
  kOutOfRange = 1u << 5,    ///< negative or absurd readings, left out
  kLost = 1u << 6,          ///< the meter stopped answering before the window ended
  kIdleDrift = 1u << 7,     ///< the idle powers before and after differ by more than 2 %
  kExceedsNode = 1u << 8,   ///< the domains add up to more than the node, beyond the uncertainty
};
inline constexpr std::int64_t kLeastUpdates = 10;

/// "ok", or the names of the flags separated by spaces: "under_sampled stuck".
std::string flags_text(unsigned flags);
/// Errors: std::invalid_argument for a word that is no flag.
unsigned flags_of(const std::string& text);

/// The raw readings of one channel in the order taken.
struct Series {
  std::string meter;
  Channel channel;
  double poll_period_s = 0;
  std::vector<Reading> readings;
  /// Moments (monotonic) at which the wall clock was found stepped by more than half a second.
  std::vector<double> wall_steps_s;
};

/// On CLOCK_MONOTONIC.
struct Interval {
  double begin_s = 0, end_s = 0;
  double length_s() const { return end_s - begin_s; }
  bool holds(double t) const { return begin_s <= t && t <= end_s; }
};

struct Energy {
  double joules = std::numeric_limits<double>::quiet_NaN();  ///< NaN = could not be had
  /// Standard uncertainties.
  double accuracy_j = 0, quantisation_j = 0, sampling_j = 0, edges_j = 0;
  double seconds = 0;
  std::int64_t distinct_updates = 0, readings = 0, failures = 0;  ///< inside the interval
  std::int64_t wraps = 0;
  unsigned flags = 0;
  std::string reason;  ///< of the first failed reading, or why there is no energy; names the meter

  double uncertainty_j() const;
  /// What a longer window makes smaller: everything but the accuracy class.
  double random_j() const;
  double mean_w() const { return joules / seconds; }
};

/// Never throws. Readings outside the interval are used for what they tell of its ends.
Energy integrate(const Series& series, const Interval& interval);

/// Whether a power reading kept one value from well inside an idle time to well inside a window (more than 5
/// update periods of each): so coarse a reading may repeat while the load is steady, but not when it changes.
bool stood_still(const Series& series, const Interval& idle, const Interval& window);
/// Flags `energy` of that window `stuck`, with a reason, where it is so.
void flag_stand(Energy& energy, const Series& series, const Interval& idle, const Interval& window);

/// Idle power, from the idle times before and after (either may be missing: NaN joules).
struct Idle {
  double watts = std::numeric_limits<double>::quiet_NaN();
  double random_w = 0;  ///< standard uncertainty without the accuracy class; drift between the two included
  unsigned flags = 0;   ///< idle_drift, and those of the idle times that the energy above idle inherits
};
Idle idle_power(const std::vector<Energy>& idle_times);

/// Energy above idle. The gain of the meter acts on the difference; offsets cancel.
Energy without_idle(const Energy& gross, const Idle& idle, const Channel& channel);

}  // namespace mlpwatt

#pragma once
// Contestants that take turns (A B C A B C ...), so that a drift of the machine falls on all of them alike,
// and what their times say about each other.

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "harness/protocol/clock.h"
#include "harness/protocol/window.h"

namespace mlpwatt {

struct Contestant {
  std::string name;
  /// Runs `warm` steps, then `steps`; the seconds of the latter. What it throws takes it out of the contest.
  std::function<double(std::int64_t warm, std::int64_t steps)> run_s;
};

struct TurnOptions {
  double turn_s = 0.03;  ///< length of a turn aimed at, within a factor of sqrt(2)
  int rounds = 15;       ///< turns of each contestant
  std::int64_t most_steps = 8192;
  /// Between turns: idle threads of the last contestant spin for a while before they sleep.
  double pause_s = 0.005;
};

/// All turns of one contestant.
struct Turns {
  std::string error;                                           ///< not empty: it failed, and has no times
  std::int64_t steps = 0;                                      ///< of one turn: a power of two
  std::int64_t warm_steps = 0;                                 ///< of one turn, not timed
  double duration_s = 0;                                       ///< timed, of all turns
  std::int64_t start_realtime_ns = 0, start_monotonic_ns = 0;  ///< of the first turn
  std::vector<double> step_s;                                  ///< one value a round
  Window window() const;                                       ///< as the record wants it: a block is a turn
};

/// Finds each contestant's number of steps, then lets them take turns. In the order of `contestants`.
std::vector<Turns> take_turns(const std::vector<Contestant>& contestants, const TurnOptions& options,
                              Clock& clock);

/// The median of `times` over that of `base`, with a 95 % percentile bootstrap interval: rounds are drawn
/// with replacement, both values of a round together (Efron and Tibshirani, An Introduction to the
/// Bootstrap). NaN where a list is empty; the lists must be equally long.
struct Ratio {
  double value, low95, high95;
};
Ratio ratio_of_medians(const std::vector<double>& times, const std::vector<double>& base, std::uint64_t seed);

}  // namespace mlpwatt

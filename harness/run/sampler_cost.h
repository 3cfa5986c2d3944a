#pragma once
// What looking on costs: the same steps with and without the sampler, in turns.

#include <functional>
#include <memory>

#include "harness/protocol/clock.h"
#include "kernels/kernel.h"
#include "meters/power_session.h"

namespace mlpwatt {

struct SamplerCost {
  int pairs = 0;
  double seconds = 0;  ///< with the sampler on
  double step_s = 0;   ///< median, without
  std::int64_t reads = 0;
  double core_share = 0;  ///< processor time of the sampling over `seconds`
  /// Step time with over without, minus 1: median over the pairs and its distribution-free 95 % interval.
  double slow_down = 0, low95 = 0, high95 = 0;
  /// The same without over without: what the machine does by itself.
  double noise = 0;
};

/// @param kernel set up @param open makes a session that samples, anew for each turn
/// @param turn_s length of one turn @param pairs of turns with and without, the first of a pair alternating
SamplerCost measure_sampler_cost(Kernel& kernel, const std::function<std::unique_ptr<PowerSession>()>& open,
                                 double turn_s, int pairs, Clock& clock);

}  // namespace mlpwatt

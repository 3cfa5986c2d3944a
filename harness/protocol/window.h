#pragma once
// The measurement protocol of one run: warm up until the step time is steady, then one window cut into
// blocks, each timed, with the counters and meters looking on. The protocol sees a Kernel and a
// Clock, so a test can script both.

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "harness/protocol/clock.h"
#include "harness/protocol/statistics.h"
#include "kernels/kernel.h"

namespace mlpwatt {

struct ProtocolOptions {
  double window_s = 1.0;        ///< least length of the window
  double maximum_window_s = 0;  ///< gives up the least number of blocks beyond it; 0 = 10 windows
  int blocks = 25;              ///< aimed at; a block is at least one step
  int minimum_blocks = 10;      ///< the window is prolonged for them
  /// The window also goes on until the 95 % interval of the median is within +- this share of it, or the
  /// longest window has passed; 0 = does not matter.
  double precision = 0;
  double warm_up_minimum_s = 0;    ///< 0 = a tenth of the window
  double warm_up_maximum_s = 0;    ///< 0 = twice the window; never less than the minimum, nor one step
  double steady_tolerance = 0.03;  ///< relative drift of the block medians that still counts as steady

  double longest_window_s() const { return maximum_window_s > 0 ? maximum_window_s : 10 * window_s; }
  double least_warm_up_s() const { return warm_up_minimum_s > 0 ? warm_up_minimum_s : 0.1 * window_s; }
  double longest_warm_up_s() const { return warm_up_maximum_s > 0 ? warm_up_maximum_s : 2 * window_s; }
};

struct WarmUp {
  double duration_s = 0;
  std::int64_t steps = 0;
  double step_s = 0;    ///< estimate to plan the window by
  bool steady = false;  ///< the medians of the last two groups of blocks agreed
};

/// Something that looks on during the window: counters, meters.
class Observer {
 public:
  virtual ~Observer() = default;
  virtual void prepare() {}                  ///< before any observer has begun
  virtual void begin() = 0;                  ///< just before the first step
  virtual void end(std::int64_t steps) = 0;  ///< just after the last one
  virtual void finish() {}                   ///< when all have ended
};

struct Window {
  std::int64_t start_realtime_ns = 0, start_monotonic_ns = 0;
  double start_s = 0, duration_s = 0;  ///< CLOCK_MONOTONIC
  double cpu_s = 0;                    ///< processor time of all threads
  std::int64_t steps = 0, steps_per_block = 0;
  std::vector<double> block_step_s;  ///< seconds per step of each block
  Summary step;                      ///< of block_step_s
  bool few_blocks = false;
  bool wide_interval = false;  ///< options.precision was not reached
};

/// Runs blocks of growing length until two successive groups of three agree within the tolerance.
WarmUp warm_up(Kernel& kernel, const ProtocolOptions& options, Clock& clock);

/// One window of at least options.window_s, options.minimum_blocks blocks and options.precision (unless that
/// takes longer than the longest window: few_blocks, wide_interval).
/// @param step_s estimate of one step, > 0
/// @param wants_more asked every quarter of a second once the window is long enough: true = go on, up to the
/// longest window; what it takes itself counts to no block
Window run_window(Kernel& kernel, const ProtocolOptions& options, Clock& clock, double step_s,
                  const std::vector<Observer*>& observers = {}, const std::function<bool()>& wants_more = {});

}  // namespace mlpwatt

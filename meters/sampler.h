#pragma once
// Reads meters while something else runs: one thread for all fast meters, one more for each slow one. A meter
// that hangs costs its own readings, never the run: nobody waits for it, not even stop().

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "meters/energy.h"
#include "meters/power/meter.h"

namespace mlpwatt {

/// CLOCK_MONOTONIC in seconds.
double monotonic_now_s();
/// CLOCK_REALTIME - CLOCK_MONOTONIC in seconds: a wall-clock time is a monotonic one plus this.
double wall_offset_s();

struct SamplerOptions {
  double fast_timeout_s = 0.5;  ///< of one read of a fast meter
  double slow_timeout_s = 10;   ///< of one read of a slow one
  double mark_timeout_s = 0.1;  ///< longest wait of mark()
  /// Tells steps of the wall clock; tests set it.
  std::function<double()> wall_offset = wall_offset_s;
};

class Sampler {
 public:
  /// Threads start at once.
  explicit Sampler(std::vector<std::unique_ptr<Meter>> meters, SamplerOptions options = {});
  ~Sampler();
  Sampler(const Sampler&) = delete;
  Sampler& operator=(const Sampler&) = delete;

  /// Has the fast meters read now, so that a window's end falls on a reading. Waits for it (microseconds),
  /// at most options.mark_timeout_s.
  void mark();
  /// Waits until every channel that still answers has a reading later than `t`, at most until `deadline_s`.
  void wait_past(double t, double deadline_s);
  /// All channels, in the order of the meters; readings from `from_s` on. A meter that hangs right now
  /// has that as its last reading.
  std::vector<Series> series(double from_s) const;
  /// Forgets readings before `t`.
  void forget(double t);
  /// Ends the threads. Those that hang inside a meter are left behind, with their meter.
  void stop();

  /// Processor time of the sampling threads and of the meters' own so far, and reads made.
  double cpu_s() const;
  std::int64_t reads() const;

 private:
  struct Team;
  std::vector<std::shared_ptr<Team>> teams_;
  SamplerOptions options_;
};

}  // namespace mlpwatt

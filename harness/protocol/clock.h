#pragma once
// Time as the protocol sees it; a test scripts it.

#include <cstdint>
#include <string>

namespace mlpwatt {

class Clock {
 public:
  virtual ~Clock() = default;
  virtual double monotonic_s() = 0;  ///< CLOCK_MONOTONIC: the time base of windows and of every meter
  virtual double cpu_s() = 0;        ///< user + system time of all threads of this process
  virtual std::int64_t monotonic_ns() = 0;
  virtual std::int64_t realtime_ns() = 0;  ///< since 1970-01-01T00:00:00Z
};

/// The machine's own clocks.
Clock& system_clock();

/// "2026-01-31T12:00:00.123456Z"
std::string utc_text(std::int64_t realtime_ns);

}  // namespace mlpwatt

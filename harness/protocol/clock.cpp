#include "harness/protocol/clock.h"

#include <fmt/format.h>
#include <sys/resource.h>
#include <time.h>

namespace mlpwatt {
namespace {

std::int64_t read_ns(clockid_t id) {
  timespec now{};
  clock_gettime(id, &now);
  return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

class SystemClock : public Clock {
 public:
  double monotonic_s() override { return static_cast<double>(monotonic_ns()) * 1e-9; }
  double cpu_s() override { return static_cast<double>(read_ns(CLOCK_PROCESS_CPUTIME_ID)) * 1e-9; }
  std::int64_t monotonic_ns() override { return read_ns(CLOCK_MONOTONIC); }
  std::int64_t realtime_ns() override { return read_ns(CLOCK_REALTIME); }
};

}  // namespace

Clock& system_clock() {
  static SystemClock clock;
  return clock;
}

std::string utc_text(std::int64_t realtime_ns) {
  const time_t seconds = static_cast<time_t>(realtime_ns / 1'000'000'000);
  tm parts{};
  gmtime_r(&seconds, &parts);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z", parts.tm_year + 1900, parts.tm_mon + 1,
                     parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec,
                     realtime_ns % 1'000'000'000 / 1000);
}

}  // namespace mlpwatt

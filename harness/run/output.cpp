#include "harness/run/output.h"

#include <filesystem>

#include "harness/protocol/clock.h"

namespace mlpwatt {

std::string default_output(const std::string& host) {
  std::filesystem::create_directories("results");
  return "results/" + host + "-" + utc_text(system_clock().realtime_ns()).substr(0, 10) + ".h5";
}

}  // namespace mlpwatt

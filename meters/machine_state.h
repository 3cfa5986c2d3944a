#pragma once
// How hot and how fast the processors are, and whether they were slowed down: noted at both ends of a window.

#include <cstdint>
#include <optional>
#include <string>

namespace mlpwatt {

/// Empty where the system does not say.
struct MachineState {
  std::optional<double> temperature_c;          ///< of the hottest processor sensor
  std::optional<double> frequency_hz;           ///< mean over processors
  std::optional<std::int64_t> throttle_events;  ///< of all processors and packages since boot
};

/// @param root of the sysfs tree, "" = the machine's own
MachineState read_machine_state(const std::string& root = "");

}  // namespace mlpwatt

#pragma once
// Durations and energies as people type and read them.

#include <optional>
#include <string>

namespace mlpwatt {

struct Budget {
  std::optional<double> time_s, energy_j;  ///< one of them
};

/// "90s", "20m", "2h", "1.5d"; "500Wh", "1kWh", "3.6MJ". Errors: UsageError naming the value and the units.
Budget parse_budget(const std::string& text);

/// "42 s", "12 min", "7 h 12 min", "3 d 4 h"; "-" for NaN.
std::string human_duration(double seconds);
/// "3.2 kWh"; "-" for NaN.
std::string human_energy(double joules);

}  // namespace mlpwatt

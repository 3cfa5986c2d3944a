#include "harness/campaign/budget.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <map>

#include "harness/program.h"
#include "harness/text.h"

namespace mlpwatt {

Budget parse_budget(const std::string& text) {
  static const std::map<std::string, double> times{
      {"s", 1}, {"m", 60}, {"min", 60}, {"h", 3600}, {"d", 86400}};
  static const std::map<std::string, double> energies{{"J", 1},     {"kJ", 1e3},    {"MJ", 1e6},
                                                      {"Wh", 3600}, {"kWh", 3.6e6}, {"MWh", 3.6e9}};
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const std::string unit(end, text.data() + text.size());
  Budget budget;
  if (error == std::errc() && value > 0 && std::isfinite(value)) {
    if (const auto found = times.find(unit); found != times.end()) budget.time_s = value * found->second;
    if (const auto found = energies.find(unit); found != energies.end())
      budget.energy_j = value * found->second;
  }
  if (!budget.time_s && !budget.energy_j)
    throw UsageError(fmt::format(
        "--budget '{}' is neither a time (20m, 2h, 1.5d) nor an energy (500Wh, 1kWh, 3MJ)", text));
  return budget;
}

std::string human_duration(double seconds) {
  if (std::isnan(seconds)) return "-";
  if (seconds < 90) return fmt::format("{:.3g} s", seconds);
  const double minutes = std::round(seconds / 60);
  if (minutes < 90) return fmt::format("{:.0f} min", minutes);
  const double hours = std::floor(minutes / 60);
  if (hours < 48) return fmt::format("{:.0f} h {:.0f} min", hours, minutes - 60 * hours);
  const double whole_hours = std::round(seconds / 3600), days = std::floor(whole_hours / 24);
  return fmt::format("{:.0f} d {:.0f} h", days, whole_hours - 24 * days);
}

std::string human_energy(double joules) { return std::isnan(joules) ? "-" : human_si(joules / 3600) + "Wh"; }

}  // namespace mlpwatt

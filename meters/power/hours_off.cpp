#include "meters/power/hours_off.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace mlpwatt {
namespace {

double margin_s(const LoggedLoad& load) { return kLogMarginPeriods * load.period_s; }

/// Powers in the log while the load went on, and as far as the margin before and after it, had the log been
/// stamped `shift_s` late.
struct LoadPowers {
  std::vector<double> during, before, after;

  LoadPowers(const LoggedLoad& load, double shift_s) {
    const std::vector<LoggedPower>& lines = *load.lines;
    const double later_s = shift_s + load.lag_s, period_s = load.period_s;
    const auto first =
        std::lower_bound(lines.begin(), lines.end(), load.begin_s - margin_s(load) + later_s,
                         [](const LoggedPower& each, double wall_s) { return each.wall_s < wall_s; });
    for (auto at = first; at != lines.end(); ++at) {
      const LoggedPower& line = *at;
      const double t = line.wall_s - later_s;  // the power is that of the period before it
      if (t > load.end_s + margin_s(load)) break;
      if (!line.watts) continue;
      if (t <= load.begin_s) before.push_back(*line.watts);
      if (t - period_s >= load.begin_s && t <= load.end_s) during.push_back(*line.watts);
      if (t - period_s >= load.end_s) after.push_back(*line.watts);
    }
  }

  /// By so many standard errors of its mean: cannot be told from idle where it is not.
  bool above_idle(double errors = 3) const {
    std::vector<double> idle = before;
    idle.insert(idle.end(), after.begin(), after.end());
    if (during.size() < kFewest || idle.size() < kFewest) return false;
    const auto [load_w, load_u] = mean(during);
    const auto [idle_w, idle_u] = mean(idle);
    return load_w - idle_w > errors * std::hypot(load_u, idle_u);
  }
  /// Most of it above most of what is on either side: other people's load has its edges elsewhere.
  bool rises_and_falls() const {
    // of exchangeable noise, at one of 28 hours, once in many thousand logs
    constexpr std::size_t kFewestDuring = 10;
    if (during.size() < kFewestDuring || before.size() < kFewest || after.size() < kFewest) return false;
    return above_idle(5) && quartile(during, 1) > std::max(quartile(before, 3), quartile(after, 3));
  }

 private:
  static constexpr std::size_t kFewest = 5;

  /// With its standard error.
  static std::pair<double, double> mean(const std::vector<double>& values) {
    const double n = static_cast<double>(values.size());
    double sum = 0, squares = 0;
    for (const double value : values) sum += value;
    for (const double value : values) squares += (value - sum / n) * (value - sum / n);
    return {sum / n, std::sqrt(squares / (n - 1) / n)};
  }
  static double quartile(std::vector<double> values, std::size_t which) {
    const auto place = values.begin() + static_cast<std::ptrdiff_t>(which * (values.size() - 1) / 4);
    std::nth_element(values.begin(), place, values.end());
    return *place;
  }
};

/// Those closer together than the margin are one, so that no other load is in it.
std::vector<LoggedLoad> joined(std::vector<LoggedLoad> loads) {
  std::sort(loads.begin(), loads.end(), [](const LoggedLoad& a, const LoggedLoad& b) {
    return std::pair(a.lines, a.begin_s) < std::pair(b.lines, b.begin_s);
  });
  std::vector<LoggedLoad> all;
  for (const LoggedLoad& load : loads)
    if (!all.empty() && all.back().lines == load.lines && load.begin_s - all.back().end_s < margin_s(load))
      all.back().end_s = std::max(all.back().end_s, load.end_s);
    else
      all.push_back(load);
  return all;
}

}  // namespace

std::optional<int> hours_off(const std::vector<LoggedLoad>& runs) {
  const std::vector<LoggedLoad> loads = joined(runs);
  constexpr int kMost = 14;  // zones go from -12 to +14 h
  const auto any = [&](double shift_s) {
    return std::any_of(loads.begin(), loads.end(),
                       [&](const LoggedLoad& load) { return LoadPowers(load, shift_s).above_idle(); });
  };
  const auto all = [&](double shift_s) {
    return std::all_of(loads.begin(), loads.end(),
                       [&](const LoggedLoad& load) { return LoadPowers(load, shift_s).rises_and_falls(); });
  };
  if (loads.empty() || any(0)) return std::nullopt;
  std::optional<int> found;
  for (int hours = -kMost; hours <= kMost; ++hours) {
    if (hours == 0 || !all(3600.0 * hours)) continue;
    if (found) return std::nullopt;
    found = hours;
  }
  return found;
}

}  // namespace mlpwatt

#include "harness/protocol/statistics.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace mlpwatt {
namespace {

double median_of_sorted(const std::vector<double>& sorted) {
  const std::size_t n = sorted.size();
  return n % 2 == 1 ? sorted[n / 2] : 0.5 * (sorted[n / 2 - 1] + sorted[n / 2]);
}

}  // namespace

int median_interval_index(int n, double coverage) {
  // P(median outside [x_(i), x_(n-1-i)]) = 2 P(Binomial(n, 1/2) <= i)
  double outside = 0;
  int index = -1;
  for (int i = 0; 2 * i < n - 1; ++i) {
    const double log_probability =
        std::lgamma(n + 1.0) - std::lgamma(i + 1.0) - std::lgamma(n - i + 1.0) - n * std::log(2.0);
    outside += 2 * std::exp(log_probability);
    if (outside > 1 - coverage) break;
    index = i;
  }
  return index;
}

Summary summarise(std::vector<double> values) {
  constexpr double nan = std::numeric_limits<double>::quiet_NaN();
  Summary summary{nan, nan, nan, nan, nan, nan, nan, nan};
  if (values.empty() || std::any_of(values.begin(), values.end(), [](double v) { return !std::isfinite(v); }))
    return summary;
  std::sort(values.begin(), values.end());
  const double n = static_cast<double>(values.size());
  summary.median = median_of_sorted(values);
  summary.minimum = values.front();
  summary.maximum = values.back();
  double sum = 0;
  for (const double value : values) sum += value;
  summary.mean = sum / n;
  double squares = 0;
  for (const double value : values) squares += (value - summary.mean) * (value - summary.mean);
  if (values.size() > 1) summary.stddev = std::sqrt(squares / (n - 1));
  if (const int i = median_interval_index(static_cast<int>(values.size()), 0.95); i >= 0) {
    summary.low95 = values[static_cast<std::size_t>(i)];
    summary.high95 = values[values.size() - 1 - static_cast<std::size_t>(i)];
  }
  std::vector<double> deviations;
  deviations.reserve(values.size());
  for (const double value : values) deviations.push_back(std::fabs(value - summary.median));
  std::sort(deviations.begin(), deviations.end());
  summary.mad = median_of_sorted(deviations);
  return summary;
}

}  // namespace mlpwatt

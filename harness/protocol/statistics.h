#pragma once
// Robust statistics of one window's blocks.

#include <vector>

namespace mlpwatt {

/// NaN where there is nothing to say (no values, or too few for an interval).
struct Summary {
  double median, mean, minimum, maximum;
  double mad;            ///< median absolute deviation from the median, unscaled
  double stddev;         ///< sample standard deviation (n - 1)
  double low95, high95;  ///< distribution-free interval of the median, coverage >= 95 %
};

/// A NaN or infinity among the values makes every statistic NaN: it is never averaged away.
Summary summarise(std::vector<double> values);

/// 0-based index i of the order statistic such that [x_(i), x_(n-1-i)] covers the median with probability
/// >= `coverage` (binomial with p = 1/2; e.g. David and Nagaraja, Order Statistics, section 7.1); -1 when
/// even the whole range does not.
int median_interval_index(int n, double coverage);

}  // namespace mlpwatt

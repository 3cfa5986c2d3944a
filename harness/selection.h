#pragma once
// Which benchmarks of the catalogue a filter means. Families can be large (the mlp_train grid has some
// 25,000 names), so they are enumerated lazily: a filter that pins the start of the name skips the
// families that cannot match, and an exact name stops at the first hit.

#include <string>
#include <vector>

#include "kernels/kernel.h"

namespace mlpwatt {

struct Selection {
  std::string filter;  ///< POSIX extended regular expression searched in the name; leading '-' = all but
  bool quick = false;  ///< only the quick suite
  bool suite = false;  ///< every benchmark of small families, the quick ones of the large
};

/// A family of more benchmarks than this is a grid: --suite takes only its quick ones (the whole is
/// work for a campaign).
inline constexpr std::size_t kLargeFamily = 2000;

/// In catalogue order.
/// Errors: UsageError for a bad expression, or when nothing matches (naming the nearest).
std::vector<Benchmark> select(const std::vector<Family>& families, const RunOptions& options,
                              const Selection& selection);

}  // namespace mlpwatt

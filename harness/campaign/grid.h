#pragma once
// The study's grid, filtered: which configurations there are, and which do not exist and why.

#include <cstdint>
#include <string>
#include <vector>

#include "harness/campaign/plan.h"
#include "kernels/kernel.h"
#include "kernels/network.h"

namespace mlpwatt {

/// What to take of each axis; empty = all of the study's (for threads, isas, algorithms: as the kernel
/// chooses; for backends: cpu).
struct GridFilter {
  std::vector<std::string> datasets, shapes, backends, isas;
  std::vector<std::int64_t> sizes;
  std::vector<int> depths, threads, batches;
  /// Keep what this machine cannot run: the plan is for another one.
  bool any_machine = false;
};

/// "2^5..2^10,4096": numbers, powers, and ranges of the listed values. Errors: UsageError naming the option,
/// the value and the allowed ones.
/// @param grid the values there are; empty = any, and no ranges
std::vector<std::int64_t> parse_numbers(const std::string& option, const std::vector<std::string>& words,
                                        const std::vector<std::int64_t>& grid);

/// A configuration with what predictions and samples need to know of it.
struct GridPoint {
  PlanEntry entry;
  std::string backend;
  int dataset = 0;  ///< place in all_datasets()
  Network network;
  std::vector<double> coordinates;  ///< of each axis, in [0, 1)
};

struct Infeasible {
  std::string configuration, reason;
};

struct Grid {
  std::vector<GridPoint> points;  ///< in the study's order
  std::vector<Infeasible> infeasible;
  std::int64_t duplicates = 0;  ///< depth-2 configurations merged into the rectangle
  int axes = 0;
};

/// Errors: std::invalid_argument for unknown names.
Grid make_grid(const GridFilter& filter);

}  // namespace mlpwatt

#pragma once
// Comparisons as people read them.

#include <string>
#include <vector>

#include "harness/compare/comparison.h"

namespace mlpwatt {

/// Matrix products: GFLOP/s of everybody, ours as a share of the FMA peak, and the best peer's time over
/// ours.
std::string gemm_comparison_table(const std::vector<Comparison>& comparisons, const Peaks& peaks);
/// Joules of a step, ours and the quickest peer's, where meters looked on; "" where none did. Modelled ones
/// are marked and never set against measured ones.
/// Step time over the floor, by size of the network; "" without floors.
std::string floor_table(const std::vector<Comparison>& comparisons);
std::string energy_comparison_table(const std::vector<Comparison>& comparisons);
/// A line for each row whose joules are missing or flagged, with the reason; "" where no meter looked on.
std::string energy_troubles(const std::vector<Comparison>& comparisons);
/// Training steps: microseconds of everybody, ours over the floor, and the best peer's time over ours.
std::string training_comparison_table(const std::vector<Comparison>& comparisons);
/// Geometric means of peers' times over ours, by peer and by size of the network.
std::string comparison_means(const std::vector<Comparison>& comparisons);
/// One line for every refused or failed row; empty when all is well.
std::string comparison_troubles(const std::vector<Comparison>& comparisons);

}  // namespace mlpwatt

#pragma once
// Where on the study's grid ours is compared with others.

#include <string>
#include <vector>

#include "kernels/kernel.h"

namespace mlpwatt {

struct PointSelection {
  bool quick = false;          ///< a handful, for the README's table
  bool grid = false;           ///< every entry of the catalogue instead of the sample
  std::string only;            ///< "", "gemm" or "training"
  std::string device = "cpu";  ///< or "gpu"
  std::string filter;          ///< regular expression over the names; "" = all
};

/// Entries of the device's gemm and mlp_train families, in that order. The sample: every matrix product of
/// the catalogue, and rectangles of four datasets of very different width, depths 2, 5 and 20, sizes 2^6 ..
/// 2^24 by fours (depth 5: 2^7 .. by fours), as far as such a network exists and no layer is wider than 2^17.
/// Errors: UsageError for an unknown `only`, a bad expression or when nothing is left.
std::vector<Benchmark> comparison_points(const PointSelection& selection, const RunOptions& options);

}  // namespace mlpwatt

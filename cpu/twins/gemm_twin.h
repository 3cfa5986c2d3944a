#pragma once
// Cache-unfriendly twins of cpu/gemm: the same product by the same number of multiply-adds, with one thing
// undone each. What a twin costs more than cpu/gemm is the memory hierarchy's share.
//
//   ikj        three plain loops, all streams along rows; nothing is reused above L1
//   ijk        three plain loops, B walked down its columns: one line of B per multiply-add
//   jki        three plain loops in the worst order, A and C walked down their columns
//   unpacked   cpu/gemm's own blocks and micro-kernel, straight from the matrices (no contiguous copies)
//   unblocked  cpu/gemm's own packing and micro-kernel, one block over all of k and n: L1 and L2 overflow
//   strided    unpacked, with the rows of A, B and C a multiple of 4 KiB apart: few cache sets are used

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernels/kernel.h"

namespace mlpwatt::gemm_twin {

/// The names above, in that order.
const std::vector<std::string>& variants();

/// The kernel of one variant. Errors: std::invalid_argument for an unknown variant or dimensions < 1.
std::unique_ptr<Kernel> make(const std::string& variant, std::int64_t m, std::int64_t n, std::int64_t k,
                             const RunOptions& options);

/// What check() is made of: largest error of C (rows `pitch` floats apart) against kernels/reference, in
/// units of k roundings of the sum of magnitudes; NaN where C has one. At most 1 for a right result.
/// @param a, b without gaps
double product_error(std::int64_t m, std::int64_t n, std::int64_t k, const float* a, const float* b,
                     const float* c, std::int64_t pitch);

}  // namespace mlpwatt::gemm_twin

#pragma once
// The space that choose_gemm_blocking chooses from, for a search that tells how good its choices are.

#include <vector>

#include "cpu/gemm/gemm.h"

namespace mlpwatt {

/// Every combination of packing, resident operand, depth and team grid that computes `problem` correctly; the
/// model's own choice is the first.
std::vector<GemmBlocking> all_gemm_blockings(const GemmProblem& problem, const MicroKernels& kernels,
                                             int threads, const Hierarchy& hierarchy);

/// "kc=256 b_in_l1 pack_a pack_b 1x2"
std::string describe_blocking(const GemmBlocking& blocking, int threads);

}  // namespace mlpwatt

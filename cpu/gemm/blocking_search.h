#pragma once
// The space that choose_gemm_blocking chooses from, for a search that tells how good its choices are.

#include <string>
#include <vector>

#include "cpu/gemm/gemm.h"

namespace mlpwatt {

/// Every combination of register tile, packing, resident operand, depth and team grid (rows, columns, parts
/// of k) worth trying; all compute `problem` correctly.
std::vector<GemmBlocking> gemm_blocking_candidates(const GemmProblem& problem, const MicroKernels& kernels,
                                                   int threads, const Hierarchy& hierarchy);

/// The same, the model's own choice first.
std::vector<GemmBlocking> all_gemm_blockings(const GemmProblem& problem, const MicroKernels& kernels,
                                             int threads, const Hierarchy& hierarchy);

/// What the model says `blocking` takes, in cycles of the busiest member; only comparisons mean anything.
double model_gemm_cycles(const GemmProblem& problem, const GemmBlocking& blocking,
                         const MicroKernels& kernels, int threads, const Hierarchy& hierarchy);

/// "6x16 kc=256 b_in_l1 pack_a pack_b 1x2", the last being the team's rows x columns (x parts of k).
std::string describe_blocking(const GemmBlocking& blocking, int threads);

}  // namespace mlpwatt

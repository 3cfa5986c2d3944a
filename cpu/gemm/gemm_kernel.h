#pragma once
// A matrix product as a kernel of the catalogue; shared by the families that differ only in which shapes they
// list.

#include <memory>

#include "cpu/gemm/gemm.h"
#include "kernels/kernel.h"

namespace mlpwatt {

/// C = op(A) op(B) on options.threads threads (0 = all cores), checked row by row against the reference.
std::unique_ptr<Kernel> make_gemm_kernel(const GemmProblem& problem, const RunOptions& options);

/// "nn", "nt" or "tn".
const char* layout_name(GemmLayout layout);

}  // namespace mlpwatt

#pragma once
// One matrix product of gpu/ under the Kernel contract, open to its tests.

#include <memory>

#include "gpu/gemm/gemm.h"
#include "kernels/kernel.h"

namespace mlpwatt::gpu {

std::unique_ptr<Kernel> make_product_kernel(const GemmProblem& problem, Precision precision,
                                            const RunOptions& options);

}  // namespace mlpwatt::gpu

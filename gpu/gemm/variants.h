#pragma once
// The compiled kernels, one file a precision and unit (each is compiled on its own).

#include <vector>

#include "gpu/gemm/gemm.h"

namespace mlpwatt::gpu {

std::vector<GemmVariant> fp32_variants();
std::vector<GemmVariant> tf32_variants();
std::vector<GemmVariant> tf32_wgmma_variants();
std::vector<GemmVariant> bf16_variants();
std::vector<GemmVariant> bf16_wgmma_variants();

}  // namespace mlpwatt::gpu

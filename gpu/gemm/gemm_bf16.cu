// bf16 products on the tensor cores by mma.sync: every device from 8.0, every shape and alignment.

#include "gpu/gemm/kernel.cuh"
#include "gpu/gemm/tensor.cuh"
#include "gpu/gemm/variants.h"

namespace mlpwatt::gpu {

std::vector<GemmVariant> bf16_variants() {
  return {
      variant_of<Bf16Mma<128, 128, 32, 64, 32, 4, 2>>("bf16", Precision::kBf16),
      variant_of<Bf16Mma<64, 64, 32, 32, 32, 4, 4>>("bf16", Precision::kBf16),
      variant_of<Bf16Mma<32, 32, 64, 16, 16, 4, 6>>("bf16", Precision::kBf16),
  };
}

}  // namespace mlpwatt::gpu

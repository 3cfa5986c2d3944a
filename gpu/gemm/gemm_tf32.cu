// tf32 products on the tensor cores.

#include "gpu/gemm/kernel.cuh"
#include "gpu/gemm/tensor.cuh"
#include "gpu/gemm/variants.h"

namespace mlpwatt::gpu {

std::vector<GemmVariant> tf32_variants() {
  return {
      variant_of<Tf32<128, 128, 32, 64, 32, 3, 2>>("tf32", Precision::kTf32),
      variant_of<Tf32<64, 64, 32, 32, 32, 3, 3>>("tf32", Precision::kTf32),
      variant_of<Tf32<32, 32, 32, 16, 16, 4, 6>>("tf32", Precision::kTf32),
  };
}

}  // namespace mlpwatt::gpu

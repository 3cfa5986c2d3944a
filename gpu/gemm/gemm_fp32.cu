// fp32 products on the multiply-add units: three tiles, from the one that reuses every operand most to the
// one that makes most blocks of a small C.

#include "gpu/gemm/kernel.cuh"
#include "gpu/gemm/simt.cuh"
#include "gpu/gemm/variants.h"

namespace mlpwatt::gpu {

std::vector<GemmVariant> fp32_variants() {
  return {
      // 64 sums a thread: 16 floats loaded for 64 multiply-adds. Two blocks of 256 threads leave 128
      // registers each.
      variant_of<Simt<128, 128, 16, 8, 8, 3, 2>>("simt", Precision::kFp32),
      variant_of<Simt<64, 64, 16, 8, 4, 4, 4>>("simt", Precision::kFp32),
      variant_of<Simt<32, 32, 32, 4, 4, 4, 8>>("simt", Precision::kFp32),
  };
}

}  // namespace mlpwatt::gpu

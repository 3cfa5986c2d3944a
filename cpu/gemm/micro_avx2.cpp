// SGEMM micro-kernel, AVX2 + FMA, 6 x 16.

#include <cstdint>
#include <utility>

#include "cpu/gemm/micro_kernel.h"

namespace mlpwatt {
namespace {
constexpr int kVectorBytes = 32;
constexpr int kMr = 6;  // 12 accumulators + 2 rows of B + 1 broadcast of the 16 registers
constexpr int kNv = 2;
}  // namespace
}  // namespace mlpwatt

namespace mlpwatt {
#include "cpu/gemm/micro_kernel_impl.h"

const MicroKernels& micro_kernels_avx2() {
  static const MicroKernels table{Isa::kAvx2, kMr, kNr, kLanes, tile, tile_packed, finish, pack_strips};
  return table;
}
}  // namespace mlpwatt

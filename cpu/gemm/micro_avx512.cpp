// SGEMM micro-kernel, AVX-512, 14 x 32.

#include <cstdint>
#include <utility>

#include "cpu/gemm/micro_kernel.h"

namespace mlpwatt {
namespace {
constexpr int kVectorBytes = 64;
constexpr int kMr = 14;  // 28 accumulators + 2 rows of B leave 2 of the 32 registers for broadcasts
constexpr int kNv = 2;
}  // namespace
}  // namespace mlpwatt

namespace mlpwatt {
#include "cpu/gemm/micro_kernel_impl.h"

const MicroKernels& micro_kernels_avx512() {
  static const MicroKernels table{Isa::kAvx512, kMr, kNr, kLanes, tile, tile_packed, finish, pack_strips};
  return table;
}
}  // namespace mlpwatt

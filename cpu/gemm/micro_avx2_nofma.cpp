// SGEMM micro-kernel, AVX2 without FMA, 6 x 16: same blocking, same misses, quick to simulate.

#include <cstdint>
#include <utility>

#include "cpu/gemm/micro_kernel.h"

namespace mlpwatt {
namespace {
constexpr int kVectorBytes = 32;
constexpr int kMr = 6;  // the tile of the FMA kernel, so that both touch the same lines
constexpr int kNv = 2;
}  // namespace
}  // namespace mlpwatt

namespace mlpwatt {
#include "cpu/gemm/micro_kernel_impl.h"

const MicroKernels& micro_kernels_avx2_nofma() {
  static const MicroKernels table{Isa::kAvx2NoFma, kMr, kNr, kLanes, tile, tile_packed, finish, pack_strips};
  return table;
}
}  // namespace mlpwatt

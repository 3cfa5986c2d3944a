// SGEMM micro-kernel, portable C++ (vectors of four floats), 4 x 8.

#include <cstdint>
#include <utility>

#include "cpu/gemm/micro_kernel.h"

namespace mlpwatt {
namespace {
constexpr int kVectorBytes = 16;
constexpr int kMr = 4;  // 8 accumulators + 2 rows of B + 1 broadcast of 16 baseline registers
constexpr int kNv = 2;
}  // namespace
}  // namespace mlpwatt

namespace mlpwatt {
#include "cpu/gemm/micro_kernel_impl.h"

const MicroKernels& micro_kernels_generic() {
  static const MicroKernels table{Isa::kGeneric, kMr, kNr, kLanes, tile, tile_packed, finish, pack_strips};
  return table;
}
}  // namespace mlpwatt

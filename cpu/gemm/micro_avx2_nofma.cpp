// SGEMM micro-kernel, AVX2 without FMA, 6 x 16: same blocking, same misses, quick to simulate.

#include <cstdint>
#include <utility>

#include "cpu/gemm/micro_kernel.h"

namespace mlpwatt {
namespace {
constexpr int kVectorBytes = 32;
// by vectors of width: 12 accumulators + a row of B + 1 broadcast of the 16 registers
constexpr int kMostRows[3] = {12, 6, 4};
}  // namespace
}  // namespace mlpwatt

namespace mlpwatt {
#include "cpu/gemm/micro_kernel_impl.h"

const MicroKernels& micro_kernels_avx2_nofma() {
  static const MicroKernels table = kernel_table(Isa::kAvx2NoFma);
  return table;
}
}  // namespace mlpwatt

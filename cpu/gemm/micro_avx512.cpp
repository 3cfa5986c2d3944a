// SGEMM micro-kernels, AVX-512, 14 x 32 (and 28 x 16, 9 x 48).

#include <immintrin.h>

#include <cstdint>
#include <utility>

#include "cpu/gemm/micro_kernel.h"

namespace mlpwatt {
namespace {
constexpr int kVectorBytes = 64;
// by vectors of width: 27 or 28 accumulators leave a row of B and a broadcast of the 32 registers
constexpr int kMostRows[3] = {28, 14, 9};
}  // namespace
}  // namespace mlpwatt

namespace mlpwatt {
#include "cpu/gemm/micro_kernel_impl.h"

const MicroKernels& micro_kernels_avx512() {
  static const MicroKernels table = kernel_table(Isa::kAvx512);
  return table;
}
}  // namespace mlpwatt

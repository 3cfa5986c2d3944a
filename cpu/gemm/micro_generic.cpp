// SGEMM micro-kernels, portable C++ (vectors of four floats), 4 x 8 (and 8 x 4, 3 x 12).

#include <cstdint>
#include <utility>

#include "cpu/gemm/micro_kernel.h"

namespace mlpwatt {
namespace {
constexpr int kVectorBytes = 16;
// by vectors of width: 8 or 9 accumulators + a row of B + 1 broadcast of 16 baseline registers
constexpr int kMostRows[3] = {8, 4, 3};
}  // namespace
}  // namespace mlpwatt

namespace mlpwatt {
#include "cpu/gemm/micro_kernel_impl.h"

const MicroKernels& micro_kernels_generic() {
  static const MicroKernels table = kernel_table(Isa::kGeneric);
  return table;
}
}  // namespace mlpwatt

// Fused-engine micro-kernels, avx512: panels of 64 lanes.

#include <immintrin.h>

#include <cstdint>
#include <utility>

#include "cpu/mlp/fused_kernels.h"

namespace mlpwatt {
namespace {
constexpr int kVectorBytes = 64;
constexpr int kVectors = 4;  // of one panel row
constexpr int kRows = 6;     // accumulators: kRows * kVectors, beside kVectors inputs and a broadcast
constexpr int kDotRows = 4;  // weight gradient: kDotRows x 4 sums beside their operands
constexpr int kOuterVectors = 2, kOuterRows = 12;  // the same from turned inputs, a block of which is in L1
// fitted to layers of 64 to 1024 inputs, 1 to 1024 outputs, 128 and 256 rows
constexpr int kFoldRows = 54, kTurnOutputs = 10;
#include "cpu/mlp/fused_impl.h"
}  // namespace

const FusedKernels& fused_kernels_avx512() {
  static const FusedKernels table = kernel_table(Isa::kAvx512);
  return table;
}
}  // namespace mlpwatt

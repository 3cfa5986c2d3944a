// Fused-engine micro-kernels, avx2_nofma: panels of 16 lanes.

#include <immintrin.h>

#include <cstdint>
#include <utility>

#include "cpu/mlp/fused_kernels.h"

namespace mlpwatt {
namespace {
constexpr int kVectorBytes = 32;
constexpr int kVectors = 2;  // of one panel row
constexpr int kRows = 6;     // accumulators: kRows * kVectors, beside kVectors inputs and a broadcast
constexpr int kDotRows = 3;  // weight gradient: kDotRows x 4 sums beside their operands
constexpr int kOuterVectors = 2, kOuterRows = 6;  // the same from turned inputs, a block of which is in L1
constexpr int kFoldRows = 26, kTurnOutputs = 5;   // of avx2, whose instructions these are
#include "cpu/mlp/fused_impl.h"
}  // namespace

const FusedKernels& fused_kernels_avx2_nofma() {
  static const FusedKernels table = kernel_table(Isa::kAvx2NoFma);
  return table;
}
}  // namespace mlpwatt

// Fused-engine micro-kernels, generic: panels of 8 lanes.

#include <cstdint>
#include <utility>

#include "cpu/mlp/fused_kernels.h"

namespace mlpwatt {
namespace {
constexpr int kVectorBytes = 16;
constexpr int kVectors = 2;  // of one panel row
constexpr int kRows = 4;     // accumulators: kRows * kVectors, beside kVectors inputs and a broadcast
constexpr int kDotRows = 2;  // weight gradient: kDotRows x 4 sums beside their operands
constexpr int kOuterVectors = 2, kOuterRows = 4;  // the same from turned inputs, a block of which is in L1
constexpr int kFoldRows = 13, kTurnOutputs = 3;  // halves of avx2's, as the vectors are; nobody measured them
#include "cpu/mlp/fused_impl.h"
}  // namespace

const FusedKernels& fused_kernels_generic() {
  static const FusedKernels table = kernel_table(Isa::kGeneric);
  return table;
}
}  // namespace mlpwatt

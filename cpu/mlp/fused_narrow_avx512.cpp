// Fused-engine micro-kernels, avx512: panels of 32 lanes, for batches that fill no wider one and for teams
// that have more members than wide panels.

#include <immintrin.h>

#include <cstdint>
#include <utility>

#include "cpu/mlp/fused_kernels.h"

namespace mlpwatt {
namespace {
constexpr int kVectorBytes = 64;
constexpr int kVectors = 2;  // of one panel row
constexpr int kRows = 12;    // the rest as in fused_avx512.cpp
constexpr int kDotRows = 4;
constexpr int kOuterVectors = 2, kOuterRows = 12;
constexpr int kFoldRows = 54, kTurnOutputs = 10;
#include "cpu/mlp/fused_impl.h"
}  // namespace

const FusedKernels& fused_kernels_narrow_avx512() {
  static const FusedKernels table = kernel_table(Isa::kAvx512);
  return table;
}
}  // namespace mlpwatt

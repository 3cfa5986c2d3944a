// Peak multiply-add rate, avx512: 24 independent chains hide the latency of every pipe; nothing leaves the
// registers.
#include "cpu/probes/fma.h"

namespace mlpwatt {
namespace {
constexpr int kVectorBytes = 64;
constexpr int kChains = 24;
#include "cpu/probes/fma_impl.h"
}  // namespace

FmaProbe fma_probe_avx512() {
  return {Isa::kAvx512, fma_chains, kChains * kVectorBytes / 4, kVectorBytes / 4};
}
}  // namespace mlpwatt

// Peak multiply-add rate, avx2_nofma: 12 independent chains hide the latency of every pipe; nothing leaves
// the registers.
#include "cpu/probes/fma.h"

namespace mlpwatt {
namespace {
constexpr int kVectorBytes = 32;
constexpr int kChains = 12;
#include "cpu/probes/fma_impl.h"
}  // namespace

FmaProbe fma_probe_avx2_nofma() {
  return {Isa::kAvx2NoFma, fma_chains, kChains * kVectorBytes / 4, kVectorBytes / 4};
}
}  // namespace mlpwatt

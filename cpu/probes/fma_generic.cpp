// Peak multiply-add rate, generic: 12 independent chains hide the latency of every pipe; nothing leaves the
// registers.
#include "cpu/probes/fma.h"

namespace mlpwatt {
namespace {
constexpr int kVectorBytes = 16;
constexpr int kChains = 12;
#include "cpu/probes/fma_impl.h"
}  // namespace

FmaProbe fma_probe_generic() {
  return {Isa::kGeneric, fma_chains, kChains * kVectorBytes / 4, kVectorBytes / 4};
}
}  // namespace mlpwatt

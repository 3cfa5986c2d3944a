#pragma once
// The machine's floating-point ceiling: independent multiply-add chains held in registers.

#include <cstdint>

#include "cpu/isa.h"

namespace mlpwatt {

struct FmaProbe {
  /// Every chain: x = c, then `iterations` times x = x * factor + term; returns the sum over all lanes.
  float (*chains)(std::int64_t iterations, float factor, float term);
  int lanes;  ///< chains * floats per vector: multiplies (and adds) of one iteration
};

FmaProbe fma_probe_avx512();
FmaProbe fma_probe_avx2();
FmaProbe fma_probe_avx2_nofma();
FmaProbe fma_probe_generic();
FmaProbe fma_probe(Isa isa);

}  // namespace mlpwatt

#pragma once
// The machine's floating-point ceiling: independent multiply-add chains held in registers.

#include <cstdint>

#include "cpu/isa.h"
#include "kernels/kernel.h"

namespace mlpwatt {

struct FmaProbe {
  Isa isa;
  /// Every chain: x = c, then `iterations` times x = x * factor + term; returns the sum over all lanes.
  float (*chains)(std::int64_t iterations, float factor, float term);
  int lanes;         ///< chains * floats per vector: multiplies (and adds) of one iteration
  int vector_lanes;  ///< floats per vector
};

FmaProbe fma_probe_avx512();
FmaProbe fma_probe_avx2();
FmaProbe fma_probe_avx2_nofma();
FmaProbe fma_probe_generic();
FmaProbe fma_probe(Isa isa);

/// The sum of the chains after a few iterations against its closed form.
Check check_fma(const FmaProbe& probe);

}  // namespace mlpwatt

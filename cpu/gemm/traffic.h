#pragma once
// What the packed, blocked matrix product moves: the loops of gemm.cpp as touches and re-readings.

#include "cpu/gemm/gemm.h"
#include "kernels/traffic.h"

namespace mlpwatt {

/// The arrays of a product as they are known to the trace, and what its last write reads and writes besides.
struct GemmTrafficArrays {
  int a = -1, b = -1, c = -1;
  std::vector<int> read_with_c;       ///< masks, addends: read beside each tile of C
  std::vector<int> written_with_c;    ///< written beside each tile of C
  std::vector<int> updated_with_c;    ///< read and written (Adam's moments); C is then updated as well
  double a_remote = 0, b_remote = 0;  ///< shares another thread wrote since
};

/// Adds one product to the trace; returns issued FLOPs, tiles and barriers (all threads together).
struct GemmWork {
  double issued_flops = 0, tiles = 0, barriers = 0, imbalance = 1;
};
GemmWork add_gemm_traffic(ReuseTrace& trace, const GemmProblem& problem, const GemmBlocking& blocking,
                          const MicroKernels& kernels, int threads, const GemmTrafficArrays& arrays);

/// One product by itself, repeated on the same matrices: what cpu/gemm runs.
Traffic gemm_traffic(const GemmProblem& problem, const GemmBlocking& blocking, const MicroKernels& kernels,
                     int threads, const Hierarchy& hierarchy);

}  // namespace mlpwatt

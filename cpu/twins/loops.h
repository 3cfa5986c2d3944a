#pragma once
// The plain loops, once per instruction set. Little is included: what an instruction set's file instantiates
// could be linked into everyone's program.

#include <cstdint>

namespace mlpwatt::gemm_twin {

/// C rows [row_first, row_last) of C[m x n] = A[m x k] B[k x n], row-major without gaps.
using Loops = void (*)(std::int64_t row_first, std::int64_t row_last, std::int64_t n, std::int64_t k,
                       const float* a, const float* b, float* c);

struct LoopTable {
  Loops ikj, ijk, jki;
};

LoopTable loops_generic();
LoopTable loops_avx2_nofma();
LoopTable loops_avx2();
LoopTable loops_avx512();

}  // namespace mlpwatt::gemm_twin

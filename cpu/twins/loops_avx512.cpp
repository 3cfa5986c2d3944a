// The plain loops as the compiler makes them for avx512.
#if defined(__x86_64__)
#include "cpu/twins/loops.h"

namespace mlpwatt::gemm_twin {
namespace {
#include "cpu/twins/loops_impl.h"
}  // namespace

LoopTable loops_avx512() { return {ikj, ijk, jki}; }
}  // namespace mlpwatt::gemm_twin
#endif

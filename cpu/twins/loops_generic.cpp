// The plain loops as the compiler makes them for generic.
#include "cpu/twins/loops.h"

namespace mlpwatt::gemm_twin {
namespace {
#include "cpu/twins/loops_impl.h"
}  // namespace

LoopTable loops_generic() { return {ikj, ijk, jki}; }
}  // namespace mlpwatt::gemm_twin

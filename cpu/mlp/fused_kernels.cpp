#include "cpu/mlp/fused_kernels.h"

#include <stdexcept>

namespace mlpwatt {

const FusedKernels& fused_kernels(Isa isa) {
  switch (isa) {
#if defined(__x86_64__)
    case Isa::kAvx512:
      return fused_kernels_avx512();
    case Isa::kAvx2:
      return fused_kernels_avx2();
    case Isa::kAvx2NoFma:
      return fused_kernels_avx2_nofma();
#endif
    case Isa::kGeneric:
      return fused_kernels_generic();
    default:
      throw std::invalid_argument("isa '" + isa_name(isa) + "' was not compiled into this program");
  }
}

}  // namespace mlpwatt

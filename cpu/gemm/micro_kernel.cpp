#include "cpu/gemm/micro_kernel.h"

#include <stdexcept>

namespace mlpwatt {

const MicroKernels& micro_kernels(Isa isa) {
  switch (isa) {
#if defined(__x86_64__)
    case Isa::kAvx512:
      return micro_kernels_avx512();
    case Isa::kAvx2:
      return micro_kernels_avx2();
    case Isa::kAvx2NoFma:
      return micro_kernels_avx2_nofma();
#endif
    // A NEON case goes here, under __aarch64__: Isa::kNeon (cpu/isa.h) -> micro_kernels_neon(), in a
    // *_neon.cpp whose flags stand in the Makefile's isa_flags.
    case Isa::kGeneric:
      return micro_kernels_generic();
    default:
      throw std::invalid_argument("isa '" + isa_name(isa) + "' was not compiled into this program");
  }
}

}  // namespace mlpwatt

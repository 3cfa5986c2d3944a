#pragma once
// How large tests of gpu/ may be: small where every access is watched, on the emulator or by
// compute-sanitizer.

#include <cstdlib>

#include "gpu/device/cuda.cuh"

namespace mlpwatt::gpu {

inline bool small_shapes() {
#if defined(MLPWATT_EMULATED)
  return true;
#else
  return std::getenv("MLPWATT_SMALL_SHAPES") != nullptr;
#endif
}

}  // namespace mlpwatt::gpu

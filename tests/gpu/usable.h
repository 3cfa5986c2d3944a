#pragma once
// While one of these is there, the harness takes the emulated device for one that can be used. A real one is.

#include "gpu/runtime.h"

namespace mlpwatt::gpu {

struct Usable {
#if defined(MLPWATT_EMULATED)
  Usable() { emulation::settings().usable = true; }
  ~Usable() { emulation::settings().usable = false; }
#else
  Usable() {}
#endif
  Usable(const Usable&) = delete;
  Usable& operator=(const Usable&) = delete;
};

}  // namespace mlpwatt::gpu

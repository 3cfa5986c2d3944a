#pragma once
// CUDA calls that fail in the emulated runtime because a test wants them to.

#include <cstdint>
#include <optional>
#include <string>

#include "gpu/failure.h"

namespace mlpwatt::emulation {

struct Fault {
  std::string doing;  ///< which call, in the runtime's words: "launching a kernel", "waiting for the device"
  gpu::CudaStatus status;
  int after = 0;  ///< so many of those calls succeed first
};

struct Faults {
  /// Once it has happened, and the device is lost with it, every call reports it.
  std::optional<Fault> fault;
  std::int64_t memory_bytes = std::int64_t{1} << 30;  ///< that allocations may take altogether
};
Faults& faults();

}  // namespace mlpwatt::emulation

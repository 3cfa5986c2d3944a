#pragma once
// The order of batches, shuffled on the device.

#include <cstdint>

#include "gpu/runtime.h"

namespace mlpwatt::gpu {

/// `entries` batch numbers in device memory: epoch after epoch, each a new seeded shuffle of 0 .. batches -
/// 1, the very sequence that kernels/random.h's BatchOrder gives on the host. Rows themselves stay where they
/// are: the split shuffled them once, as in the study.
Buffer<int> make_order(int batches, std::uint64_t seed, int entries);

}  // namespace mlpwatt::gpu

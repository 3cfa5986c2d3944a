#pragma once
// The order of batches, shuffled on the device.

#include <cstdint>

#include "gpu/runtime.h"

namespace mlpwatt::gpu {

/// Epoch after epoch, each a new seeded shuffle of 0 .. batches - 1 in device memory: the very sequence that
/// kernels/random.h's BatchOrder gives on the host. Rows themselves stay where they are: the split shuffled
/// them once, as in the study.
class DeviceBatchOrder {
 public:
  DeviceBatchOrder(int batches, std::uint64_t seed);
  /// Fills `order` with the batch numbers of the next epoch, and of those after it while there is room; the
  /// rest of an epoch that did not fit is left out. Waits for the device.
  void draw(const Buffer<int>& order);

 private:
  Buffer<unsigned long long> generator_;  ///< the state of std::mt19937_64, and where in it the next draw is
  Buffer<int> shuffled_;                  ///< the last epoch, which the next one's shuffle starts from
};

}  // namespace mlpwatt::gpu

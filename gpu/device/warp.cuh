#pragma once
// Reductions by shuffles.

#include "gpu/device/cuda.cuh"

namespace mlpwatt::gpu {

inline constexpr unsigned kAllLanes = 0xffffffffu;

/// The sum over the 32 lanes, in all of them, in a fixed order.
__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
  for (int bit = 16; bit > 0; bit /= 2) x += __shfl_xor_sync(kAllLanes, x, bit);
  return x;
}
__device__ __forceinline__ float warp_max(float x) {
#pragma unroll
  for (int bit = 16; bit > 0; bit /= 2) x = fmaxf(x, __shfl_xor_sync(kAllLanes, x, bit));
  return x;
}

}  // namespace mlpwatt::gpu

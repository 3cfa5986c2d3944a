#pragma once
// bfloat16 as storage: two bytes, the upper half of a float. Arithmetic is done in float or by tensor cores.

#include "gpu/device/cuda.cuh"

namespace mlpwatt::gpu {

struct Bf16 {
  std::uint16_t bits;
};
static_assert(sizeof(Bf16) == 2);

/// Round to nearest, ties to even; NaN stays NaN.
__host__ __device__ __forceinline__ Bf16 to_bf16(float x) {
#if defined(__CUDA_ARCH__)
  Bf16 result;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(result.bits) : "f"(x));
  return result;
#else
  std::uint32_t bits;
  __builtin_memcpy(&bits, &x, 4);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return {static_cast<std::uint16_t>(bits >> 16 | 0x40)};
  bits += 0x7fffu + (bits >> 16 & 1);
  return {static_cast<std::uint16_t>(bits >> 16)};
#endif
}

__host__ __device__ __forceinline__ float to_float(Bf16 x) {
  const std::uint32_t bits = static_cast<std::uint32_t>(x.bits) << 16;
#if defined(__CUDA_ARCH__)
  return __uint_as_float(bits);
#else
  float result;
  __builtin_memcpy(&result, &bits, 4);
  return result;
#endif
}
__host__ __device__ __forceinline__ float to_float(float x) { return x; }

/// `low` in the lower half: the order in which mma fragments hold two neighbours.
__host__ __device__ __forceinline__ std::uint32_t pack_bf16(Bf16 low, Bf16 high) {
  return static_cast<std::uint32_t>(high.bits) << 16 | low.bits;
}

/// float or Bf16 from a float.
template <typename T>
__host__ __device__ __forceinline__ T from_float(float x);
template <>
__host__ __device__ __forceinline__ float from_float<float>(float x) {
  return x;
}
template <>
__host__ __device__ __forceinline__ Bf16 from_float<Bf16>(float x) {
  return to_bf16(x);
}

}  // namespace mlpwatt::gpu

#pragma once
// A barrier of all blocks of a cooperative launch, and the loads and stores that pass data between blocks.

#include "gpu/device/cuda.cuh"

namespace mlpwatt::gpu {

/// Arrivals since the counter was zeroed; it lies in device memory and is zeroed once, not per launch: every
/// launch that completes leaves a multiple of its blocks. 64 bits never wrap.
using GridCounter = unsigned long long;

/// A value others write while this kernel runs.
__device__ __forceinline__ unsigned long long load_acquire(const unsigned long long* address) {
#if defined(__CUDACC__)
  unsigned long long value;
  asm volatile("ld.acquire.gpu.global.u64 %0, [%1];" : "=l"(value) : "l"(address) : "memory");
  return value;
#else
  return *address;
#endif
}
__device__ __forceinline__ unsigned load_acquire(const unsigned* address) {
#if defined(__CUDACC__)
  unsigned value;
  asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(value) : "l"(address) : "memory");
  return value;
#else
  return *address;
#endif
}
__device__ __forceinline__ void store_release(unsigned* address, unsigned value) {
#if defined(__CUDACC__)
  asm volatile("st.release.gpu.global.u32 [%0], %1;" ::"l"(address), "r"(value) : "memory");
#else
  *address = value;
#endif
}

/// Writes of all threads of the grid before it are seen by all behind it. All blocks must be resident
/// (cooperative launch) and run in a launch of the same number of blocks each time `counter` is used.
__device__ __forceinline__ void sync_grid(GridCounter* counter) {
#if defined(__CUDACC__)
  __syncthreads();
  if (threadIdx.x + threadIdx.y + threadIdx.z == 0) {
    const unsigned long long blocks = gridDim.x * gridDim.y * gridDim.z;
    __threadfence();
    const unsigned long long ticket = atomicAdd(counter, 1ull);
    const unsigned long long full = (ticket / blocks + 1) * blocks;
    while (load_acquire(counter) < full) {
    }
    __threadfence();
  }
  __syncthreads();
#else
  (void)counter;
  emulation::sync_grid(emulation::Where::current());
#endif
}

}  // namespace mlpwatt::gpu

#pragma once
// What every file of gpu/ includes: CUDA C++ under nvcc; under a host compiler the same words from the tests'
// emulator, so that one source is proven on a machine without a GPU.
// Kernels use CUDA's own names for threads, barriers, shuffles and atomics. What has no name in CUDA C++
// (async copies, tensor cores, clusters, grid barriers) stands in the other files of gpu/device/, PTX in one
// branch, the emulator in the other. Two rules keep the source one:
//   - shared memory is dynamic: shared_memory() or shared_as<Struct>(); small static objects by
//   MLPWATT_SHARED;
//   - a loop that waits for memory to change calls __nanosleep.

#if defined(__CUDACC__)
#include <cuda_runtime.h>

#include <cstdint>

/// A static object of the block: using Rows = float[32]; MLPWATT_SHARED(Rows, rows);
#define MLPWATT_SHARED(Type, name) __shared__ Type name
#else
#include "tests/emulation/cuda.h"

#define MLPWATT_SHARED(Type, name)                           \
  static char name##_is_here = 0;                            \
  Type& name = *static_cast<std::remove_reference_t<Type>*>( \
      ::mlpwatt::emulation::static_shared(&name##_is_here, sizeof(Type)))
#endif

// True in code that is compiled for Hopper's own instructions (wgmma, setmaxnreg), or emulated.
#if defined(__CUDA_ARCH_FEAT_SM90_ALL) || !defined(__CUDACC__)
#define MLPWATT_SM90A 1
#endif
// True where thread-block clusters and TMA exist.
#if !defined(__CUDACC__) || (defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900)
#define MLPWATT_CLUSTERS 1
#endif

namespace mlpwatt::gpu {

/// The block's dynamic shared memory, 1024-byte aligned; its size is the launch's.
__device__ __forceinline__ unsigned char* shared_memory() {
#if defined(__CUDACC__)
  extern __shared__ __align__(1024) unsigned char mlpwatt_shared[];
  return mlpwatt_shared;
#else
  return emulation::shared_memory();
#endif
}

/// Dynamic shared memory seen as one struct; the launch asks for offset_bytes + sizeof(T).
template <typename T>
__device__ __forceinline__ T& shared_as(unsigned offset_bytes = 0) {
  return *reinterpret_cast<T*>(shared_memory() + offset_bytes);
}

#if defined(__CUDACC__)
/// The 32-bit address that PTX's shared-memory operands take.
__device__ __forceinline__ std::uint32_t shared_address(const void* pointer) {
  return static_cast<std::uint32_t>(__cvta_generic_to_shared(pointer));
}
#endif

/// A barrier among the first `threads` (a multiple of 32) to arrive at `id` (1..15; 0 is __syncthreads).
__device__ __forceinline__ void sync_named(int id, int threads) {
#if defined(__CUDACC__)
  asm volatile("barrier.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
#else
  emulation::sync_named(id, threads, emulation::Where::current());
#endif
}
/// Counts towards that barrier without waiting.
__device__ __forceinline__ void arrive_named(int id, int threads) {
#if defined(__CUDACC__)
  asm volatile("barrier.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
#else
  emulation::arrive_named(id, threads, emulation::Where::current());
#endif
}

}  // namespace mlpwatt::gpu

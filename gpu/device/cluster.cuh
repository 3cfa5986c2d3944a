#pragma once
// Thread-block clusters: up to 16 blocks on neighbouring multiprocessors that read and write each other's
// shared memory. (Hopper and later; a kernel that uses them is never launched elsewhere.)

#include "gpu/device/cuda.cuh"

namespace mlpwatt::gpu {

__device__ __forceinline__ unsigned cluster_rank() {
#if !defined(__CUDACC__)
  return emulation::cluster_rank();
#elif defined(MLPWATT_CLUSTERS)
  unsigned rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
#else
  return 0;
#endif
}
__device__ __forceinline__ unsigned cluster_size() {
#if !defined(__CUDACC__)
  return emulation::cluster_size();
#elif defined(MLPWATT_CLUSTERS)
  unsigned size;
  asm volatile("mov.u32 %0, %%cluster_nctarank;" : "=r"(size));
  return size;
#else
  return 1;
#endif
}

/// All threads of the cluster; their writes before it are seen by all behind it. Also needed before a block
/// whose shared memory others read leaves the kernel.
__device__ __forceinline__ void sync_cluster() {
#if !defined(__CUDACC__)
  emulation::sync_cluster(emulation::Where::current());
#elif defined(MLPWATT_CLUSTERS)
  asm volatile("barrier.cluster.arrive.release.aligned;\n barrier.cluster.wait.acquire.aligned;" ::
                   : "memory");
#endif
}
/// The same in two halves: what stands between them may not touch what the barrier orders.
__device__ __forceinline__ void arrive_cluster() {
#if !defined(__CUDACC__)
  emulation::arrive_cluster(emulation::Where::current());
#elif defined(MLPWATT_CLUSTERS)
  asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
#endif
}
__device__ __forceinline__ void wait_cluster() {
#if !defined(__CUDACC__)
  emulation::wait_cluster(emulation::Where::current());
#elif defined(MLPWATT_CLUSTERS)
  asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
#endif
}

/// The object in block `rank` of the cluster that lies where `mine` lies here (dynamic shared memory only).
template <typename T>
__device__ __forceinline__ T* map_shared(T* mine, unsigned rank) {
#if !defined(__CUDACC__)
  return static_cast<T*>(emulation::map_shared(mine, rank));
#elif defined(MLPWATT_CLUSTERS)
  std::uint64_t theirs;
  asm volatile("mapa.u64 %0, %1, %2;" : "=l"(theirs) : "l"(mine), "r"(rank));
  return reinterpret_cast<T*>(theirs);
#else
  return mine;
#endif
}

}  // namespace mlpwatt::gpu

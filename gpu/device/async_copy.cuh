#pragma once
// Copies from device memory to shared memory that run while the threads compute: cp.async (any thread, 4, 8
// or 16 bytes), and bulk copies (one thread, whole tiles) that report to an mbarrier.

#include "gpu/device/cuda.cuh"
#if defined(__CUDACC__)
#include <cuda.h>
#endif

namespace mlpwatt::gpu {

/// Starts copying Bytes (4, 8, 16; both ends aligned to it), of which the first `valid_bytes` are read and
/// the rest become zero; with 0, `from` is not read. Visible to this thread after copy_wait, to others after
/// a barrier behind that.
template <int Bytes>
__device__ __forceinline__ void copy_async_partial(void* to, const void* from, int valid_bytes) {
  static_assert(Bytes == 4 || Bytes == 8 || Bytes == 16);
#if defined(__CUDACC__)
  if constexpr (Bytes == 16)  // past L1, which these tiles would only pass through
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from),
                 "r"(valid_bytes)
                 : "memory");
  else
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(shared_address(to)), "l"(from),
                 "n"(Bytes), "r"(valid_bytes)
                 : "memory");
#else
  emulation::async_copy(to, from, Bytes, static_cast<std::size_t>(valid_bytes));
#endif
}
/// All of it, or zeros when not `valid`.
template <int Bytes>
__device__ __forceinline__ void copy_async(void* to, const void* from, bool valid = true) {
  copy_async_partial<Bytes>(to, from, valid ? Bytes : 0);
}

/// Closes a group of this thread's copies.
__device__ __forceinline__ void copy_commit() {
#if defined(__CUDACC__)
  asm volatile("cp.async.commit_group;" ::: "memory");
#else
  emulation::async_commit();
#endif
}

/// Waits until at most InFlight of this thread's groups are under way.
template <int InFlight>
__device__ __forceinline__ void copy_wait() {
#if defined(__CUDACC__)
  asm volatile("cp.async.wait_group %0;" ::"n"(InFlight) : "memory");
#else
  emulation::async_wait(InFlight);
#endif
}

// ---- mbarriers: phases that count arrivals and bytes
// -------------------------------------------------------

using Mbarrier = std::uint64_t;  // in shared memory

/// By one thread, before mbarrier_init_fence and a barrier of all who use it.
__device__ __forceinline__ void mbarrier_init(Mbarrier& barrier, unsigned arrivals) {
#if !defined(__CUDACC__)
  emulation::mbarrier_init(&barrier, arrivals);
#elif defined(MLPWATT_CLUSTERS)
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(&barrier)), "r"(arrivals)
               : "memory");
#endif
}
/// Makes initialised mbarriers visible to the copy engine and the cluster.
__device__ __forceinline__ void mbarrier_init_fence() {
#if defined(__CUDACC__) && defined(MLPWATT_CLUSTERS)
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
#endif
}
__device__ __forceinline__ void mbarrier_arrive(Mbarrier& barrier) {
#if !defined(__CUDACC__)
  emulation::mbarrier_arrive(&barrier, 0);
#elif defined(MLPWATT_CLUSTERS)
  asm volatile("mbarrier.arrive.release.cta.shared::cta.b64 _, [%0];" ::"r"(shared_address(&barrier))
               : "memory");
#endif
}
/// At the barrier of block `rank` of the cluster that lies where `barrier` lies here. Says that reads are
/// over, which needs no order beyond this block's: released to the cluster it would be a fence of the whole
/// device.
__device__ __forceinline__ void mbarrier_arrive_at(Mbarrier& barrier, unsigned rank) {
#if !defined(__CUDACC__)
  emulation::mbarrier_arrive(static_cast<Mbarrier*>(emulation::map_shared(&barrier, rank)), 0);
#elif defined(MLPWATT_CLUSTERS)
  asm volatile(
      "{\n .reg .b32 theirs;\n"
      " mapa.shared::cluster.u32 theirs, %0, %1;\n"
      " mbarrier.arrive.shared::cluster.b64 _, [theirs];\n}" ::"r"(shared_address(&barrier)),
      "r"(rank)
      : "memory");
#endif
}
/// Arrives, and adds bytes that the phase must see arrive as well.
__device__ __forceinline__ void mbarrier_arrive_expect(Mbarrier& barrier, unsigned bytes) {
#if !defined(__CUDACC__)
  emulation::mbarrier_arrive(&barrier, bytes);
#elif defined(MLPWATT_CLUSTERS)
  asm volatile(
      "mbarrier.arrive.expect_tx.release.cta.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(&barrier)),
      "r"(bytes)
      : "memory");
#endif
}
/// Waits until the phase of this parity has completed: a fresh barrier's first phase has parity 0.
__device__ __forceinline__ void mbarrier_wait(Mbarrier& barrier, unsigned parity) {
#if !defined(__CUDACC__)
  emulation::mbarrier_wait(&barrier, parity, emulation::Where::current());
#elif defined(MLPWATT_CLUSTERS)
  std::uint32_t done;
  do {
    asm volatile(
        "{\n .reg .pred p;\n"
        " mbarrier.try_wait.parity.acquire.cta.shared::cta.b64 p, [%1], %2;\n"
        " selp.u32 %0, 1, 0, p;\n}"
        : "=r"(done)
        : "r"(shared_address(&barrier)), "r"(parity)
        : "memory");
  } while (done == 0);
#endif
}

// ---- bulk copies
// -------------------------------------------------------------------------------------------

/// A row-major matrix in device memory and the box of it that one tensor copy moves. Made on the host
/// (make_tensor_map in gpu/runtime.h), passed to kernels as `const __grid_constant__ TensorMap`.
struct TensorMap {
#if defined(__CUDACC__)
  CUtensorMap map;  // aligned to 64 bytes by its own declaration
#else
  const unsigned char* base = nullptr;
  std::int64_t rows = 0, columns = 0, row_bytes = 0;
  int element_bytes = 0, box_rows = 0, box_columns = 0;
  bool as_tf32 = false;
#endif
};

#if !defined(__CUDACC__)
namespace emulated {
/// As the copy engine rounds: 10 bits of mantissa, ties to even.
inline void round_to_tf32(void* element) {
  std::uint32_t bits;
  std::memcpy(&bits, element, 4);
  if ((bits & 0x7f800000u) == 0x7f800000u) return;
  bits = (bits + 0xfffu + (bits >> 13 & 1)) & ~0x1fffu;
  std::memcpy(element, &bits, 4);
}
}  // namespace emulated
#endif

#if !defined(__CUDACC__)
namespace emulated {
inline void copy_box(void* to, const TensorMap& map, Mbarrier* barrier, int row, int column) {
  const unsigned bytes = static_cast<unsigned>(map.box_rows) * 128;
  emulation::require_shared(to, bytes, "the target of a tensor copy");
  if (reinterpret_cast<std::uintptr_t>(to) % 1024 != 0)
    emulation::violation("the target of a swizzled tensor copy is not aligned to 1024 bytes");
  emulation::poison(to, bytes);
  emulation::mbarrier_pending_copy(barrier, bytes, [=] {  // the thread may leave before the copy happens
    unsigned char* target = static_cast<unsigned char*>(to);
    for (int r = 0; r < map.box_rows; ++r)
      for (int c = 0; c < map.box_columns; ++c) {
        const std::int64_t i = row + r, j = column + c;
        const int at = c * map.element_bytes;
        unsigned char* element = target + r * 128 + ((at / 16 ^ r % 8) * 16 + at % 16);
        if (i >= 0 && i < map.rows && j >= 0 && j < map.columns)
          std::memcpy(element, map.base + i * map.row_bytes + j * map.element_bytes,
                      static_cast<std::size_t>(map.element_bytes));
        else
          std::memset(element, 0, static_cast<std::size_t>(map.element_bytes));
        if (map.as_tf32) round_to_tf32(element);
      }
  });
}
}  // namespace emulated
#endif

/// Starts copying the box whose first element is (row, column) into `to` (1024-byte aligned), box_columns *
/// element bytes = 128 bytes a row, 128-byte swizzle: the 16-byte chunk c of row r lies at chunk c ^ (r % 8).
/// Elements outside the matrix become zero. The barrier gets box_rows * 128 bytes credited, always. By one
/// thread.
__device__ __forceinline__ void copy_tile(void* to, const TensorMap& map, Mbarrier& barrier, int row,
                                          int column) {
#if !defined(__CUDACC__)
  emulated::copy_box(to, map, &barrier, row, column);
#elif defined(MLPWATT_CLUSTERS)
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], "
      "[%2];" ::"r"(shared_address(to)),
      "l"(&map.map), "r"(shared_address(&barrier)), "r"(column), "r"(row)
      : "memory");
#endif
}

/// The same into every block of the cluster whose bit is set in `ranks`: each gets the box where `to` lies in
/// its shared memory, and has its barrier credited. (Built for sm_90a: ptxas calls it slow elsewhere.)
__device__ __forceinline__ void copy_tile_to_all(void* to, const TensorMap& map, Mbarrier& barrier, int row,
                                                 int column, unsigned ranks) {
#if !defined(__CUDACC__)
  for (unsigned rank = 0; rank < 16; ++rank)
    if (ranks >> rank & 1)
      emulated::copy_box(emulation::map_shared(to, rank), map,
                         static_cast<Mbarrier*>(emulation::map_shared(&barrier, rank)), row, column);
#elif defined(MLPWATT_SM90A)
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0], "
      "[%1, {%3, %4}], [%2], %5;" ::"r"(shared_address(to)),
      "l"(&map.map), "r"(shared_address(&barrier)), "r"(column), "r"(row),
      "h"(static_cast<std::uint16_t>(ranks))
      : "memory");
#endif
}

/// Asks for the descriptor before the first copy needs it.
__device__ __forceinline__ void prefetch_map(const TensorMap& map) {
#if defined(__CUDACC__) && defined(MLPWATT_CLUSTERS)
  asm volatile("prefetch.tensormap [%0];" ::"l"(&map.map) : "memory");
#else
  (void)map;
#endif
}

/// Starts copying `bytes` (a multiple of 16, both ends aligned to 16) and credits them to the barrier. By one
/// thread.
__device__ __forceinline__ void copy_bulk(void* to, const void* from, unsigned bytes, Mbarrier& barrier) {
#if !defined(__CUDACC__)
  emulation::require_shared(to, bytes, "the target of a bulk copy");
  if (bytes % 16 != 0 || reinterpret_cast<std::uintptr_t>(to) % 16 != 0 ||
      reinterpret_cast<std::uintptr_t>(from) % 16 != 0)
    emulation::violation("a bulk copy that is not aligned to 16 bytes");
  emulation::poison(to, bytes);
  emulation::mbarrier_pending_copy(&barrier, bytes, [=] { std::memcpy(to, from, bytes); });
#elif defined(MLPWATT_CLUSTERS)
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
          shared_address(to)),
      "l"(from), "r"(bytes), "r"(shared_address(&barrier))
      : "memory");
#endif
}

/// Makes this thread's plain writes to shared memory visible to bulk copies and wgmma that come after a
/// barrier.
__device__ __forceinline__ void fence_async_proxy() {
#if defined(__CUDACC__) && defined(MLPWATT_CLUSTERS)
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}

}  // namespace mlpwatt::gpu

#pragma once
// Tiles of A and B on their way into shared memory, and the order in which blocks take tiles of C.

#include "gpu/device/async_copy.cuh"
#include "gpu/device/bf16.cuh"
#include "gpu/device/cuda.cuh"

namespace mlpwatt::gpu {

/// How an operand's tile of MN rows or columns of C by BK lies in shared memory. In device memory k is
/// contiguous (KContiguous) or m / n is; the tile keeps that order, or is turned to mn-contiguous while it is
/// copied. `Pad` elements behind each row keep the threads of a warp on different banks.
template <typename T_, int MN, int BK, bool KContiguous, bool Turn, int Pad>
struct Tile {
  using T = T_;
  static constexpr bool kByK = KContiguous && !Turn;  ///< k is contiguous in shared memory
  static constexpr int kRowLength = (kByK ? BK : MN) + Pad;
  static constexpr int kElements = (kByK ? MN : BK) * kRowLength;
  static_assert(kRowLength * sizeof(T) % 16 == 0, "rows begin where a 16-byte copy may");

  __device__ __forceinline__ static constexpr int at(int mn, int k) {
    return kByK ? mn * kRowLength + k : k * kRowLength + mn;
  }

  /// Starts copying the tile whose corner is (mn0, k0) of an operand that ends at (mn_end, k_end); outside of
  /// it zeros. By all kThreads of the block; completed by copy_commit, copy_wait and a block barrier.
  template <int kThreads>
  __device__ __forceinline__ static void copy(T* to, const T* from, std::int64_t ld, int mn0, int k0,
                                              int mn_end, int k_end, bool vector) {
    constexpr int kRows = KContiguous ? MN : BK, kColumns = KContiguous ? BK : MN;  // as in device memory
    const int row0 = KContiguous ? mn0 : k0, column0 = KContiguous ? k0 : mn0;
    const int row_end = KContiguous ? mn_end : k_end, column_end = KContiguous ? k_end : mn_end;
    const int thread = static_cast<int>(threadIdx.x);
    if constexpr (!Turn) {
      if (vector) {
        constexpr int kVector = 16 / static_cast<int>(sizeof(T)), kChunks = kColumns / kVector;
        constexpr int kRowsAtOnce = kThreads / kChunks;
        static_assert(kColumns % kVector == 0 && kThreads % kChunks == 0 && kRows % kRowsAtOnce == 0,
                      "every thread copies equally much, in one column of chunks");
        // One address and one mask a thread; the rest is strides known to the compiler: few registers.
        const int r = thread / kChunks, column = column0 + thread % kChunks * kVector;
        const int valid = max(0, min(kVector, column_end - column)) * static_cast<int>(sizeof(T));
        const T* source = from + (row0 + r) * ld + column;
        T* target = to + r * kRowLength + thread % kChunks * kVector;
#pragma unroll
        for (int i = 0; i < kRows / kRowsAtOnce; ++i) {
          const int bytes = row0 + r + i * kRowsAtOnce < row_end ? valid : 0;
          copy_async_partial<16>(target + i * kRowsAtOnce * kRowLength, bytes > 0 ? source : from, bytes);
          source += kRowsAtOnce * ld;
        }
        return;
      }
    }
    constexpr int kRowsAtOnce = kThreads / kColumns > 0 ? kThreads / kColumns : 1;
    constexpr int kColumnsAtOnce = kColumns < kThreads ? kColumns : kThreads;
    static_assert(kThreads % kColumnsAtOnce == 0 && kColumns % kColumnsAtOnce == 0 &&
                  kRows % kRowsAtOnce == 0);
#pragma unroll 1
    for (int c = thread % kColumnsAtOnce; c < kColumns; c += kColumnsAtOnce) {
      const int r0 = thread / kColumnsAtOnce, column = column0 + c;
      const T* source = from + (row0 + r0) * ld + column;
      T* target = to + (Turn ? c * kRowLength + r0 : r0 * kRowLength + c);
#pragma unroll 4
      for (int i = 0; i < kRows / kRowsAtOnce; ++i) {
        const bool valid = row0 + r0 + i * kRowsAtOnce < row_end && column < column_end;
        if constexpr (sizeof(T) == 4)
          copy_async<4>(target, valid ? source : from, valid);
        else  // cp.async moves 4 bytes at least: these go through a register
          *target = valid ? *source : T{};
        source += kRowsAtOnce * ld;
        target += kRowsAtOnce * (Turn ? 1 : kRowLength);
      }
    }
  }
};

/// The tile of C that block `number` takes: columns of kGroup tiles, so that blocks that run together share
/// rows of A and columns of B in L2.
__device__ __forceinline__ void tile_of_block(int number, int tiles_m, int tiles_n, int& tile_m,
                                              int& tile_n) {
  constexpr int kGroup = 8;
  const int per_group = kGroup * tiles_n;
  const int group = number / per_group, first = group * kGroup;
  const int height = min(kGroup, tiles_m - first);
  tile_m = first + number % per_group % height;
  tile_n = number % per_group / height;
}

}  // namespace mlpwatt::gpu

#pragma once
// The end of a tile of C: its sums, in shared memory, go through the epilogue to C, row by row, so that every
// access of C and of what the epilogue reads is of whole rows, whatever layout the sums had in registers.
//
// Where C has too few tiles to fill the device, k is split: every block of a tile leaves its sums in device
// memory, and the last one to arrive adds them up in the order of k (so that results do not depend on who was
// last).

#include "gpu/gemm/arguments.h"
#include "gpu/gemm/epilogue.cuh"

namespace mlpwatt::gpu {

template <int BM, int BN>
struct SumTile {
  static constexpr int kRowLength = BN + 4;  ///< a multiple of four floats, not of 32 banks
  alignas(16) float x[BM][kRowLength];
  unsigned is_last;
};

/// By Threads threads, numbered from 0; `sync` is their barrier, and was passed since `tile` was written. The
/// tile's corner is (m0, n0) of C.
template <int BM, int BN, int Threads, typename Sync>
__device__ __forceinline__ void finish_tile(const GemmArguments& g, SumTile<BM, BN>& tile, int m0, int n0,
                                            Sync sync) {
  constexpr int kGroups = BM * BN / 4;
  const int thread = static_cast<int>(threadIdx.x);
  const std::int64_t tile_floats = BM * BN;
  float* partial = g.partial + static_cast<std::int64_t>(blockIdx.x) * g.splits * tile_floats;
  if (g.splits > 1) {
    float* mine = partial + blockIdx.y * tile_floats;
#pragma unroll 2
    for (int i = thread; i < kGroups; i += Threads)
      __stcg(reinterpret_cast<float4*>(mine) + i,
             *reinterpret_cast<const float4*>(&tile.x[i / (BN / 4)][i % (BN / 4) * 4]));
    __threadfence();
    sync();
    if (thread == 0) {
      const unsigned earlier = atomicAdd(g.arrivals + blockIdx.x, 1u);
      tile.is_last = earlier + 1 == static_cast<unsigned>(g.splits);
      if (tile.is_last) g.arrivals[blockIdx.x] = 0;  // for the next launch
    }
    sync();
    if (!tile.is_last) return;
    __threadfence();
  }
#pragma unroll 2
  for (int i = thread; i < kGroups; i += Threads) {
    const int r = i / (BN / 4), c = i % (BN / 4) * 4;
    float4 four = *reinterpret_cast<const float4*>(&tile.x[r][c]);
    if (g.splits > 1) {
      four = make_float4(0, 0, 0, 0);
      for (int split = 0; split < g.splits; ++split) {
        const float4 theirs = __ldcg(reinterpret_cast<const float4*>(partial + split * tile_floats) + i);
        four.x += theirs.x, four.y += theirs.y, four.z += theirs.z, four.w += theirs.w;
      }
    }
    float x[4] = {four.x, four.y, four.z, four.w};
    const int row = m0 + r, column = n0 + c;
    if (row < g.m && column < g.n)
      finish_group(g.epilogue, g.c, g.ldc, row, column, x, min(4, g.n - column), g.vector_c);
  }
}

}  // namespace mlpwatt::gpu

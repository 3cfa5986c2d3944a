#pragma once
// fp32 multiply-adds of one block's tile:
//   for k < BK: for i < TM: for j < TN: sum[i][j] += a[row(i)][k] * b[k][column(j)]
// A thread's TM x TN sums stay in registers. A warp is 4 x 8 threads; a thread's rows and columns come in
// groups of four, the groups of neighbouring threads side by side, so that a warp reads 64 bytes of A and 128
// bytes of B at a time.

#include "gpu/gemm/tiles.cuh"

namespace mlpwatt::gpu {

template <int BM, int BN, int BK, int TM, int TN, int Stages, int Blocks>
struct Simt {
  using Element = float;
  static constexpr int kM = BM, kN = BN, kK = BK, kStages = Stages;
  static constexpr int kWarpM = 4 * TM, kWarpN = 8 * TN;
  static constexpr int kThreads = BM / kWarpM * (BN / kWarpN) * 32;
  static constexpr int kBlocksPerMultiprocessor = Blocks;
  static_assert(BM % kWarpM == 0 && BN % kWarpN == 0, "warps tile the block's tile");
  static_assert(TM % 4 == 0 && TN % 4 == 0, "operands are read four floats at a time");
  // Both operands lie mn-contiguous: a thread's four neighbours are one load.
  template <bool KContiguous>
  using TileA = Tile<float, BM, BK, KContiguous, KContiguous, 4>;
  template <bool KContiguous>
  using TileB = Tile<float, BN, BK, KContiguous, KContiguous, 4>;

  struct Sums {
    float x[TM][TN];
  };
  static __device__ __forceinline__ int first_row() {
    return static_cast<int>(threadIdx.x) / 32 / (BN / kWarpN) * kWarpM +
           static_cast<int>(threadIdx.x) % 32 / 8 * 4;
  }
  static __device__ __forceinline__ int first_column() {
    return static_cast<int>(threadIdx.x) / 32 % (BN / kWarpN) * kWarpN +
           static_cast<int>(threadIdx.x) % 8 * 4;
  }

  template <typename A, typename B>
  static __device__ __forceinline__ void multiply(Sums& sums, const float* a, const float* b) {
    const float* my_a = a + first_row();
    const float* my_b = b + first_column();
#pragma unroll
    for (int k = 0; k < BK; ++k) {
      float x[TM], y[TN];
#pragma unroll
      for (int i = 0; i < TM; i += 4) {
        const float4 four = *reinterpret_cast<const float4*>(my_a + A::at(i / 4 * 16, k));
        x[i] = four.x, x[i + 1] = four.y, x[i + 2] = four.z, x[i + 3] = four.w;
      }
#pragma unroll
      for (int j = 0; j < TN; j += 4) {
        const float4 four = *reinterpret_cast<const float4*>(my_b + B::at(j / 4 * 32, k));
        y[j] = four.x, y[j + 1] = four.y, y[j + 2] = four.z, y[j + 3] = four.w;
      }
#pragma unroll
      for (int i = 0; i < TM; ++i)
#pragma unroll
        for (int j = 0; j < TN; ++j) sums.x[i][j] += x[i] * y[j];
    }
  }

  static __device__ __forceinline__ void clear(Sums& sums) {
#pragma unroll
    for (int i = 0; i < TM; ++i)
#pragma unroll
      for (int j = 0; j < TN; ++j) sums.x[i][j] = 0;
  }

  /// Into a tile of rows of `row_length` floats.
  static __device__ __forceinline__ void store(const Sums& sums, float* tile, int row_length) {
    float* to = tile + first_row() * row_length + first_column();
#pragma unroll
    for (int i = 0; i < TM; ++i)
#pragma unroll
      for (int j = 0; j < TN; j += 4)
        *reinterpret_cast<float4*>(to + (i / 4 * 16 + i % 4) * row_length + j / 4 * 32) =
            make_float4(sums.x[i][j], sums.x[i][j + 1], sums.x[i][j + 2], sums.x[i][j + 3]);
  }
};

}  // namespace mlpwatt::gpu

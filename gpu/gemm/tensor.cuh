#pragma once
// Tensor-core multiply-adds (mma.sync) of one block's tile: every warp owns WM x WN of it, in fragments of 16
// x 8. Paddings are chosen so that the 32 words of one fragment load lie in 32 different banks: row lengths
// of 4 or 20 words modulo 32 when the fragment's rows are shared-memory rows, 8 when its columns are.

#include "gpu/device/mma.cuh"
#include "gpu/gemm/tiles.cuh"

namespace mlpwatt::gpu {

template <int BM, int BN, int WM, int WN>
struct WarpGrid {
  static constexpr int kAcross = BN / WN;  ///< warps along n
  static constexpr int kThreads = BM / WM * kAcross * 32;
  static constexpr int kFragmentsM = WM / 16, kFragmentsN = WN / 8;
  static_assert(BM % WM == 0 && BN % WN == 0 && WM % 16 == 0 && WN % 16 == 0);
  struct Sums {
    float x[kFragmentsM * kFragmentsN][4];
  };
  static __device__ __forceinline__ int warp_row() {
    return static_cast<int>(threadIdx.x) / 32 / kAcross * WM;
  }
  static __device__ __forceinline__ int warp_column() {
    return static_cast<int>(threadIdx.x) / 32 % kAcross * WN;
  }
  static __device__ __forceinline__ int lane() { return static_cast<int>(threadIdx.x) % 32; }
  static __device__ __forceinline__ void clear(Sums& sums) {
#pragma unroll
    for (int f = 0; f < kFragmentsM * kFragmentsN; ++f)
#pragma unroll
      for (int i = 0; i < 4; ++i) sums.x[f][i] = 0;
  }
  /// Into a tile of rows of `row_length` floats.
  static __device__ __forceinline__ void store(const Sums& sums, float* tile, int row_length) {
    float* to = tile + (warp_row() + lane() / 4) * row_length + warp_column() + lane() % 4 * 2;
#pragma unroll
    for (int f = 0; f < kFragmentsM * kFragmentsN; ++f)
#pragma unroll
      for (int half = 0; half < 2; ++half)
        *reinterpret_cast<float2*>(to + (f / kFragmentsN * 16 + half * 8) * row_length +
                                   f % kFragmentsN * 8) =
            make_float2(sums.x[f][2 * half], sums.x[f][2 * half + 1]);
  }
};

template <int BM, int BN, int BK, int WM, int WN, int Stages, int Blocks>
struct Tf32 : WarpGrid<BM, BN, WM, WN> {
  using Grid = WarpGrid<BM, BN, WM, WN>;
  using Element = float;
  using Sums = typename Grid::Sums;
  static constexpr int kM = BM, kN = BN, kK = BK, kStages = Stages, kBlocksPerMultiprocessor = Blocks;
  template <bool KContiguous>
  using TileA = Tile<float, BM, BK, KContiguous, false, KContiguous ? 4 : 8>;
  template <bool KContiguous>
  using TileB = Tile<float, BN, BK, KContiguous, false, KContiguous ? 4 : 8>;

  template <typename A, typename B>
  static __device__ __forceinline__ void multiply(Sums& sums, const float* a, const float* b) {
    const int g = Grid::lane() / 4, t = Grid::lane() % 4;
    const int m0 = Grid::warp_row() + g, n0 = Grid::warp_column() + g;
#pragma unroll
    for (int k = 0; k < BK; k += 8) {
      std::uint32_t fa[Grid::kFragmentsM][4], fb[Grid::kFragmentsN][2];
#pragma unroll
      for (int i = 0; i < Grid::kFragmentsM; ++i)
#pragma unroll
        for (int e = 0; e < 4; ++e) fa[i][e] = to_tf32(a[A::at(m0 + i * 16 + e % 2 * 8, k + t + e / 2 * 4)]);
#pragma unroll
      for (int j = 0; j < Grid::kFragmentsN; ++j)
#pragma unroll
        for (int e = 0; e < 2; ++e) fb[j][e] = to_tf32(b[B::at(n0 + j * 8, k + t + e * 4)]);
#pragma unroll
      for (int i = 0; i < Grid::kFragmentsM; ++i)
#pragma unroll
        for (int j = 0; j < Grid::kFragmentsN; ++j) mma_tf32(sums.x[i * Grid::kFragmentsN + j], fa[i], fb[j]);
    }
  }
};

template <int BM, int BN, int BK, int WM, int WN, int Stages, int Blocks>
struct Bf16Mma : WarpGrid<BM, BN, WM, WN> {
  using Grid = WarpGrid<BM, BN, WM, WN>;
  using Element = Bf16;
  using Sums = typename Grid::Sums;
  static constexpr int kM = BM, kN = BN, kK = BK, kStages = Stages, kBlocksPerMultiprocessor = Blocks;
  template <bool KContiguous>
  using TileA = Tile<Bf16, BM, BK, KContiguous, false, 8>;
  template <bool KContiguous>
  using TileB = Tile<Bf16, BN, BK, KContiguous, false, 8>;

  template <typename A, typename B>
  static __device__ __forceinline__ void multiply(Sums& sums, const Bf16* a, const Bf16* b) {
    const int lane = Grid::lane(), quarter = lane / 8, r = lane % 8;
#pragma unroll
    for (int k = 0; k < BK; k += 16) {
      std::uint32_t fa[Grid::kFragmentsM][4], fb[Grid::kFragmentsN / 2][4];
      // a: 8 x 8 tiles (m, k) (m+8, k) (m, k+8) (m+8, k+8); stored k by k they are turned on the way
#pragma unroll
      for (int i = 0; i < Grid::kFragmentsM; ++i) {
        const int m = Grid::warp_row() + i * 16 + quarter % 2 * 8;
        if constexpr (A::kByK)
          load_tiles<false>(fa[i], a + A::at(m + r, k + quarter / 2 * 8));
        else
          load_tiles<true>(fa[i], a + A::at(m, k + quarter / 2 * 8 + r));
      }
      // b: (k, n) (k+8, n) (k, n+8) (k+8, n+8): two fragments at once
#pragma unroll
      for (int j = 0; j < Grid::kFragmentsN / 2; ++j) {
        const int n = Grid::warp_column() + j * 16 + quarter / 2 * 8;
        if constexpr (B::kByK)
          load_tiles<false>(fb[j], b + B::at(n + r, k + quarter % 2 * 8));
        else
          load_tiles<true>(fb[j], b + B::at(n, k + quarter % 2 * 8 + r));
      }
#pragma unroll
      for (int i = 0; i < Grid::kFragmentsM; ++i)
#pragma unroll
        for (int j = 0; j < Grid::kFragmentsN; ++j) {
          const std::uint32_t pair[2] = {fb[j / 2][j % 2 * 2], fb[j / 2][j % 2 * 2 + 1]};
          mma_bf16(sums.x[i * Grid::kFragmentsN + j], fa[i], pair);
        }
    }
  }
};

}  // namespace mlpwatt::gpu

// tf32 products on Hopper. wgmma has no mn-major form for floats: what it reads from shared memory must be
// k-major, only its left operand may come from registers instead. So it is given C^T = B^T A^T:
//
//          left: B^T                                      right: A, always k-major
//   NT     shared memory, as it arrives                   as it arrives
//   NN     registers, read from a tile stored k by k      as it arrives
//   TN     registers, read from a tile stored k by k      turned in device memory by a kernel in front
//
// The copy engine rounds every float to nearest tf32; the tensor cores would cut the bits off.
//
// What limits the tile is shared memory, 128 bytes a clock. In the 256 clocks that the tensor cores need for
// 8 k of a 256 x 128 tile of C (1024 multiply-adds a clock), the copy engine writes 12 KiB and each warpgroup
// reads A's 8 KiB and its half of B's 4 KiB, through registers or not: 32 KiB, all there is. So the longer
// side is A's: were it B's, each warpgroup would have two products of 64 rows and read A twice, 36 KiB. And
// so TN's A is not turned in shared memory, where reading and writing it once more would make 48 KiB; in
// device memory it is 8 bytes of traffic an element, for n multiply-adds each.

#include <algorithm>

#include "gpu/device/wgmma_tf32.cuh"
#include "gpu/gemm/variants.h"
#include "gpu/gemm/wgmma.cuh"

namespace mlpwatt::gpu {
namespace {

[[maybe_unused]] constexpr int kRowBytes = 128;  // of a swizzled box: 32 floats
[[maybe_unused]] constexpr int kProducts = 4;    // of a step: 8 k each

/// Each warpgroup has 64 columns of C.
template <int BM, int Stages, int Cluster>
struct Tf32Wgmma : WgmmaRing<float, BM, 128, Stages, 1, Cluster> {
  using Ring = WgmmaRing<float, BM, 128, Stages, 1, Cluster>;
  using typename Ring::Shared, typename Ring::Stage;

  /// A step's left operand of a thread.
  struct Fragments {
    std::uint32_t x[kProducts][4];
  };

  /// The column of C in the tile whose sums are in row 0 (of two, 8 apart) of this thread's fragment. Which
  /// columns a fragment's rows stand for is free where threads read them: these two are neighbours, read at
  /// once, and the 16 threads that shared memory serves together find theirs in 16 different pairs of banks
  /// (the swizzle moves k's 4 rows by one chunk of 16 bytes each, so chunks 4 apart do not meet).
  template <bool KB>
  static __device__ __forceinline__ int first_column() {
    const int warp = static_cast<int>(threadIdx.x) / 32, g = static_cast<int>(threadIdx.x) % 32 / 4;
    return KB ? 16 * warp + g
              : 32 * (warp / 2) + 16 * (g / 2 % 2) + 8 * (warp % 2) + 4 * (g / 4) + 2 * (g % 2);
  }

  static __device__ __forceinline__ void load(Fragments& to, const Stage& stage) {
    const int column = first_column<false>(), t = static_cast<int>(threadIdx.x) % 4;
    const unsigned char* box = stage.b + column / 32 * Ring::kBoxBytes + column % 4 * 4;
#pragma unroll
    for (int i = 0; i < kProducts; ++i)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int k = 4 * half + t;  // of 8: the swizzle's row
        const unsigned char* at = box + (8 * i + k) * kRowBytes + (column % 32 / 4 ^ k) * 16;
        const uint2 pair = *reinterpret_cast<const uint2*>(at);
        to.x[i][2 * half] = pair.x;
        to.x[i][2 * half + 1] = pair.y;
      }
  }

  template <bool KA, bool KB>
  static __device__ __forceinline__ void multiply(float (&sums)[Ring::kSums], Shared& shared, int steps) {
    static_assert(KA);
    const int group = static_cast<int>(threadIdx.x) / 128;
    if constexpr (KB) {
      Ring::multiply_steps(shared, steps, [&](const Stage& stage, int step) {
        const Operand b = make_operand(stage.b + group * 64 * kRowBytes, 1024, 0);
        const Operand a = make_operand(stage.a, 1024, 0);
#pragma unroll
        for (int i = 0; i < kProducts; ++i)
          wgmma_tf32<BM>(sums, advance(b, 32 * i), advance(a, 32 * i), step + i > 0);
      });
    } else {
      // While a step's products run, the next one's fragments are read into the registers of the last one's.
      Fragments even, odd;
      const auto multiply_step = [&](int step, Fragments& its, Fragments& next) {
        const Operand a = make_operand(shared.ring[step % Stages].a, 1024, 0);
        wgmma_fence();
#pragma unroll
        for (int i = 0; i < kProducts; ++i) wgmma_tf32<BM>(sums, its.x[i], advance(a, 32 * i), step + i > 0);
        wgmma_commit();
        wgmma_wait<1>();  // the last step's products are done: its stage and fragments may be filled again
        if (step > 0) Ring::release(shared, step - 1);
        if (step + 1 < steps) load(next, Ring::await(shared, step + 1));
      };
      load(even, Ring::await(shared, 0));
#pragma unroll 1
      for (int step = 0; step < steps; step += 2) {
        multiply_step(step, even, odd);
        if (step + 1 < steps) multiply_step(step + 1, odd, even);
      }
      wgmma_wait<0>();
    }
  }

  template <bool KA, bool KB>
  static __device__ __forceinline__ void store(const float (&sums)[Ring::kSums], SumTile<BM, 128>& tile) {
    float* to = &tile.x[threadIdx.x % 4 * 2][first_column<KB>()];
#pragma unroll
    for (int i = 0; i < Ring::kSums; ++i)
      to[(i / 4 * 8 + i % 2) * tile.kRowLength + i / 2 % 2 * (KB ? 8 : 1)] = sums[i];
  }
};

constexpr int kTurnTile = 32, kTurnThreads = 256;

/// to[m x k] = from[k x m]^T, through shared memory so that both sides are accessed in whole rows.
__global__ void __launch_bounds__(kTurnThreads)
    turn_kernel(const float* from, std::int64_t from_ld, int m, int k, float* to, std::int64_t to_ld) {
  using Tile = float[kTurnTile][kTurnTile + 1];  // a column's elements are in different banks
  MLPWATT_SHARED(Tile, tile);
  constexpr int kRowsAtOnce = kTurnThreads / kTurnTile;
  const int thread = static_cast<int>(threadIdx.x), column = thread % kTurnTile, row0 = thread / kTurnTile;
  const int m0 = static_cast<int>(blockIdx.x) * kTurnTile;
  // in turns: a grid's second extent is limited
  for (int k0 = static_cast<int>(blockIdx.y) * kTurnTile; k0 < k;
       k0 += static_cast<int>(gridDim.y) * kTurnTile) {
#pragma unroll
    for (int i = 0; i < kTurnTile; i += kRowsAtOnce)
      if (k0 + row0 + i < k && m0 + column < m)
        tile[row0 + i][column] = __ldg(from + (k0 + row0 + i) * from_ld + m0 + column);
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kTurnTile; i += kRowsAtOnce)
      if (m0 + row0 + i < m && k0 + column < k)
        to[(m0 + row0 + i) * to_ld + k0 + column] = tile[column][row0 + i];
    __syncthreads();
  }
}

template <typename Math>
GemmVariant variant() {
  GemmVariant v = wgmma_variant<Math>(Precision::kTf32);
  v.turns_a = true;
  v.launch = [](cudaStream_t stream, GemmLayout layout, const GemmArguments& arguments) {
    if (layout == GemmLayout::kNT) return launch_wgmma<Math, true, true>(stream, arguments);
    GemmArguments g = arguments;
    if (layout == GemmLayout::kTN) {
      constexpr unsigned kMostRows = 65535;
      const auto tiles = [](int extent) {
        return static_cast<unsigned>((extent + kTurnTile - 1) / kTurnTile);
      };
      launch({.grid = dim3(tiles(g.m), std::min(tiles(g.k), kMostRows)),
              .block = dim3(kTurnThreads),
              .stream = stream},
             turn_kernel, static_cast<const float*>(g.a), g.lda, g.m, g.k, g.turned, g.turned_ld);
      g.a = g.turned;
      g.lda = g.turned_ld;
    }
    launch_wgmma<Math, true, false>(stream, g);
  };
  return v;
}

}  // namespace

std::vector<GemmVariant> tf32_wgmma_variants() {
  return {
      // 128 sums and two steps' 32 words of B a thread: per k-step 32 KiB of A and 16 KiB of B for 2^20
      // multiply-adds
      variant<Tf32Wgmma<256, 4, 2>>(),
      variant<Tf32Wgmma<256, 4, 1>>(),
      variant<Tf32Wgmma<128, 5, 1>>(),
  };
}

}  // namespace mlpwatt::gpu

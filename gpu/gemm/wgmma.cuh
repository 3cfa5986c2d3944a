#pragma once
// The matrix product's kernel on Hopper: one warp asks the copy engine for tiles (TMA), two warpgroups
// multiply them (wgmma). The ring between them is kept by two mbarriers a stage: `full` counts the bytes that
// arrived, `empty` the warpgroups that are done reading. Nobody computes an address per element; the hardware
// masks edges.
//
// A Math says which element, tile and number of stages, and has
//   multiply<KA, KB>(sums, shared, steps)   the multiplying warpgroups' loop over the ring
//   store<KA, KB>(sums, tile)               the sums of a thread into a SumTile

#include <string>

#include "gpu/device/async_copy.cuh"
#include "gpu/device/wgmma.cuh"
#include "gpu/gemm/finish.cuh"
#include "gpu/gemm/gemm.h"
#include "gpu/gemm/tiles.cuh"

namespace mlpwatt::gpu {

constexpr int kMultipliers = 256;  // threads; they come first, so that the tile's end counts them from 0
constexpr int kWgmmaThreads = kMultipliers + 128;
constexpr int kMultipliersBarrier = 1;

template <typename Element_, int BM, int BN, int Stages>
struct WgmmaRing {
  using Element = Element_;
  static constexpr int kM = BM, kN = BN, kStages = Stages;
  static constexpr int kElementBytes = static_cast<int>(sizeof(Element));
  static constexpr int kK = 128 / kElementBytes;  ///< one row of a swizzled box
  static constexpr int kSums = BM * BN / kMultipliers;
  /// Of an operand stored k by k: kK k of kK m or n.
  static constexpr int kBoxBytes = kK * 128;

  struct Stage {
    unsigned char a[BM * 128];
    unsigned char b[BN * 128];
  };
  struct Shared {
    union {
      alignas(1024) Stage ring[Stages];
      SumTile<BM, BN> sums;
    };
    Mbarrier full[Stages], empty[Stages];
  };
  static_assert(sizeof(Shared) <= 227 << 10, "what a block may have on Hopper");

  /// The tiles of this step have arrived.
  static __device__ __forceinline__ const Stage& await(Shared& shared, int step) {
    mbarrier_wait(shared.full[step % Stages], step / Stages % 2);
    return shared.ring[step % Stages];
  }
  /// This thread's warpgroup has read them. Products end together in all its warps: one thread says so.
  static __device__ __forceinline__ void release(Shared& shared, int step) {
    if (threadIdx.x % 128 == 0) mbarrier_arrive(shared.empty[step % Stages]);
  }
  /// The loop of products whose operands are both in shared memory: issue(stage, step) issues a step's.
  template <typename Issue>
  static __device__ __forceinline__ void multiply_steps(Shared& shared, int steps, Issue issue) {
#pragma unroll 1
    for (int step = 0; step < steps; ++step) {
      const Stage& stage = await(shared, step);
      wgmma_fence();
      issue(stage, step);
      wgmma_commit();
      wgmma_wait<1>();  // the last step's products are done: its stage may be filled again
      if (step > 0) release(shared, step - 1);
    }
    wgmma_wait<0>();
  }
};

/// KA, KB: k is contiguous in A's, B's rows. Then a tile is one box of as many rows; else a box for every kK
/// columns.
template <typename Math, bool KA, bool KB>
__global__ void __launch_bounds__(kWgmmaThreads, 1)
    wgmma_kernel(const __grid_constant__ GemmArguments g, const __grid_constant__ TensorMap map_a,
                 const __grid_constant__ TensorMap map_b) {
#if defined(MLPWATT_SM90A)
  using Shared = typename Math::Shared;
  constexpr int kStages = Math::kStages, kK = Math::kK, kBoxBytes = Math::kBoxBytes;
  Shared& shared = shared_as<Shared>();
  require_swizzle_alignment(&shared);
  const int thread = static_cast<int>(threadIdx.x);
  int tile_m, tile_n;
  tile_of_block(static_cast<int>(blockIdx.x), g.tiles_m, g.tiles_n, tile_m, tile_n);
  const int m0 = tile_m * Math::kM, n0 = tile_n * Math::kN;
  const int k_begin = static_cast<int>(blockIdx.y) * g.k_chunk, k_end = min(g.k, k_begin + g.k_chunk);
  const int steps = (k_end - k_begin + kK - 1) / kK;
  if (thread == 0) {
    for (int stage = 0; stage < kStages; ++stage) {
      mbarrier_init(shared.full[stage], 1);
      mbarrier_init(shared.empty[stage], kMultipliers / 128);
    }
    mbarrier_init_fence();
  }
  __syncthreads();

  if (thread >= kMultipliers) {  // ---- the copying warpgroup: one of its threads works
    keep_registers<24>();
    if (thread > kMultipliers) return;
    prefetch_map(map_a);
    prefetch_map(map_b);
#pragma unroll 1
    for (int step = 0; step < steps; ++step) {
      const int stage = step % kStages, k = k_begin + step * kK;
      // a stage's first filling has nobody to wait for: the phase before a fresh barrier's first counts as
      // complete
      mbarrier_wait(shared.empty[stage], step / kStages % 2 ^ 1);
      auto& to = shared.ring[stage];
      mbarrier_arrive_expect(shared.full[stage], sizeof(to.a) + sizeof(to.b));
      if constexpr (KA) {
        copy_tile(to.a, map_a, shared.full[stage], m0, k);
      } else {
        for (int box = 0; box < Math::kM / kK; ++box)
          copy_tile(to.a + box * kBoxBytes, map_a, shared.full[stage], k, m0 + kK * box);
      }
      if constexpr (KB) {
        copy_tile(to.b, map_b, shared.full[stage], n0, k);
      } else {
        for (int box = 0; box < Math::kN / kK; ++box)
          copy_tile(to.b + box * kBoxBytes, map_b, shared.full[stage], k, n0 + kK * box);
      }
    }
    return;
  }

  // ---- the multiplying warpgroups
  claim_registers<240>();
  float sums[Math::kSums];
  Math::template multiply<KA, KB>(sums, shared, steps);
  sync_named(kMultipliersBarrier, kMultipliers);  // nobody reads the ring any more
  Math::template store<KA, KB>(sums, shared.sums);
  sync_named(kMultipliersBarrier, kMultipliers);
  finish_tile<Math::kM, Math::kN, kMultipliers>(g, shared.sums, m0, n0,
                                                [] { sync_named(kMultipliersBarrier, kMultipliers); });
#endif
}

template <typename Math, bool KA, bool KB>
void launch_wgmma(cudaStream_t stream, const GemmArguments& g) {
  // As stored: rows x columns, and how many of its rows a box takes.
  const auto map = [](const void* base, bool by_k, std::int64_t mn, std::int64_t k, std::int64_t ld,
                      int tile) {
    constexpr int kBytes = Math::kElementBytes;
    constexpr bool kAsTf32 = kBytes == 4;
    return by_k ? make_tensor_map(base, kBytes, mn, k, kBytes * ld, tile, kAsTf32)
                : make_tensor_map(base, kBytes, k, mn, kBytes * ld, Math::kK, kAsTf32);
  };
  launch({.grid = dim3(static_cast<unsigned>(g.tiles_m * g.tiles_n), static_cast<unsigned>(g.splits)),
          .block = dim3(kWgmmaThreads),
          .shared_bytes = sizeof(typename Math::Shared),
          .stream = stream},
         wgmma_kernel<Math, KA, KB>, g, map(g.a, KA, g.m, g.k, g.lda, Math::kM),
         map(g.b, KB, g.n, g.k, g.ldb, Math::kN));
}

/// Its launch is the caller's to set.
template <typename Math>
GemmVariant wgmma_variant(Precision precision) {
  GemmVariant v;
  v.name =
      "wgmma_" + std::to_string(Math::kM) + "x" + std::to_string(Math::kN) + "x" + std::to_string(Math::kK);
  v.precision = precision;
  v.tile_m = Math::kM;
  v.tile_n = Math::kN;
  v.tile_k = Math::kK;
  v.threads = kWgmmaThreads;
  v.stages = Math::kStages;
  v.shared_bytes = sizeof(typename Math::Shared);
  v.from_capability = v.to_capability = 90;
  v.needs_aligned_operands = true;
  v.is_compiled = [] {
    static const bool there = has_wgmma(reinterpret_cast<const void*>(wgmma_kernel<Math, true, false>));
    return there;
  };
  return v;
}

}  // namespace mlpwatt::gpu

#pragma once
// The matrix product's kernel on Hopper: one warp asks the copy engine for tiles (TMA), two warpgroups
// multiply them (wgmma). The ring between them is kept by two mbarriers a stage: `full` counts the bytes that
// arrived, `empty` the warps that are done reading. Nobody computes an address per element; the hardware
// masks edges.
//
// While the tensor cores run at their full rate, a tile of 128 x 256 takes 48 bytes a clock from L2, on every
// multiprocessor. Two blocks that form a cluster take 32: they share the longer operand, each asks for a half
// of it, and the copy engine delivers that to both. Then a stage is empty when the warps of both have
// read it.
//
// A Math says which element, tile and number of stages, and has
//   multiply<KA, KB>(sums, shared, steps)   the multiplying warpgroups' loop over the ring
//   store<KA, KB>(sums, tile)               the sums of a thread into a SumTile

#include <string>

#include "gpu/device/async_copy.cuh"
#include "gpu/device/cluster.cuh"
#include "gpu/device/wgmma.cuh"
#include "gpu/gemm/finish.cuh"
#include "gpu/gemm/gemm.h"
#include "gpu/gemm/tiles.cuh"

namespace mlpwatt::gpu {

constexpr int kMultipliers = 256;  // threads; they come first, so that the tile's end counts them from 0
constexpr int kWgmmaThreads = kMultipliers + 128;
constexpr int kMultipliersBarrier = 1;

/// ClusterM, ClusterN: tiles of C, along m and n, whose blocks form a cluster: they share B, or A.
template <typename Element_, int BM, int BN, int Stages, int ClusterM = 1, int ClusterN = 1>
struct WgmmaRing {
  using Element = Element_;
  static constexpr int kM = BM, kN = BN, kStages = Stages;
  static constexpr int kClusterM = ClusterM, kClusterN = ClusterN, kCluster = ClusterM * ClusterN;
  static_assert(kCluster == 1 || kCluster == 2, "at most one operand is shared, by two");
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
  /// This thread's warp has read them: a lane each says so to all who write there. (Only within a warp is it
  /// known that all threads have.)
  static __device__ __forceinline__ void release(Shared& shared, int step) {
    __syncwarp();
    const unsigned lane = threadIdx.x % 32;
    Mbarrier& empty = shared.empty[step % Stages];
    if (lane >= kCluster) return;
    if constexpr (kCluster == 1)
      mbarrier_arrive(empty);
    else
      mbarrier_arrive_at(empty, lane);
  }
  static constexpr int kReleases = kCluster * kMultipliers / 32;  ///< of a stage, in each block
  /// Starts copying an operand's tile of Extent rows or columns of C from mn0 on; of one that a cluster
  /// shares, this block's part, for all. ByK: k is contiguous in the operand's rows, and a part is one box of
  /// as many rows; else a box for every kK columns.
  template <bool ByK, int Extent, int Sharers>
  static __device__ __forceinline__ void copy(unsigned char* to, const TensorMap& map, Mbarrier& full,
                                              int mn0, int k) {
    constexpr int kPart = Extent / Sharers;
    static_assert(kPart % kK == 0 && kPart * 128 % 1024 == 0);
    const int first = Sharers > 1 ? static_cast<int>(cluster_rank()) * kPart : 0;
    const auto copy_box = [&](int offset, int row, int column) {
      if constexpr (Sharers > 1)
        copy_tile_to_all(to + offset, map, full, row, column, (1u << Sharers) - 1);
      else
        copy_tile(to + offset, map, full, row, column);
    };
    if constexpr (ByK) {
      copy_box(first * 128, mn0 + first, k);
    } else {
      for (int mn = first; mn < first + kPart; mn += kK) copy_box(mn / kK * kBoxBytes, k, mn0 + mn);
    }
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

/// KA, KB: k is contiguous in A's, B's rows.
template <typename Math, bool KA, bool KB>
__global__ void __launch_bounds__(kWgmmaThreads, 1)
    wgmma_kernel(const __grid_constant__ GemmArguments g, const __grid_constant__ TensorMap map_a,
                 const __grid_constant__ TensorMap map_b) {
#if defined(MLPWATT_SM90A)
  using Shared = typename Math::Shared;
  constexpr int kStages = Math::kStages, kK = Math::kK, kCluster = Math::kCluster;
  constexpr int kClusterM = Math::kClusterM, kClusterN = Math::kClusterN;
  Shared& shared = shared_as<Shared>();
  require_swizzle_alignment(&shared);
  const int thread = static_cast<int>(threadIdx.x);
  const int rank = static_cast<int>(blockIdx.x) % kCluster;
  int tile_m, tile_n;
  tile_of_block(static_cast<int>(blockIdx.x) / kCluster, g.tiles_m / kClusterM, g.tiles_n / kClusterN, tile_m,
                tile_n);
  const int m0 = (tile_m * kClusterM + rank % kClusterM) * Math::kM;
  const int n0 = (tile_n * kClusterN + rank % kClusterN) * Math::kN;
  const int k_begin = static_cast<int>(blockIdx.y) * g.k_chunk, k_end = min(g.k, k_begin + g.k_chunk);
  const int steps = (k_end - k_begin + kK - 1) / kK;
  if (thread == 0) {
    for (int stage = 0; stage < kStages; ++stage) {
      mbarrier_init(shared.full[stage], 1);
      mbarrier_init(shared.empty[stage], Math::kReleases);
    }
    mbarrier_init_fence();
  }
  if constexpr (kCluster > 1)
    sync_cluster();
  else
    __syncthreads();

  if (thread >= kMultipliers) {  // ---- the copying warpgroup: one of its threads works
    keep_registers<24>();
    if (thread == kMultipliers) {
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
        Math::template copy<KA, Math::kM, kClusterN>(to.a, map_a, shared.full[stage], m0, k);
        Math::template copy<KB, Math::kN, kClusterM>(to.b, map_b, shared.full[stage], n0, k);
      }
    }
  } else {  // ---- the multiplying warpgroups
    claim_registers<240>();
    float sums[Math::kSums];
    Math::template multiply<KA, KB>(sums, shared, steps);
    sync_named(kMultipliersBarrier, kMultipliers);  // nobody reads the ring any more
    Math::template store<KA, KB>(sums, shared.sums);
    sync_named(kMultipliersBarrier, kMultipliers);
    finish_tile<Math::kM, Math::kN, kMultipliers>(g, shared.sums, m0, n0,
                                                  [] { sync_named(kMultipliersBarrier, kMultipliers); });
  }
  if constexpr (kCluster > 1) {
    __syncwarp();
    sync_cluster();  // the other block may still have to say here what it has read, this one there
  }
#endif
}

template <typename Math, bool KA, bool KB>
void launch_wgmma(cudaStream_t stream, const GemmArguments& g) {
  // As stored: rows x columns, and how many of its rows a box takes.
  const auto map = [](const void* base, bool by_k, std::int64_t mn, std::int64_t k, std::int64_t ld,
                      int part) {
    constexpr int kBytes = Math::kElementBytes;
    constexpr bool kAsTf32 = kBytes == 4;
    return by_k ? make_tensor_map(base, kBytes, mn, k, kBytes * ld, part, kAsTf32)
                : make_tensor_map(base, kBytes, k, mn, kBytes * ld, Math::kK, kAsTf32);
  };
  launch({.grid = dim3(static_cast<unsigned>(g.tiles_m * g.tiles_n), static_cast<unsigned>(g.splits)),
          .block = dim3(kWgmmaThreads),
          .cluster = Math::kCluster,
          .shared_bytes = sizeof(typename Math::Shared),
          .stream = stream},
         wgmma_kernel<Math, KA, KB>, g, map(g.a, KA, g.m, g.k, g.lda, Math::kM / Math::kClusterN),
         map(g.b, KB, g.n, g.k, g.ldb, Math::kN / Math::kClusterM));
}

/// Its launch is the caller's to set.
template <typename Math>
GemmVariant wgmma_variant(Precision precision) {
  GemmVariant v;
  v.name = "wgmma_" + std::to_string(Math::kM) + "x" + std::to_string(Math::kN) + "x" +
           std::to_string(Math::kK) + (Math::kCluster > 1 ? "_pair" : "");
  v.precision = precision;
  v.tile_m = Math::kM;
  v.tile_n = Math::kN;
  v.tile_k = Math::kK;
  v.cluster_m = Math::kClusterM;
  v.cluster_n = Math::kClusterN;
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

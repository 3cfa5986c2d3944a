// bf16 products on Hopper: one warp asks the copy engine for tiles (TMA), two warpgroups multiply them
// straight from shared memory (wgmma). The ring between them is kept by two mbarriers a stage: `full` counts
// the bytes that arrived, `empty` the warpgroups that are done reading. Nobody computes an address per
// element; the hardware masks edges.

#include <algorithm>

#include "gpu/device/async_copy.cuh"
#include "gpu/device/wgmma.cuh"
#include "gpu/gemm/finish.cuh"
#include "gpu/gemm/gemm.h"
#include "gpu/gemm/tiles.cuh"
#include "gpu/gemm/variants.h"

namespace mlpwatt::gpu {
namespace {

constexpr int kTileM = 128;        // 64 rows for each of the two warpgroups
constexpr int kTileK = 64;         // 128 bytes: one row of a swizzled box
constexpr int kMultipliers = 256;  // threads; they come first, so that the tile's end counts them from 0
constexpr int kThreads = kMultipliers + 128;
[[maybe_unused]] constexpr int kBoxBytes = 64 * 128;  // of an operand stored k by k: 64 k of 64 m or n
[[maybe_unused]] constexpr int kMultipliersBarrier = 1;

template <int BN, int Stages>
struct WgmmaShared {
  struct Stage {
    unsigned char a[kTileM * 128];
    unsigned char b[BN * 128];
  };
  union {
    alignas(1024) Stage ring[Stages];
    SumTile<kTileM, BN> sums;
  };
  Mbarrier full[Stages], empty[Stages];
};

/// KA, KB: k is contiguous in A's, B's rows. Then a tile is one box of as many rows; else a box for every 64
/// columns.
template <int BN, int Stages, bool KA, bool KB>
__global__ void __launch_bounds__(kThreads, 1)
    wgmma_kernel(const __grid_constant__ GemmArguments g, const __grid_constant__ TensorMap map_a,
                 const __grid_constant__ TensorMap map_b) {
#if defined(MLPWATT_SM90A)
  using Shared = WgmmaShared<BN, Stages>;
  Shared& shared = shared_as<Shared>();
  require_swizzle_alignment(&shared);
  const int thread = static_cast<int>(threadIdx.x);
  int tile_m, tile_n;
  tile_of_block(static_cast<int>(blockIdx.x), g.tiles_m, g.tiles_n, tile_m, tile_n);
  const int m0 = tile_m * kTileM, n0 = tile_n * BN;
  const int k_begin = static_cast<int>(blockIdx.y) * g.k_chunk, k_end = min(g.k, k_begin + g.k_chunk);
  const int steps = (k_end - k_begin + kTileK - 1) / kTileK;
  if (thread == 0) {
    for (int stage = 0; stage < Stages; ++stage) {
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
      const int stage = step % Stages, k = k_begin + step * kTileK;
      // a stage's first filling has nobody to wait for: the phase before a fresh barrier's first counts as
      // complete
      mbarrier_wait(shared.empty[stage], step / Stages % 2 ^ 1);
      auto& to = shared.ring[stage];
      mbarrier_arrive_expect(shared.full[stage], sizeof(to.a) + sizeof(to.b));
      if constexpr (KA) {
        copy_tile(to.a, map_a, shared.full[stage], m0, k);
      } else {
        for (int box = 0; box < kTileM / 64; ++box)
          copy_tile(to.a + box * kBoxBytes, map_a, shared.full[stage], k, m0 + 64 * box);
      }
      if constexpr (KB) {
        copy_tile(to.b, map_b, shared.full[stage], n0, k);
      } else {
        for (int box = 0; box < BN / 64; ++box)
          copy_tile(to.b + box * kBoxBytes, map_b, shared.full[stage], k, n0 + 64 * box);
      }
    }
    return;
  }

  // ---- the multiplying warpgroups: 64 rows each, BN / 2 sums a thread
  claim_registers<240>();
  const int group = thread / 128;
  float sums[BN / 2];
#pragma unroll 1
  for (int step = 0; step < steps; ++step) {
    const int stage = step % Stages;
    mbarrier_wait(shared.full[stage], step / Stages % 2);
    const Operand a = make_operand(shared.ring[stage].a + group * kBoxBytes, 1024, kBoxBytes);
    const Operand b = make_operand(shared.ring[stage].b, 1024, kBoxBytes);
    wgmma_fence();
#pragma unroll
    for (int k = 0; k < kTileK / 16; ++k)
      wgmma_bf16<BN, !KA, !KB>(sums, advance(a, k * (KA ? 32 : 16 * 128)),
                               advance(b, k * (KB ? 32 : 16 * 128)), step + k > 0);
    wgmma_commit();
    wgmma_wait<1>();  // the last step's products are done: its stage may be filled again
    if (step > 0 && thread % 128 == 0) mbarrier_arrive(shared.empty[(step - 1) % Stages]);
  }
  wgmma_wait<0>();
  sync_named(kMultipliersBarrier, kMultipliers);  // nobody reads the ring any more
  const int warp = thread % 128 / 32, lane = thread % 32;
  float* to = &shared.sums.x[group * 64 + warp * 16 + lane / 4][lane % 4 * 2];
#pragma unroll
  for (int i = 0; i < BN / 2; i += 2)
    *reinterpret_cast<float2*>(to + i / 2 % 2 * 8 * SumTile<kTileM, BN>::kRowLength + i / 4 * 8) =
        make_float2(sums[i], sums[i + 1]);
  sync_named(kMultipliersBarrier, kMultipliers);
  finish_tile<kTileM, BN, kMultipliers>(g, shared.sums, m0, n0,
                                        [] { sync_named(kMultipliersBarrier, kMultipliers); });
#endif
}

template <int BN, int Stages>
void launch_wgmma(cudaStream_t stream, GemmLayout layout, const GemmArguments& g) {
  // As stored: rows x columns, and how many of its rows a box takes.
  const auto map = [](const void* base, bool by_k, std::int64_t mn, std::int64_t k, std::int64_t ld,
                      int tile) {
    return by_k ? make_tensor_map(base, 2, mn, k, 2 * ld, tile) : make_tensor_map(base, 2, k, mn, 2 * ld, 64);
  };
  const auto start = [&](auto* kernel, bool a_by_k, bool b_by_k) {
    launch({.grid = dim3(static_cast<unsigned>(g.tiles_m * g.tiles_n), static_cast<unsigned>(g.splits)),
            .block = dim3(kThreads),
            .shared_bytes = sizeof(WgmmaShared<BN, Stages>),
            .stream = stream},
           kernel, g, map(g.a, a_by_k, g.m, g.k, g.lda, kTileM), map(g.b, b_by_k, g.n, g.k, g.ldb, BN));
  };
  if (layout == GemmLayout::kNN)
    start(wgmma_kernel<BN, Stages, true, false>, true, false);
  else if (layout == GemmLayout::kNT)
    start(wgmma_kernel<BN, Stages, true, true>, true, true);
  else
    start(wgmma_kernel<BN, Stages, false, false>, false, false);
}

template <int BN, int Stages>
GemmVariant variant() {
  static_assert(sizeof(WgmmaShared<BN, Stages>) <= 227 << 10, "what a block may have on Hopper");
  GemmVariant v;
  v.name = "wgmma_" + std::to_string(kTileM) + "x" + std::to_string(BN) + "x" + std::to_string(kTileK);
  v.precision = Precision::kBf16;
  v.tile_m = kTileM;
  v.tile_n = BN;
  v.tile_k = kTileK;
  v.threads = kThreads;
  v.stages = Stages;
  v.shared_bytes = sizeof(WgmmaShared<BN, Stages>);
  v.from_capability = v.to_capability = 90;
  v.needs_aligned_operands = true;
  // Built for sm_90 the kernel's body is empty: it would be the quickest of all. The real one holds 128 or
  // 256 sums.
  v.is_compiled = [] {
    constexpr int kLeastRegisters = 96;
    static const bool there =
        compiled(reinterpret_cast<const void*>(wgmma_kernel<BN, Stages, true, false>)).registers >=
        kLeastRegisters;
    return there;
  };
  v.launch = launch_wgmma<BN, Stages>;
  return v;
}

}  // namespace

std::vector<GemmVariant> wgmma_variants() {
  return {
      // 128 sums a thread: per k-step 16 KiB of A and 32 KiB of B for 2^21 multiply-adds
      variant<256, 4>(),
      variant<128, 5>(),
  };
}

}  // namespace mlpwatt::gpu

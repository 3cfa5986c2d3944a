#pragma once
// The matrix product's kernel over cp.async: a ring of Stages tiles of A and B in shared memory is filled
// while the block multiplies, the sums stay in registers, the epilogue is applied to them there.
//
// Where C has too few tiles to fill the device, k is split: every block of a tile leaves its sums in device
// memory, and the last one to arrive adds them up in the order of k (so that results do not depend on who was
// last).

#include <algorithm>

#include "gpu/gemm/arguments.h"
#include "gpu/gemm/finish.cuh"
#include "gpu/gemm/gemm.h"
#include "gpu/gemm/tiles.cuh"

namespace mlpwatt::gpu {

template <typename Math, bool KA, bool KB>
union GemmShared {
  using A = typename Math::template TileA<KA>;
  using B = typename Math::template TileB<KB>;
  struct {
    alignas(16) typename Math::Element a[Math::kStages][A::kElements];
    alignas(16) typename Math::Element b[Math::kStages][B::kElements];
  } ring;
  SumTile<Math::kM, Math::kN> sums;  ///< once the ring is no longer needed
};

template <typename Math, bool KA, bool KB>
__global__ void __launch_bounds__(Math::kThreads, Math::kBlocksPerMultiprocessor)
    gemm_kernel(const __grid_constant__ GemmArguments g) {
  using Shared = GemmShared<Math, KA, KB>;
  using A = typename Shared::A;
  using B = typename Shared::B;
  using Element = typename Math::Element;
  constexpr int kStages = Math::kStages;
  Shared& shared = shared_as<Shared>();
  int tile_m, tile_n;
  tile_of_block(static_cast<int>(blockIdx.x), g.tiles_m, g.tiles_n, tile_m, tile_n);
  const int m0 = tile_m * Math::kM, n0 = tile_n * Math::kN;
  const int k_begin = static_cast<int>(blockIdx.y) * g.k_chunk, k_end = min(g.k, k_begin + g.k_chunk);
  const int steps = (k_end - k_begin + Math::kK - 1) / Math::kK;
  const Element* a = static_cast<const Element*>(g.a);
  const Element* b = static_cast<const Element*>(g.b);

  const auto fill = [&](int step) {
    if (step < steps) {
      const int stage = step % kStages, k = k_begin + step * Math::kK;
      A::template copy<Math::kThreads>(shared.ring.a[stage], a, g.lda, m0, k, g.m, k_end, g.vector_a);
      B::template copy<Math::kThreads>(shared.ring.b[stage], b, g.ldb, n0, k, g.n, k_end, g.vector_b);
    }
    copy_commit();  // an empty group keeps the count of groups in flight
  };

  typename Math::Sums sums;
  Math::clear(sums);
#pragma unroll 1
  for (int step = 0; step < kStages - 1; ++step) fill(step);
#pragma unroll 1
  for (int step = 0; step < steps; ++step) {
    copy_wait<kStages - 2>();
    __syncthreads();  // this step's tiles are complete, and nobody reads the last step's any more
    fill(step + kStages - 1);
    const int stage = step % kStages;
    Math::template multiply<A, B>(sums, shared.ring.a[stage], shared.ring.b[stage]);
  }
  copy_wait<0>();
  __syncthreads();  // nobody reads the ring any more
  Math::store(sums, shared.sums.x[0], SumTile<Math::kM, Math::kN>::kRowLength);
  __syncthreads();
  finish_tile<Math::kM, Math::kN, Math::kThreads>(g, shared.sums, m0, n0, [] { __syncthreads(); });
}

/// Launches one Math in the layout asked for.
template <typename Math>
void launch_tiles(cudaStream_t stream, GemmLayout layout, const GemmArguments& arguments) {
  const auto start = [&](auto* kernel, std::size_t shared_bytes) {
    launch({.grid = dim3(static_cast<unsigned>(arguments.tiles_m * arguments.tiles_n),
                         static_cast<unsigned>(arguments.splits)),
            .block = dim3(Math::kThreads),
            .shared_bytes = shared_bytes,
            .stream = stream},
           kernel, arguments);
  };
  if (layout == GemmLayout::kNN)
    start(gemm_kernel<Math, true, false>, sizeof(GemmShared<Math, true, false>));
  else if (layout == GemmLayout::kNT)
    start(gemm_kernel<Math, true, true>, sizeof(GemmShared<Math, true, true>));
  else
    start(gemm_kernel<Math, false, false>, sizeof(GemmShared<Math, false, false>));
}

template <typename Math>
GemmVariant variant_of(const char* name, Precision precision) {
  GemmVariant variant;
  variant.name = std::string(name) + "_" + std::to_string(Math::kM) + "x" + std::to_string(Math::kN) + "x" +
                 std::to_string(Math::kK);
  variant.precision = precision;
  variant.tile_m = Math::kM;
  variant.tile_n = Math::kN;
  variant.tile_k = Math::kK;
  variant.threads = Math::kThreads;
  variant.stages = Math::kStages;
  variant.shared_bytes =
      std::max({sizeof(GemmShared<Math, true, false>), sizeof(GemmShared<Math, true, true>),
                sizeof(GemmShared<Math, false, false>)});
  variant.launch = launch_tiles<Math>;
  return variant;
}

}  // namespace mlpwatt::gpu

// bf16 products on Hopper. The tensor cores read both operands from shared memory, whichever way round they
// are stored.

#include "gpu/gemm/variants.h"
#include "gpu/gemm/wgmma.cuh"

namespace mlpwatt::gpu {
namespace {

/// Each warpgroup has 64 rows of C.
template <int BN, int Stages, int Cluster>
struct Bf16Wgmma : WgmmaRing<Bf16, 128, BN, Stages, Cluster, 1> {
  using Ring = WgmmaRing<Bf16, 128, BN, Stages, Cluster, 1>;
  using typename Ring::Shared, typename Ring::Stage;

  template <bool KA, bool KB>
  static __device__ __forceinline__ void multiply(float (&sums)[Ring::kSums], Shared& shared, int steps) {
    const int group = static_cast<int>(threadIdx.x) / 128;
    Ring::multiply_steps(shared, steps, [&](const Stage& stage, int step) {
      const Operand a = make_operand(stage.a + group * Ring::kBoxBytes, 1024, Ring::kBoxBytes);
      const Operand b = make_operand(stage.b, 1024, Ring::kBoxBytes);
#pragma unroll
      for (int k = 0; k < Ring::kK / 16; ++k)
        wgmma_bf16<BN, !KA, !KB>(sums, advance(a, k * (KA ? 32 : 16 * 128)),
                                 advance(b, k * (KB ? 32 : 16 * 128)), step + k > 0);
    });
  }

  template <bool KA, bool KB>
  static __device__ __forceinline__ void store(const float (&sums)[Ring::kSums], SumTile<128, BN>& tile) {
    const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
    float* to = &tile.x[warp * 16 + lane / 4][lane % 4 * 2];
#pragma unroll
    for (int i = 0; i < Ring::kSums; i += 2)
      *reinterpret_cast<float2*>(to + i / 2 % 2 * 8 * tile.kRowLength + i / 4 * 8) =
          make_float2(sums[i], sums[i + 1]);
  }
};

template <typename Math>
GemmVariant variant() {
  GemmVariant v = wgmma_variant<Math>(Precision::kBf16);
  v.launch = [](cudaStream_t stream, GemmLayout layout, const GemmArguments& g) {
    if (layout == GemmLayout::kNN)
      launch_wgmma<Math, true, false>(stream, g);
    else if (layout == GemmLayout::kNT)
      launch_wgmma<Math, true, true>(stream, g);
    else
      launch_wgmma<Math, false, false>(stream, g);
  };
  return v;
}

}  // namespace

std::vector<GemmVariant> bf16_wgmma_variants() {
  return {
      // 128 sums a thread: per k-step 16 KiB of A and 32 KiB of B for 2^21 multiply-adds
      variant<Bf16Wgmma<256, 4, 2>>(),
      variant<Bf16Wgmma<256, 4, 1>>(),
      variant<Bf16Wgmma<128, 5, 1>>(),
  };
}

}  // namespace mlpwatt::gpu

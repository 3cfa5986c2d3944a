#include "cpu/mlp/fused_kernels.h"

#include <algorithm>
#include <stdexcept>

namespace mlpwatt {

FusedBlocks fused_blocks(WeightWalk walk, int lanes, int tile_rows, int rows, int depth, int panels,
                         int weight_block_bytes) {
  // Forward reads weights along their rows, which the prefetcher follows, the farther the better: a part is
  // what of a panel stays in L2. Backward meets a line of weights for every term and less than half of it is
  // wanted by this tile: a part is what of a panel, and of those lines, stays in 32 KiB of L1 until the next
  // tile wants the rest (64 lanes, of the FMA peak, in parts of 256 and of 102: 83 and 88 % at width 590, 78
  // and 86 % at 1024).
  constexpr int kLineBytes = 64, kLeastL1Bytes = 32 << 10;
  const int deepest =
      walk == WeightWalk::kAlongRows ? 1024 : std::max(1, kLeastL1Bytes / (lanes * 4 + kLineBytes));
  constexpr int kGroupBytes = 8 << 10;  // a quarter of L1
  FusedBlocks blocks{};
  blocks.depth_parts = (depth + deepest - 1) / deepest;
  const int part = (depth + blocks.depth_parts - 1) / blocks.depth_parts;
  blocks.rows = std::max(1, weight_block_bytes / (part * 4) / tile_rows) * tile_rows;
  const int height = std::min(blocks.rows, rows);
  // One tile high: no panel is read twice, and narrow tiles want several at once.
  blocks.group_panels = rows <= tile_rows ? panels : std::max(1, kGroupBytes / ((part + height) * lanes * 4));
  return blocks;
}

const std::vector<const FusedKernels*>& fused_kernel_widths(Isa isa) {
  using Widths = std::vector<const FusedKernels*>;
  switch (isa) {
#if defined(__x86_64__)
    case Isa::kAvx512: {
      static const Widths widths{&fused_kernels_avx512(), &fused_kernels_narrow_avx512()};
      return widths;
    }
    case Isa::kAvx2: {
      static const Widths widths{&fused_kernels_avx2()};
      return widths;
    }
    case Isa::kAvx2NoFma: {
      static const Widths widths{&fused_kernels_avx2_nofma()};
      return widths;
    }
#endif
    // A NEON case goes here, under __aarch64__: Isa::kNeon (cpu/isa.h) -> fused_kernels_neon(), in a
    // *_neon.cpp whose flags stand in the Makefile's isa_flags.
    case Isa::kGeneric: {
      static const Widths widths{&fused_kernels_generic()};
      return widths;
    }
    default:
      throw std::invalid_argument("isa '" + isa_name(isa) + "' was not compiled into this program");
  }
}

const FusedKernels& fused_kernels(Isa isa) { return *fused_kernel_widths(isa).front(); }

}  // namespace mlpwatt

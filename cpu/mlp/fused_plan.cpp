#include "cpu/mlp/fused_plan.h"

#include <algorithm>
#include <numeric>

namespace mlpwatt {
namespace {

std::int64_t padded_rows(std::int64_t rows, const FusedKernels& kernels) {
  return (rows + kernels.lanes - 1) / kernels.lanes * kernels.lanes;
}

}  // namespace

FusedPlan::GradientBlock FusedPlan::gradient_block(int inputs, const FusedKernels& kernels) const {
  constexpr int kLeastOutputs = 48;
  const int most_inputs =
      std::max(1, gradient_block_bytes / (kLeastOutputs * 4) / kernels.lanes) * kernels.lanes;
  const int columns = std::min(inputs, most_inputs);
  const int tile = std::lcm(kernels.dot_rows, kernels.outer_rows);  // whole tiles of either kind
  return {std::max(kLeastOutputs, gradient_block_bytes / (columns * 4)) / tile * tile, columns};
}

int fused_weight_block_bytes(const Hierarchy& hierarchy) {
  return static_cast<int>(hierarchy.capacity_bytes("L2", 512 << 10) / 4);
}

FusedPlan make_fused_plan(const Network& network, const FusedKernels& kernels, int threads, std::int64_t rows,
                          const Hierarchy& hierarchy) {
  const std::int64_t l2_bytes = hierarchy.capacity_bytes("L2", 512 << 10);
  FusedPlan plan;
  plan.weight_block_bytes = fused_weight_block_bytes(hierarchy);
  plan.gradient_block_bytes = static_cast<int>(l2_bytes / 4);
  for (int k = 0; k < network.depth(); ++k) {
    const double in = network.input_width(k), out = network.widths[k], t = threads;
    // Floats that cross a cache, each way: a copy is written, read again by Adam, and 1 - 1/t of it by
    // another core; by outputs, every thread reads all rows of the inputs and of its deltas, 1 - 1/t of them
    // another's, which takes about twice as long.
    const double copies = in * out * (2 + (1 - 1 / t));
    const double others = 2 * static_cast<double>(rows) * (in + out / t);
    plan.by_outputs.push_back(threads == 1 ? in * out * 4 > static_cast<double>(plan.gradient_block_bytes)
                                           : copies > others);
    // Dot products pay for sums across lanes, the more the fewer rows they run over; outer products, a little
    // slower by themselves, for turning the inputs, the more the fewer outputs use them.
    constexpr double kOuter = 1.02;
    const double outputs = plan.by_outputs.back() ? out / t : out,
                 over = static_cast<double>(rows) / (plan.by_outputs.back() ? 1 : t);
    plan.turned.push_back(kOuter + kernels.turn_outputs / outputs < 1 + kernels.fold_rows / over &&
                          in >= kernels.outer_columns);
  }
  const std::int64_t panels = (rows + kernels.lanes - 1) / kernels.lanes;
  const std::int64_t mine = (panels + threads - 1) / threads;
  const std::int64_t panel_bytes = std::int64_t{4} * network.inputs * kernels.lanes;
  constexpr int kFewOutputs = 32;  // so few multiply-adds a float of data that fetching it would show
  plan.chunk_panels = static_cast<int>(std::max<std::int64_t>(1, mine));
  if (network.widths[0] <= kFewOutputs && !plan.by_outputs[0] && mine * panel_bytes > l2_bytes / 2) {
    // 2/5 of L2: this chunk and the next one, and room for the rest; fours, as the narrowest tiles take them
    const std::int64_t fitting = std::max<std::int64_t>(1, l2_bytes * 2 / 5 / panel_bytes);
    plan.chunk_panels = static_cast<int>(fitting > 4 ? fitting / 4 * 4 : fitting);
  }
  return plan;
}

bool splits_hidden_layer(const Network& network, const FusedKernels& kernels, int threads, std::int64_t rows,
                         const Hierarchy& hierarchy) {
  constexpr int kFew = 64;
  if (network.depth() != 2 || network.inputs > kFew || network.outputs() > kFew) return false;
  // Split, every thread works out the loss of the whole batch. On one core it pays from where the activations
  // and their gradients leave L2; on several also below, for there are no copies of gradients to add up (two
  // cores, 4, 11 and 42 inputs, 2^10 to 2^12 parameters: 0.75 to 0.93 of the time not split where this says
  // yes, 0.93 to 1.3 where it says no).
  const std::int64_t l2_bytes = hierarchy.capacity_bytes("L2", 512 << 10);
  const std::int64_t bytes = std::int64_t{8} * network.widths[0] * padded_rows(rows, kernels) / threads;
  return bytes > (threads == 1 ? l2_bytes / 2 : l2_bytes / 16);
}

OneHiddenPlan make_one_hidden_plan(const Network& network, const FusedKernels& kernels, int threads,
                                   std::int64_t rows, const Hierarchy& hierarchy) {
  const std::int64_t l2_bytes = hierarchy.capacity_bytes("L2", 512 << 10);
  const std::int64_t unit_bytes = 4 * padded_rows(rows, kernels);
  const auto whole_tiles = [&](std::int64_t units) {
    return static_cast<int>(std::max<std::int64_t>(1, units / kernels.rows) * kernels.rows);
  };
  OneHiddenPlan plan;
  plan.weight_block_bytes = fused_weight_block_bytes(hierarchy);
  // Forward: half of L1 for the activations, of as many panels as the tile of one output wants together.
  // Backward: an eighth of L2 for those of the whole batch, as much for their gradients. From a quarter of
  // either to twice as much, times of 2^14 to 2^20 parameters stay within 5 %.
  plan.near_panels = kernels.narrow_panels;
  plan.block_units = whole_tiles(l2_bytes / 8 / unit_bytes);
  plan.near_units = std::min(plan.block_units, whole_tiles(hierarchy.capacity_bytes("L1", 32 << 10) / 2 /
                                                           (plan.near_panels * kernels.lanes * 4)));
  // What L2 does not hold: to write an activation and read it back twice takes L3 as long as 8 multiply-adds
  // take, or as 24 where a thread's are more than four times L2.
  const std::int64_t bytes = (network.widths[0] + threads - 1) / threads * unit_bytes;
  plan.keeps_hidden = bytes <= l2_bytes * 3 / 4 || network.inputs >= (bytes <= 4 * l2_bytes ? 8 : 24);
  return plan;
}

}  // namespace mlpwatt

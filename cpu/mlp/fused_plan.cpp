#include "cpu/mlp/fused_plan.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "cpu/team.h"

namespace mlpwatt {
namespace {

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

std::int64_t padded_rows(std::int64_t rows, const FusedKernels& kernels) {
  return ceil_div(rows, kernels.lanes) * kernels.lanes;
}

/// Floats that cross a cache on a thread's way to a layer's weight gradient, each way.
struct GradientFloats {
  double copies;  ///< by rows: its part of its group's copy is written, read again by Adam, 1 - 1/t of it by
                  ///< another core
  double others;  ///< by outputs: it reads all rows of the inputs and of its deltas, 1 - 1/t of them
                  ///< another's, which takes about twice as long; one group has them all before it
};
GradientFloats gradient_floats(double in, double out, int threads, int groups, int members,
                               std::int64_t rows) {
  const double t = threads;
  return {in * out / members * (2 + (1 - 1 / t)),
          groups == 1 ? 0 : 2 * static_cast<double>(rows) * (in + out / t)};
}

// Machine constants of the choices only (they steer, they are not results), from networks of 2^6 to 2^20
// parameters at 64, 128 and 256 rows on one and two cores: multiply-adds at 100 GFLOP/s with 16 lanes; a
// barrier half a microsecond; what another core has just written at 5 GB/s; the data, which the prefetcher
// follows, at 20.
constexpr double kLaneFlopsPerSecond = 6e9, kBarrier_s = 0.5e-6, kRemoteBytesPerSecond = 5e9,
                 kDataBytesPerSecond = 2e10;
// Within a group meetings and what they hand over take three times that, for between layers somebody waits
// for them; and that twice where a layer does not stay in L2.
constexpr double kWaitedFor = 3, kBeyondL2 = 2;
constexpr double kNarrow = 1.05;  // the time of a multiply-add of narrower panels: weights go by more often
double meeting_s(int threads) { return threads > 1 ? kBarrier_s * std::log2(2.0 * threads) : 0; }
double arithmetic_s(double flops, const FusedKernels& kernels) {
  const bool narrow = kernels.lanes < fused_kernels(kernels.isa).lanes;
  return flops / (kLaneFlopsPerSecond * kernels.vector_lanes) * (narrow ? kNarrow : 1);
}

/// A step of fused_engine.cpp by one of `groups` groups.
double model_group_s(const Network& network, const FusedKernels& kernels, int threads, int groups,
                     const GroupShape& group, std::int64_t rows, const Hierarchy& hierarchy) {
  const double l2_bytes = static_cast<double>(hierarchy.capacity_bytes("L2", 512 << 10));
  const int members = group.members;
  const double of_group = 1 - 1.0 / members, of_team = 1 - 1.0 / threads;  // that others wrote
  const double mine = static_cast<double>(group.panels * kernels.lanes);
  double flops = 0, remote_floats = 0;
  for (int k = 0; k < network.depth(); ++k) {
    const std::int64_t in = network.input_width(k), out = network.widths[k];
    const double i = static_cast<double>(in), o = static_cast<double>(out);
    const std::int64_t products = 2 * in * ceil_div(out, members) + (k > 0 ? ceil_div(in, members) * out : 0);
    flops += 2 * mine * static_cast<double>(products);
    // activations and the gradients at them
    const double waiting = kWaitedFor * (mine * (i + o) * 4 > l2_bytes / 2 ? kBeyondL2 : 1);
    remote_floats += waiting * of_group * 2 * mine * o;
    // Weights that another's Adam wrote: forward (one group's members wrote their own), and down the columns.
    remote_floats += i * o / members * ((groups > 1 ? of_team : 0) + of_group);
    const GradientFloats gradient = gradient_floats(i, o, threads, groups, members, rows);
    if (threads > 1) remote_floats += std::min(gradient.copies, gradient.others);
  }
  return arithmetic_s(flops, kernels) + 4 * remote_floats / kRemoteBytesPerSecond +
         4 * mine * network.inputs / kDataBytesPerSecond + 2 * meeting_s(threads) +
         kWaitedFor * 2 * network.depth() * meeting_s(members);
}

/// As one_hidden_engine.cpp splits it: everybody's parts of the logits, one barrier.
double model_split_step_s(const Network& network, const FusedKernels& kernels, int threads,
                          std::int64_t rows) {
  const double parts = static_cast<double>(ceil_div(network.widths[0], kUnitsOfALine));
  const double share = std::ceil(parts / threads) / parts;
  const std::int64_t products =
      network.widths[0] * (2 * std::int64_t{network.inputs} + 3 * network.outputs());
  const double flops = 2 * static_cast<double>(padded_rows(rows, kernels) * products);
  const double others_floats = static_cast<double>(threads * rows * network.outputs());
  return arithmetic_s(flops * share, kernels) + 4 * others_floats / kRemoteBytesPerSecond +
         meeting_s(threads);
}

struct Groups {
  int groups = 1;
  double step_s = std::numeric_limits<double>::infinity();
};
Groups choose_groups(const Network& network, const FusedKernels& kernels, int threads, std::int64_t rows,
                     const Hierarchy& hierarchy) {
  const std::int64_t panels = ceil_div(rows, kernels.lanes);
  Groups best;
  const auto consider = [&](int groups) {
    double step_s = 0;  // of the slowest group
    for (const GroupShape& shape : group_shapes(threads, groups, panels))
      step_s = std::max(step_s, model_group_s(network, kernels, threads, groups, shape, rows, hierarchy));
    if (step_s < best.step_s) best = {groups, step_s};
  };
  consider(threads);  // each by itself, idle where there is no panel for it: small networks want no company
  for (int groups = static_cast<int>(std::min<std::int64_t>(threads - 1, panels)); groups >= 1; --groups)
    consider(groups);
  return best;
}

struct Panels {
  const FusedKernels* kernels;
  double step_s;
};
Panels choose_panels(const Network& network, Isa isa, int threads, std::int64_t rows,
                     const Hierarchy& hierarchy) {
  const bool split = splits_hidden_layer(network, threads, rows, hierarchy);
  Panels best{&fused_kernels(isa), std::numeric_limits<double>::infinity()};
  for (const FusedKernels* kernels : fused_kernel_widths(isa)) {
    const double step_s = split ? model_split_step_s(network, *kernels, threads, rows)
                                : choose_groups(network, *kernels, threads, rows, hierarchy).step_s;
    if (step_s < best.step_s) best = {kernels, step_s};
  }
  return best;
}

}  // namespace

GroupPlace group_of(int thread, int threads, int groups) {
  const int group = static_cast<int>((static_cast<std::int64_t>(thread + 1) * groups - 1) / threads);
  const auto [first, last] = TeamMember{group, groups, nullptr}.share(threads);
  return {group, static_cast<int>(thread - first), static_cast<int>(last - first)};
}

std::vector<GroupShape> group_shapes(int threads, int groups, std::int64_t panels) {
  std::vector<GroupShape> shapes;
  for (int g = 0; g < groups; ++g) {
    const TeamMember group{g, groups, nullptr};
    const auto [first_panel, last_panel] = group.share(panels);
    const auto [first, last] = group.share(threads);
    const GroupShape shape{last_panel - first_panel, static_cast<int>(last - first)};
    const auto same = [&](const GroupShape& other) {
      return other.panels == shape.panels && other.members == shape.members;
    };
    if (std::none_of(shapes.begin(), shapes.end(), same)) shapes.push_back(shape);
  }
  return shapes;
}

const FusedKernels& choose_fused_kernels(const Network& network, Isa isa, int threads, std::int64_t rows,
                                         const Hierarchy& hierarchy) {
  return *choose_panels(network, isa, threads, rows, hierarchy).kernels;
}

int threads_that_pay(const Network& network, Isa isa, std::int64_t rows, const Hierarchy& hierarchy) {
  int best = 1;
  double best_s = std::numeric_limits<double>::infinity();
  for (int threads = 1; threads <= std::max(1, hierarchy.cores); ++threads) {
    const double step_s = choose_panels(network, isa, threads, rows, hierarchy).step_s;
    // Added cores must bring a good quarter of what they could: networks of 1,000 parameters and 5 layers
    // took 12 to 14 us on one thread and on two, where the model has a fifth less for two.
    constexpr double kWorthACore = 0.28;
    const double added = static_cast<double>(threads) / best - 1;
    if (step_s * (1 + kWorthACore * added) < best_s) best_s = step_s, best = threads;
  }
  return best;
}

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
  plan.groups = choose_groups(network, kernels, threads, rows, hierarchy).groups;
  const int members = threads / plan.groups;
  for (int k = 0; k < network.depth(); ++k) {
    const double in = network.input_width(k), out = network.widths[k], t = threads;
    const auto [copies, others] = gradient_floats(in, out, threads, plan.groups, members, rows);
    plan.by_outputs.push_back(threads == 1 ? in * out * 4 > static_cast<double>(plan.gradient_block_bytes)
                                           : copies > others);
    // Dot products pay for sums across lanes, the more the fewer rows they run over; outer products, a little
    // slower by themselves, for turning the inputs, the more the fewer outputs use them.
    constexpr double kOuter = 1.02;
    const double outputs = out / (plan.by_outputs.back() ? t : members),
                 over = static_cast<double>(rows) / (plan.by_outputs.back() ? 1 : plan.groups);
    plan.turned.push_back(kOuter + kernels.turn_outputs / outputs < 1 + kernels.fold_rows / over &&
                          in >= kernels.outer_columns);
  }
  const std::int64_t mine = ceil_div(ceil_div(rows, kernels.lanes), plan.groups);
  const std::int64_t panel_bytes = std::int64_t{4} * network.inputs * kernels.lanes;
  constexpr int kFewOutputs = 32;  // so few multiply-adds a float of data that fetching it would show
  plan.chunk_panels = static_cast<int>(std::max<std::int64_t>(1, mine));
  if (plan.groups == threads && network.widths[0] <= kFewOutputs && !plan.by_outputs[0] &&
      mine * panel_bytes > l2_bytes / 2) {
    // 2/5 of L2: this chunk and the next one, and room for the rest; fours, as the narrowest tiles take them
    const std::int64_t fitting = std::max<std::int64_t>(1, l2_bytes * 2 / 5 / panel_bytes);
    plan.chunk_panels = static_cast<int>(fitting > 4 ? fitting / 4 * 4 : fitting);
  }
  return plan;
}

bool splits_hidden_layer(const Network& network, int threads, std::int64_t rows, const Hierarchy& hierarchy) {
  constexpr int kFew = 64;
  if (network.depth() != 2 || network.inputs > kFew || network.outputs() > kFew) return false;
  // Split, every thread works out the loss of the whole batch. On one core it pays from where the activations
  // and their gradients leave L2; on several also below, for there are no copies of gradients to add up (two
  // cores, 4, 11 and 42 inputs, 2^10 to 2^12 parameters: 0.75 to 0.93 of the time not split where this says
  // yes, 0.93 to 1.3 where it says no).
  const std::int64_t l2_bytes = hierarchy.capacity_bytes("L2", 512 << 10);
  const std::int64_t bytes = std::int64_t{8} * network.widths[0] * rows / threads;
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

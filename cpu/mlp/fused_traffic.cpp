// The traffic of the fused engines (fused_engine.cpp, one_hidden_engine.cpp): their loops as touches.

#include <algorithm>
#include <cmath>

#include "cpu/isa.h"
#include "cpu/mlp/fused_kernels.h"
#include "cpu/mlp/fused_plan.h"
#include "cpu/mlp/step_arrays.h"

namespace mlpwatt {
namespace {

constexpr double kLineBytes = 64;
constexpr int kDotColumns = 4;  // of a weight-gradient tile, on every instruction set

/// The inner loops of the fused engines: what of a pass is read again, and from how near. The first touches
/// are the caller's. `times` of a pass: as many like it, one after another.
class Passes {
 public:
  Passes(ReuseTrace& trace, const FusedKernels& kernels, int threads)
      : trace_(trace), kernels_(kernels), threads_(threads) {}
  double tiles = 0, flops = 0;  ///< of the busiest thread

  /// All panels of a thread through one layer's weights (for_each_tile): `out` rows in tiles, each over all
  /// of `in`.
  void layer(WeightWalk walk, double in, double out, double panels, double chunk, int weight_block_bytes,
             double times = 1) {
    const FusedBlocks blocks =
        fused_blocks(walk, kernels_.lanes, kernels_.rows, static_cast<int>(out), static_cast<int>(in),
                     static_cast<int>(chunk), weight_block_bytes);
    const double lanes = kernels_.lanes, rows = panels * lanes;
    const double row_tiles = std::ceil(out / kernels_.rows), weight_bytes = in * out * kFloatBytes;
    const double depth = in / blocks.depth_parts, height = std::min(out, double(blocks.rows));
    const double group = std::min(chunk, double(blocks.group_panels)), groups = std::ceil(panels / group);
    const double row_blocks = std::ceil(out / height);
    const double block_bytes = height * depth * kFloatBytes,
                 group_bytes = group * (depth + height) * lanes * kFloatBytes;
    // A block of weights comes by once a group of panels,
    const double between = block_bytes + group_bytes;
    trace_.again(times * (groups - 1) * weight_bytes, between, block_bytes + threads_ * group_bytes);
    // the panels once a block,
    const double all = block_bytes + rows * (depth + height) * kFloatBytes;
    trace_.again(times * (row_blocks - 1) * in * rows * kFloatBytes, all,
                 block_bytes + threads_ * (all - block_bytes));
    // and once a tile.
    // (down a column each weight brings its line)
    const double tile_weights =
        walk == WeightWalk::kDownColumns ? depth * kLineBytes : kernels_.rows * depth * kFloatBytes;
    const double near = group * (depth + kernels_.rows) * lanes * kFloatBytes + tile_weights;
    trace_.again(times * (row_tiles - row_blocks) * in * rows * kFloatBytes, near, threads_ * near);
    // Sums of a part are taken up again, and written, by the next.
    const double part_bytes = depth * out * kFloatBytes + rows * (depth + out) * kFloatBytes;
    trace_.again(times * 2 * (blocks.depth_parts - 1) * rows * out * kFloatBytes, part_bytes,
                 threads_ * part_bytes);
    trace_.registers(times * panels *
                     (row_tiles * in * lanes + in * out + (2 * blocks.depth_parts - 1) * out * lanes) *
                     kFloatBytes);
    tiles += times * panels * row_tiles * blocks.depth_parts;
    flops += times * 2 * panels * lanes * in * out;
  }
  /// `out` rows of a weight gradient over `over` rows of the batch (weight_gradient).
  void gradient(double in, double out, double over, double times = 1) {
    const double row_tiles = std::ceil(out / kernels_.dot_rows), column_tiles = std::ceil(in / kDotColumns);
    const double feature_bytes = over * kFloatBytes;
    const double block =
        std::min(in, std::max(1.0, std::floor(kernels_.dot_block_bytes / feature_bytes / 8)) * 8);
    const double delta_block = std::min(
        out, std::max(1.0, std::floor(kernels_.delta_block_bytes / feature_bytes / kernels_.dot_rows)) *
                 kernels_.dot_rows);
    const double blocks = std::ceil(in / block), delta_blocks = std::ceil(out / delta_block);
    const double deltas_bytes = kernels_.dot_rows * feature_bytes, block_bytes = block * feature_bytes;
    // Inputs: once a tile of rows from L1, once a block of delta from wherever all of them fit.
    trace_.again(times * (row_tiles - delta_blocks) * in * feature_bytes, block_bytes + deltas_bytes,
                 threads_ * (block_bytes + deltas_bytes));
    const double between = (in + delta_block) * feature_bytes;
    trace_.again(times * (delta_blocks - 1) * in * feature_bytes, between, threads_ * between);
    // Delta: once a block of inputs from L2, once a tile of columns from L1.
    const double delta_bytes = delta_block * (feature_bytes + block * kFloatBytes) + block_bytes;
    trace_.again(times * (blocks - 1) * out * feature_bytes, delta_bytes, threads_ * delta_bytes);
    const double near = deltas_bytes + kDotColumns * feature_bytes;
    trace_.again(times * (column_tiles - blocks) * out * feature_bytes, near, threads_ * near);
    trace_.registers(times * ((row_tiles * in + column_tiles * out) * feature_bytes +
                              2 * in * out * kFloatBytes + out * feature_bytes));
    tiles += times * row_tiles * column_tiles;
    flops += times * (2 * over * in * out +
                      row_tiles * column_tiles * kernels_.dot_rows * kDotColumns * kernels_.lanes);
  }

  /// The same from turned inputs (turn_inputs, outer_gradient).
  void outer(double in, double out, double over, double times = 1) {
    const double row_tiles = std::ceil(out / kernels_.outer_rows), columns = kernels_.outer_columns,
                 blocks = std::ceil(in / columns);
    const double block_bytes = columns * over * kFloatBytes,
                 delta_bytes = kernels_.outer_rows * over * kFloatBytes;
    const double delta_block = std::min(
        out, std::max(1.0, std::floor(kernels_.delta_block_bytes / delta_bytes)) * kernels_.outer_rows);
    const double delta_blocks = std::ceil(out / delta_block);
    // Turned inputs: once a tile from L1, once a block of delta from wherever all of them fit.
    trace_.again(times * (row_tiles - delta_blocks) * in * over * kFloatBytes, block_bytes + delta_bytes,
                 threads_ * (block_bytes + delta_bytes));
    const double between = (in + delta_block) * over * kFloatBytes;
    trace_.again(times * (delta_blocks - 1) * in * over * kFloatBytes, between, threads_ * between);
    // Delta: once a block of inputs from L2.
    const double far = delta_block * (over + columns) * kFloatBytes + block_bytes;
    trace_.again(times * (blocks - 1) * out * over * kFloatBytes, far, threads_ * far);
    trace_.registers(times * kFloatBytes *
                     (row_tiles * blocks * columns * over + blocks * out * over + 2 * in * out + out * over));
    tiles += times * row_tiles * blocks;
    flops += times * 2 * over * blocks * columns * out;
  }

 private:
  ReuseTrace& trace_;
  const FusedKernels& kernels_;
  double threads_;
};

/// A step from what the busiest thread does, which per_step took for the mean.
/// @param imbalance the busiest thread's work over the mean
Traffic whole_team(Traffic traffic, const Passes& passes, double parameters, double barriers,
                   double imbalance) {
  const double mean_threads = traffic.threads / imbalance;
  for (double& bytes : traffic.bytes) bytes /= imbalance;
  traffic.issued_flops = passes.flops * mean_threads + 10 * parameters;
  traffic.tiles = passes.tiles * mean_threads;
  traffic.roots = parameters;
  traffic.barriers = barriers;
  traffic.imbalance = imbalance;
  return traffic;
}

/// fused_engine.cpp.
Traffic layers_traffic(const Network& network, const MlpTrafficProblem& problem, const Hierarchy& hierarchy) {
  const FusedKernels& kernels = choose_fused_kernels(network, parse_isa(problem.isa), problem.threads,
                                                     problem.planned_batch(), hierarchy);
  const FusedPlan plan =
      make_fused_plan(network, kernels, problem.threads, problem.planned_batch(), hierarchy);
  const double lanes = kernels.lanes, threads = problem.threads, groups = plan.groups;
  const double panels = std::ceil(problem.batch / lanes);
  const auto load = [](const GroupShape& group) { return static_cast<double>(group.panels) / group.members; };
  const std::vector<GroupShape> shapes =
      group_shapes(problem.threads, plan.groups, static_cast<std::int64_t>(panels));
  const GroupShape busiest = *std::max_element(
      shapes.begin(), shapes.end(), [&](const auto& a, const auto& b) { return load(a) < load(b); });
  const double mine = static_cast<double>(busiest.panels);
  // What a member of a group makes of a layer, and what it has from the others.
  const double own = 1.0 / busiest.members, given = 1 - own;
  // One pass over its rows of the weights, or its columns: of both, as the array has it.
  const double pass_of_weights = 1 / (2 - own);
  const double rows = mine * lanes;
  const double chunk = std::min(mine, static_cast<double>(plan.chunk_panels)),
               chunks = std::ceil(mine / chunk);
  const double others = 1 - 1 / threads;  // share of an array that the other threads wrote
  ReuseTrace trace(hierarchy, problem.threads);
  StepArrays step = add_step_arrays(trace, network, rows, panels * lanes, false, own);
  for (int k = 0; k < network.depth(); ++k) {
    LayerArrays& layer = step.layers[k];
    const double cells = (network.input_width(k) + 1.0) * network.widths[k] * kFloatBytes;
    layer.first_moment = trace.add({cells / threads, cells});
    layer.second_moment = trace.add({cells / threads, cells});
    layer.gradient = plan.by_outputs[k]
                         ? trace.add({std::min(cells, double(plan.gradient_block_bytes)), cells})
                         : trace.add({cells * own, cells * groups});
  }

  double turned_bytes = 0;  // of the widest layer that is turned; one array serves all
  for (int k = 0; k < network.depth(); ++k)
    if (plan.turned[k])
      turned_bytes = std::max(
          turned_bytes, network.input_width(k) * (plan.by_outputs[k] ? panels * lanes : rows) * kFloatBytes);
  const int turned = trace.add({turned_bytes, turned_bytes * threads});
  Passes passes(trace, kernels, problem.threads);

  /// Inputs written batch-major, and read back for the first time.
  const auto turn_pass = [&](double in, double over) {
    trace.touch(turned, 2 * in * over * kFloatBytes / turned_bytes);
    trace.registers(2 * in * over * kFloatBytes);
  };

  for (int k = 0; k < network.depth(); ++k) {
    const int from = k > 0 ? step.layers[k - 1].activation : step.x;
    if (k == 0)
      trace.touch_fresh(step.x, dataset_bytes(network, problem), dataset_bytes(network, problem) / groups);
    trace.touch(from, 1, k > 0 ? given : 0);
    // one group's members have updated the very weights that they use here
    trace.touch(step.layers[k].weights, pass_of_weights, groups > 1 ? others : 0);
    passes.layer(WeightWalk::kAlongRows, network.input_width(k), network.widths[k] * own, mine, chunk,
                 plan.weight_block_bytes);
    trace.touch(step.layers[k].activation, own);
    if (network.adds_input(k)) {
      trace.touch(from, own);
      trace.touch(step.layers[k].before);
      trace.registers(2 * rows * network.widths[k] * own * kFloatBytes);
    }
  }
  trace.touch_fresh(step.y, dataset_bytes(network, problem));
  trace.touch(step.layers.back().activation, own, given);
  trace.touch(step.layers.back().activation, 3 * own);
  for (int k = network.depth() - 1; k >= 0; --k) {
    const LayerArrays& layer = step.layers[k];
    const double in = network.input_width(k), out = network.widths[k];
    if (!plan.by_outputs[k]) {
      trace.touch(layer.delta, own);
      if (k > 0) {
        trace.touch(step.layers[k - 1].activation);
      } else {  // a chunk of the data is met again before the next one comes
        const double distance = (in + 2 * out) * rows * kFloatBytes / chunks + in * out * kFloatBytes;
        trace.again(in * rows * kFloatBytes, distance, threads * distance);
      }
      if (plan.turned[k]) {
        turn_pass(in, rows);
        passes.outer(in, out * own, rows);
      } else {
        passes.gradient(in, out * own, rows);
      }
      trace.touch(layer.gradient, 2 * chunks - 1);
    }
    if (k == 0) break;
    const LayerArrays& below = step.layers[k - 1];
    trace.touch(layer.delta, 1, given);
    trace.touch(layer.weights, pass_of_weights, given);
    passes.layer(WeightWalk::kDownColumns, out, in * own, mine, chunk, plan.weight_block_bytes);
    trace.touch(below.delta, own);
    below.before >= 0 ? trace.touch(below.before) : trace.touch(below.activation, own);
    trace.registers(rows * in * own * kFloatBytes);
    for (const int gradient : {layer.output_gradient, below.output_gradient})
      if (gradient >= 0) trace.touch(gradient), trace.registers(rows * in * own * kFloatBytes);
  }
  // Adam: every thread its outputs over all rows, or its share of the parameters over all copies of the
  // gradient.
  double parameters = 0, loads = 0;
  for (const bool by_outputs : {true, false})
    for (int k = 0; k < network.depth(); ++k) {
      if (plan.by_outputs[k] != by_outputs) continue;
      const LayerArrays& layer = step.layers[k];
      const double in = network.input_width(k), out = network.widths[k], cells = (in + 1) * out;
      parameters += cells;
      if (by_outputs) {
        trace.touch(k > 0 ? step.layers[k - 1].activation : step.x, groups, 1 - 1 / groups);
        trace.touch(layer.delta, own, groups > 1 ? others : 0);
        if (plan.turned[k]) turn_pass(in, panels * lanes);
        const auto most = plan.gradient_block(network.input_width(k), kernels);
        const double over = panels * lanes, block = std::min(out / threads, double(most.outputs));
        const double blocks = std::ceil(out / threads / block), columns = most.inputs;
        const double column_blocks = std::ceil(in / columns);
        for (int b = 0; b < static_cast<int>(blocks); ++b) {
          if (b > 0) {
            const double between = in * over * kFloatBytes;
            trace.again(between, between + 4 * block * in * kFloatBytes,
                        between + threads * 4 * block * in * kFloatBytes);
          }
          for (int c = 0; c < static_cast<int>(column_blocks); ++c)
            plan.turned[k] ? passes.outer(in / column_blocks, out / threads / blocks, over)
                           : passes.gradient(in / column_blocks, out / threads / blocks, over);
          const double delta_bytes = (column_blocks - 1) * block * over * kFloatBytes;
          const double between = (block + columns) * over * kFloatBytes + 4 * block * columns * kFloatBytes;
          trace.again(delta_bytes, between, threads * between);
        }
        const double block_bytes = block * columns * kFloatBytes;
        trace.again(2 * cells / threads * kFloatBytes, block_bytes,
                    threads * block_bytes);  // written and read
        loads += 7 * cells / threads;
      } else {
        trace.touch(layer.gradient, 1, others);  // a 1/threads part of each group's copy
        loads += cells * (groups + 6) / threads;
      }
      trace.touch(layer.weights, 2 / threads * pass_of_weights / own);
      trace.touch(layer.first_moment, 2);
      trace.touch(layer.second_moment, 2);
    }
  trace.registers(loads * kFloatBytes);

  const int meetings = 2 + (plan.groups < problem.threads ? 2 * network.depth() : 0);
  return whole_team(trace.per_step(), passes, parameters, meetings, mine * own * threads / panels);
}

/// one_hidden_engine.cpp.
Traffic one_hidden_traffic(const Network& network, const MlpTrafficProblem& problem,
                           const Hierarchy& hierarchy) {
  const FusedKernels& kernels = choose_fused_kernels(network, parse_isa(problem.isa), problem.threads,
                                                     problem.planned_batch(), hierarchy);
  const OneHiddenPlan plan =
      make_one_hidden_plan(network, kernels, problem.threads, problem.planned_batch(), hierarchy);
  const double threads = problem.threads, others = 1 - 1 / threads;
  const double panels = std::ceil(problem.batch / double(kernels.lanes)), rows = panels * kernels.lanes;
  const double in = network.inputs, out = network.outputs(), all_units = network.widths[0];
  // the busiest thread's, in whole lines
  const double units =
      std::min(all_units, std::ceil(std::ceil(all_units / kUnitsOfALine) / threads) * kUnitsOfALine);
  // blocks, and groups of panels, as equal as they go
  const double blocks = std::ceil(units / plan.block_units), block = units / blocks;
  const double near_blocks = std::ceil(units / plan.near_units), near = units / near_blocks;
  const double groups = std::ceil(panels / plan.near_panels), together = panels / groups;
  const auto floats = [](double count) { return count * kFloatBytes; };

  ReuseTrace trace(hierarchy, problem.threads);
  const auto own = [&](double count) {
    return trace.add({floats(count), floats(count * std::min(threads, all_units / units))});
  };
  const auto common = [&](double count) { return trace.add({floats(count), floats(count)}); };
  const double cells = (in + 1 + out) * units;  // a thread's parameters
  const int weights = own(cells), first_moment = own(cells), second_moment = own(cells);
  const int hidden = own(rows * (plan.keeps_hidden ? units : block)), delta = own(rows * block);
  const int x = common(rows * in), y = common(rows * out);
  const int parts = trace.add({floats(2 * rows * out), floats(2 * rows * out * threads)}),  // two, in turns
      logits = trace.add({floats(rows * out), floats(rows * out * threads)});
  Passes passes(trace, kernels, problem.threads);

  // Forward: per block of units the panels in groups; what a group makes of a block stays in L1.
  const double near_bytes = floats(together * kernels.lanes * (in + near + out) + near * (in + out));
  const double block_bytes = floats(rows * (in + 2 * out) + near * (in + out)) +
                             floats((plan.keeps_hidden ? rows : together * kernels.lanes) * near);
  trace.touch_fresh(x, dataset_bytes(network, problem), dataset_bytes(network, problem));
  trace.again(floats((near_blocks - 1) * rows * in), block_bytes, block_bytes * threads);
  trace.touch(weights);
  trace.again(floats((groups - 1) * cells), near_bytes, near_bytes * threads);
  passes.layer(WeightWalk::kAlongRows, in, near, together, together, plan.weight_block_bytes,
               near_blocks * groups);
  if (plan.keeps_hidden)
    trace.touch(hidden);
  else
    trace.again(floats(rows * units), near_bytes, near_bytes * threads);
  trace.again(floats(rows * units), near_bytes, near_bytes * threads);
  passes.layer(WeightWalk::kAlongRows, near, out, together, together, plan.weight_block_bytes,
               near_blocks * groups);
  trace.touch(parts, 0.5);
  trace.again(floats(2 * near_blocks * rows * out), block_bytes, block_bytes * threads);
  // Everybody's parts, and the loss.
  trace.touch(parts, threads / 2, others);
  trace.touch_fresh(y, dataset_bytes(network, problem), dataset_bytes(network, problem));
  trace.touch(logits, 4);
  trace.registers(floats((threads + 6) * rows * out));

  // Backward: per block of units the whole batch.
  const double far_bytes = floats(rows * (in + out + 2 * block) + 4 * block * (in + 1 + out));
  // Read again: by the next block; once a block; and within one, what it has just made or read of the batch.
  const auto again_in_next_block = [&](double count) {
    trace.again(floats(count), far_bytes, far_bytes * threads);
  };
  const auto again_per_block = [&](double count) { again_in_next_block(blocks * count); };
  const auto again_in_block = [&](double count) {
    const double between = floats(2 * rows * block);
    trace.again(floats(count), between, between * threads);
  };
  trace.touch(weights);
  trace.touch(hidden);
  if (!plan.keeps_hidden) {
    again_in_next_block(rows * (units - block));
    again_per_block(rows * in);
    passes.layer(WeightWalk::kAlongRows, in, block, panels, panels, plan.weight_block_bytes, blocks);
    again_in_block(rows * units);
  }
  again_per_block(rows * out);
  passes.layer(WeightWalk::kDownColumns, out, block, panels, panels, plan.weight_block_bytes, blocks);
  trace.registers(floats(2 * rows * units));  // the mask, and what it leaves
  trace.touch(delta);
  again_in_next_block(rows * (units - block));
  again_per_block(rows * out);
  again_in_block(rows * units);
  passes.gradient(block, out, rows, blocks);
  again_per_block(rows * in);
  again_in_block(rows * units);
  passes.gradient(in, block, rows, blocks);
  // Adam: the block's gradients and weights are near.
  trace.again(floats(3 * cells), far_bytes, far_bytes * threads);
  trace.touch(first_moment, 2);
  trace.touch(second_moment, 2);
  trace.registers(floats(7 * cells));

  return whole_team(trace.per_step(), passes, static_cast<double>(network.parameters()), 1,
                    units * threads / all_units);
}

}  // namespace

Traffic fused_traffic(const Network& network, const MlpTrafficProblem& problem, const Hierarchy& hierarchy) {
  return splits_hidden_layer(network, problem.threads, problem.planned_batch(), hierarchy)
             ? one_hidden_traffic(network, problem, hierarchy)
             : layers_traffic(network, problem, hierarchy);
}

}  // namespace mlpwatt

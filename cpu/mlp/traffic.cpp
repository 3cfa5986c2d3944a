#include "cpu/mlp/traffic.h"

#include <algorithm>
#include <cmath>

#include "cpu/gemm/traffic.h"
#include "cpu/isa.h"
#include "cpu/mlp/fused_kernels.h"
#include "cpu/mlp/fused_plan.h"
#include "cpu/twins/mlp_twin.h"
#include "kernels/nearest.h"

namespace mlpwatt {

namespace {

constexpr double kFloat = 4, kLine = 64;
constexpr int kDotColumns = 4;  // of a weight-gradient tile, on every instruction set

/// A layer's arrays as the trace knows them; -1 where the layer has none.
struct LayerArrays {
  int weights, first_moment, second_moment, gradient = -1;
  int activation, delta, before = -1, output_gradient = -1;
};

struct StepArrays {
  std::vector<LayerArrays> layers;
  int x, y;
};

/// @param rows_each of the batch that one thread works on, `rows` all of them (padded lanes included)
/// @param weights_each share of a layer's weights that one thread reads in a pass
StepArrays add_arrays(ReuseTrace& trace, const Network& network, double rows_each, double rows,
                      bool last_delta) {
  StepArrays step;
  const auto panel = [&](double width) {
    return trace.add({rows_each * width * kFloat, rows * width * kFloat});
  };
  for (int k = 0; k < network.depth(); ++k) {
    const double out = network.widths[k], cells = (network.input_width(k) + 1.0) * out * kFloat;
    LayerArrays layer{};
    layer.weights = trace.add({cells, cells});
    layer.activation = panel(out);
    layer.delta = !network.is_output(k) || last_delta ? panel(out) : layer.activation;
    if (network.adds_input(k)) layer.before = panel(out), layer.output_gradient = panel(out);
    step.layers.push_back(layer);
  }
  step.x = panel(network.inputs);
  step.y = panel(network.outputs());
  return step;
}

double dataset_bytes(const Network& network, const MlpTrafficProblem& problem) {
  return static_cast<double>(problem.dataset_rows) * (network.inputs + network.outputs()) * kFloat;
}

Traffic fused_traffic(const Network& network, const MlpTrafficProblem& problem, const Hierarchy& hierarchy) {
  const FusedKernels& kernels = fused_kernels(parse_isa(problem.isa));
  const FusedPlan plan = make_fused_plan(network, kernels, problem.threads, problem.batch, hierarchy);
  const double lanes = kernels.lanes, threads = problem.threads;
  const double panels = std::ceil(problem.batch / lanes), mine = std::ceil(panels / threads);
  const double rows = mine * lanes;
  const double chunk = std::min(mine, static_cast<double>(plan.chunk_panels)),
               chunks = std::ceil(mine / chunk);
  const double others = 1 - 1 / threads;  // share of an array that the other threads wrote
  ReuseTrace trace(hierarchy, problem.threads);
  StepArrays step = add_arrays(trace, network, rows, panels * lanes, false);
  for (int k = 0; k < network.depth(); ++k) {
    LayerArrays& layer = step.layers[k];
    const double cells = (network.input_width(k) + 1.0) * network.widths[k] * kFloat;
    layer.first_moment = trace.add({cells / threads, cells});
    layer.second_moment = trace.add({cells / threads, cells});
    layer.gradient = plan.by_outputs[k]
                         ? trace.add({std::min(cells, double(plan.gradient_block_bytes)), cells})
                         : trace.add({cells, cells * threads});
  }

  double turned_bytes = 0;  // of the widest layer that is turned; one array serves all
  for (int k = 0; k < network.depth(); ++k)
    if (plan.turned[k])
      turned_bytes = std::max(turned_bytes,
                              network.input_width(k) * (plan.by_outputs[k] ? panels * lanes : rows) * kFloat);
  const int turned = trace.add({turned_bytes, turned_bytes * threads});

  double tiles = 0, flops = 0;  // of the busiest thread
  /// All panels of a thread through one layer's weights (for_each_tile): `out` rows in tiles, each over all
  /// of `in`.
  const auto layer_pass = [&](WeightWalk walk, double in, double out, int from, int weights, int to,
                              double remote) {
    const FusedBlocks blocks =
        fused_blocks(walk, kernels.lanes, kernels.rows, static_cast<int>(out), static_cast<int>(in),
                     static_cast<int>(chunk), plan.weight_block_bytes);
    const double row_tiles = std::ceil(out / kernels.rows), weight_bytes = in * out * kFloat;
    const double depth = in / blocks.depth_parts, height = std::min(out, double(blocks.rows));
    const double group = std::min(chunk, double(blocks.group_panels)), groups = std::ceil(mine / group);
    const double row_blocks = std::ceil(out / height);
    const double block_bytes = height * depth * kFloat,
                 group_bytes = group * (depth + height) * lanes * kFloat;
    trace.touch(from);
    trace.touch(weights, 1, remote);
    // A block of weights comes by once a group of panels,
    const double between = block_bytes + group_bytes;
    trace.again((groups - 1) * weight_bytes, between, block_bytes + threads * group_bytes);
    // the panels once a block,
    const double all = block_bytes + rows * (depth + height) * kFloat;
    trace.again((row_blocks - 1) * in * rows * kFloat, all, block_bytes + threads * (all - block_bytes));
    // and once a tile.
    // (down a column each weight brings its line)
    const double tile_weights =
        walk == WeightWalk::kDownColumns ? depth * kLine : kernels.rows * depth * kFloat;
    const double near = group * (depth + kernels.rows) * lanes * kFloat + tile_weights;
    trace.again((row_tiles - row_blocks) * in * rows * kFloat, near, threads * near);
    trace.touch(to);
    // Sums of a part are taken up again, and written, by the next.
    const double part_bytes = depth * out * kFloat + rows * (depth + out) * kFloat;
    trace.again(2 * (blocks.depth_parts - 1) * rows * out * kFloat, part_bytes, threads * part_bytes);
    trace.registers(mine * (row_tiles * in * lanes + in * out + (2 * blocks.depth_parts - 1) * out * lanes) *
                    kFloat);
    tiles += mine * row_tiles * blocks.depth_parts;
    flops += 2 * mine * lanes * in * out;
  };
  /// `out` rows of a weight gradient over `over` rows of the batch (weight_gradient).
  const auto gradient_pass = [&](double in, double out, double over) {
    const double row_tiles = std::ceil(out / kernels.dot_rows), column_tiles = std::ceil(in / kDotColumns);
    const double feature_bytes = over * kFloat;
    const double block =
        std::min(in, std::max(1.0, std::floor(kernels.dot_block_bytes / feature_bytes / 8)) * 8);
    const double delta_block = std::min(
        out, std::max(1.0, std::floor(kernels.delta_block_bytes / feature_bytes / kernels.dot_rows)) *
                 kernels.dot_rows);
    const double blocks = std::ceil(in / block), delta_blocks = std::ceil(out / delta_block);
    const double deltas_bytes = kernels.dot_rows * feature_bytes, block_bytes = block * feature_bytes;
    // Inputs: once a tile of rows from L1, once a block of delta from wherever all of them fit.
    trace.again((row_tiles - delta_blocks) * in * feature_bytes, block_bytes + deltas_bytes,
                threads * (block_bytes + deltas_bytes));
    const double between = (in + delta_block) * feature_bytes;
    trace.again((delta_blocks - 1) * in * feature_bytes, between, threads * between);
    // Delta: once a block of inputs from L2, once a tile of columns from L1.
    const double delta_bytes = delta_block * (feature_bytes + block * kFloat) + block_bytes;
    trace.again((blocks - 1) * out * feature_bytes, delta_bytes, threads * delta_bytes);
    const double near = deltas_bytes + kDotColumns * feature_bytes;
    trace.again((column_tiles - blocks) * out * feature_bytes, near, threads * near);
    trace.registers((row_tiles * in + column_tiles * out) * feature_bytes + 2 * in * out * kFloat +
                    out * feature_bytes);
    tiles += row_tiles * column_tiles;
    flops += 2 * over * in * out + row_tiles * column_tiles * kernels.dot_rows * kDotColumns * lanes;
  };

  /// The same from turned inputs (turn_inputs, outer_gradient).
  const auto outer_pass = [&](double in, double out, double over) {
    const double row_tiles = std::ceil(out / kernels.outer_rows), columns = kernels.outer_columns,
                 blocks = std::ceil(in / columns);
    const double block_bytes = columns * over * kFloat, delta_bytes = kernels.outer_rows * over * kFloat;
    const double delta_block = std::min(
        out, std::max(1.0, std::floor(kernels.delta_block_bytes / delta_bytes)) * kernels.outer_rows);
    const double delta_blocks = std::ceil(out / delta_block);
    // Turned inputs: once a tile from L1, once a block of delta from wherever all of them fit.
    trace.again((row_tiles - delta_blocks) * in * over * kFloat, block_bytes + delta_bytes,
                threads * (block_bytes + delta_bytes));
    const double between = (in + delta_block) * over * kFloat;
    trace.again((delta_blocks - 1) * in * over * kFloat, between, threads * between);
    // Delta: once a block of inputs from L2.
    const double far = delta_block * (over + columns) * kFloat + block_bytes;
    trace.again((blocks - 1) * out * over * kFloat, far, threads * far);
    trace.registers((row_tiles * blocks * columns * over + blocks * out * over) * kFloat +
                    2 * in * out * kFloat + out * over * kFloat);
    tiles += row_tiles * blocks;
    flops += 2 * over * blocks * columns * out;
  };
  /// Inputs written batch-major, and read back for the first time.
  const auto turn_pass = [&](double in, double over) {
    trace.touch(turned, 2 * in * over * kFloat / turned_bytes);
    trace.registers(2 * in * over * kFloat);
  };

  for (int k = 0; k < network.depth(); ++k) {
    const int from = k > 0 ? step.layers[k - 1].activation : step.x;
    if (k == 0) trace.touch_fresh(step.x, dataset_bytes(network, problem));
    layer_pass(WeightWalk::kAlongRows, network.input_width(k), network.widths[k], from,
               step.layers[k].weights, step.layers[k].activation, others);
    if (network.adds_input(k)) {
      trace.touch(from);
      trace.touch(step.layers[k].before);
      trace.registers(2 * rows * network.widths[k] * kFloat);
    }
  }
  trace.touch_fresh(step.y, dataset_bytes(network, problem));
  trace.touch(step.layers.back().activation, 4);
  for (int k = network.depth() - 1; k >= 0; --k) {
    const LayerArrays& layer = step.layers[k];
    const double in = network.input_width(k), out = network.widths[k];
    if (!plan.by_outputs[k]) {
      trace.touch(layer.delta);
      if (k > 0) {
        trace.touch(step.layers[k - 1].activation);
      } else {  // a chunk of the data is met again before the next one comes
        const double distance = (in + 2 * out) * rows * kFloat / chunks + in * out * kFloat;
        trace.again(in * rows * kFloat, distance, threads * distance);
      }
      if (plan.turned[k]) {
        turn_pass(in, rows);
        outer_pass(in, out, rows);
      } else {
        gradient_pass(in, out, rows);
      }
      trace.touch(layer.gradient, 2 * chunks - 1);
    }
    if (k == 0) break;
    const LayerArrays& below = step.layers[k - 1];
    layer_pass(WeightWalk::kDownColumns, out, in, layer.delta, layer.weights, below.delta, 0);
    trace.touch(below.before >= 0 ? below.before : below.activation);
    trace.registers(rows * in * kFloat);
    if (layer.output_gradient >= 0) trace.touch(layer.output_gradient), trace.registers(rows * in * kFloat);
    if (below.output_gradient >= 0) trace.touch(below.output_gradient), trace.registers(rows * in * kFloat);
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
        trace.touch(k > 0 ? step.layers[k - 1].activation : step.x, threads, others);
        trace.touch(layer.delta, 1, others);
        if (plan.turned[k]) turn_pass(in, panels * lanes);
        const auto most = plan.gradient_block(network.input_width(k), kernels);
        const double over = panels * lanes, block = std::min(out / threads, double(most.outputs));
        const double blocks = std::ceil(out / threads / block), columns = most.inputs;
        const double column_blocks = std::ceil(in / columns);
        for (int b = 0; b < static_cast<int>(blocks); ++b) {
          if (b > 0) {
            const double between = in * over * kFloat;
            trace.again(between, between + 4 * block * in * kFloat,
                        between + threads * 4 * block * in * kFloat);
          }
          for (int c = 0; c < static_cast<int>(column_blocks); ++c)
            plan.turned[k] ? outer_pass(in / column_blocks, out / threads / blocks, over)
                           : gradient_pass(in / column_blocks, out / threads / blocks, over);
          const double delta_bytes = (column_blocks - 1) * block * over * kFloat;
          const double between = (block + columns) * over * kFloat + 4 * block * columns * kFloat;
          trace.again(delta_bytes, between, threads * between);
        }
        const double block_bytes = block * columns * kFloat;
        trace.again(2 * cells / threads * kFloat, block_bytes, threads * block_bytes);  // written and read
        loads += 7 * cells / threads;
      } else {
        trace.touch(layer.gradient, 1, others);  // a 1/threads part of each of `threads` copies
        loads += cells * (threads + 6) / threads;
      }
      trace.touch(layer.weights, 2 / threads);
      trace.touch(layer.first_moment, 2);
      trace.touch(layer.second_moment, 2);
    }
  trace.registers(loads * kFloat);

  Traffic traffic = trace.per_step();
  traffic.issued_flops = flops * threads + 10 * parameters;
  traffic.tiles = tiles * threads;
  traffic.roots = parameters;
  traffic.barriers = 2;
  traffic.imbalance = mine / (panels / threads);
  return traffic;
}

/// @param blocked_for the caches the products are blocked for: the same, but for twins
Traffic blocked_traffic(const Network& network, const MlpTrafficProblem& problem, const Hierarchy& hierarchy,
                        const Hierarchy& blocked_for) {
  const MicroKernels& kernels = micro_kernels(parse_isa(problem.isa));
  const double threads = problem.threads, rows = problem.batch;
  const double others = 1 - 1 / threads;
  ReuseTrace trace(hierarchy, problem.threads);
  StepArrays step = add_arrays(trace, network, rows / threads, rows, true);
  double parameters = 0;
  for (int k = 0; k < network.depth(); ++k) {
    LayerArrays& layer = step.layers[k];
    const double cells = (network.input_width(k) + 1.0) * network.widths[k];
    parameters += cells;
    layer.first_moment = trace.add({cells * kFloat / threads, cells * kFloat});
    layer.second_moment = trace.add({cells * kFloat / threads, cells * kFloat});
  }
  GemmWork total;
  double busiest_flops = 0;
  const auto product = [&](GemmLayout layout, double m, double n, double k, const GemmTrafficArrays& arrays) {
    const GemmProblem shape{layout, static_cast<std::int64_t>(m), static_cast<std::int64_t>(n),
                            static_cast<std::int64_t>(k)};
    const GemmBlocking blocking = choose_gemm_blocking(shape, kernels, problem.threads, blocked_for);
    const GemmWork work = add_gemm_traffic(trace, shape, blocking, kernels, problem.threads, arrays);
    total.issued_flops += work.issued_flops;
    total.tiles += work.tiles;
    total.barriers += work.barriers + 1;
    busiest_flops += work.issued_flops * work.imbalance;
  };

  for (int k = 0; k < network.depth(); ++k) {
    const LayerArrays& layer = step.layers[k];
    GemmTrafficArrays arrays;
    arrays.a = k > 0 ? step.layers[k - 1].activation : step.x;
    arrays.b = layer.weights;
    arrays.c = layer.activation;
    arrays.b_remote = others;
    if (k == 0) trace.touch_fresh(step.x, dataset_bytes(network, problem));
    if (network.adds_input(k)) {
      arrays.read_with_c = {arrays.a};
      arrays.written_with_c = {layer.before};
    }
    product(GemmLayout::kNN, rows, network.widths[k], network.input_width(k), arrays);
    trace.touch(layer.activation);
  }
  trace.touch_fresh(step.y, dataset_bytes(network, problem));
  trace.touch(step.layers.back().activation, 2);
  trace.touch(step.layers.back().delta, 2);
  for (int k = network.depth() - 1; k >= 0; --k) {
    const LayerArrays& layer = step.layers[k];
    const double in = network.input_width(k), out = network.widths[k];
    if (k > 0) {
      const LayerArrays& below = step.layers[k - 1];
      GemmTrafficArrays arrays;
      arrays.a = layer.delta;
      arrays.b = layer.weights;
      arrays.c = below.delta;
      arrays.a_remote = others / 2;
      arrays.read_with_c = {below.before >= 0 ? below.before : below.activation};
      if (layer.output_gradient >= 0) arrays.read_with_c.push_back(layer.output_gradient);
      if (below.output_gradient >= 0) arrays.written_with_c = {below.output_gradient};
      product(GemmLayout::kNT, rows, in, out, arrays);
      trace.touch(below.delta);
    }
    GemmTrafficArrays arrays;
    arrays.a = k > 0 ? step.layers[k - 1].activation : step.x;
    arrays.b = layer.delta;
    arrays.c = layer.weights;
    arrays.a_remote = arrays.b_remote = others;
    arrays.updated_with_c = {layer.first_moment, layer.second_moment};
    product(GemmLayout::kTN, in, out, rows, arrays);
    trace.touch(layer.delta, 1, others);  // column sums: the bias gradient
    trace.registers(rows / threads * out * kFloat);
  }

  Traffic traffic = trace.per_step();
  traffic.issued_flops = total.issued_flops + 10 * parameters;
  traffic.tiles = total.tiles;
  traffic.roots = parameters;
  traffic.barriers = total.barriers + 1;
  traffic.imbalance = busiest_flops / total.issued_flops;
  return traffic;
}

}  // namespace

const std::vector<std::string>& mlp_traffic_algorithms() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all{"fused", "blocked"};
    all.insert(all.end(), mlp_twins().begin(), mlp_twins().end());
    return all;
  }();
  return names;
}

Traffic mlp_train_traffic(const Network& network, const MlpTrafficProblem& problem,
                          const Hierarchy& hierarchy) {
  if (problem.algorithm == "fused") return fused_traffic(network, problem, hierarchy);
  if (problem.algorithm == "blocked") return blocked_traffic(network, problem, hierarchy, hierarchy);
  if (is_mlp_twin(problem.algorithm))
    return blocked_traffic(network, problem, hierarchy, pretended_hierarchy(problem.algorithm, hierarchy));
  throw std::invalid_argument(
      unknown_name("training algorithm with a traffic model", problem.algorithm, mlp_traffic_algorithms()));
}

}  // namespace mlpwatt

#include "cpu/mlp/traffic.h"

#include <algorithm>
#include <cmath>

#include "cpu/gemm/traffic.h"
#include "cpu/isa.h"
#include "cpu/mlp/fused_kernels.h"
#include "cpu/twins/mlp_twin.h"
#include "kernels/nearest.h"

namespace mlpwatt {

namespace {

constexpr double kFloat = 4;
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
  const double lanes = kernels.lanes, threads = problem.threads;
  const double panels = std::ceil(problem.batch / lanes), mine = std::ceil(panels / threads);
  const double rows = mine * lanes;
  const double others = 1 - 1 / threads;  // share of an array that the other threads wrote
  ReuseTrace trace(hierarchy, problem.threads);
  StepArrays step = add_arrays(trace, network, rows, panels * lanes, false);
  for (int k = 0; k < network.depth(); ++k) {
    LayerArrays& layer = step.layers[k];
    const double cells = (network.input_width(k) + 1.0) * network.widths[k] * kFloat;
    layer.first_moment = trace.add({cells / threads, cells});
    layer.second_moment = trace.add({cells / threads, cells});
    layer.gradient = trace.add({cells, cells * threads});
  }

  double tiles = 0, flops = 0;  // of the busiest thread
  /// `mine` panels through one layer's weights: rows of `out` in tiles, each over all of `in`.
  const auto layer_pass = [&](double in, double out, int from, int weights, int to, double remote) {
    const double row_tiles = std::ceil(out / kernels.rows);
    const double weight_bytes = in * out * kFloat, panel_bytes = (in + out) * lanes * kFloat;
    trace.touch(from);
    trace.touch(weights, 1, remote);
    trace.again((mine - 1) * weight_bytes, weight_bytes + panel_bytes, weight_bytes + threads * panel_bytes);
    // The panel comes by once a tile of rows.
    const double near = in * lanes * kFloat + kernels.rows * (in + lanes) * kFloat;
    trace.again(mine * (row_tiles - 1) * in * lanes * kFloat, near, threads * near);
    trace.touch(to);
    trace.registers(mine * (row_tiles * in * lanes + in * out + out * lanes) * kFloat);
    tiles += mine * row_tiles;
    flops += 2 * mine * lanes * in * out;
  };

  for (int k = 0; k < network.depth(); ++k) {
    const int from = k > 0 ? step.layers[k - 1].activation : step.x;
    if (k == 0) trace.touch_fresh(step.x, dataset_bytes(network, problem));
    layer_pass(network.input_width(k), network.widths[k], from, step.layers[k].weights,
               step.layers[k].activation, others);
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
    const int from = k > 0 ? step.layers[k - 1].activation : step.x;
    const double row_tiles = std::ceil(out / kernels.dot_rows), column_tiles = std::ceil(in / kDotColumns);
    trace.touch(layer.delta);
    trace.touch(from);
    // A block of inputs stays in L1 while all of delta passes by, once a block.
    const double fitting = std::floor(kernels.dot_block_bytes / (rows * kFloat) / kDotColumns);
    const double block = std::min(in, std::max(1.0, fitting) * kDotColumns), blocks = std::ceil(in / block);
    const double block_bytes = block * rows * kFloat, deltas_bytes = kernels.dot_rows * rows * kFloat;
    trace.again((row_tiles - 1) * in * rows * kFloat, block_bytes + deltas_bytes, block_bytes + deltas_bytes);
    const double delta_bytes = out * rows * kFloat + block_bytes + out * block * kFloat;
    trace.again((blocks - 1) * out * rows * kFloat, delta_bytes, threads * delta_bytes);
    const double near = deltas_bytes + kDotColumns * rows * kFloat;
    trace.again((column_tiles - blocks) * out * rows * kFloat, near, near);
    trace.touch(layer.gradient);
    trace.registers((row_tiles * in + column_tiles * out) * rows * kFloat + 2 * in * out * kFloat +
                    out * rows * kFloat);
    tiles += row_tiles * column_tiles;
    flops += 2 * rows * in * out + row_tiles * column_tiles * kernels.dot_rows * kDotColumns * lanes;
    if (k == 0) break;
    const LayerArrays& below = step.layers[k - 1];
    layer_pass(out, in, layer.delta, layer.weights, below.delta, 0);
    trace.touch(below.before >= 0 ? below.before : below.activation);
    trace.registers(rows * in * kFloat);
    if (layer.output_gradient >= 0) trace.touch(layer.output_gradient), trace.registers(rows * in * kFloat);
    if (below.output_gradient >= 0) trace.touch(below.output_gradient), trace.registers(rows * in * kFloat);
  }
  // Adam: every thread its share of the parameters, over all copies of the gradient.
  double parameters = 0;
  for (int k = 0; k < network.depth(); ++k) {
    const LayerArrays& layer = step.layers[k];
    parameters += (network.input_width(k) + 1.0) * network.widths[k];
    trace.touch(layer.gradient, 1, others);  // a 1/threads part of each of `threads` copies
    trace.touch(layer.weights, 2 / threads);
    trace.touch(layer.first_moment, 2);
    trace.touch(layer.second_moment, 2);
  }
  trace.registers(parameters * kFloat * (threads + 6) / threads);

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

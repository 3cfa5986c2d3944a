#include "cpu/mlp/traffic.h"

#include <stdexcept>

#include "cpu/gemm/traffic.h"
#include "cpu/isa.h"
#include "cpu/mlp/step_arrays.h"
#include "cpu/twins/mlp_twin.h"
#include "kernels/nearest.h"

namespace mlpwatt {

StepArrays add_step_arrays(ReuseTrace& trace, const Network& network, double rows_each, double rows,
                           bool last_delta, double own) {
  StepArrays step;
  const auto panel = [&](double width) {
    return trace.add({rows_each * width * kFloatBytes, rows * width * kFloatBytes});
  };
  for (int k = 0; k < network.depth(); ++k) {
    const double out = network.widths[k], cells = (network.input_width(k) + 1.0) * out * kFloatBytes;
    LayerArrays layer{};
    layer.weights = trace.add({cells * own * (2 - own), cells});
    layer.activation = panel(out);
    layer.delta = !network.is_output(k) || last_delta ? panel(out) : layer.activation;
    if (network.adds_input(k)) layer.before = panel(out * own), layer.output_gradient = panel(out * own);
    step.layers.push_back(layer);
  }
  step.x = panel(network.inputs);
  step.y = panel(network.outputs());
  return step;
}

namespace {

/// @param blocked_for the caches the products are blocked for: the same, but for twins
Traffic blocked_traffic(const Network& network, const MlpTrafficProblem& problem, const Hierarchy& hierarchy,
                        const Hierarchy& blocked_for) {
  const MicroKernels& kernels = micro_kernels(parse_isa(problem.isa));
  const double threads = problem.threads, rows = problem.batch;
  const double others = 1 - 1 / threads;
  ReuseTrace trace(hierarchy, problem.threads);
  StepArrays step = add_step_arrays(trace, network, rows / threads, rows, true);
  double parameters = 0;
  for (int k = 0; k < network.depth(); ++k) {
    LayerArrays& layer = step.layers[k];
    const double cells = (network.input_width(k) + 1.0) * network.widths[k];
    parameters += cells;
    layer.first_moment = trace.add({cells * kFloatBytes / threads, cells * kFloatBytes});
    layer.second_moment = trace.add({cells * kFloatBytes / threads, cells * kFloatBytes});
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
    trace.registers(rows / threads * out * kFloatBytes);
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

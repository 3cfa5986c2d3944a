#include "gpu/mlp/plan.h"

#include <cmath>
#include <stdexcept>
#include <string>

namespace mlpwatt::gpu {

NetworkPlan make_plan(const Network& network, Rows rows) {
  if (network.depth() > kMostLayers)
    throw std::invalid_argument("gpu/mlp_train takes networks of at most " + std::to_string(kMostLayers) +
                                " layers, not " + std::to_string(network.depth()));
  NetworkPlan plan;
  plan.depth = network.depth();
  plan.task = static_cast<int>(network.task);
  plan.inputs = network.inputs;
  plan.outputs = network.outputs();
  std::int64_t at = 0;
  for (int k = 0; k < plan.depth; ++k) {
    LayerPlan& layer = plan.layers[k];
    layer.in = network.input_width(k);
    layer.out = network.widths[k];
    layer.in4 = round_up(layer.in, 4);
    layer.ld = round_up(layer.out, rows == Rows::kTensor ? 8 : 4);
    if (rows == Rows::kConflictFree && layer.ld % 16 == 0) layer.ld += 4;
    layer.adds_input = network.adds_input(k) ? 1 : 0;
    layer.weights = static_cast<int>(at);
    at += static_cast<std::int64_t>(layer.in4 + 1) * layer.ld;
  }
  if (at > INT32_MAX) throw std::invalid_argument("gpu/mlp_train: the network has more than 2^31 parameters");
  plan.parameters = static_cast<int>(at);
  return plan;
}

namespace {

/// visit(index in the flat parameters, reference's value), weights and biases alike.
template <typename Parameters, typename Visit>
void each_parameter(const NetworkPlan& plan, Parameters& parameters, const Visit& visit) {
  for (int k = 0; k < plan.depth; ++k) {
    const LayerPlan& layer = plan.layers[k];
    const std::size_t weights = static_cast<std::size_t>(layer.weights),
                      ld = static_cast<std::size_t>(layer.ld);
    for (int j = 0; j < layer.out; ++j) {
      const std::size_t column = weights + static_cast<std::size_t>(j);
      for (int i = 0; i < layer.in; ++i)
        visit(column + static_cast<std::size_t>(i) * ld,
              parameters.weights[k][static_cast<std::size_t>(j) * static_cast<std::size_t>(layer.in) +
                                    static_cast<std::size_t>(i)]);
      visit(column + static_cast<std::size_t>(layer.in4) * ld, parameters.biases[k][j]);
    }
  }
}

}  // namespace

std::vector<float> to_flat(const NetworkPlan& plan, const reference::Parameters& parameters) {
  std::vector<float> flat(static_cast<std::size_t>(plan.parameters), 0.0f);
  each_parameter(plan, parameters,
                 [&](std::size_t at, const double& value) { flat[at] = static_cast<float>(value); });
  return flat;
}

reference::Parameters from_flat(const NetworkPlan& plan, const std::vector<float>& flat) {
  reference::Parameters parameters;
  for (int k = 0; k < plan.depth; ++k) {
    const LayerPlan& layer = plan.layers[k];
    parameters.weights.emplace_back(static_cast<std::size_t>(layer.in) * static_cast<std::size_t>(layer.out));
    parameters.biases.emplace_back(static_cast<std::size_t>(layer.out));
  }
  each_parameter(plan, parameters, [&](std::size_t at, double& value) { value = flat[at]; });
  return parameters;
}

RecordPlan make_record_plan(const DatasetInfo& info) {
  RecordPlan plan;
  plan.y = round_up(info.features, 4);
  plan.record = plan.y + round_up(info.outputs, 4);
  if (plan.record / 4 % 2 == 0) plan.record += 4;
  return plan;
}

std::vector<float> make_records(const Dataset& data, const RecordPlan& plan, int spare) {
  std::vector<float> records(
      static_cast<std::size_t>(data.rows + spare) * static_cast<std::size_t>(plan.record), 0.0f);
  for (std::int64_t r = 0; r < data.rows; ++r) {
    float* record = records.data() + r * plan.record;
    for (int f = 0; f < data.info.features; ++f)
      record[f] = data.x[static_cast<std::size_t>(r * data.info.features + f)];
    for (int o = 0; o < data.info.outputs; ++o)
      record[plan.y + o] = data.y[static_cast<std::size_t>(r * data.info.outputs + o)];
  }
  return records;
}

std::vector<AdamFactors> adam_factors(const reference::Adam& adam) {
  constexpr std::size_t kMost = std::size_t{1} << 20;
  constexpr double kNothing = 1e-9;  // beyond float's resolution of 1 - power
  std::vector<AdamFactors> factors;
  double power1 = 1, power2 = 1;
  do {
    power1 *= adam.beta1;
    power2 *= adam.beta2;
    factors.push_back({static_cast<float>(adam.learning_rate * std::sqrt(1 - power2) / (1 - power1)),
                       static_cast<float>(adam.epsilon_at(power2))});
  } while (factors.size() < kMost && (power1 > kNothing || power2 > kNothing));
  return factors;
}

}  // namespace mlpwatt::gpu

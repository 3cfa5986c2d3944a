#include "cpu/mlp/parameter_layout.h"

namespace mlpwatt {

namespace {
// Every layer starts on its own cache line, so that no two threads' shares of different layers meet in one.
std::int64_t align(std::int64_t floats) { return (floats + 15) / 16 * 16; }
}  // namespace

ParameterLayout::ParameterLayout(const Network& network, WeightOrder order)
    : network_(network), order_(order) {
  for (int k = 0; k < network.depth(); ++k) {
    weights_.push_back(size_);
    size_ += align((order == WeightOrder::kOutIn ? network.widths[k] : network.input_width(k)) * row(k));
    biases_.push_back(size_);
    size_ += align(network.widths[k]);
  }
}

std::int64_t ParameterLayout::row(int layer) const {
  if (order_ == WeightOrder::kInOut) return network_.widths[layer];
  const std::int64_t in = network_.input_width(layer);
  return in >= 256 && in % 128 == 0 ? in + 16 : in;
}

template <typename Visit>
void ParameterLayout::each_weight(const Visit& visit) const {
  for (int k = 0; k < network_.depth(); ++k) {
    const std::int64_t in = network_.input_width(k), out = network_.widths[k];
    for (std::int64_t o = 0; o < out; ++o) {
      for (std::int64_t i = 0; i < in; ++i)
        visit(k, o * in + i, weights_[k] + (order_ == WeightOrder::kOutIn ? o * row(k) + i : i * row(k) + o));
    }
  }
}

void ParameterLayout::from_reference(const reference::Parameters& parameters, float* flat) const {
  each_weight([&](int k, std::int64_t reference_index, std::int64_t index) {
    flat[index] = static_cast<float>(parameters.weights[k][reference_index]);
  });
  for (int k = 0; k < network_.depth(); ++k)
    for (int o = 0; o < network_.widths[k]; ++o)
      flat[biases_[k] + o] = static_cast<float>(parameters.biases[k][o]);
}

reference::Parameters ParameterLayout::to_reference(const float* flat) const {
  reference::Parameters parameters = reference::make_parameters(network_);
  each_weight([&](int k, std::int64_t reference_index, std::int64_t index) {
    parameters.weights[k][reference_index] = flat[index];
  });
  for (int k = 0; k < network_.depth(); ++k)
    for (int o = 0; o < network_.widths[k]; ++o) parameters.biases[k][o] = flat[biases_[k] + o];
  return parameters;
}

}  // namespace mlpwatt

#include "cpu/mlp/engine.h"

#include <algorithm>
#include <stdexcept>

namespace mlpwatt {

std::string choose_algorithm(const Network& network, const EngineOptions&) {
  // The fused engine's weight gradient pays one horizontal sum per parameter and thread; the blocked one pays
  // packing and barriers per layer. Which costs more turns on the width of the widest hidden layer (figures
  // in cpu/README.md).
  constexpr int kWidestFused = 288;
  const int widest = *std::max_element(network.widths.begin(), network.widths.end());
  return widest <= kWidestFused ? "fused" : "blocked";
}

std::unique_ptr<MlpEngine> make_engine(const Network& network, const Dataset& data,
                                       const EngineOptions& options) {
  if (options.batch < 1)
    throw std::invalid_argument("batch must be at least 1, not " + std::to_string(options.batch));
  if (data.info.features != network.inputs || data.info.outputs != network.outputs())
    throw std::invalid_argument("dataset " + data.info.name + " has " + std::to_string(data.info.features) +
                                " features and " + std::to_string(data.info.outputs) +
                                " outputs; the network wants " + std::to_string(network.inputs) + " and " +
                                std::to_string(network.outputs()));
  const std::string algorithm =
      options.algorithm.empty() ? choose_algorithm(network, options) : options.algorithm;
  if (algorithm == "fused") return make_fused_engine(network, data, options);
  if (algorithm == "blocked") return make_blocked_engine(network, data, options);
  throw std::invalid_argument("unknown algorithm '" + algorithm + "'; mlp_train has fused, blocked");
}

}  // namespace mlpwatt

#include "cpu/mlp/engine.h"

#include <algorithm>
#include <stdexcept>

#include "cpu/twins/mlp_twin.h"

namespace mlpwatt {

std::string choose_algorithm(const Network& network, const EngineOptions& options) {
  // The fused engine walks over a layer's weights once per panel of the batch, which is free while they lie
  // in L2 and ruinous beyond; the blocked one pays packing and barriers per layer instead. Measured on both:
  // with AVX2 the fused engine wins as long as the largest layer fits (290 wide: 2x, at L2 = 512 KiB; 380
  // wide: 0.3x); with AVX-512 the packed products are nearer to their peak and take over sooner (288 wide, L2
  // = 1 MiB).
  const double share_of_l2 = options.isa == Isa::kAvx512 ? 0.35 : 0.7;
  std::int64_t largest = 0;
  for (int k = 0; k < network.depth(); ++k)
    largest = std::max(largest, std::int64_t{4} * network.input_width(k) * network.widths[k]);
  const std::int64_t l2_bytes = options.hierarchy.capacity_bytes("L2", 512 << 10);
  return static_cast<double>(largest) <= share_of_l2 * static_cast<double>(l2_bytes) ? "fused" : "blocked";
}

EngineChoice choose_engine(const Network& network, std::int64_t train_rows, const EngineOptions& options) {
  EngineChoice choice;
  choice.algorithm = options.algorithm.empty() ? choose_algorithm(network, options) : options.algorithm;
  choice.threads = options.threads > 0           ? options.threads
                   : choice.algorithm == "fused" ? choose_fused_threads(network, train_rows, options)
                                                 : options.hierarchy.cores;
  return choice;
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
  if (is_mlp_twin(algorithm)) return make_mlp_twin(algorithm, network, data, options);
  throw std::invalid_argument("unknown algorithm '" + algorithm +
                              "'; mlp_train has fused, blocked, twin_unblocked, twin_shallow");
}

}  // namespace mlpwatt

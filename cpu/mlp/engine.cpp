#include "cpu/mlp/engine.h"

#include <algorithm>
#include <stdexcept>

#include "cpu/mlp/traffic.h"
#include "cpu/twins/mlp_twin.h"
#include "kernels/nearest.h"

namespace mlpwatt {

std::string choose_algorithm(const Network& /*network*/, const EngineOptions& /*options*/) {
  // The fused engine's products need no packing: a panel of activations is what the other engine would pack,
  // and its blocks of weights stay in L2 while the batch goes by. Measured with AVX-512 (2^14 to 2^22
  // parameters in 3 and 5 layers, 13, 42 and 784 inputs), the blocked engine takes 1.16 to 2.4 times as long
  // on one thread (median 1.4) and 1.06 to 3.0 times on two (1.7): there is no layer to choose packed
  // products for, not even the widest. What is chosen layer by layer is how its weight gradient is shared and
  // made (fused_plan.h).
  return "fused";
}

EngineChoice choose_engine(const Network& network, std::int64_t train_rows, const EngineOptions& options) {
  EngineChoice choice;
  choice.algorithm = options.algorithm.empty() ? choose_algorithm(network, options) : options.algorithm;
  choice.threads = options.threads > 0           ? options.threads
                   : choice.algorithm == "fused" ? choose_fused_threads(network, train_rows, options)
                                                 : options.hierarchy.cores;
  return choice;
}

std::unique_ptr<CpuEngine> make_engine(const Network& network, const Dataset& data,
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
  throw std::invalid_argument(unknown_name("algorithm of mlp_train", algorithm, mlp_traffic_algorithms()));
}

}  // namespace mlpwatt

#pragma once
// What one training step moves, engine by engine: the loops of fused_engine.cpp, one_hidden_engine.cpp and
// blocked_engine.cpp as touches of the step's arrays.

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/hierarchy.h"
#include "kernels/network.h"
#include "kernels/traffic.h"

namespace mlpwatt {

struct MlpTrafficProblem {
  std::string algorithm;  ///< an engine's name
  std::string isa;        ///< of the micro-kernels, whether or not this machine can run them
  int threads = 1;
  int batch = 256;  ///< rows of this step's
  std::int64_t dataset_rows = 0;
  /// Rows of a whole batch, which the engine was made for, where this step's is the rest of an epoch; 0 = it
  /// is a whole one.
  int whole_batch = 0;
  int planned_batch() const { return whole_batch > 0 ? whole_batch : batch; }
};

/// The engines that have a traffic model.
const std::vector<std::string>& mlp_traffic_algorithms();

/// One step in its steady state on this hierarchy, which need not be the machine's.
/// Errors: std::invalid_argument for an algorithm without a model (names those that have one).
Traffic mlp_train_traffic(const Network& network, const MlpTrafficProblem& problem,
                          const Hierarchy& hierarchy);

}  // namespace mlpwatt

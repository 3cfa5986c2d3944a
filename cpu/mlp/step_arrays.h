#pragma once
// What the traffic models of the engines share: the arrays of a training step as a reuse trace knows them;
// and the model that traffic.cpp does not hold itself.

#include <vector>

#include "cpu/mlp/traffic.h"

namespace mlpwatt {

constexpr double kFloatBytes = 4;

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
/// @param last_delta the gradient at the logits has an array of its own
/// @param own of each layer's units, the share that is this thread's: of the weights it meets their rows and
///        their columns
StepArrays add_step_arrays(ReuseTrace& trace, const Network& network, double rows_each, double rows,
                           bool last_delta, double own = 1);

/// What a step's data is fetched anew from.
inline double dataset_bytes(const Network& network, const MlpTrafficProblem& problem) {
  return static_cast<double>(problem.dataset_rows) * (network.inputs + network.outputs()) * kFloatBytes;
}

/// As mlp_train_traffic, of the fused engine.
Traffic fused_traffic(const Network& network, const MlpTrafficProblem& problem, const Hierarchy& hierarchy);

}  // namespace mlpwatt

#pragma once
// A training engine against the double-precision reference: what Kernel::check and the tests call.

#include "kernels/dataset.h"
#include "kernels/kernel.h"
#include "kernels/mlp_engine.h"
#include "kernels/network.h"

namespace mlpwatt {

/// How far an engine may be from the reference.
struct MlpTolerance {
  double gradient = 5e-4;   ///< of the largest of its tensor
  double loss = 2e-4;       ///< of 1 + loss
  double mean_move = 0.05;  ///< of the distance steps * learning rate
};
/// float32 sums of up to a few thousand terms against double: 1e-7 a rounding, growing with depth.
inline constexpr MlpTolerance kFloat32Tolerance{};

/// From where the reference takes its next step.
enum class Following {
  kFreely,      ///< from where its own last step ended: two trajectories from one start
  kStepByStep,  ///< from the engine's parameters: every step is proven, and none inherits what Adam made of a
                ///< vanishing gradient's sign before, which in wide networks drives trajectories apart
};

/// Runs `steps` steps over the training batches 0, 1, ... (cyclic) on `engine` and on the reference from the
/// same parameters. Passes when the first step's gradients agree by name within `tolerance.gradient` of each
/// layer's largest (and, of millions of ReLUs, the share of a row: one may fall on the other side), every
/// later mean loss within `tolerance.loss` of the reference's, and the parameters have moved together (Adam
/// turns the sign of a vanishing gradient into a whole step, so single parameters may differ by steps; their
/// mean may not).
/// @param data, batch what the reference follows; the engine may have been made with batches of the same
/// means (MlpCheckPlan)
Check check_against_reference(MlpEngine& engine, const Network& network, const Dataset& data, int batch,
                              const reference::Adam& adam, std::uint64_t seed, int steps,
                              const MlpTolerance& tolerance = kFloat32Tolerance,
                              Following following = Following::kFreely);

/// What Kernel::check calls: the above, step by step. In float32 a ReLU now and then falls on the other side
/// of 0 than in double, and a row's share of a gradient is there or not: rare, the same whenever the same
/// parameters are tried, and another with others. So what fails is tried again: from the same parameters,
/// where another result is a fault by itself (a race), then from others, up to four in all; a wrong kernel is
/// wrong with all of them.
Check check_engine(MlpEngine& engine, const Network& network, const Dataset& data, int batch,
                   const reference::Adam& adam, std::uint64_t seed, int steps,
                   const MlpTolerance& tolerance = kFloat32Tolerance);

/// What a check runs: first the batch that is timed, then the partial one that ends an epoch, in turns. The
/// scalar reference follows some 3e8 multiply-adds (0.3 s): ten steps of whole batches, of larger networks
/// fewer rows, at least eight, and fewer steps. Where it follows fewer rows than a batch has, the engine's
/// batch is these rows, each equally often and mixed, which has the same mean loss and the same gradient:
/// panels, blocks and team are those that are timed.
struct MlpCheckPlan {
  int steps = 0;
  int rows = 0;         ///< of the reference's batch: check_engine's `batch`
  Dataset followed;     ///< what the reference follows: check_engine's `data`
  int batch = 0;        ///< of the engine: the one asked for; a few rows less where no such share divides it
  Dataset engine_data;  ///< what to make the engine with
};
MlpCheckPlan plan_mlp_check(const Network& network, const Dataset& data, int batch);

}  // namespace mlpwatt

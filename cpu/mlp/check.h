#pragma once
// A training engine against the double-precision reference: what Kernel::check and the tests call.

#include "cpu/mlp/engine.h"
#include "kernels/kernel.h"

namespace mlpwatt {

/// Runs `steps` steps over the training batches 0, 1, ... (cyclic) on `engine` and on the reference from the
/// same parameters. Passes when the first step's gradients agree by name within `kGradientTolerance` of each
/// layer's largest, every later mean loss within `kLossTolerance` of the reference's, and the parameters have
/// moved together (Adam turns the sign of a vanishing gradient into a whole step, so single parameters may
/// differ by steps; their mean may not).
/// @param batch the batch size `engine` was made with
Check check_against_reference(MlpEngine& engine, const Network& network, const Dataset& data, int batch,
                              const reference::Adam& adam, std::uint64_t seed, int steps);

/// The first `train_rows` training and `test_rows` test rows of `data`.
Dataset first_rows(const Dataset& data, std::int64_t train_rows, std::int64_t test_rows);

}  // namespace mlpwatt

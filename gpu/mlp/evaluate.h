#pragma once
// Loss and accuracy over many rows, for engines that keep their weights in a NetworkPlan's flat form.

#include "gpu/mlp/engine.h"

namespace mlpwatt::gpu {

/// @param weights in device memory, as `plan` lays them out
reference::Evaluation evaluate_rows(const NetworkPlan& plan, const DeviceData& data, const float* weights,
                                    std::int64_t first, std::int64_t rows);

}  // namespace mlpwatt::gpu

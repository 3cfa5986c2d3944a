#pragma once
// Activations and gradients of one batch in device memory, for the engines that keep them there, and what the
// host tells the phases of a step.

#include <algorithm>
#include <vector>

#include "gpu/mlp/engine.h"
#include "gpu/mlp/phases.cuh"

namespace mlpwatt::gpu {

class Workspace {
 public:
  Workspace(const NetworkPlan& plan, int rows);
  /// Layer k's operands; the input of layer 0 is left to the caller, who knows the batch.
  LayerOperands operands(int layer, float* w, float* m, float* v) const;

 private:
  struct Layer {
    Buffer<float> out, mask, delta, dout;
  };
  NetworkPlan plan_;
  std::vector<Layer> layers_;
};

/// What the phases of a step need. @param batches in device memory @param factors of their steps
PhaseArguments phase_arguments(const NetworkPlan& plan, const DeviceData& data, const Workspace& workspace,
                               float* w, float* m, float* v, const int* batches,
                               const RemainingFactors& factors, const reference::Adam& adam);

/// 64 or 32: the tiles that phases of this network take on this device.
/// Errors: std::invalid_argument for more outputs than the loss's tile holds.
int phase_tile(const NetworkPlan& plan, int batch);

}  // namespace mlpwatt::gpu

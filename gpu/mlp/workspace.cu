#include "gpu/mlp/workspace.h"

#include <stdexcept>
#include <string>

namespace mlpwatt::gpu {

Workspace::Workspace(const NetworkPlan& plan, int rows) : plan_(plan) {
  for (int k = 0; k < plan.depth; ++k) {
    const std::size_t size = static_cast<std::size_t>(rows) * static_cast<std::size_t>(plan.layers[k].ld);
    Layer layer;
    layer.out = Buffer<float>(size);
    layer.delta = Buffer<float>(size);
    if (plan.layers[k].adds_input != 0) {
      layer.mask = Buffer<float>(size);
      layer.dout = Buffer<float>(size);
    }
    layers_.push_back(std::move(layer));
  }
}

LayerOperands Workspace::operands(int k, float* w, float* m, float* v) const {
  const Layer& mine = layers_[static_cast<std::size_t>(k)];
  LayerOperands op;
  op.layer = plan_.layers[k];
  if (k > 0) {
    op.in = layers_[static_cast<std::size_t>(k - 1)].out.data();
    op.in_ld = plan_.layers[k - 1].ld;
  }
  op.w = w + op.layer.weights;
  op.m = m + op.layer.weights;
  op.v = v + op.layer.weights;
  op.out = mine.out.data();
  op.mask = mine.mask.data();
  op.delta = mine.delta.data();
  op.dout = mine.dout.data();
  return op;
}

PhaseArguments phase_arguments(const NetworkPlan& plan, const DeviceData& data, const Workspace& workspace,
                               float* w, float* m, float* v, const int* batches,
                               const RemainingFactors& factors, const reference::Adam& adam) {
  PhaseArguments arguments{};
  for (int k = 0; k < plan.depth; ++k) arguments.layers[k] = workspace.operands(k, w, m, v);
  arguments.depth = plan.depth;
  arguments.task = plan.task;
  arguments.outputs = plan.outputs;
  arguments.batch = data.batch;
  arguments.records = data.records.data();
  arguments.record = data.plan.record;
  arguments.y = data.plan.y;
  arguments.train_rows = data.train_rows;
  arguments.batches = batches;
  arguments.factors = factors.first;
  arguments.factors_left = factors.left;
  arguments.adam = make_adam_constants(adam);
  return arguments;
}

int phase_tile(const NetworkPlan& plan, int batch) {
  // Tiles of 64 read half as much; those of 32 are four times as many. A phase should have one for each
  // multiprocessor.
  std::int64_t tiles = 0;
  for (int k = 0; k < plan.depth; ++k)
    tiles += std::int64_t{tiles_of(batch, 64)} * tiles_of(plan.layers[k].ld, 64);
  const int outputs = plan.layers[plan.depth - 1].ld;
  if (outputs > 64)
    throw std::invalid_argument("gpu/mlp_train takes at most 64 outputs, not " +
                                std::to_string(plan.outputs));
  return outputs > 32 || tiles >= std::int64_t{plan.depth} * device().multiprocessors / 2 ? 64 : 32;
}

}  // namespace mlpwatt::gpu

#pragma once
// A training step as a sequence of phases, each a list of tiles dealt to the blocks in turn, each reading
// what the one before wrote; the cooperative engine has a grid barrier between two.
//
// - forward 0 .. L-1: the last one's tile has all outputs of its rows and goes on to the loss and its
// gradient;
// - backward L-1 .. 1, and beside it the update of the layer above, whose weights nobody reads any more:
// tiles
//   of both fill the device better than either alone;
// - update 1 and 0.
//
// 2 L phases for L layers. Weight gradients never leave registers: a tile sums over the whole batch and goes
// straight into Adam. Which block takes which tile matters to no sum.

#include <algorithm>

#include "gpu/mlp/layer_tiles.cuh"

namespace mlpwatt::gpu {

struct PhaseArguments {
  LayerOperands layers[kMostLayers];
  int depth, task, outputs, batch;
  const float* records;
  int record, y;
  std::int64_t train_rows;
  const int* batches;
  const AdamFactors* factors;
  int factors_left;  ///< beyond it they no longer change
  AdamConstants adam;
};

/// One step's batch.
struct PhaseStep {
  const float* records;
  int rows;
  AdamFactors factors;
};
__device__ __forceinline__ PhaseStep phase_step(const PhaseArguments& arguments, int step) {
  const std::int64_t first = static_cast<std::int64_t>(__ldg(arguments.batches + step)) * arguments.batch;
  return {arguments.records + first * arguments.record,
          static_cast<int>(min(static_cast<std::int64_t>(arguments.batch), arguments.train_rows - first)),
          factors_of(arguments.factors, arguments.factors_left, step)};
}

/// Rows of the tile's sums meet in shared memory: one thread a row.
template <class Shape>
struct PhaseShared {
  TileShared<Shape> tile;
  float z[Shape::kSize][Shape::kSize + 1];
};

__device__ __forceinline__ LayerOperands phase_layer(const PhaseArguments& arguments, const PhaseStep& step,
                                                     int k) {
  LayerOperands op = arguments.layers[k];
  if (k == 0) op.in = step.records, op.in_ld = arguments.record;
  return op;
}

/// The last layer and the loss. @return this thread's row's share of the batch's mean loss
template <class Shape>
__device__ __forceinline__ float output_tile(PhaseShared<Shape>& shared, const LayerOperands& op,
                                             const PhaseArguments& arguments, const PhaseStep& step,
                                             int tile) {
  forward_tile<Shape>(shared.tile, op, step.rows, tile, false);
  __syncthreads();  // the block's own sums, which went to L2, are read back from there
  const int m0 = tile * Shape::kSize, here = min(Shape::kSize, step.rows - m0), ld = op.layer.ld;
  const float scale = 1.0f / static_cast<float>(step.rows);
  for (int e = static_cast<int>(threadIdx.x); e < here * ld; e += kTileThreads)
    shared.z[e / ld][e % ld] = __ldcg(op.out + static_cast<std::int64_t>(m0) * ld + e);
  __syncthreads();
  float loss = 0;
  if (const int row = static_cast<int>(threadIdx.x); row < here) {
    float* z = shared.z[row];
    const float* y = step.records + static_cast<std::int64_t>(m0 + row) * arguments.record + arguments.y;
    loss = scale * row_loss(arguments.task, z, y, arguments.outputs, scale, z);
    for (int j = arguments.outputs; j < ld; ++j) z[j] = 0.0f;
  }
  __syncthreads();
  for (int e = static_cast<int>(threadIdx.x); e < here * ld; e += kTileThreads)
    __stcg(op.delta + static_cast<std::int64_t>(m0) * ld + e, shared.z[e / ld][e % ld]);
  return loss;
}

/// @return as output_tile, for the last layer; 0 for the others
template <class Shape>
__device__ __forceinline__ float forward_phase(PhaseShared<Shape>& shared, const PhaseArguments& arguments,
                                               const PhaseStep& step, int k, int block, int blocks) {
  const LayerOperands op = phase_layer(arguments, step, k);
  const int tiles = forward_tiles<Shape>(op.layer, step.rows);
  float loss = 0;
  for (int tile = block; tile < tiles; tile += blocks) {
    if (k + 1 < arguments.depth)
      forward_tile<Shape>(shared.tile, op, step.rows, tile, true);
    else
      loss += output_tile<Shape>(shared, op, arguments, step, tile);
  }
  return loss;
}

/// The gradient from layer k to the one below (k > 0), and the update of layer k + 1; for k = 0 the updates
/// of the layers 1 and 0.
template <class Shape>
__device__ __forceinline__ void backward_phase(PhaseShared<Shape>& shared, const PhaseArguments& arguments,
                                               const PhaseStep& step, int k, int block, int blocks) {
  const LayerPlan& layer = arguments.layers[k].layer;
  const int own = k > 0 ? backward_tiles<Shape>(layer, step.rows) : update_tiles<Shape>(layer);
  const int updates = k + 1 < arguments.depth ? update_tiles<Shape>(arguments.layers[k + 1].layer) : 0;
  for (int tile = block; tile < own + updates; tile += blocks) {
    if (tile < own && k > 0) {
      backward_tile<Shape>(shared.tile, phase_layer(arguments, step, k), phase_layer(arguments, step, k - 1),
                           step.rows, tile);
    } else {  // one call, so that the compiler makes the update's code once
      const LayerOperands op = phase_layer(arguments, step, tile < own ? k : k + 1);
      update_tile<Shape>(shared.tile, op, step.rows, tile < own ? tile : tile - own, step.factors,
                         arguments.adam);
    }
  }
}

/// Most tiles of any phase, for a whole batch.
inline int busiest_phase(const NetworkPlan& plan, int batch, int size) {
  int most = 1;
  for (int k = 0; k < plan.depth; ++k) {
    const LayerPlan& layer = plan.layers[k];
    const auto update = [&](int l) {
      return l < plan.depth ? tiles_of(plan.layers[l].in4, size) * tiles_of(plan.layers[l].ld, size) : 0;
    };
    const int rows = tiles_of(batch, size);
    most = std::max(most, rows * tiles_of(layer.ld, size));
    most = std::max(most, (k > 0 ? rows * tiles_of(layer.in, size) : update(0)) + update(k + 1));
  }
  return most;
}

}  // namespace mlpwatt::gpu

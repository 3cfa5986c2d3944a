#include "gpu/mlp/evaluate.h"

#include <algorithm>
#include <limits>

#include "gpu/mlp/layer_tiles.cuh"

namespace mlpwatt::gpu {
namespace {

using Shape = TileShape<32>;
/// Rows taken at once: bounds the memory of an evaluation over a whole dataset.
constexpr int kRowsAtOnce = 2048;

__global__ __launch_bounds__(kTileThreads) void evaluate_layer(LayerOperands op, int rows, bool activate) {
  forward_tile<Shape>(shared_as<TileShared<Shape>>(), op, rows, static_cast<int>(blockIdx.x), activate);
}

/// Each row's loss and whether it is right: sums[0 .. rows) and right[0 .. rows). Added up on the host.
__global__ void evaluate_output(int task, const float* z, int z_ld, const float* y, int y_ld, int width,
                                int rows, float* losses, int* right) {
  const int row = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (row >= rows) return;
  float* sums = const_cast<float*>(z) + static_cast<std::int64_t>(row) * z_ld;
  const float* wanted = y + static_cast<std::int64_t>(row) * y_ld;
  right[row] = row_is_right(task, sums, wanted, width) ? 1 : 0;
  losses[row] = row_loss(task, sums, wanted, width, 1.0f, sums);
}

}  // namespace

reference::Evaluation evaluate_rows(const NetworkPlan& plan, const DeviceData& data, const float* weights,
                                    std::int64_t first, std::int64_t rows) {
  const int at_once = static_cast<int>(std::min<std::int64_t>(rows, kRowsAtOnce));
  std::vector<Buffer<float>> outputs;
  for (int k = 0; k < plan.depth; ++k)
    outputs.emplace_back(static_cast<std::size_t>(at_once) * static_cast<std::size_t>(plan.layers[k].ld));
  // residual layers write where their sums were positive, which nobody here reads
  int widest = 0;
  for (int k = 0; k < plan.depth; ++k) widest = std::max(widest, plan.layers[k].ld);
  const Buffer<float> mask(static_cast<std::size_t>(at_once) * static_cast<std::size_t>(widest)),
      losses(static_cast<std::size_t>(at_once));
  const Buffer<int> right(static_cast<std::size_t>(at_once));
  double loss = 0;
  std::int64_t hits = 0;
  for (std::int64_t done = 0; done < rows; done += at_once) {
    const int here = static_cast<int>(std::min<std::int64_t>(at_once, rows - done));
    const float* records = data.records.data() + (first + done) * data.plan.record;
    for (int k = 0; k < plan.depth; ++k) {
      LayerOperands op;
      op.layer = plan.layers[k];
      op.in = k == 0 ? records : outputs[static_cast<std::size_t>(k - 1)].data();
      op.in_ld = k == 0 ? data.plan.record : plan.layers[k - 1].ld;
      op.w = const_cast<float*>(weights) + op.layer.weights;
      op.out = outputs[static_cast<std::size_t>(k)].data();
      op.mask = op.layer.adds_input != 0 ? mask.data() : nullptr;
      const unsigned tiles =
          static_cast<unsigned>(tiles_of(here, Shape::kSize) * tiles_of(op.layer.ld, Shape::kSize));
      launch({.grid = tiles, .block = kTileThreads, .shared_bytes = sizeof(TileShared<Shape>)},
             evaluate_layer, op, here, k + 1 < plan.depth);
    }
    launch({.grid = static_cast<unsigned>((here + 127) / 128), .block = 128}, evaluate_output, plan.task,
           static_cast<const float*>(outputs.back().data()), plan.layers[plan.depth - 1].ld,
           records + data.plan.y, data.plan.record, plan.outputs, here, losses.data(), right.data());
    synchronise();
    const std::vector<float> each = losses.download();
    const std::vector<int> each_right = right.download();
    for (int r = 0; r < here; ++r) {
      loss += each[static_cast<std::size_t>(r)];
      hits += each_right[static_cast<std::size_t>(r)];
    }
  }
  const double n = static_cast<double>(rows);
  return {loss / n, plan.task == static_cast<int>(Task::kRegression)
                        ? std::numeric_limits<double>::quiet_NaN()
                        : static_cast<double>(hits) / n};
}

}  // namespace mlpwatt::gpu

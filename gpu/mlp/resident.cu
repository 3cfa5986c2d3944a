// The resident engine's host side: whether a network fits a cluster's shared memory, and what lies where in
// it.

#include <algorithm>
#include <stdexcept>

#include "gpu/mlp/engine.h"
#include "gpu/mlp/resident.cuh"

namespace mlpwatt::gpu {
namespace {

constexpr int kMostClusterBlocks = 16;

int power_of_2_from(int n) {
  int power = 1;
  while (power < n) power *= 2;
  return power;
}

/// An odd multiple of 4 that n fits in.
int conflict_free(int n) {
  const int quads = (n + 3) / 4;
  return 4 * (quads % 2 == 0 ? quads + 1 : quads);
}

struct Resident {
  ResidentPlan plan;
  std::vector<GradientTile> tiles;
  int rows_each = 1;  ///< the kernel's kRows
};

/// Gives out shared memory from front to back.
class Shelf {
 public:
  int take(int floats) {
    const int at = next_;
    next_ += round_up(floats, 4);
    return at;
  }
  int size() const { return next_; }

 private:
  int next_ = 0;
};

std::uint16_t u16(int n) { return static_cast<std::uint16_t>(n); }

Resident lay_out(const Network& network, const RecordPlan& record, int batch, int blocks, bool everywhere,
                 int x_buffers) {
  Resident result;
  ResidentPlan& plan = result.plan;
  plan.network = make_plan(network, Rows::kConflictFree);
  plan.record = record;
  plan.batch = batch;
  plan.residual = network.residual ? 1 : 0;
  const int widest = *std::max_element(network.widths.begin(), network.widths.end());
  const int wanted_rows = (batch + blocks - 1) / blocks;
  const int warp_rows = (wanted_rows + kResidentWarps - 1) / kResidentWarps;
  // Rows x features / tile should fill the block before a lane takes more rows to save shared-memory reads.
  for (const int rows : {4, 2})
    if (result.rows_each == 1 && warp_rows % rows == 0 &&
        wanted_rows / rows * ((widest + 3) / 4) >= kResidentThreads)
      result.rows_each = rows;
  const int row_groups = (warp_rows + result.rows_each - 1) / result.rows_each;
  plan.groups = std::min(32, power_of_2_from(row_groups));
  plan.warp_rows = round_up(row_groups, plan.groups) * result.rows_each;
  plan.block_rows = plan.warp_rows * kResidentWarps;

  const int parameters = plan.network.parameters;
  plan.slice = everywhere ? parameters : round_up((parameters + blocks - 1) / blocks, 4);
  plan.gradient_buffers = everywhere && blocks > 1 ? 2 : 1;
  plan.x_buffers = x_buffers;
  Shelf shelf;
  shelf.take(parameters);  // the weights come first
  plan.gradient = shelf.take(plan.gradient_buffers * parameters);
  plan.m = shelf.take(plan.slice);
  plan.v = shelf.take(plan.slice);
  plan.x = shelf.take(plan.x_buffers * plan.block_rows * record.record);
  plan.ones = shelf.take(4);
  for (int k = 0; k < plan.network.depth; ++k) {
    ResidentLayer& layer = plan.layers[k];
    layer.plan = plan.network.layers[k];
    layer.act_ld = conflict_free(layer.plan.out);
    plan.dout_ld = std::max(plan.dout_ld, layer.act_ld);
    layer.act = shelf.take(plan.block_rows * layer.act_ld);
    layer.delta = k + 1 < plan.network.depth ? shelf.take(plan.block_rows * layer.act_ld) : layer.act;
  }
  if (plan.residual != 0) plan.dout = shelf.take(plan.block_rows * plan.dout_ld);
  for (int k = 0; k < plan.network.depth; ++k) {
    const ResidentLayer& layer = plan.layers[k];
    const LayerPlan& shape = layer.plan;
    for (int j = 0; j < shape.out; j += 4) {
      GradientTile tile{};
      tile.delta = u16(layer.delta + j);
      tile.delta_ld = u16(layer.act_ld);
      tile.gradient_ld = u16(shape.ld);
      tile.rows = 4;
      for (int i = 0; i < shape.in; i += 4) {
        tile.in = u16(k == 0 ? i : plan.layers[k - 1].act + i);
        tile.in_ld = u16(k == 0 ? record.record : plan.layers[k - 1].act_ld);
        tile.from_batch = k == 0 ? 1 : 0;
        tile.gradient = u16(shape.weights + i * shape.ld + j);
        result.tiles.push_back(tile);
      }
      tile.in = u16(plan.ones);
      tile.in_ld = 0;
      tile.from_batch = 0;
      tile.rows = 1;
      tile.gradient = u16(shape.weights + shape.in4 * shape.ld + j);
      result.tiles.push_back(tile);
    }
  }
  plan.tile_count = static_cast<int>(result.tiles.size());
  plan.tiles = shelf.take(4 * plan.tile_count);
  for (const int split : {4, 16})
    if (plan.tile_count * split <= kResidentThreads) plan.split = split;
  plan.floats = shelf.size();
  return result;
}

bool fits(const Resident& resident) {
  const std::int64_t most = std::min<std::int64_t>(device().shared_block_bytes, std::int64_t{4} << 16);
  return std::int64_t{4} * resident.plan.floats <= most;
}

/// A layout that fits, the quickest kind first: no second cluster barrier, batches a step ahead. Where none
/// fits the smallest is returned.
Resident best_layout(const Network& network, const RecordPlan& record, int batch, int blocks) {
  // Adding up everything everywhere reads blocks x parameters floats from other multiprocessors; beyond this
  // many for each thread a second barrier costs less.
  constexpr int kMostEach = 64;
  const int parameters = make_plan(network, Rows::kConflictFree).parameters;
  const bool few = blocks == 1 || blocks * parameters <= kMostEach * kResidentThreads;
  for (const int x_buffers : {2, 1})
    for (const bool everywhere : {true, false}) {
      if (everywhere != few && (everywhere || blocks == 1)) continue;
      Resident resident = lay_out(network, record, batch, blocks, everywhere, x_buffers);
      if (fits(resident)) return resident;
    }
  return lay_out(network, record, batch, blocks, blocks == 1, 1);
}

class ResidentEngine final : public Engine {
 public:
  ResidentEngine(const Network& network, std::shared_ptr<const DeviceData> data, const EngineOptions& options)
      : Engine(network, std::move(data), options, Rows::kConflictFree),
        resident_(best_layout(network, data_->plan, options.batch, options.blocks)),
        tiles_(resident_.tiles) {
    threads_ = options.blocks * kResidentThreads;
    losses_ = Buffer<double>(static_cast<std::size_t>(threads_));
  }

  const char* algorithm() const override { return "resident"; }
  std::string layout() const override {
    const ResidentPlan& plan = resident_.plan;
    return "cluster of " + std::to_string(options_.blocks) + ", " + std::to_string(kResidentThreads) +
           " threads each, " + std::to_string(4 * plan.floats / 1024) + " KiB, " +
           (plan.slice == plan.network.parameters ? "sums everywhere" : "sums in slices");
  }

 protected:
  void enqueue(const int* batches, int count) override {
    const RemainingFactors factors = remaining_factors();
    ResidentArguments arguments{
        data_->records.data(), data_->train_rows, batches,        count,
        tiles_.data(),         w_.data(),         m_.data(),      v_.data(),
        factors.first,         factors.left,      losses_.data(), make_adam_constants(options_.adam)};
    const unsigned blocks = static_cast<unsigned>(options_.blocks);
    const Launch shape{.grid = blocks,
                       .block = kResidentThreads,
                       .cluster = blocks,
                       .shared_bytes = std::size_t{4} * static_cast<std::size_t>(resident_.plan.floats)};
    const auto kernel = resident_.rows_each == 4   ? resident_steps<4>
                        : resident_.rows_each == 2 ? resident_steps<2>
                                                   : resident_steps<1>;
    launch(shape, kernel, resident_.plan, arguments);
  }

 private:
  Resident resident_;
  Buffer<GradientTile> tiles_;
};

}  // namespace

int cluster_of(int threads) {
  for (const int blocks : kClusterSizes)
    if (threads == blocks * kResidentThreads) return blocks;
  throw std::invalid_argument(
      "--threads " + std::to_string(threads) +
      ": the resident engine has 256 on each of 1, 2, 4, 8 or 16 multiprocessors: 256, "
      "512, 1024, 2048 or 4096 in all");
}

std::string resident_refusal(const Network& network, const DatasetInfo& info, const EngineOptions& options,
                             int blocks) {
  const int largest = std::min(device().largest_cluster, kMostClusterBlocks);
  if (blocks > largest)
    return "this device grants clusters of at most " + std::to_string(largest) + " blocks, not " +
           std::to_string(blocks);
  if (blocks > 1 && compiled(reinterpret_cast<const void*>(resident_steps<1>)).ptx_version < 90)
    return "this program was built for devices without clusters: make GPU_ARCH=native, or without GPU_ARCH";
  // Far beyond any shared memory: not worth laying out.
  if (network.parameters() > (std::int64_t{1} << 16) || network.depth() > kMostLayers)
    return "a network of " + std::to_string(network.parameters()) +
           " parameters does not fit the shared memory of a multiprocessor: --algorithm cooperative or graph";
  const Resident resident = best_layout(network, make_record_plan(info), options.batch, blocks);
  if (fits(resident)) return "";
  return "the resident engine would need " + std::to_string(4 * resident.plan.floats / 1024) +
         " KiB of shared memory on each of " + std::to_string(blocks) + " multiprocessors, " +
         std::to_string(device().shared_block_bytes / 1024) + " are there: --algorithm cooperative or graph";
}

std::unique_ptr<Engine> make_resident_engine(const Network& network, std::shared_ptr<const DeviceData> data,
                                             const EngineOptions& options) {
  return std::make_unique<ResidentEngine>(network, std::move(data), options);
}

}  // namespace mlpwatt::gpu

// The cooperative engine: one persistent kernel over the whole device runs the phases of phases.cuh, a grid
// barrier after each. Weights, moments and activations of the networks it is for lie in L2. A barrier costs
// about as much as a dependent launch inside a graph; what is saved is the launch's ramp, and the host.

#include <algorithm>
#include <stdexcept>

#include "gpu/device/grid.cuh"
#include "gpu/mlp/engine.h"
#include "gpu/mlp/phases.cuh"
#include "gpu/mlp/workspace.h"

namespace mlpwatt::gpu {
namespace {

template <class Shape>
__global__ void __launch_bounds__(kTileThreads, 2)
    cooperative_steps(const __grid_constant__ PhaseArguments arguments, int count, GridCounter* counter,
                      double* losses) {
  auto& shared = shared_as<PhaseShared<Shape>>();
  const int block = static_cast<int>(blockIdx.x), blocks = static_cast<int>(gridDim.x);
  double loss = 0;
  for (int s = 0; s < count; ++s) {
    const PhaseStep step = phase_step(arguments, s);
    for (int k = 0; k < arguments.depth; ++k) {
      loss += forward_phase<Shape>(shared, arguments, step, k, block, blocks);
      sync_grid(counter);
    }
    for (int k = arguments.depth - 1; k >= 0; --k) {
      backward_phase<Shape>(shared, arguments, step, k, block, blocks);
      sync_grid(counter);
    }
  }
  losses[block * kTileThreads + static_cast<int>(threadIdx.x)] = loss;
}

class CooperativeEngine final : public Engine {
 public:
  CooperativeEngine(const Network& network, std::shared_ptr<const DeviceData> data,
                    const EngineOptions& options)
      : Engine(network, std::move(data), options, Rows::kPacked),
        workspace_(plan_, options.batch),
        counter_(std::vector<GridCounter>{0}) {
    size_ = phase_tile(plan_, options.batch);
    const int resident =
        size_ == 64 ? resident_blocks(cooperative_steps<TileShape<64>>, kTileThreads, shared_bytes())
                    : resident_blocks(cooperative_steps<TileShape<32>>, kTileThreads, shared_bytes());
    const int most = resident * device().multiprocessors;
    if (most < 1) throw std::invalid_argument("the cooperative engine's blocks do not fit this device");
    // A block without a tile in any phase only makes every barrier slower.
    const int busiest = busiest_phase(plan_, options.batch, size_);
    blocks_ = options.blocks > 0 ? std::min(options.blocks, most) : std::min(busiest, most);
    threads_ = blocks_ * kTileThreads;
    losses_ = Buffer<double>(static_cast<std::size_t>(threads_));
  }

  const char* algorithm() const override { return "cooperative"; }
  std::string layout() const override {
    return std::to_string(blocks_) + " blocks of " + std::to_string(kTileThreads) + " threads, tiles of " +
           std::to_string(size_);
  }

 protected:
  void enqueue(const int* batches, int count) override {
    const PhaseArguments arguments = phase_arguments(plan_, *data_, workspace_, w_.data(), m_.data(),
                                                     v_.data(), batches, remaining_factors(), options_.adam);
    launch({.grid = static_cast<unsigned>(blocks_),
            .block = kTileThreads,
            .shared_bytes = shared_bytes(),
            .cooperative = true},
           size_ == 64 ? cooperative_steps<TileShape<64>> : cooperative_steps<TileShape<32>>, arguments,
           count, counter_.data(), losses_.data());
  }

 private:
  std::size_t shared_bytes() const {
    return size_ == 64 ? sizeof(PhaseShared<TileShape<64>>) : sizeof(PhaseShared<TileShape<32>>);
  }
  Workspace workspace_;
  Buffer<GridCounter> counter_;
  int blocks_ = 0, size_ = 32;
};

}  // namespace

std::unique_ptr<Engine> make_cooperative_engine(const Network& network,
                                                std::shared_ptr<const DeviceData> data,
                                                const EngineOptions& options) {
  return std::make_unique<CooperativeEngine>(network, std::move(data), options);
}

}  // namespace mlpwatt::gpu

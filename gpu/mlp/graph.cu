// The graph engine: one kernel per phase, captured once as a CUDA graph and replayed. What changes from step
// to step (the batch, the learning rate) is looked up in device memory by the number of the step, so that one
// graph serves all steps; it holds several of them, because starting a graph costs the host more than a node
// costs the device.

#include <algorithm>

#include "gpu/mlp/engine.h"
#include "gpu/mlp/phases.cuh"
#include "gpu/mlp/workspace.h"

namespace mlpwatt::gpu {
namespace {

/// Steps of the larger graph; the smaller has one.
constexpr int kSteps = 16;

/// What the graph finds out at run time; written by the host before a call's first graph, counted up by the
/// graph.
struct GraphState {
  int base;            ///< step of the call that the graph's first step is
  const int* batches;  ///< of the call
  const float* rates;  ///< of its first step
  int rates_left;
};

__device__ __forceinline__ PhaseArguments with_state(const PhaseArguments& captured,
                                                     const GraphState* state) {
  PhaseArguments arguments = captured;
  arguments.batches = state->batches;
  arguments.rates = state->rates;
  arguments.rates_left = state->rates_left;
  return arguments;
}

template <class Shape>
__global__ void __launch_bounds__(kTileThreads, 2)
    graph_forward(const __grid_constant__ PhaseArguments captured, const GraphState* state, int step, int k,
                  double* losses) {
  const PhaseStep now = phase_step(with_state(captured, state), state->base + step);
  const float loss = forward_phase<Shape>(shared_as<PhaseShared<Shape>>(), captured, now, k,
                                          static_cast<int>(blockIdx.x), static_cast<int>(gridDim.x));
  if (k + 1 == captured.depth)  // each thread its own sum: the order of the steps is the only one there is
    losses[blockIdx.x * kTileThreads + threadIdx.x] += loss;
}

template <class Shape>
__global__ void __launch_bounds__(kTileThreads, 2)
    graph_backward(const __grid_constant__ PhaseArguments captured, const GraphState* state, int step,
                   int k) {
  const PhaseStep now = phase_step(with_state(captured, state), state->base + step);
  backward_phase<Shape>(shared_as<PhaseShared<Shape>>(), captured, now, k, static_cast<int>(blockIdx.x),
                        static_cast<int>(gridDim.x));
}

__global__ void graph_count(GraphState* state, int steps) { state->base += steps; }

class GraphEngine final : public Engine {
 public:
  GraphEngine(const Network& network, std::shared_ptr<const DeviceData> data, const EngineOptions& options)
      : Engine(network, std::move(data), options, Rows::kPacked),
        workspace_(plan_, options.batch),
        state_(1),
        size_(phase_tile(plan_, options.batch)) {
    const int blocks = busiest_phase(plan_, options.batch, size_);
    threads_ = blocks * kTileThreads;
    losses_ = Buffer<double>(static_cast<std::size_t>(tiles_of(options.batch, size_)) *
                             static_cast<std::size_t>(kTileThreads));
    many_ = capture(kSteps);
    one_ = capture(1);
  }

  const char* algorithm() const override { return "graph"; }
  std::string layout() const override {
    return std::to_string(2 * plan_.depth) + " kernels a step, tiles of " + std::to_string(size_);
  }

 protected:
  void enqueue(const int* batches, int count) override {
    const std::int64_t last = static_cast<std::int64_t>(rates_.size()) - 1, from = std::min(taken_, last);
    const GraphState state{0, batches, rates_.data() + from, static_cast<int>(last - from + 1)};
    copy_to_device(state_.data(), &state, sizeof state);
    zero_in_stream(stream_.handle(), losses_.data(), losses_.bytes());
    int left = count;
    for (; left >= kSteps; left -= kSteps) many_.launch(stream_.handle());
    for (; left > 0; --left) one_.launch(stream_.handle());
    stream_.synchronise();
  }

 private:
  Graph capture(int steps) {
    const PhaseArguments arguments = phase_arguments(plan_, *data_, workspace_, w_.data(), m_.data(),
                                                     v_.data(), nullptr, rates_, 0, options_.adam);
    stream_.begin_capture();
    for (int step = 0; step < steps; ++step) {
      if (size_ == 64)
        capture_step<TileShape<64>>(arguments, step);
      else
        capture_step<TileShape<32>>(arguments, step);
    }
    launch({.stream = stream_.handle()}, graph_count, state_.data(), steps);
    return stream_.end_capture();
  }

  template <class Shape>
  void capture_step(const PhaseArguments& arguments, int step) {
    const auto shape = [&](int tiles) {
      return Launch{.grid = static_cast<unsigned>(tiles),
                    .block = kTileThreads,
                    .shared_bytes = sizeof(PhaseShared<Shape>),
                    .stream = stream_.handle()};
    };
    const auto update = [&](int k) {
      return k < plan_.depth ? tiles_of(plan_.layers[k].in4, size_) * tiles_of(plan_.layers[k].ld, size_) : 0;
    };
    const int rows = tiles_of(options_.batch, size_);
    for (int k = 0; k < plan_.depth; ++k)
      launch(shape(rows * tiles_of(plan_.layers[k].ld, size_)), graph_forward<Shape>, arguments,
             state_.data(), step, k, losses_.data());
    for (int k = plan_.depth - 1; k >= 0; --k)
      launch(shape((k > 0 ? rows * tiles_of(plan_.layers[k].in, size_) : update(0)) + update(k + 1)),
             graph_backward<Shape>, arguments, state_.data(), step, k);
  }

  Workspace workspace_;
  Buffer<GraphState> state_;
  int size_;
  Stream stream_;
  Graph many_, one_;
};

}  // namespace

std::unique_ptr<Engine> make_graph_engine(const Network& network, std::shared_ptr<const DeviceData> data,
                                          const EngineOptions& options) {
  return std::make_unique<GraphEngine>(network, std::move(data), options);
}

}  // namespace mlpwatt::gpu

// The graph engine, for networks whose products fill the device: every layer operation is one kernel,
// captured once as a CUDA graph and replayed. Products are gpu/gemm's with the layer's other work in their
// last write: bias, ReLU and residual input forward, the mask and the residual's gradient backward, Adam
// behind the weight gradient (which never reaches memory). Beside them a step has three small kernels:
// fetching the batch, the loss, and the biases.
//
// What changes from step to step (which batch, which rate of Adam) is looked up in device memory by the
// number of the step, so one graph serves all steps; it holds several of them, because starting a graph costs
// the host more than a node costs the device. A partial batch is a whole one whose missing rows are zeros and
// have no gradient.
//
// tf32 and bf16 products take fp32 sums; with bf16 the last write of every operation leaves a rounded copy
// beside the float it keeps, so that weights, moments and gradients' sums stay fp32 (the master) throughout.

#include <algorithm>

#include "gpu/device/bf16.cuh"
#include "gpu/mlp/engine.h"
#include "gpu/mlp/maths.cuh"

namespace mlpwatt::gpu {
namespace {

/// Steps of the larger graph; the smaller has one.
constexpr int kSteps = 16;
constexpr int kThreads = 256;

/// What the graph finds out at run time: written by the host before a call's first graph, counted up by the
/// graph.
struct GraphState {
  const int* batches;          ///< of the call
  const AdamFactors* factors;  ///< of its steps
  int factors_left;
  int step;  ///< of the call, under way
  // of the step under way
  int rows;
  AdamStep adam;
};

/// Copies the batch's records to where the graph's products look for it, zeros for rows that are missing.
__global__ void __launch_bounds__(kThreads)
    fetch_batch(const GraphState* state, const float* records, int record, std::int64_t train_rows, int batch,
                int features, int y_offset, int outputs, float* x, int x_ld, Bf16* x_copy, float* y,
                int y_ld) {
  const std::int64_t first = static_cast<std::int64_t>(__ldg(state->batches + state->step)) * batch;
  const int rows = static_cast<int>(min(static_cast<std::int64_t>(batch), train_rows - first));
  const int columns = x_ld + y_ld;
  for (int e = static_cast<int>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x); e < batch * columns;
       e += static_cast<int>(gridDim.x) * kThreads) {
    const int row = e / columns, column = e % columns;
    const bool is_x = column < x_ld;
    const int from = is_x ? column : column - x_ld;
    const bool there = row < rows && from < (is_x ? features : outputs);
    const float value =
        there ? __ldg(records + (first + row) * record + (is_x ? from : y_offset + from)) : 0.0f;
    if (is_x) {
      x[row * x_ld + column] = value;
      if (x_copy != nullptr) x_copy[row * x_ld + column] = to_bf16(value);
    } else {
      y[row * y_ld + from] = value;
    }
  }
}

/// One thread a row: at most some ten outputs. Also settles what the rest of the step needs to know.
__global__ void __launch_bounds__(kThreads)
    output_loss(GraphState* state, AdamStep constants, std::int64_t train_rows, int task, int batch,
                int outputs, const float* z, const float* y, int y_ld, float* delta, Bf16* copy, int ld,
                double* losses) {
  const int row = static_cast<int>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x);
  const std::int64_t first = static_cast<std::int64_t>(__ldg(state->batches + state->step)) * batch;
  const int rows = static_cast<int>(min(static_cast<std::int64_t>(batch), train_rows - first));
  if (row == 0) {
    const AdamFactors factors = factors_of(state->factors, state->factors_left, state->step);
    constants.learning_rate = factors.rate;
    constants.epsilon = factors.epsilon;
    state->adam = constants;
    state->rows = rows;
  }
  if (row >= batch) return;
  float* d = delta + static_cast<std::int64_t>(row) * ld;
  if (row < rows) {
    const float scale = 1.0f / static_cast<float>(rows);
    losses[row] +=
        scale * row_loss(task, z + static_cast<std::int64_t>(row) * ld, y + row * y_ld, outputs, scale, d);
  } else {
    for (int j = 0; j < outputs; ++j) d[j] = 0.0f;
  }
  if (copy != nullptr)
    for (int j = 0; j < outputs; ++j) copy[static_cast<std::int64_t>(row) * ld + j] = to_bf16(d[j]);
}

struct BiasLayer {
  const float* delta;
  float *w, *m, *v;
  int out, ld;
  int first_block;  ///< of the grid's blocks, 32 columns each
};
struct BiasLayers {
  BiasLayer layers[kMostLayers];
  int depth;
};

/// Bias gradients of all layers, and Adam: 32 columns a block, 8 threads a column that meet in shared memory
/// in a fixed order.
__global__ void __launch_bounds__(kThreads)
    update_biases(const __grid_constant__ BiasLayers all, GraphState* state) {
  using Partial = float[8][32];
  MLPWATT_SHARED(Partial, partial);
  int k = 0;
  while (k + 1 < all.depth && static_cast<int>(blockIdx.x) >= all.layers[k + 1].first_block) ++k;
  const BiasLayer& layer = all.layers[k];
  const int lane = static_cast<int>(threadIdx.x) % 32, share = static_cast<int>(threadIdx.x) / 32;
  const int column = (static_cast<int>(blockIdx.x) - layer.first_block) * 32 + lane;
  float sum = 0;
  if (column < layer.out) {
#pragma unroll 4
    for (int row = share; row < state->rows; row += 8)
      sum += layer.delta[static_cast<std::int64_t>(row) * layer.ld + column];
  }
  partial[share][lane] = sum;
  __syncthreads();
  if (share != 0 || column >= layer.out) return;
  for (int other = 1; other < 8; ++other) sum += partial[other][lane];
  const AdamStep& step = state->adam;
  const AdamConstants constants{step.beta1, step.beta2, 1.0f - step.beta1, 1.0f - step.beta2};
  adam_step(layer.w[column], layer.m[column], layer.v[column], sum, {step.learning_rate, step.epsilon},
            constants);
}

__global__ void count_step(GraphState* state) { ++state->step; }

/// Rounded copies of parameters that were set from outside.
__global__ void __launch_bounds__(kThreads) round_all(const float* from, Bf16* to, int size) {
  for (int i = static_cast<int>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x); i < size;
       i += static_cast<int>(gridDim.x) * kThreads)
    to[i] = to_bf16(from[i]);
}

unsigned blocks_for(std::int64_t threads) {
  constexpr std::int64_t kMost = 1024;  // the rest by a loop
  return static_cast<unsigned>(std::clamp<std::int64_t>((threads + kThreads - 1) / kThreads, 1, kMost));
}

/// A matrix in device memory, with its rounded copy where products are bf16.
struct Matrix {
  Buffer<float> values;
  Buffer<Bf16> copy;
  int ld = 0;

  Matrix() = default;
  Matrix(int rows, int row_length, bool rounded)
      : values(static_cast<std::size_t>(rows) * static_cast<std::size_t>(row_length)),
        copy(rounded ? values.size() : 0),
        ld(row_length) {
    zero_in_stream(nullptr, values.data(), values.bytes());
    if (rounded) zero_in_stream(nullptr, copy.data(), copy.bytes());
  }
  const void* operand() const {
    return copy.size() > 0 ? static_cast<const void*>(copy.data()) : values.data();
  }
};

struct GraphLayer {
  LayerPlan shape;
  Matrix out, delta;
  Matrix before, dout;  ///< residual layers: activation before the addend, gradient at the output
  std::unique_ptr<GemmPlan> forward, backward, update;
};

class GraphEngine final : public Engine {
 public:
  GraphEngine(const Network& network, std::shared_ptr<const DeviceData> data, const EngineOptions& options)
      : Engine(network, std::move(data), options, Rows::kTensor),
        precision_(precision_of(options.algorithm)),
        rounded_(precision_ == Precision::kBf16),
        w_copy_(rounded_ ? w_.size() : 0),
        x_(options.batch, round_up(plan_.inputs, 8), rounded_),
        y_(options.batch, plan_.outputs, false),
        state_(1) {
    losses_ = Buffer<double>(static_cast<std::size_t>(options.batch));
    zero_in_stream(nullptr, w_.data(), w_.bytes());
    zero_in_stream(nullptr, m_.data(), m_.bytes());
    zero_in_stream(nullptr, v_.data(), v_.bytes());
    if (rounded_) zero_in_stream(nullptr, w_copy_.data(), w_copy_.bytes());
    for (int k = 0; k < plan_.depth; ++k) {
      GraphLayer layer;
      layer.shape = plan_.layers[k];
      layer.out = Matrix(options.batch, layer.shape.ld, rounded_);
      layer.delta = Matrix(options.batch, layer.shape.ld, rounded_);
      if (layer.shape.adds_input != 0) {
        layer.before = Matrix(options.batch, layer.shape.ld, false);
        layer.dout = Matrix(options.batch, layer.shape.ld, false);
      }
      layers_.push_back(std::move(layer));
    }
    synchronise();
    for (int k = 0; k < plan_.depth; ++k) plan_layer(k);
    threads_ = device().multiprocessors * kThreads;
    many_ = capture(kSteps);
    one_ = capture(1);
  }

  const char* algorithm() const override {
    return precision_ == Precision::kFp32   ? "graph"
           : precision_ == Precision::kTf32 ? "graph_tf32"
                                            : "graph_bf16";
  }
  std::string layout() const override {
    int kernels = 2 * plan_.depth + 3;
    for (const GraphLayer& layer : layers_) kernels += layer.update->kernels();
    std::string text = std::to_string(kernels) + " kernels a step";
    for (const GraphLayer& layer : layers_)
      if (&layer == &layers_[layers_.size() / 2]) text += ", " + describe(layer.forward->choice());
    return text;
  }

  void set_parameters(const reference::Parameters& parameters) override {
    Engine::set_parameters(parameters);
    if (!rounded_) return;
    launch({.grid = blocks_for(plan_.parameters), .block = kThreads}, round_all,
           static_cast<const float*>(w_.data()), w_copy_.data(), plan_.parameters);
    synchronise();
  }

 protected:
  void enqueue(const int* batches, int count) override {
    const RemainingFactors factors = remaining_factors();
    GraphState state{};
    state.batches = batches;
    state.factors = factors.first;
    state.factors_left = factors.left;
    copy_to_device(state_.data(), &state, sizeof state);
    zero_in_stream(stream_.handle(), losses_.data(), losses_.bytes());
    int left = count;
    for (; left >= kSteps; left -= kSteps) many_.launch(stream_.handle());
    for (; left > 0; --left) one_.launch(stream_.handle());
    stream_.synchronise();
  }

 private:
  const Matrix& input(int k) const { return k == 0 ? x_ : layers_[static_cast<std::size_t>(k - 1)].out; }
  float* weights(int k) const { return w_.data() + plan_.layers[k].weights; }
  Bf16* weights_copy(int k) const { return rounded_ ? w_copy_.data() + plan_.layers[k].weights : nullptr; }
  const void* weights_operand(int k) const {
    return rounded_ ? static_cast<const void*>(weights_copy(k)) : weights(k);
  }

  GemmOperands forward_operands(int k) const {
    const GraphLayer& layer = layers_[static_cast<std::size_t>(k)];
    return {input(k).operand(),      input(k).ld, weights_operand(k), layer.shape.ld,
            layer.out.values.data(), layer.out.ld};
  }
  GemmOperands backward_operands(int k) const {
    const GraphLayer &layer = layers_[static_cast<std::size_t>(k)],
                     &below = layers_[static_cast<std::size_t>(k - 1)];
    return {layer.delta.operand(),     layer.delta.ld, weights_operand(k), layer.shape.ld,
            below.delta.values.data(), below.delta.ld};
  }
  GemmOperands update_operands(int k) const {
    const GraphLayer& layer = layers_[static_cast<std::size_t>(k)];
    return {input(k).operand(), input(k).ld, layer.delta.operand(),
            layer.delta.ld,     weights(k),  layer.shape.ld};
  }

  /// Tries the tiles on these very operands, of those that give the same bits: which is quickest by a hair
  /// must not decide what a seed trains. (What that leaves in the operands is overwritten by set_parameters.)
  void plan_layer(int k) {
    GraphLayer& layer = layers_[static_cast<std::size_t>(k)];
    const auto plan = [&](const GemmProblem& problem, const GemmOperands& operands) {
      return std::make_unique<GemmPlan>(problem, tune_gemm(problem, precision_, operands, Tuning::kSameSums));
    };
    const std::int64_t batch = options_.batch, in = layer.shape.in, out = layer.shape.out;
    layer.forward = plan({GemmLayout::kNN, batch, out, in}, forward_operands(k));
    if (k > 0) layer.backward = plan({GemmLayout::kNT, batch, in, out}, backward_operands(k));
    layer.update = plan({GemmLayout::kTN, in, out, batch}, update_operands(k));
  }

  Graph capture(int steps) {
    stream_.begin_capture();
    for (int step = 0; step < steps; ++step) capture_step();
    return stream_.end_capture();
  }

  void capture_step() {
    const cudaStream_t stream = stream_.handle();
    const GraphState* state = state_.data();
    const int batch = options_.batch, depth = plan_.depth;
    launch({.grid = blocks_for(std::int64_t{batch} * (x_.ld + y_.ld)), .block = kThreads, .stream = stream},
           fetch_batch, state, static_cast<const float*>(data_->records.data()), data_->plan.record,
           data_->train_rows, batch, plan_.inputs, data_->plan.y, plan_.outputs, x_.values.data(), x_.ld,
           rounded_ ? x_.copy.data() : nullptr, y_.values.data(), y_.ld);
    for (int k = 0; k < depth; ++k) {
      const GraphLayer& layer = layers_[static_cast<std::size_t>(k)];
      Epilogue e;
      e.kind = Epilogue::Kind::kForward;
      e.relu = k + 1 < depth;
      e.bias = weights(k) + static_cast<std::int64_t>(layer.shape.in4) * layer.shape.ld;
      if (layer.shape.adds_input != 0) {
        e.addend = input(k).values.data(), e.addend_ld = input(k).ld;
        e.before = layer.before.values.data(), e.before_ld = layer.before.ld;
      }
      if (rounded_) e.copy = layer.out.copy.data(), e.copy_ld = layer.out.ld;
      launch_gemm(stream, *layer.forward, forward_operands(k), e);
    }
    const GraphLayer& last = layers_.back();
    const AdamStep constants{0, static_cast<float>(options_.adam.beta1),
                             static_cast<float>(options_.adam.beta2), 0};
    launch({.grid = static_cast<unsigned>((batch + kThreads - 1) / kThreads),
            .block = kThreads,
            .stream = stream},
           output_loss, state_.data(), constants, data_->train_rows, plan_.task, batch, plan_.outputs,
           static_cast<const float*>(last.out.values.data()), static_cast<const float*>(y_.values.data()),
           y_.ld, last.delta.values.data(), rounded_ ? last.delta.copy.data() : nullptr, last.delta.ld,
           losses_.data());
    for (int k = depth - 1; k >= 0; --k) {
      const GraphLayer& layer = layers_[static_cast<std::size_t>(k)];
      if (k > 0) {
        const GraphLayer& below = layers_[static_cast<std::size_t>(k - 1)];
        const Matrix& mask = below.shape.adds_input != 0 ? below.before : below.out;
        Epilogue e;
        e.kind = Epilogue::Kind::kBackward;
        e.mask = mask.values.data(), e.mask_ld = mask.ld;
        if (layer.shape.adds_input != 0) e.addend = layer.dout.values.data(), e.addend_ld = layer.dout.ld;
        if (below.shape.adds_input != 0) e.before = below.dout.values.data(), e.before_ld = below.dout.ld;
        if (rounded_) e.copy = below.delta.copy.data(), e.copy_ld = below.delta.ld;
        launch_gemm(stream, *layer.backward, backward_operands(k), e);
      }
      Epilogue e;  // after the last reader of this layer's old weights
      e.kind = Epilogue::Kind::kAdam;
      e.adam = &state_.data()->adam;
      e.first_moment = m_.data() + layer.shape.weights;
      e.second_moment = v_.data() + layer.shape.weights;
      e.moment_ld = layer.shape.ld;
      if (rounded_) e.copy = weights_copy(k), e.copy_ld = layer.shape.ld;
      launch_gemm(stream, *layer.update, update_operands(k), e);
    }
    BiasLayers biases{};
    biases.depth = depth;
    int blocks = 0;
    for (int k = 0; k < depth; ++k) {
      const GraphLayer& layer = layers_[static_cast<std::size_t>(k)];
      const std::int64_t row =
          layer.shape.weights + static_cast<std::int64_t>(layer.shape.in4) * layer.shape.ld;
      biases.layers[k] = {layer.delta.values.data(), w_.data() + row, m_.data() + row, v_.data() + row,
                          layer.shape.out,           layer.delta.ld,  blocks};
      blocks += (layer.shape.out + 31) / 32;
    }
    launch({.grid = static_cast<unsigned>(blocks), .block = kThreads, .stream = stream}, update_biases,
           biases, state_.data());
    launch({.stream = stream}, count_step, state_.data());
  }

  Precision precision_;
  bool rounded_;
  Buffer<Bf16> w_copy_;
  Matrix x_, y_;
  std::vector<GraphLayer> layers_;
  Buffer<GraphState> state_;
  Stream stream_;
  Graph many_, one_;
};

}  // namespace

std::unique_ptr<Engine> make_graph_engine(const Network& network, std::shared_ptr<const DeviceData> data,
                                          const EngineOptions& options) {
  return std::make_unique<GraphEngine>(network, std::move(data), options);
}

}  // namespace mlpwatt::gpu

// The fused engine: each thread takes its panels of the batch (lanes = rows) forward through all layers,
// through the loss and back, in its own L1/L2; then one reduction + Adam over all parameters. Two barriers a
// step.

#include <algorithm>
#include <cmath>

#include "cpu/aligned.h"
#include "cpu/mlp/adam_schedule.h"
#include "cpu/mlp/engine.h"
#include "cpu/mlp/fused_kernels.h"
#include "cpu/mlp/parameter_layout.h"
#include "cpu/team.h"

namespace mlpwatt {
namespace {

/// One split of a dataset cut into batches of panels: [batch][panel][feature][lane], zero beyond the last
/// row.
struct PanelData {
  int batches = 0, panels_per_batch = 0;
  std::int64_t x_panel = 0, y_panel = 0;  ///< floats
  std::vector<int> rows;                  ///< of each batch
  AlignedFloats x, y;
  AlignedFloats weight;  ///< [batch][panel][lane]: 1/rows of the batch, 0 beyond

  PanelData(const Dataset& data, Split split, int batch, int lanes) {
    const std::int64_t first = split == Split::kTrain ? 0 : data.train_rows();
    const std::int64_t count = split == Split::kTrain ? data.train_rows() : data.test_rows;
    const int features = data.info.features, outputs = data.info.outputs;
    batches = static_cast<int>((count + batch - 1) / batch);
    const int largest = static_cast<int>(std::min<std::int64_t>(batch, count));
    panels_per_batch = (largest + lanes - 1) / lanes;
    x_panel = static_cast<std::int64_t>(features) * lanes;
    y_panel = static_cast<std::int64_t>(outputs) * lanes;
    const std::int64_t panels = static_cast<std::int64_t>(batches) * panels_per_batch;
    x = AlignedFloats(panels * x_panel);
    y = AlignedFloats(panels * y_panel);
    weight = AlignedFloats(panels * lanes);
    for (int b = 0; b < batches; ++b) {
      rows.push_back(
          static_cast<int>(std::min<std::int64_t>(batch, count - static_cast<std::int64_t>(b) * batch)));
      for (int r = 0; r < rows[b]; ++r) {
        const std::int64_t row = first + static_cast<std::int64_t>(b) * batch + r;
        const std::int64_t panel = static_cast<std::int64_t>(b) * panels_per_batch + r / lanes;
        const int lane = r % lanes;
        for (int f = 0; f < features; ++f) x[panel * x_panel + f * lanes + lane] = data.x[row * features + f];
        for (int o = 0; o < outputs; ++o) y[panel * y_panel + o * lanes + lane] = data.y[row * outputs + o];
        weight[panel * lanes + lane] = 1.0f / static_cast<float>(rows[b]);
      }
    }
  }
  int panels(int batch, int lanes) const { return (rows[batch] + lanes - 1) / lanes; }
};

/// What one thread works in: activations and gradients of its panels, layer by layer.
struct Workspace {
  struct Layer {
    AlignedFloats activation;       ///< output of the layer; the last one's holds logits, then their gradient
    AlignedFloats delta;            ///< gradient at the pre-activation; unused in the last layer
    AlignedFloats before;           ///< residual layers: activation before the addend
    AlignedFloats output_gradient;  ///< residual layers: gradient at the output
    std::int64_t stride = 0;        ///< floats from panel to panel
  };
  std::vector<Layer> layers;
  double loss = 0;
  char apart[64] = {};  // the next thread's loss is on another cache line

  Workspace(const Network& network, int panels, int lanes) {
    for (int k = 0; k < network.depth(); ++k) {
      Layer layer;
      layer.stride = static_cast<std::int64_t>(network.widths[k]) * lanes;
      layer.activation = AlignedFloats(panels * layer.stride);
      if (!network.is_output(k)) layer.delta = AlignedFloats(panels * layer.stride);
      if (network.adds_input(k)) {
        layer.before = AlignedFloats(panels * layer.stride);
        layer.output_gradient = AlignedFloats(panels * layer.stride);
      }
      layers.push_back(std::move(layer));
    }
  }
};

/// Threads that pay: a second one halves the arithmetic and adds two barriers and the reduction over gradient
/// copies.
int choose_threads(const Network& network, int batch, int panels, const Hierarchy& hierarchy) {
  // Conservative machine constants of the choice only (they steer, they are not results): a small network
  // runs at about a third of a modern core's peak; a barrier costs about half a microsecond; adding a
  // gradient copy moves 4 bytes a parameter through L2.
  constexpr double kFlopsPerSecond = 4e10, kBarrier_s = 0.5e-6, kReduceBytesPerSecond = 2e10;
  const double flops = 6.0 * batch * static_cast<double>(network.parameters());
  int best = 1;
  double best_s = flops / kFlopsPerSecond;
  for (int threads = 2; threads <= std::min(hierarchy.cores, panels); ++threads) {
    const double share = std::ceil(static_cast<double>(panels) / threads) / panels;
    const double time_s = flops * share / kFlopsPerSecond + 2 * kBarrier_s * std::log2(2.0 * threads) +
                          4.0 * static_cast<double>(network.parameters()) / kReduceBytesPerSecond;
    if (time_s < best_s) best_s = time_s, best = threads;
  }
  return best;
}

class FusedEngine : public MlpEngine {
 public:
  FusedEngine(const Network& network, const Dataset& data, const EngineOptions& options)
      : network_(network),
        kernels_(fused_kernels(options.isa)),
        layout_(network, WeightOrder::kOutIn),
        schedule_(options.adam),
        train_(data, Split::kTrain, options.batch, kernels_.lanes),
        test_(data, Split::kTest, options.batch, kernels_.lanes) {
    const int panels = std::max(train_.panels_per_batch, test_.panels_per_batch);
    threads_ =
        options.threads > 0 ? options.threads : choose_fused_threads(network, data.train_rows(), options);
    weights_ = AlignedFloats(layout_.size());
    first_moment_ = AlignedFloats(layout_.size());
    second_moment_ = AlignedFloats(layout_.size());
    gradients_ = AlignedFloats(threads_ * layout_.size());
    // Each thread makes its own workspace, so that its pages lie in its own memory.
    workspaces_.resize(threads_);
    run_team(threads_, [&](const TeamMember& member) {
      workspaces_[member.id] = std::make_unique<Workspace>(network, panels / threads_ + 1, kernels_.lanes);
    });
    train_batches_ = train_.batches;
  }

  const char* algorithm() const override { return "fused"; }
  int threads() const override { return threads_; }

  double train(const int* batches, std::int64_t count) override {
    const AdamSchedule start = schedule_;
    run_team(threads_, [&](const TeamMember& member) {
      Workspace& space = *workspaces_[member.id];
      space.loss = 0;
      AdamSchedule schedule = start;
      for (std::int64_t s = 0; s < count; ++s) {
        const int batch = batches[s];
        const auto [first, last] = member.share(train_.panels(batch, kernels_.lanes));
        space.loss += forward(space, train_, batch, first, last, true, nullptr);
        backward(space, batch, first, last, member.id);
        member.wait();
        const auto [w0, w1] = share_of_parameters(member);
        kernels_.adam(schedule.next(), w0, w1, gradients_.data(), threads_, layout_.size(), weights_.data(),
                      first_moment_.data(), second_moment_.data());
        member.wait();
      }
      if (member.id == 0) schedule_ = schedule;
    });
    double loss = 0;
    for (const auto& space : workspaces_) loss += space->loss;
    return loss / static_cast<double>(count);
  }

  reference::Evaluation evaluate(Split split) override {
    const PanelData& data = split == Split::kTrain ? train_ : test_;
    std::vector<double> loss(threads_), right(threads_);
    run_team(threads_, [&](const TeamMember& member) {
      Workspace& space = *workspaces_[member.id];
      for (int b = 0; b < data.batches; ++b) {
        const auto [first, last] = member.share(data.panels(b, kernels_.lanes));
        double hits = 0;
        loss[member.id] += data.rows[b] * forward(space, data, b, first, last, false, &hits);
        right[member.id] += data.rows[b] * hits;
      }
    });
    double total = 0, hits = 0;
    std::int64_t rows = 0;
    for (const int r : data.rows) rows += r;
    for (int t = 0; t < threads_; ++t) total += loss[t], hits += right[t];
    return {total / static_cast<double>(rows),
            network_.task == Task::kRegression ? std::nan("") : hits / static_cast<double>(rows)};
  }

  void set_parameters(const reference::Parameters& parameters) override {
    layout_.from_reference(parameters, weights_.data());
    std::fill_n(first_moment_.data(), first_moment_.size(), 0.0f);
    std::fill_n(second_moment_.data(), second_moment_.size(), 0.0f);
    schedule_.reset();
  }
  reference::Parameters parameters() const override { return layout_.to_reference(weights_.data()); }
  reference::Parameters first_moments() const override { return layout_.to_reference(first_moment_.data()); }

 private:
  /// Shares end on cache-line boundaries: no line is written by two threads.
  TeamMember::Range share_of_parameters(const TeamMember& member) const {
    const TeamMember::Range lines = member.share(layout_.size() / 16);
    return {lines.first * 16, lines.last * 16};
  }

  const float* layer_input(const Workspace& space, const PanelData& data, int batch, long panel, long first,
                           int layer) const {
    if (layer > 0)
      return space.layers[layer - 1].activation.data() + (panel - first) * space.layers[layer - 1].stride;
    return data.x.data() + (static_cast<std::int64_t>(batch) * data.panels_per_batch + panel) * data.x_panel;
  }

  /// Panels [first, last) of one batch to their (weighted) loss. Layer by layer over all panels: a layer's
  /// weights stay in L1 while the panels go by.
  double forward(Workspace& space, const PanelData& data, int batch, long first, long last, bool gradient,
                 double* right) const {
    for (int k = 0; k < network_.depth(); ++k) {
      Workspace::Layer& layer = space.layers[k];
      PanelForward work{};
      work.inputs = network_.input_width(k);
      work.outputs = network_.widths[k];
      work.weights = weights_.data() + layout_.weights(k);
      work.bias = weights_.data() + layout_.biases(k);
      work.relu = !network_.is_output(k);
      for (long p = first; p < last; ++p) {
        const std::int64_t at = (p - first) * layer.stride;
        work.in = layer_input(space, data, batch, p, first, k);
        work.out = layer.activation.data() + at;
        if (network_.adds_input(k)) {
          work.addend = work.in;
          work.before = layer.before.data() + at;
        }
        kernels_.forward(work);
      }
    }
    Workspace::Layer& output = space.layers.back();
    double loss = 0;
    for (long p = first; p < last; ++p) {
      const std::int64_t panel = static_cast<std::int64_t>(batch) * data.panels_per_batch + p;
      float hits = 0;
      loss += kernels_.loss(network_.task, network_.outputs(),
                            output.activation.data() + (p - first) * output.stride,
                            data.y.data() + panel * data.y_panel, data.weight.data() + panel * kernels_.lanes,
                            gradient, right ? &hits : nullptr);
      if (right) *right += hits;
    }
    return loss;
  }

  void backward(Workspace& space, int batch, long first, long last, int thread) {
    float* gradient = gradients_.data() + thread * layout_.size();
    const int panels = static_cast<int>(last - first);
    for (int k = network_.depth() - 1; k >= 0; --k) {
      Workspace::Layer& layer = space.layers[k];
      const float* delta = network_.is_output(k) ? layer.activation.data() : layer.delta.data();
      const float* in = layer_input(space, train_, batch, first, first, k);
      const std::int64_t in_stride = k > 0 ? space.layers[k - 1].stride : train_.x_panel;
      kernels_.weight_gradient(network_.input_width(k), network_.widths[k], panels, delta, layer.stride, in,
                               in_stride, gradient + layout_.weights(k), gradient + layout_.biases(k));
      if (k == 0) break;  // nobody wants the gradient at the data
      Workspace::Layer& below = space.layers[k - 1];
      PanelBackward work{};
      work.inputs = network_.input_width(k);
      work.outputs = network_.widths[k];
      work.weights = weights_.data() + layout_.weights(k);
      for (int p = 0; p < panels; ++p) {
        const std::int64_t at = p * below.stride;
        work.delta = delta + p * layer.stride;
        work.out = below.delta.data() + at;
        work.mask = (network_.adds_input(k - 1) ? below.before.data() : below.activation.data()) + at;
        work.addend = network_.adds_input(k) ? layer.output_gradient.data() + p * layer.stride : nullptr;
        work.before = network_.adds_input(k - 1) ? below.output_gradient.data() + at : nullptr;
        kernels_.backward(work);
      }
    }
  }

  Network network_;
  const FusedKernels& kernels_;
  ParameterLayout layout_;
  AdamSchedule schedule_;
  PanelData train_, test_;
  int threads_ = 1;
  AlignedFloats weights_, first_moment_, second_moment_;
  AlignedFloats gradients_;  ///< one flat copy a thread
  std::vector<std::unique_ptr<Workspace>> workspaces_;
};

}  // namespace

int choose_fused_threads(const Network& network, std::int64_t train_rows, const EngineOptions& options) {
  const int lanes = fused_kernels(options.isa).lanes;
  const int rows = static_cast<int>(std::min<std::int64_t>(options.batch, train_rows));
  return choose_threads(network, options.batch, (rows + lanes - 1) / lanes, options.hierarchy);
}

std::unique_ptr<MlpEngine> make_fused_engine(const Network& network, const Dataset& data,
                                             const EngineOptions& options) {
  return std::make_unique<FusedEngine>(network, data, options);
}

}  // namespace mlpwatt

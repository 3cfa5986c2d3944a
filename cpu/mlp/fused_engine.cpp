// The fused engine: each thread takes its panels of the batch (lanes = rows) forward through all layers,
// through the loss and back, in its own L1/L2; then, where the plan says so, its outputs of the weight
// gradients of wide layers over all rows; then Adam. Two barriers a step. Where there are more threads than
// panels, a group of threads takes them together and meets after every layer. (Networks of one wide hidden
// layer: one_hidden_engine.cpp.)

#include <algorithm>
#include <deque>

#include "cpu/mlp/fused_plan.h"
#include "cpu/mlp/panel_engine.h"
#include "cpu/team.h"

namespace mlpwatt {
namespace {

/// Activations and gradients of a batch, layer by layer, in one piece of memory (huge pages, where it is
/// large enough: a weight gradient walks over many panels at once, each on a page of its own). Every group
/// writes its own panels; the others read them where a weight gradient goes by outputs.
struct Workspace {
  struct Layer {
    float* activation = nullptr;  ///< output of the layer; the last one's holds logits, then their gradient
    float* delta = nullptr;       ///< gradient at the pre-activation; the last layer's is its activation
    float* before = nullptr;      ///< residual layers: activation before the addend
    float* output_gradient = nullptr;  ///< residual layers: gradient at the output
    std::int64_t stride = 0;           ///< floats from panel to panel
  };
  std::vector<Layer> layers;

  Workspace(const Network& network, int panels, int lanes) : layers(network.depth()) {
    // twice: how much, then where
    for (const bool place : {false, true}) {
      std::int64_t floats = 0;
      const auto take = [&](float*& array, std::int64_t stride) {
        if (place) array = memory_.data() + floats;
        floats += panels * stride;
      };
      for (int k = 0; k < network.depth(); ++k) {
        Layer& layer = layers[k];
        layer.stride = static_cast<std::int64_t>(spread_rows(network.widths[k])) * lanes;
        take(layer.activation, layer.stride);
        if (network.is_output(k))
          layer.delta = layer.activation;
        else
          take(layer.delta, layer.stride);
        if (network.adds_input(k))
          take(layer.before, layer.stride), take(layer.output_gradient, layer.stride);
      }
      if (!place) memory_ = AlignedFloats::untouched(floats);
    }
  }
  /// Zeroes panels [first, last): called by the thread that will use them, so that they lie in its memory.
  void touch(long first, long last) {
    for (Layer& layer : layers)
      for (float* floats : {layer.activation, layer.delta, layer.before, layer.output_gradient})
        if (floats) std::fill(floats + first * layer.stride, floats + last * layer.stride, 0.0f);
  }

 private:
  AlignedFloats memory_;
};

class FusedEngine : public PanelEngine {
 public:
  FusedEngine(const Network& network, const Dataset& data, const EngineOptions& options)
      : PanelEngine(network, data, options),
        plan_(make_fused_plan(network, kernels_, threads_, rows_, options.hierarchy)),
        space_(network, panels_, kernels_.lanes) {
    gradients_ = AlignedFloats::untouched(plan_.groups * layout_.size());
    for (int g = 0; g < plan_.groups; ++g) {
      const auto [first, last] = TeamMember{g, plan_.groups, nullptr}.share(threads_);
      meetings_.emplace_back(static_cast<int>(last - first));
    }
    std::int64_t scratch = 0, turned = 0;
    for (int k = 0; k < network.depth(); ++k) {
      if (plan_.turned[k])
        turned = std::max<std::int64_t>(turned, kernels_.turned_floats(network.input_width(k), panels_));
      if (plan_.by_outputs[k]) {
        const auto [outputs, inputs] = plan_.gradient_block(network.input_width(k), kernels_);
        scratch = std::max<std::int64_t>(scratch, outputs * (inputs + 1));
        continue;
      }
      const std::int64_t first = layout_.weights(k), last = end_of(k);
      if (!by_rows_.empty() && by_rows_.back().last == first)
        by_rows_.back().last = last;
      else
        by_rows_.push_back({first, last});
    }
    threads_own_.resize(threads_);
    run_team(threads_, [&](const TeamMember& member) {
      const Place place = place_of(member);
      const auto [first, last] = place.among_groups.share(panels_);
      const auto [p0, p1] = place.inside.share(last - first);
      space_.touch(first + p0, first + p1);
      ThreadOwn& own = threads_own_[member.id];
      own.scratch = AlignedFloats(scratch);
      own.turned = AlignedFloats(turned);
      for (int k = 0; k < network_.depth(); ++k) {
        if (plan_.by_outputs[k]) continue;
        const auto [o0, o1] = place.inside.share(network_.widths[k]);
        float* gradient = gradient_of(place) + layout_.weights(k);
        std::fill(gradient + o0 * layout_.row(k),
                  gradient + (place.is_last() ? end_of(k) - layout_.weights(k) : o1 * layout_.row(k)), 0.0f);
      }
      each_share(member, [&](std::int64_t from, std::int64_t to) { touch(from, to); });
      for (int k = 0; k < network_.depth(); ++k) {
        if (!plan_.by_outputs[k]) continue;
        const auto [o0, o1] = member.share(network_.widths[k]);
        touch(layout_.weights(k) + o0 * layout_.row(k),
              member.id + 1 == member.size ? end_of(k) : layout_.weights(k) + o1 * layout_.row(k));
      }
    });
    const std::int64_t l2_bytes = options.hierarchy.capacity_bytes("L2", 512 << 10);
    const std::int64_t data_bytes = train_.x_bytes();
    // Two chunks of it and some room, or what is fetched would push out what is worked on.
    fetch_data_ = plan_.groups == threads_ && data_bytes / threads_ > l2_bytes / 2 &&
                  2 * plan_.chunk_panels * train_.x_panel * 4 <= l2_bytes * 9 / 10;
  }

  double train(const int* batches, std::int64_t count) override {
    const AdamSchedule start = schedule_;
    run_team(threads_, [&](const TeamMember& member) {
      const Place place = place_of(member);
      double& loss = threads_own_[member.id].loss;
      loss = 0;
      AdamSchedule schedule = start;
      for (std::int64_t s = 0; s < count; ++s) {
        const int batch = batches[s];
        const auto first_of = [&](int next) { return place.among_groups.share(train_.panels(next)).first; };
        const auto [first, last] = place.among_groups.share(train_.panels(batch));
        long p = first;
        do {  // once at least: a group without rows still owes a gradient of zeros
          const long next = std::min(last, p + plan_.chunk_panels);
          // The data of a chunk to come, while this one is worked on.
          const float* data_to_come = !fetch_data_  ? nullptr
                                      : next < last ? layer_input(train_, batch, next, 0)
                                      : s + 1 < count
                                          ? layer_input(train_, batches[s + 1], first_of(batches[s + 1]), 0)
                                          : nullptr;
          loss += forward(place, train_, batch, p, next, true, nullptr);
          backward(place, batch, p, next, p > first, threads_own_[member.id].turned.data(), data_to_come);
          p = next;
        } while (p < last);
        const AdamStep step = schedule.next();
        member.wait();
        for (int k = 0; k < network_.depth(); ++k)
          if (plan_.by_outputs[k]) update_outputs(member, batch, k, step);
        each_share(member, [&](std::int64_t from, std::int64_t to) {
          kernels_.adam(step, from, to, gradients_.data(), plan_.groups, layout_.size(), weights_.data(),
                        first_moment_.data(), second_moment_.data());
        });
        member.wait();
      }
      if (member.id == 0) schedule_ = schedule;
    });
    double loss = 0;
    for (const ThreadOwn& own : threads_own_) loss += own.loss;
    return loss / static_cast<double>(count);
  }

  reference::Evaluation evaluate(Split split) override {
    const PanelData& data = data_of(split);
    std::vector<double> loss(threads_), right(threads_);
    run_team(threads_, [&](const TeamMember& member) {
      const Place place = place_of(member);
      for (int b = 0; b < data.batches; ++b) {
        const auto [first, last] = place.among_groups.share(data.panels(b));
        double hits = 0;
        loss[member.id] += data.rows[b] * forward(place, data, b, first, last, false, &hits);
        right[member.id] += data.rows[b] * hits;
        member.wait();  // a partial batch is shared out otherwise: its panels may still be another's
      }
    });
    return evaluation(data, loss, right);
  }

 private:
  /// Where a thread stands: its group among the groups, who share out the panels, and itself inside.
  struct Place {
    TeamMember among_groups, inside;
    bool is_last() const { return inside.id + 1 == inside.size; }
  };
  Place place_of(const TeamMember& member) {
    const GroupPlace at = group_of(member.id, member.size, plan_.groups);
    return {{at.group, plan_.groups, nullptr}, {at.id, at.size, &meetings_[at.group]}};
  }
  float* gradient_of(const Place& place) {
    return gradients_.data() + place.among_groups.id * layout_.size();
  }

  struct alignas(64) ThreadOwn {  // the next thread's loss is on another cache line
    double loss = 0;
    AlignedFloats scratch;  ///< a block of a gradient by outputs, its bias part last
    AlignedFloats turned;   ///< inputs of a layer, for kernels that want them batch-major
  };

  std::int64_t end_of(int layer) const {
    return layer + 1 < network_.depth() ? layout_.weights(layer + 1) : layout_.size();
  }
  /// This member's share of the parameters whose gradients go by rows, as floats [first, last): of every
  /// piece of a run a part, for what backward left last, the first layers, is still in L2 and the rest is
  /// not (2^18 parameters in 20 layers, two cores, halves of the whole: one core's Adam took 137 us, the
  /// other's 214). Parts end on cache-line boundaries: no line is written by two threads.
  template <typename Visit>
  void each_share(const TeamMember& member, const Visit& visit) const {
    constexpr std::int64_t kPiece = 16384, kLine = 16;
    for (const auto& run : by_rows_)
      for (std::int64_t at = run.first; at < run.last; at += kPiece) {
        const auto [first, last] = member.share(std::min(kPiece, run.last - at) / kLine);
        visit(at + first * kLine, at + last * kLine);
      }
  }
  const float* layer_input(const PanelData& data, int batch, long panel, int layer) const {
    if (layer > 0) return space_.layers[layer - 1].activation + panel * space_.layers[layer - 1].stride;
    return data.x(batch, panel);
  }
  std::int64_t input_stride(const PanelData& data, int layer) const {
    return layer > 0 ? space_.layers[layer - 1].stride : data.x_panel;
  }
  /// Panels [first, last) of one batch, the group's, to the (weighted) loss of this member's of them, layer
  /// by layer: a layer's weights stay near while the panels go by.
  double forward(const Place& place, const PanelData& data, int batch, long first, long last, bool gradient,
                 double* right) {
    for (int k = 0; k < network_.depth(); ++k) {
      Workspace::Layer& layer = space_.layers[k];
      const auto [o0, o1] = place.inside.share(network_.widths[k]);
      const std::int64_t mine = first * layer.stride + o0 * kernels_.lanes;
      PanelForward work{};
      work.inputs = network_.input_width(k);
      work.outputs = static_cast<int>(o1 - o0);
      work.panels = static_cast<int>(last - first);
      work.weights = weights_.data() + layout_.weights(k) + o0 * layout_.row(k);
      work.weights_row = layout_.row(k);
      work.bias = weights_.data() + layout_.biases(k) + o0;
      work.in = layer_input(data, batch, first, k);
      work.in_stride = input_stride(data, k);
      work.out = layer.activation + mine;
      work.out_stride = layer.stride;
      work.relu = !network_.is_output(k);
      if (network_.adds_input(k)) {
        work.addend = work.in + o0 * kernels_.lanes;
        work.before = layer.before + mine;
      }
      work.weight_block_bytes = plan_.weight_block_bytes;
      if (work.outputs > 0) kernels_.forward(work);
      place.inside.wait();
    }
    Workspace::Layer& output = space_.layers.back();
    const auto [from, to] = place.inside.share(last - first);
    const double loss =
        data.loss(kernels_, network_.task, network_.outputs(), batch, first + from, first + to,
                  output.activation + (first + from) * output.stride, output.stride, gradient, right);
    if (gradient) place.inside.wait();
    return loss;
  }

  PanelGradient gradient_work(int batch, long first, long last, int layer) const {
    PanelGradient work{};
    work.inputs = network_.input_width(layer);
    work.outputs = network_.widths[layer];
    work.panels = static_cast<int>(last - first);
    work.delta_stride = space_.layers[layer].stride;
    work.delta = space_.layers[layer].delta + first * work.delta_stride;
    work.in = layer_input(train_, batch, first, layer);
    work.in_stride = input_stride(train_, layer);
    work.gradient_row = layout_.row(layer);
    return work;
  }

  /// Back through panels [first, last), the group's; the gradients by rows go to the group's copy.
  void backward(const Place& place, int batch, long first, long last, bool accumulate, float* turned,
                const float* data_to_come) {
    for (int k = network_.depth() - 1; k >= 0; --k) {
      Workspace::Layer& layer = space_.layers[k];
      const auto [o0, o1] = place.inside.share(network_.widths[k]);
      if (!plan_.by_outputs[k] && o0 < o1) {
        PanelGradient work = gradient_work(batch, first, last, k);
        work.outputs = static_cast<int>(o1 - o0);
        work.delta += o0 * kernels_.lanes;
        work.gradient = gradient_of(place) + layout_.weights(k) + o0 * layout_.row(k);
        work.bias_gradient = gradient_of(place) + layout_.biases(k) + o0;
        work.accumulate = accumulate;
        if (k == 0) work.next_in = data_to_come;
        if (plan_.turned[k]) {
          kernels_.turn_inputs(work, turned);
          kernels_.outer_gradient(work, turned);
        } else {
          kernels_.weight_gradient(work);
        }
      }
      if (k == 0) break;  // nobody wants the gradient at the data
      Workspace::Layer& below = space_.layers[k - 1];
      const auto [i0, i1] = place.inside.share(network_.input_width(k));
      const std::int64_t at = first * below.stride + i0 * kernels_.lanes;
      PanelBackward work{};
      work.inputs = static_cast<int>(i1 - i0);
      work.outputs = network_.widths[k];
      work.panels = static_cast<int>(last - first);
      work.weights = weights_.data() + layout_.weights(k) + i0;
      work.weights_row = layout_.row(k);
      work.delta = layer.delta + first * layer.stride;
      work.delta_stride = layer.stride;
      work.out = below.delta + at;
      work.out_stride = below.stride;
      work.mask = (network_.adds_input(k - 1) ? below.before : below.activation) + at;
      work.mask_stride = below.stride;
      work.addend = network_.adds_input(k)
                        ? layer.output_gradient + first * layer.stride + i0 * kernels_.lanes
                        : nullptr;
      work.before = network_.adds_input(k - 1) ? below.output_gradient + at : nullptr;
      work.weight_block_bytes = plan_.weight_block_bytes;
      if (work.inputs > 0) kernels_.backward(work);
      place.inside.wait();
    }
  }

  /// This member's outputs of a layer's gradient over the whole batch, block by block, each consumed by Adam
  /// while it is in L2.
  void update_outputs(const TeamMember& member, int batch, int layer, const AdamStep& step) {
    float *scratch = threads_own_[member.id].scratch.data(), *turned = threads_own_[member.id].turned.data();
    const PanelGradient all = gradient_work(batch, 0, train_.panels(batch), layer);
    const auto [block_outputs, block_inputs] = plan_.gradient_block(all.inputs, kernels_);
    float* bias_gradient = scratch + block_outputs * block_inputs;
    const auto adam = [&](std::int64_t at, const float* gradient, std::int64_t count) {
      kernels_.adam(step, 0, count, gradient, 1, 0, weights_.data() + at, first_moment_.data() + at,
                    second_moment_.data() + at);
    };
    if (plan_.turned[layer]) kernels_.turn_inputs(all, turned);
    const auto [first, last] = member.share(network_.widths[layer]);
    for (long o = first; o < last; o += block_outputs)
      for (int i = 0; i < all.inputs; i += block_inputs) {
        PanelGradient work = all;
        work.outputs = static_cast<int>(std::min<long>(block_outputs, last - o));
        work.delta += o * kernels_.lanes;
        work.inputs = std::min(block_inputs, all.inputs - i);
        work.in += static_cast<std::int64_t>(i) * kernels_.lanes;
        work.gradient = scratch;
        work.gradient_row = block_inputs;
        work.bias_gradient = i == 0 ? bias_gradient : nullptr;
        if (plan_.turned[layer])
          kernels_.outer_gradient(work, turned + static_cast<std::int64_t>(i) * all.panels * kernels_.lanes);
        else
          kernels_.weight_gradient(work);
        // Fetching the next row's pieces meanwhile, and Adam slice by slice between the next tile's products,
        // were tried: no gain.
        for (int r = 0; r < work.outputs; ++r)
          adam(layout_.weights(layer) + (o + r) * layout_.row(layer) + i, scratch + r * block_inputs,
               work.inputs);
        if (i == 0) adam(layout_.biases(layer) + o, bias_gradient, work.outputs);
      }
  }

  FusedPlan plan_;
  bool fetch_data_ = false;  ///< the data does not stay in L2: the next chunk's is fetched during this one
  Workspace space_;
  std::deque<SpinBarrier> meetings_;        ///< of each group
  AlignedFloats gradients_;                 ///< one flat copy a group; only where gradients go by rows
  std::vector<TeamMember::Range> by_rows_;  ///< runs of layers whose gradients go by rows, in floats
  std::vector<ThreadOwn> threads_own_;
};

}  // namespace

int choose_fused_threads(const Network& network, std::int64_t train_rows, const EngineOptions& options) {
  return threads_that_pay(network, options.isa, options.whole_batch(train_rows), options.hierarchy);
}

std::unique_ptr<CpuEngine> make_fused_engine(const Network& network, const Dataset& data,
                                             const EngineOptions& options) {
  EngineOptions decided = options;
  if (decided.threads <= 0) decided.threads = choose_fused_threads(network, data.train_rows(), options);
  if (splits_hidden_layer(network, decided.threads, options.whole_batch(data.train_rows()),
                          options.hierarchy))
    return make_one_hidden_engine(network, data, decided);
  return std::make_unique<FusedEngine>(network, data, decided);
}

}  // namespace mlpwatt

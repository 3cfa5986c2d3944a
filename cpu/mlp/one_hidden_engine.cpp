// The fused engine of networks with one hidden layer on few inputs and outputs. Such a layer is as wide as
// the network is large (55,000 units at 2^20 parameters on 11 inputs): a batch of its activations is far
// larger than its weights, and written and read layer by layer it would be what the step waits for. Here each
// thread owns some of the hidden units and takes them through forward and back a block at a time:
//
//   forward   a block's activations of a few panels, in L1, and their part of the logits, at once
//   barrier   the threads' parts meet; each thread adds them and works out the loss for itself
//   backward  a block's activations again, where that is quicker than to fetch them from L3 (it takes as many
//             multiply-adds as there are inputs), their gradient, the gradients of the block's weights on
//             either side over the whole batch, and Adam
//
// A unit's weights, moments and gradients are nobody else's: none crosses from core to core (but for a line
// that neighbours may share in each row of the output layer), there are no copies to add up, and one barrier
// a step is enough.

#include <algorithm>

#include "cpu/mlp/fused_plan.h"
#include "cpu/mlp/panel_engine.h"
#include "cpu/team.h"

namespace mlpwatt {
namespace {

class OneHiddenEngine : public PanelEngine {
 public:
  OneHiddenEngine(const Network& network, const Dataset& data, const EngineOptions& options)
      : PanelEngine(network, data, options),
        plan_(make_one_hidden_plan(network, kernels_, threads_, rows_, options.hierarchy)),
        logits_stride_(static_cast<std::int64_t>(spread_rows(network.outputs())) * kernels_.lanes) {
    own_.resize(threads_);
    for (int id = 0; id < threads_; ++id) {
      const int kept = plan_.keeps_hidden ? units_of({id, threads_, nullptr}).size() : block();
      Own& own = own_[id];
      own.hidden_stride = static_cast<std::int64_t>(spread_rows(kept)) * kernels_.lanes;
      own.delta_stride = static_cast<std::int64_t>(spread_rows(block())) * kernels_.lanes;
      own.hidden = AlignedFloats::untouched(panels_ * own.hidden_stride);
      own.delta = AlignedFloats::untouched(panels_ * own.delta_stride);
      own.gradient = AlignedFloats::untouched(block() * (network_.inputs + 1 + outputs()) + outputs());
      for (AlignedFloats* logits : {&own.logits_parts[0], &own.logits_parts[1], &own.logits})
        *logits = AlignedFloats::untouched(panels_ * logits_stride_);
    }
    run_team(threads_, [&](const TeamMember& member) {
      const Units units = units_of(member);
      // what this thread will use lies in its memory
      Own& own = own_[member.id];
      for (AlignedFloats* floats :
           {&own.hidden, &own.delta, &own.gradient, &own.logits_parts[0], &own.logits_parts[1], &own.logits})
        std::fill_n(floats->data(), floats->size(), 0.0f);
      touch(layout_.weights(0) + units.first * layout_.row(0),
            units.last == hidden_units() ? layout_.biases(0)
                                         : layout_.weights(0) + units.last * layout_.row(0));
      touch(layout_.biases(0) + units.first,
            units.last == hidden_units() ? layout_.weights(1) : layout_.biases(0) + units.last);
      for (int o = 0; o < outputs(); ++o)
        touch(layout_.weights(1) + o * layout_.row(1) + units.first,
              layout_.weights(1) + o * layout_.row(1) + units.last);
      if (owns_output_bias(member)) touch(layout_.weights(1) + outputs() * layout_.row(1), layout_.size());
    });
  }

  double train(const int* batches, std::int64_t count) override {
    double total = 0;
    const AdamSchedule start = schedule_;
    run_team(threads_, [&](const TeamMember& member) {
      double loss = 0;
      AdamSchedule schedule = start;
      for (std::int64_t s = 0; s < count; ++s) {
        const int batch = batches[s], buffer = static_cast<int>(s & 1);
        const AdamStep step = schedule.next();
        forward(train_, batch, member, buffer);
        member.wait();
        loss += output(train_, batch, 0, train_.panels(batch), member, buffer, true, nullptr);
        backward(batch, member, step);
      }
      if (member.id == 0) schedule_ = schedule, total = loss;
    });
    return total / static_cast<double>(count);
  }

  reference::Evaluation evaluate(Split split) override {
    const PanelData& data = data_of(split);
    std::vector<double> loss(threads_), right(threads_);
    run_team(threads_, [&](const TeamMember& member) {
      for (int b = 0; b < data.batches; ++b) {
        forward(data, b, member, b & 1);
        member.wait();
        const auto [first, last] = member.share(data.panels(b));
        double hits = 0;
        loss[member.id] += data.rows[b] * output(data, b, first, last, member, b & 1, false, &hits);
        right[member.id] += data.rows[b] * hits;
      }
    });
    return evaluation(data, loss, right);
  }

 private:
  struct Units {
    int first, last;
    int size() const { return last - first; }
  };
  struct alignas(64) Own {
    AlignedFloats hidden;  ///< activations, panel by panel: of all its units, or of a block
    AlignedFloats delta;   ///< gradient at a block's pre-activations, as hidden
    std::int64_t hidden_stride = 0, delta_stride = 0;
    /// Its units' part of the logits. Two, for a thread may be in the next step while another still adds up.
    AlignedFloats logits_parts[2];
    AlignedFloats logits;  ///< of all, then the gradient at them
    AlignedFloats gradient;
  };

  int outputs() const { return network_.outputs(); }
  int hidden_units() const { return network_.widths[0]; }
  int block() const { return plan_.block_units; }
  Units units_of(const TeamMember& member) const {
    const auto [first, last] = member.share((hidden_units() + kUnitsOfALine - 1) / kUnitsOfALine);
    return {static_cast<int>(first) * kUnitsOfALine,
            std::min(hidden_units(), static_cast<int>(last) * kUnitsOfALine)};
  }
  /// The last member, for it has units, however few there are.
  static bool owns_output_bias(const TeamMember& member) { return member.id + 1 == member.size; }
  /// Blocks of whole tiles, `most` units at most, as equal as that goes.
  template <typename Visit>
  void each_block(const Units& units, int most, const Visit& visit) const {
    const int blocks = std::max(1, (units.size() + most - 1) / most), tile = kernels_.rows;
    const int size = ((units.size() + blocks - 1) / blocks + tile - 1) / tile * tile;
    for (int u = units.first; u < units.last; u += size) visit(Units{u, std::min(units.last, u + size)});
  }
  float* hidden_of(Own& own, const Units& all, const Units& block) const {
    return own.hidden.data() + (plan_.keeps_hidden ? (block.first - all.first) * kernels_.lanes : 0);
  }

  /// Activations of a block of units for panels [first, last), to panels from `out` on.
  void hidden_forward(const PanelData& data, int batch, long first, long last, const Units& block, float* out,
                      std::int64_t out_stride) const {
    PanelForward work{};
    work.inputs = network_.inputs;
    work.outputs = block.size();
    work.panels = static_cast<int>(last - first);
    work.weights = weights_.data() + layout_.weights(0) + block.first * layout_.row(0);
    work.weights_row = layout_.row(0);
    work.bias = weights_.data() + layout_.biases(0) + block.first;
    work.in = data.x(batch, first);
    work.in_stride = data.x_panel;
    work.out = out;
    work.out_stride = out_stride;
    work.relu = true;
    work.weight_block_bytes = plan_.weight_block_bytes;
    kernels_.forward(work);
  }

  /// This member's part of a batch's logits.
  void forward(const PanelData& data, int batch, const TeamMember& member, int buffer) {
    Own& own = own_[member.id];
    const Units units = units_of(member);
    float* logits = own.logits_parts[buffer].data();
    const float* bias = owns_output_bias(member) ? weights_.data() + layout_.biases(1) : nullptr;
    const int panels = data.panels(batch);
    for (int p = 0; p < panels; ++p)
      for (int o = 0; o < outputs(); ++o)
        std::fill_n(logits + p * logits_stride_ + o * kernels_.lanes, kernels_.lanes, bias ? bias[o] : 0.0f);
    each_block(units, plan_.near_units, [&](const Units& block) {
      for (int p = 0; p < panels; p += plan_.near_panels) {
        const int together = std::min(plan_.near_panels, panels - p);
        float* hidden = hidden_of(own, units, block) + (plan_.keeps_hidden ? p * own.hidden_stride : 0);
        hidden_forward(data, batch, p, p + together, block, hidden, own.hidden_stride);
        PanelForward work{};
        work.inputs = block.size();
        work.outputs = outputs();
        work.panels = together;
        work.weights = weights_.data() + layout_.weights(1) + block.first;
        work.weights_row = layout_.row(1);
        work.accumulate = true;
        work.in = hidden;
        work.in_stride = own.hidden_stride;
        work.out = logits + p * logits_stride_;
        work.out_stride = logits_stride_;
        work.weight_block_bytes = plan_.weight_block_bytes;
        kernels_.forward(work);
      }
    });
  }

  /// The logits of panels [first, last) from everybody's parts, in the threads' order, and their loss; with
  /// `gradient`, the gradient at them is left in this thread's logits.
  double output(const PanelData& data, int batch, long first, long last, const TeamMember& member, int buffer,
                bool gradient, double* right) {
    Own& own = own_[member.id];
    const std::int64_t count = static_cast<std::int64_t>(outputs()) * kernels_.lanes;
    for (long p = first; p < last; ++p) {
      float* sum = own.logits.data() + p * logits_stride_;
      std::copy_n(own_[0].logits_parts[buffer].data() + p * logits_stride_, count, sum);
      for (int t = 1; t < threads_; ++t) {
        const float* part = own_[t].logits_parts[buffer].data() + p * logits_stride_;
        for (std::int64_t i = 0; i < count; ++i) sum[i] += part[i];
      }
    }
    return data.loss(kernels_, network_.task, outputs(), batch, first, last,
                     own.logits.data() + first * logits_stride_, logits_stride_, gradient, right);
  }

  /// Gradients and Adam of this member's units, and of the output biases if they are its.
  void backward(int batch, const TeamMember& member, const AdamStep& step) {
    Own& own = own_[member.id];
    const Units units = units_of(member);
    const int panels = train_.panels(batch);
    const auto adam = [&](std::int64_t at, const float* gradient, std::int64_t count) {
      kernels_.adam(step, 0, count, gradient, 1, 0, weights_.data() + at, first_moment_.data() + at,
                    second_moment_.data() + at);
    };
    each_block(units, block(), [&](const Units& block) {
      const int size = block.size();
      float* hidden = hidden_of(own, units, block);
      if (!plan_.keeps_hidden) hidden_forward(train_, batch, 0, panels, block, hidden, own.hidden_stride);
      PanelBackward back{};
      back.inputs = size;
      back.outputs = outputs();
      back.panels = panels;
      back.weights = weights_.data() + layout_.weights(1) + block.first;
      back.weights_row = layout_.row(1);
      back.delta = own.logits.data();
      back.delta_stride = logits_stride_;
      back.out = own.delta.data();
      back.out_stride = own.delta_stride;
      back.mask = hidden;
      back.mask_stride = own.hidden_stride;
      back.weight_block_bytes = plan_.weight_block_bytes;
      kernels_.backward(back);

      float* out_gradient = own.gradient.data();
      PanelGradient outwards{};
      outwards.inputs = size;
      outwards.outputs = outputs();
      outwards.panels = panels;
      outwards.delta = own.logits.data();
      outwards.delta_stride = logits_stride_;
      outwards.in = hidden;
      outwards.in_stride = own.hidden_stride;
      outwards.gradient = out_gradient;
      outwards.gradient_row = size;
      float* output_bias = out_gradient + outputs() * size;
      const bool with_bias = owns_output_bias(member) && block.last == units.last;
      if (with_bias) outwards.bias_gradient = output_bias;
      kernels_.weight_gradient(outwards);

      float* in_gradient = output_bias + outputs();
      PanelGradient inwards{};
      inwards.inputs = network_.inputs;
      inwards.outputs = size;
      inwards.panels = panels;
      inwards.delta = own.delta.data();
      inwards.delta_stride = own.delta_stride;
      inwards.in = train_.x(batch, 0);
      inwards.in_stride = train_.x_panel;
      inwards.gradient = in_gradient;
      inwards.gradient_row = layout_.row(0);
      inwards.bias_gradient = in_gradient + size * layout_.row(0);
      kernels_.weight_gradient(inwards);

      for (int o = 0; o < outputs(); ++o)
        adam(layout_.weights(1) + o * layout_.row(1) + block.first, out_gradient + o * size, size);
      if (with_bias) adam(layout_.biases(1), output_bias, outputs());
      adam(layout_.weights(0) + block.first * layout_.row(0), in_gradient, size * layout_.row(0));
      adam(layout_.biases(0) + block.first, inwards.bias_gradient, size);
    });
  }

  OneHiddenPlan plan_;
  std::int64_t logits_stride_;
  std::vector<Own> own_;
};

}  // namespace

std::unique_ptr<CpuEngine> make_one_hidden_engine(const Network& network, const Dataset& data,
                                                  const EngineOptions& options) {
  return std::make_unique<OneHiddenEngine>(network, data, options);
}

}  // namespace mlpwatt

// The blocked engine: activations batch-major [rows x width], weights [in x out]; every layer is three
// packed, cache-blocked matrix products. Bias + ReLU end the forward product, the ReLU mask the input
// gradient's, Adam the weight gradient's: its tile is consumed in L1 and never stored.

#include <algorithm>
#include <cmath>
#include <map>
#include <stdexcept>

#include "cpu/gemm/gemm.h"
#include "cpu/mlp/flat_engine.h"
#include "cpu/team.h"

namespace mlpwatt {
namespace {

/// A split as it lies in the dataset: row-major, batches one after another.
struct RowData {
  int features = 0, outputs = 0, batch = 0, batches = 0;
  std::int64_t count = 0;
  AlignedFloats x, y;

  RowData(const Dataset& data, Split split, int batch_rows)
      : features(data.info.features), outputs(data.info.outputs), batch(batch_rows) {
    const std::int64_t first = split == Split::kTrain ? 0 : data.train_rows();
    count = split == Split::kTrain ? data.train_rows() : data.test_rows;
    batches = static_cast<int>((count + batch - 1) / batch);
    x = AlignedFloats(count * features + 64);  // the product may read one vector past the end
    y = AlignedFloats(count * outputs);
    std::copy_n(data.x.data() + first * features, count * features, x.data());
    std::copy_n(data.y.data() + first * outputs, count * outputs, y.data());
  }
  int rows(int b) const {
    return static_cast<int>(std::min<std::int64_t>(batch, count - std::int64_t{b} * batch));
  }
  const float* x_of(int b) const { return x.data() + std::int64_t{b} * batch * features; }
  const float* y_of(int b) const { return y.data() + std::int64_t{b} * batch * outputs; }
};

/// The products of one batch size.
struct Plans {
  std::vector<Gemm> forward, input_gradient, weight_gradient;  ///< input_gradient[k] belongs to layer k + 1
  Plans(const Network& network, int rows, bool trains, Isa isa, int threads, const Hierarchy& hierarchy) {
    for (int k = 0; k < network.depth(); ++k) {
      const std::int64_t in = network.input_width(k), out = network.widths[k];
      forward.emplace_back(GemmProblem{GemmLayout::kNN, rows, out, in}, isa, threads, hierarchy);
      if (!trains) continue;
      if (k > 0)
        input_gradient.emplace_back(GemmProblem{GemmLayout::kNT, rows, in, out}, isa, threads, hierarchy);
      weight_gradient.emplace_back(GemmProblem{GemmLayout::kTN, in, out, rows}, isa, threads, hierarchy);
    }
  }
};

class BlockedEngine : public FlatEngine {
 public:
  BlockedEngine(const Network& network, const Dataset& data, const EngineOptions& options)
      : FlatEngine(network, WeightOrder::kInOut, options, fused_kernels(options.isa),
                   options.threads > 0 ? options.threads : options.hierarchy.cores, kSpare),
        train_(data, Split::kTrain, options.batch),
        test_(data, Split::kTest, options.batch) {
    std::fill_n(weights_.data() + layout_.size(), kSpare, 0.0f);
    bias_gradient_ = AlignedFloats(*std::max_element(network.widths.begin(), network.widths.end()));
    const int largest = std::max(train_.rows(0), test_.batches > 0 ? test_.rows(0) : 0);
    for (int k = 0; k < network.depth(); ++k) {
      const std::int64_t floats = std::int64_t{largest} * network.widths[k] + 64;
      layers_.emplace_back();
      layers_[k].activation = AlignedFloats::untouched(floats);
      layers_[k].delta = AlignedFloats::untouched(floats);
      if (network.adds_input(k)) {
        layers_[k].before = AlignedFloats::untouched(floats);
        layers_[k].output_gradient = AlignedFloats::untouched(floats);
      }
    }
    // First touch by whoever will mostly work on it: products share out rows before columns.
    run_team(threads_, [&](const TeamMember& member) {
      const TeamMember::Range mine = member.share(layout_.size());
      touch(mine.first, mine.last);
      for (Layer& layer : layers_)
        for (AlignedFloats* floats :
             {&layer.activation, &layer.delta, &layer.before, &layer.output_gradient}) {
          const auto [first, last] = member.share(static_cast<long>(floats->size()));
          std::fill(floats->data() + first, floats->data() + last, 0.0f);
        }
    });
    const auto plan = [&](const RowData& split, bool trains) {
      for (int b = 0; b < split.batches; ++b) {
        auto& entry = plans_[split.rows(b)];
        if (!entry || (trains && entry->weight_gradient.empty()))
          entry = std::make_unique<Plans>(network, split.rows(b), trains, options.isa, threads_,
                                          options.hierarchy);
      }
    };
    plan(train_, true);
    plan(test_, false);
    panel_scratch_ = AlignedFloats(std::int64_t{threads_} * panel_floats());
    loss_.resize(threads_ * kApart);
    right_.resize(threads_ * kApart);
    train_batches_ = train_.batches;
  }

  const char* algorithm() const override { return "blocked"; }
  /// Of the products; the loss and Adam must not be of another.
  Isa isa() const override {
    const Isa products = plans_.begin()->second->forward.front().kernels().isa;
    if (products != kernels_.isa) throw std::logic_error("a blocked engine of two instruction sets");
    return products;
  }

  double train(const int* batches, std::int64_t count) override {
    std::fill(loss_.begin(), loss_.end(), 0.0);
    const AdamSchedule start = schedule_;
    run_team(threads_, [&](const TeamMember& member) {
      AdamSchedule schedule = start;
      for (std::int64_t s = 0; s < count; ++s) {
        const int batch = batches[s];
        Plans& plans = *plans_.at(train_.rows(batch));
        forward(member, plans, train_, batch);
        loss(member, train_, batch, true);
        backward(member, plans, batch, schedule.next());
      }
      if (member.id == 0) schedule_ = schedule;
    });
    double total = 0;
    for (int t = 0; t < threads_; ++t) total += loss_[t * kApart];
    return total / static_cast<double>(count);
  }

  reference::Evaluation evaluate(Split split) override {
    const RowData& data = split == Split::kTrain ? train_ : test_;
    double total = 0, hits = 0;
    run_team(threads_, [&](const TeamMember& member) {
      for (int b = 0; b < data.batches; ++b) {
        if (member.id == 0) {
          std::fill(loss_.begin(), loss_.end(), 0.0);
          std::fill(right_.begin(), right_.end(), 0.0);
        }
        member.wait();
        forward(member, *plans_.at(data.rows(b)), data, b);
        loss(member, data, b, false);
        if (member.id == 0)
          for (int t = 0; t < threads_; ++t) {
            total += data.rows(b) * loss_[t * kApart];
            hits += data.rows(b) * right_[t * kApart];
          }
        member.wait();
      }
    });
    const auto rows = static_cast<double>(data.count);
    return {total / rows, network_.task == Task::kRegression ? std::nan("") : hits / rows};
  }

 private:
  struct Layer {
    AlignedFloats activation;       ///< [rows x width]; the last layer's holds logits
    AlignedFloats delta;            ///< gradient at the pre-activation
    AlignedFloats before;           ///< residual layers: activation before the addend
    AlignedFloats output_gradient;  ///< residual layers: gradient at the output
  };
  static constexpr int kSpare = 64;  // floats: a product may read one vector past the end
  static constexpr int kApart = 8;   // doubles to the next thread's slot: its own cache line

  const float* layer_input(const RowData& data, int batch, int layer) const {
    return layer > 0 ? layers_[layer - 1].activation.data() : data.x_of(batch);
  }

  void forward(const TeamMember& member, Plans& plans, const RowData& data, int batch) {
    for (int k = 0; k < network_.depth(); ++k) {
      const int in = network_.input_width(k), out = network_.widths[k];
      Epilogue epilogue;
      epilogue.kind = Epilogue::Kind::kForward;
      epilogue.bias = weights_.data() + layout_.biases(k);
      epilogue.relu = !network_.is_output(k);
      if (network_.adds_input(k)) {
        epilogue.addend = layer_input(data, batch, k);
        epilogue.addend_ld = out;
        epilogue.before = layers_[k].before.data();
        epilogue.before_ld = out;
      }
      plans.forward[k].run(member, layer_input(data, batch, k), in, weights_.data() + layout_.weights(k), out,
                           layers_[k].activation.data(), out, epilogue);
      member.wait();
    }
  }

  std::int64_t panel_floats() const {
    return 2 * std::int64_t{network_.outputs()} * kernels_.lanes + kernels_.lanes;
  }

  /// Logits [rows x outputs] are turned into panels, so that both engines share one loss.
  void loss(const TeamMember& member, const RowData& data, int batch, bool gradient) {
    const int rows = data.rows(batch), outputs = network_.outputs(), lanes = kernels_.lanes;
    const float* logits = layers_.back().activation.data();
    const float* target = data.y_of(batch);
    float* delta = layers_.back().delta.data();
    float* panel = panel_scratch_.data() + member.id * panel_floats();
    float* panel_target = panel + outputs * lanes;
    float* weight = panel_target + outputs * lanes;
    const auto [first, last] = member.share((rows + lanes - 1) / lanes);
    for (long p = first; p < last; ++p) {
      const int here = static_cast<int>(std::min<long>(lanes, rows - p * lanes));
      for (int lane = 0; lane < lanes; ++lane) {
        weight[lane] = lane < here ? 1.0f / static_cast<float>(rows) : 0.0f;
        const std::int64_t row = (p * lanes + std::min(lane, here - 1)) * outputs;
        for (int o = 0; o < outputs; ++o) {
          panel[o * lanes + lane] = logits[row + o];
          panel_target[o * lanes + lane] = target[row + o];
        }
      }
      float hits = 0;
      loss_[member.id * kApart] += kernels_.loss(network_.task, outputs, panel, panel_target, weight,
                                                 gradient, gradient ? nullptr : &hits);
      right_[member.id * kApart] += hits;
      if (gradient)
        for (int lane = 0; lane < here; ++lane)
          for (int o = 0; o < outputs; ++o) delta[(p * lanes + lane) * outputs + o] = panel[o * lanes + lane];
    }
    member.wait();
  }

  void backward(const TeamMember& member, Plans& plans, int batch, const AdamStep& step) {
    const int rows = train_.rows(batch);
    for (int k = network_.depth() - 1; k >= 0; --k) {
      const int in = network_.input_width(k), out = network_.widths[k];
      float* weights = weights_.data() + layout_.weights(k);
      const float* delta = layers_[k].delta.data();
      if (k > 0) {  // nobody wants the gradient at the data
        Layer& below = layers_[k - 1];
        Epilogue epilogue;
        epilogue.kind = Epilogue::Kind::kBackward;
        epilogue.mask = network_.adds_input(k - 1) ? below.before.data() : below.activation.data();
        epilogue.mask_ld = in;
        if (network_.adds_input(k)) {
          epilogue.addend = layers_[k].output_gradient.data();
          epilogue.addend_ld = in;
        }
        if (network_.adds_input(k - 1)) {
          epilogue.before = below.output_gradient.data();
          epilogue.before_ld = in;
        }
        plans.input_gradient[k - 1].run(member, delta, out, weights, out, below.delta.data(), in, epilogue);
        member.wait();  // the weights are about to change
      }
      Epilogue adam;
      adam.kind = Epilogue::Kind::kAdam;
      adam.adam = step;
      adam.first_moment = first_moment_.data() + layout_.weights(k);
      adam.second_moment = second_moment_.data() + layout_.weights(k);
      adam.moment_ld = out;
      plans.weight_gradient[k].run(member, layer_input(train_, batch, k), in, delta, out, weights, out, adam);
      // Bias gradient: column sums of delta, in shares of whole cache lines.
      const auto [line_first, line_last] = member.share((out + 15) / 16);
      const std::int64_t first = line_first * 16, last = std::min<std::int64_t>(line_last * 16, out);
      if (first < last) {
        kernels_.column_sums(rows, last - first, delta + first, out, bias_gradient_.data() + first);
        const std::int64_t b = layout_.biases(k);
        kernels_.adam(step, first, last, bias_gradient_.data(), 1, 0, weights_.data() + b,
                      first_moment_.data() + b, second_moment_.data() + b);
      }
      member.wait();
    }
  }

  RowData train_, test_;
  AlignedFloats bias_gradient_, panel_scratch_;
  std::vector<Layer> layers_;
  std::map<int, std::unique_ptr<Plans>> plans_;  ///< by rows
  std::vector<double> loss_, right_;
};

}  // namespace

std::unique_ptr<CpuEngine> make_blocked_engine(const Network& network, const Dataset& data,
                                               const EngineOptions& options) {
  return std::make_unique<BlockedEngine>(network, data, options);
}

}  // namespace mlpwatt

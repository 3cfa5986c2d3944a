// A straightforward trainer: every product is a call of the BLAS, everything between is a plain loop. What
// one writes who has a good BLAS and an afternoon.

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "cpu/aligned.h"
#include "cpu/team.h"
#include "harness/compare/learner.h"
#include "harness/protocol/clock.h"

namespace mlpwatt {
namespace {

/// Loops over fewer floats than this are over before a second thread has woken.
constexpr std::int64_t kWorthThreads = 1 << 15;

struct Layer {
  std::int64_t in = 0, out = 0;
  bool adds_input = false;
  AlignedFloats weights, biases;  // [in x out], [out]
  AlignedFloats weight_gradient, bias_gradient;
  AlignedFloats weight_m, weight_v, bias_m, bias_v;
  AlignedFloats activation;  // [batch x out]: what the next layer reads
  AlignedFloats relu;        // the same before the residual input was added; only where it is
  AlignedFloats delta;       // [batch x out]: gradient of the loss by the product
};

class BlasTrainer {
 public:
  BlasTrainer(const Lesson& lesson) : lesson_(lesson), rows_(lesson.batch), threads_(lesson.threads) {
    const Network& network = lesson.network;
    for (int k = 0; k < network.depth(); ++k) {
      Layer layer;
      layer.in = network.input_width(k), layer.out = network.widths[k];
      layer.adds_input = network.adds_input(k);
      for (AlignedFloats* a : {&layer.weights, &layer.weight_gradient, &layer.weight_m, &layer.weight_v})
        *a = AlignedFloats(layer.in * layer.out);
      for (AlignedFloats* a : {&layer.biases, &layer.bias_gradient, &layer.bias_m, &layer.bias_v})
        *a = AlignedFloats(layer.out);
      layer.activation = AlignedFloats(rows_ * layer.out);
      layer.delta = AlignedFloats(rows_ * layer.out);
      if (layer.adds_input) layer.relu = AlignedFloats(rows_ * layer.out);
      layers_.push_back(std::move(layer));
    }
    input_gradient_ = AlignedFloats(rows_ * widest());
  }

  void use(Blas& blas, int threads) {
    blas_ = &blas;
    threads_ = threads;
    blas.use_threads(threads);
  }

  void restart() {
    step_ = 0;
    for (std::size_t k = 0; k < layers_.size(); ++k) {
      Layer& l = layers_[k];
      for (std::int64_t o = 0; o < l.out; ++o) {
        for (std::int64_t i = 0; i < l.in; ++i)
          l.weights[i * l.out + o] = static_cast<float>(lesson_.initial.weights[k][o * l.in + i]);
        l.biases[o] = static_cast<float>(lesson_.initial.biases[k][o]);
      }
      for (AlignedFloats* a : {&l.weight_m, &l.weight_v, &l.bias_m, &l.bias_v})
        std::fill(a->data(), a->data() + a->size(), 0.0f);
    }
  }

  double forward(int batch) {
    const float* x = rows_of(lesson_.data->x, lesson_.network.inputs, batch);
    for (Layer& l : layers_) {
      blas_->gemm({GemmLayout::kNN, rows_, l.out, l.in}, x, l.weights.data(), l.activation.data());
      const bool hidden = &l != &layers_.back();
      float *a = l.activation.data(), *relu = l.adds_input ? l.relu.data() : nullptr;
      const float *bias = l.biases.data(), *input = x;
#pragma omp parallel for num_threads(threads_) if (rows_ * l.out >= kWorthThreads)
      for (std::int64_t r = 0; r < rows_; ++r)
        for (std::int64_t o = 0; o < l.out; ++o) {
          float value = a[r * l.out + o] + bias[o];
          if (hidden) value = value > 0 ? value : 0;
          if (relu != nullptr) {
            relu[r * l.out + o] = value;
            value += input[r * l.out + o];
          }
          a[r * l.out + o] = value;
        }
      x = a;
    }
    return loss_and_delta(batch);
  }

  void step(int batch) {
    const DenormalsAreZero here;  // of this thread; the loops that others share have their own
    forward(batch);
    ++step_;
    const reference::Adam& adam = lesson_.adam;
    const double t = static_cast<double>(step_);
    rate_ = static_cast<float>(adam.learning_rate * std::sqrt(1 - std::pow(adam.beta2, t)) /
                               (1 - std::pow(adam.beta1, t)));
    for (std::size_t k = layers_.size(); k-- > 0;) {
      Layer& l = layers_[k];
      const float* x =
          k == 0 ? rows_of(lesson_.data->x, lesson_.network.inputs, batch) : layers_[k - 1].activation.data();
      blas_->gemm({GemmLayout::kTN, l.in, l.out, rows_}, x, l.delta.data(), l.weight_gradient.data());
      std::fill(l.bias_gradient.data(), l.bias_gradient.data() + l.out, 0.0f);
      for (std::int64_t r = 0; r < rows_; ++r)
        for (std::int64_t o = 0; o < l.out; ++o) l.bias_gradient[o] += l.delta[r * l.out + o];
      if (k > 0) back(l, layers_[k - 1]);
      update(l.weights, l.weight_gradient, l.weight_m, l.weight_v);
      update(l.biases, l.bias_gradient, l.bias_m, l.bias_v);
    }
  }

 private:
  const float* rows_of(const std::vector<float>& values, std::int64_t width, int batch) const {
    return values.data() + std::int64_t{batch} * rows_ * width;
  }
  std::int64_t widest() const {
    std::int64_t most = 0;
    for (const Layer& l : layers_) most = std::max(most, l.in);
    return most;
  }

  /// Mean loss; its gradient by the last product into that layer's delta.
  double loss_and_delta(int batch) {
    Layer& last = layers_.back();
    const float* y = rows_of(lesson_.data->y, last.out, batch);
    const float share = 1.0f / static_cast<float>(rows_);
    double loss = 0;
    for (std::int64_t r = 0; r < rows_; ++r) {
      const float *z = last.activation.data() + r * last.out, *target = y + r * last.out;
      float* delta = last.delta.data() + r * last.out;
      if (lesson_.network.task == Task::kMulticlass) {
        const float most = *std::max_element(z, z + last.out);
        float sum = 0;
        for (std::int64_t o = 0; o < last.out; ++o) sum += delta[o] = std::exp(z[o] - most);
        for (std::int64_t o = 0; o < last.out; ++o) {
          loss -= target[o] * (z[o] - most - std::log(sum));
          delta[o] = (delta[o] / sum - target[o]) * share;
        }
      } else {
        const float p = 1 / (1 + std::exp(-z[0]));
        if (lesson_.network.task == Task::kBinary) {
          loss += std::max(z[0], 0.0f) - z[0] * target[0] + std::log1p(std::exp(-std::abs(z[0])));
          delta[0] = (p - target[0]) * share;
        } else {
          loss += (p - target[0]) * (p - target[0]);
          delta[0] = 2 * (p - target[0]) * p * (1 - p) * share;
        }
      }
    }
    return loss / static_cast<double>(rows_);
  }

  /// The layer below gets its delta: through the weights, plus what went past them, behind ReLU's mask.
  void back(const Layer& l, Layer& below) {
    float* gradient = input_gradient_.data();
    blas_->gemm({GemmLayout::kNT, rows_, l.in, l.out}, l.delta.data(), l.weights.data(), gradient);
    if (l.adds_input) {
      const float* past = past_.data();
      for (std::int64_t i = 0; i < rows_ * l.in; ++i) gradient[i] += past[i];
    }
    // a residual layer below passes its whole output gradient on to its own input
    if (below.adds_input) {
      if (past_.size() < static_cast<std::size_t>(rows_ * below.out))
        past_ = AlignedFloats(rows_ * below.out);
      std::copy(gradient, gradient + rows_ * below.out, past_.data());
    }
    const float* active = below.adds_input ? below.relu.data() : below.activation.data();
    float* delta = below.delta.data();
#pragma omp parallel for num_threads(threads_) if (rows_ * below.out >= kWorthThreads)
    for (std::int64_t i = 0; i < rows_ * below.out; ++i) delta[i] = active[i] > 0 ? gradient[i] : 0;
  }

  void update(AlignedFloats& weights, const AlignedFloats& gradients, AlignedFloats& first,
              AlignedFloats& second) {
    const float b1 = static_cast<float>(lesson_.adam.beta1), b2 = static_cast<float>(lesson_.adam.beta2);
    const float epsilon = static_cast<float>(lesson_.adam.epsilon), rate = rate_;
    float *w = weights.data(), *m = first.data(), *v = second.data();
    const float* g = gradients.data();
    const std::int64_t n = static_cast<std::int64_t>(weights.size());
#pragma omp parallel num_threads(threads_) if (n >= kWorthThreads)
    {
      const DenormalsAreZero here;  // as ours: a vanishing gradient must not be our gain
#pragma omp for simd
      for (std::int64_t i = 0; i < n; ++i) {
        m[i] = b1 * m[i] + (1 - b1) * g[i];
        v[i] = b2 * v[i] + (1 - b2) * g[i] * g[i];
        w[i] -= rate * m[i] / (std::sqrt(v[i]) + epsilon);
      }
    }
  }

  Lesson lesson_;
  std::int64_t rows_;
  int threads_;
  Blas* blas_ = nullptr;
  std::vector<Layer> layers_;
  AlignedFloats input_gradient_, past_;
  std::int64_t step_ = 0;
  float rate_ = 0;
};

class BlasLearner : public Learner {
 public:
  explicit BlasLearner(BlasLibraries& libraries) : libraries_(libraries) {
    name_ = "cxx_blas";
    library_ = libraries.found.size() == 1 ? libraries.found[0]->library() : "the quickest BLAS found";
  }
  std::string mode() const override { return "plain C++ on " + chosen_->library(); }
  std::map<std::string, std::string> facts() const override {
    return {{"threads", std::to_string(threads_)}, {"algorithm", mode()}};
  }
  void open(const Lesson& lesson) override {
    trainer_ = std::make_unique<BlasTrainer>(lesson);
    double least_s = INFINITY;
    chosen_ = nullptr;
    // The first pass also wakes each library's threads; of the others the least counts, over steps that a
    // clock and a neighbour's load can be told from.
    constexpr int kPasses = 4;
    constexpr double kLeast_s = 0.005;
    std::int64_t steps = 3;
    // One thread as well as all: small networks are quicker so, and ours chooses, too.
    std::vector<int> teams{lesson.threads};
    if (lesson.threads > 1) teams.push_back(1);
    std::vector<std::pair<Blas*, int>> ways;
    for (const auto& blas : libraries_.found)
      for (const int threads : teams) ways.emplace_back(blas.get(), threads);
    for (int pass = 0; pass < kPasses; ++pass)
      for (const auto& [blas, threads] : ways) {
        try {
          trainer_->restart();
          trainer_->use(*blas, threads);
          const std::vector<int> batches(static_cast<std::size_t>(steps + 2), 0);
          const double seconds = run_s(batches, 2) / static_cast<double>(steps);
          if (pass == 0)
            steps = std::max(steps, static_cast<std::int64_t>(kLeast_s / seconds));
          else if (seconds < least_s)
            least_s = seconds, chosen_ = blas, threads_ = threads;
        } catch (const UnsupportedProduct&) {  // another one can
        }
      }
    if (chosen_ == nullptr) throw UnsupportedProduct("no BLAS here has every product of this network");
    trainer_->restart();
    trainer_->use(*chosen_, threads_);
  }
  double loss_after(const std::vector<int>& batches, int evaluate) override {
    trainer_->restart();
    for (const int b : batches) trainer_->step(b);
    return trainer_->forward(evaluate);
  }
  double run_s(const std::vector<int>& batches, std::int64_t warm) override {
    Clock& clock = system_clock();
    std::int64_t done = 0;
    double before = clock.monotonic_s();
    for (const int b : batches) {
      if (done++ == warm) before = clock.monotonic_s();
      trainer_->step(b);
    }
    return clock.monotonic_s() - before;
  }
  void close() override { trainer_.reset(); }

 private:
  BlasLibraries& libraries_;
  Blas* chosen_ = nullptr;
  int threads_ = 1;
  std::unique_ptr<BlasTrainer> trainer_;
};

}  // namespace

std::unique_ptr<Learner> make_blas_learner(BlasLibraries& libraries) {
  return std::make_unique<BlasLearner>(libraries);
}

}  // namespace mlpwatt

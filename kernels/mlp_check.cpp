#include "kernels/mlp_check.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numeric>
#include <utility>

#include "kernels/random.h"

namespace mlpwatt {

namespace {
std::string format(const char* text, const std::string& name, double got, double want, double bound) {
  char line[240];
  std::snprintf(line, sizeof line, text, name.c_str(), got, want, bound);
  return line;
}

/// Largest |got - want| of one tensor; NaN when any is NaN.
struct Difference {
  double error = 0, got = 0, want = 0, largest = 0;
  std::size_t index = 0;
};
Difference compare(const std::vector<double>& got, const std::vector<double>& want, double scale) {
  Difference d;
  for (std::size_t i = 0; i < want.size(); ++i) {
    const double error = std::abs(got[i] * scale - want[i]);
    d.largest = std::max(d.largest, std::abs(want[i]));
    if (!(error <= d.error)) {
      d.error = error, d.index = i, d.got = got[i] * scale, d.want = want[i];
      if (std::isnan(error)) return d;
    }
  }
  return d;
}

/// ReLU decides by a sign, and a sum of K terms in float32 that nearly vanishes may have the other one: about
/// 0.8 eps sqrt(K) of normally distributed pre-activations are that near to 0. Such a row's share of a
/// gradient (1 / rows of it) is then there or not, whatever the engine does. Few units: nothing; millions of
/// them (rows * units): one row's share.
double turned_signs(const Network& network, std::int64_t rows) {
  constexpr double kEpsilon = 6e-8;
  double expected = 0;
  for (int k = 0; k + 1 < network.depth(); ++k)
    expected += static_cast<double>(rows) * network.widths[k] * 0.8 * kEpsilon *
                std::sqrt(static_cast<double>(network.input_width(k)));
  return std::min(1.0, expected) / static_cast<double>(rows);
}

/// Training rows of `data`, in that order; no test rows.
Dataset take_rows(const Dataset& data, const std::vector<std::int64_t>& rows) {
  Dataset part;
  part.info = data.info;
  part.source = data.source, part.path = data.path, part.checksum = data.checksum;
  part.official = data.official;
  part.rows = static_cast<std::int64_t>(rows.size());
  const auto take = [&](const std::vector<float>& from, std::int64_t width, std::vector<float>& to) {
    to.reserve(static_cast<std::size_t>(part.rows * width));
    for (const std::int64_t row : rows)
      to.insert(to.end(), from.begin() + row * width, from.begin() + (row + 1) * width);
  };
  take(data.x, data.info.features, part.x);
  take(data.y, data.info.outputs, part.y);
  return part;
}

/// The training batches of `rows` rows of `data`, the first with each row copies[0] times, the second
/// copies[1] times and so on, each batch in a seeded order of its own.
Dataset repeat_rows(const Dataset& data, int rows, const std::vector<int>& copies, std::uint64_t seed) {
  RandomStream stream(seed);
  std::vector<std::int64_t> all;
  for (std::size_t b = 0; b < copies.size(); ++b) {
    const std::int64_t first = static_cast<std::int64_t>(b) * rows;
    std::vector<std::int64_t> batch;
    for (std::int64_t i = first; i < std::min(first + rows, data.train_rows()); ++i)
      batch.insert(batch.end(), static_cast<std::size_t>(copies[b]), i);
    shuffle(batch, stream);
    all.insert(all.end(), batch.begin(), batch.end());
  }
  return take_rows(data, all);
}

/// Of at most `most` rows so many that copies of them fill `batch` as nearly as can be; then as many as can
/// be.
int rows_that_fill(int batch, int most) {
  int best = std::min(batch, most);
  for (int rows = best; rows > 0 && 2 * rows > most; --rows)
    if (batch % rows < batch % best) best = rows;
  return best;
}
}  // namespace

Check check_against_reference(MlpEngine& engine, const Network& network, const Dataset& data, int batch,
                              const reference::Adam& adam, std::uint64_t seed, int steps,
                              const MlpTolerance& tolerance, Following following) {
  const reference::Parameters initial = reference::initial_parameters(network, seed);
  engine.set_parameters(initial);
  reference::Trainer oracle(network, initial, adam);
  Check verdict{true, "", 0, tolerance.gradient};
  const auto moved_together = [&](const reference::Parameters& moved) -> Check {
    double total = 0;
    std::int64_t count = 0;
    for (int k = 0; k < network.depth(); ++k) {
      for (std::size_t i = 0; i < moved.weights[k].size(); ++i, ++count)
        total += std::abs(moved.weights[k][i] - oracle.parameters().weights[k][i]);
      for (std::size_t i = 0; i < moved.biases[k].size(); ++i, ++count)
        total += std::abs(moved.biases[k][i] - oracle.parameters().biases[k][i]);
    }
    const int since = following == Following::kStepByStep ? 1 : steps;
    const double mean = total / static_cast<double>(count),
                 bound = tolerance.mean_move * since * adam.learning_rate;
    if (!(mean <= bound))
      return {false,
              format("%s differ by %.3g on average after training (%.0f steps), bound %.3g", "parameters",
                     mean, since, bound),
              mean, bound};
    return {true, "", mean, bound};
  };
  for (int s = 0; s < steps; ++s) {
    const int b = s % engine.train_batches();
    const std::int64_t first = std::int64_t{b} * batch,
                       rows = std::min<std::int64_t>(batch, data.train_rows() - first);
    const float* x = data.x.data() + first * data.info.features;
    const float* y = data.y.data() + first * data.info.outputs;
    reference::Parameters gradients;
    if (s > 0 && following == Following::kStepByStep) {
      // before it starts anew: the last step's moves
      reference::Parameters moved = engine.parameters();
      if (const Check moves = moved_together(moved); !moves.passed) return moves;
      oracle.parameters() = std::move(moved);
    }
    if (s == 0) {
      oracle.loss_and_gradients(x, y, rows, gradients);
      verdict.bound = tolerance.gradient + turned_signs(network, rows);
    }
    const double want = oracle.step(x, y, rows), got = engine.train(&b, 1);
    const double bound = tolerance.loss * (1 + std::abs(want));
    if (!(std::abs(got - want) <= bound))
      return {
          false,
          format("%s: loss %.9g, reference %.9g, bound %.3g", "step " + std::to_string(s), got, want, bound),
          std::abs(got - want), bound};
    if (s > 0) continue;
    const reference::Parameters moments = engine.first_moments();
    for (int k = 0; k < network.depth(); ++k)
      for (const bool bias : {false, true}) {
        const std::string name =
            (bias ? "bias gradient of layer " : "weight gradient of layer ") + std::to_string(k);
        const auto& wanted = bias ? gradients.biases[k] : gradients.weights[k];
        const Difference d =
            compare(bias ? moments.biases[k] : moments.weights[k], wanted, 1 / (1 - adam.beta1));
        // The output layer's biases add up p - y, which may cancel to nothing; then rounding is what is left.
        const double rounding = bias && network.is_output(k) ? 1e-8 : 1e-9;
        const double allowed = verdict.bound * d.largest + rounding;
        if (!(d.error <= allowed))
          return {false,
                  format("%s: %.9g, reference %.9g, bound %.3g", name + "[" + std::to_string(d.index) + "]",
                         d.got, d.want, allowed),
                  d.error, allowed};
        verdict.error = std::max(verdict.error, d.error / allowed * verdict.bound);
      }
  }
  if (const Check moves = moved_together(engine.parameters()); !moves.passed) return moves;
  return verdict;
}

Check check_engine(MlpEngine& engine, const Network& network, const Dataset& data, int batch,
                   const reference::Adam& adam, std::uint64_t seed, int steps,
                   const MlpTolerance& tolerance) {
  constexpr int kDraws = 4;
  Check first;
  const auto follow = [&](int draw) {
    return check_against_reference(engine, network, data, batch, adam, seed + draw, steps, tolerance,
                                   Following::kStepByStep);
  };
  for (int draw = 0; draw < kDraws; ++draw) {
    Check verdict = follow(draw);
    if (verdict.passed) return verdict;
    if (const Check again = follow(draw); again.passed || again.detail != verdict.detail) {
      verdict.detail += "; the same steps once more gave another result";
      return verdict;
    }
    if (draw == 0) first = verdict;
  }
  return first;
}

MlpCheckPlan plan_mlp_check(const Network& network, const Dataset& data, int batch) {
  constexpr double kReferenceMacs = 3e8;  // ~0.3 s
  constexpr int kLeastRows = 8, kLeastSteps = 2;
  const double macs_per_row = 3.0 * static_cast<double>(network.parameters());
  const int whole = static_cast<int>(std::min<std::int64_t>(batch, data.train_rows())),
            rest = data.train_rows() > batch ? static_cast<int>(data.train_rows() % batch) : 0;
  const int affordable =
      static_cast<int>(std::min(static_cast<double>(whole), std::max(static_cast<double>(kLeastRows),
                                                                     kReferenceMacs / macs_per_row / 10)));
  MlpCheckPlan plan;
  plan.rows = rows_that_fill(whole, affordable);
  std::vector<int> copies{whole / plan.rows};
  std::vector<std::int64_t> followed(static_cast<std::size_t>(plan.rows));
  if (rest > 0) {
    // the partial batch's rows: all of them, or the most that divide it
    int last = std::min(rest, plan.rows);
    while (rest % last != 0) --last;
    copies.push_back(rest / last);
    followed.resize(followed.size() + static_cast<std::size_t>(last));
  }
  plan.batch = whole < batch ? batch : plan.rows * copies[0];
  plan.steps = static_cast<int>(
      std::clamp(kReferenceMacs / macs_per_row / plan.rows, static_cast<double>(kLeastSteps), 10.0));
  std::iota(followed.begin(), followed.end(), std::int64_t{0});
  plan.followed = take_rows(data, followed);
  plan.engine_data = repeat_rows(plan.followed, plan.rows, copies, 1);
  return plan;
}

}  // namespace mlpwatt

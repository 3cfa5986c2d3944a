#include "kernels/reference.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

#include "kernels/random.h"

namespace mlpwatt::reference {

namespace {

// Rows taken at once: bounds the memory of an evaluation over a whole dataset.
constexpr std::int64_t kRowsAtOnce = 256;

using Matrix = std::vector<double>;

struct Activations {
  std::vector<Matrix> sums;     // per layer, before the activation [rows x width]
  std::vector<Matrix> outputs;  // per layer, activated and with the residual input [rows x width]
};

double sigmoid(double z) { return z >= 0 ? 1 / (1 + std::exp(-z)) : std::exp(z) / (1 + std::exp(z)); }
// log(1 + exp(z)) without overflow
double softplus(double z) { return std::max(z, 0.0) + std::log1p(std::exp(-std::abs(z))); }

void softmax(const double* z, double* p, int width) {
  const double largest = *std::max_element(z, z + width);
  double total = 0;
  for (int j = 0; j < width; ++j) total += p[j] = std::exp(z[j] - largest);
  for (int j = 0; j < width; ++j) p[j] /= total;
}

Activations forward(const Network& network, const Parameters& parameters, const float* x, std::int64_t rows) {
  Activations acts;
  const Matrix input(x, x + rows * network.inputs);
  for (int k = 0; k < network.depth(); ++k) {
    const int in = network.input_width(k), out = network.widths[k];
    const Matrix& source = k == 0 ? input : acts.outputs[k - 1];
    Matrix sums(rows * out), outputs(rows * out);
    for (std::int64_t r = 0; r < rows; ++r) {
      for (int j = 0; j < out; ++j) {
        double sum = parameters.biases[k][j];
        for (int i = 0; i < in; ++i)
          sum += source[r * in + i] * parameters.weights[k][static_cast<std::int64_t>(j) * in + i];
        sums[r * out + j] = sum;
        if (!network.is_output(k)) {
          // Written so that a NaN goes through instead of becoming a plausible 0.
          outputs[r * out + j] = sum < 0 ? 0 : sum;
          if (network.adds_input(k)) outputs[r * out + j] += source[r * in + j];
        } else if (network.task != Task::kMulticlass) {
          outputs[r * out + j] = sigmoid(sum);
        }
      }
      if (network.is_output(k) && network.task == Task::kMulticlass)
        softmax(&sums[r * out], &outputs[r * out], out);
    }
    acts.sums.push_back(std::move(sums));
    acts.outputs.push_back(std::move(outputs));
  }
  return acts;
}

// From the sums rather than the activated outputs, so that no logarithm meets a zero.
double row_loss(Task task, const double* z, const double* p, const float* y, int width) {
  double loss = 0;
  switch (task) {
    case Task::kMulticlass: {
      const double largest = *std::max_element(z, z + width);
      double total = 0;
      for (int j = 0; j < width; ++j) total += std::exp(z[j] - largest);
      const double log_total = largest + std::log(total);
      for (int j = 0; j < width; ++j) loss += y[j] * (log_total - z[j]);
      break;
    }
    case Task::kBinary:
      for (int j = 0; j < width; ++j) loss += y[j] * softplus(-z[j]) + (1.0 - y[j]) * softplus(z[j]);
      loss /= width;
      break;
    case Task::kRegression:
      for (int j = 0; j < width; ++j) loss += (p[j] - y[j]) * (p[j] - y[j]);
      loss /= width;
      break;
  }
  return loss;
}

// Of the mean loss, with respect to the last layer's sums.
void row_gradient(Task task, const double* p, const float* y, int width, double rows, double* gradient) {
  for (int j = 0; j < width; ++j) {
    const double difference = p[j] - y[j];
    switch (task) {
      case Task::kMulticlass:
        gradient[j] = difference / rows;
        break;
      case Task::kBinary:
        gradient[j] = difference / (rows * width);
        break;
      case Task::kRegression:
        gradient[j] = 2 * difference * p[j] * (1 - p[j]) / (rows * width);
        break;
    }
  }
}

bool row_is_right(Task task, const double* p, const float* y, int width) {
  if (task == Task::kBinary) return (p[0] >= 0.5) == (y[0] >= 0.5f);
  return std::max_element(p, p + width) - p == std::max_element(y, y + width) - y;
}

// Adds this chunk's part of the gradients; delta is d loss / d sums of the last layer.
void backward(const Network& network, const Parameters& parameters, const Activations& acts, const float* x,
              std::int64_t rows, Matrix delta, Parameters& gradients) {
  const Matrix input(x, x + rows * network.inputs);
  Matrix skipped;  // gradient that goes round layer k by its residual connection
  for (int k = network.depth() - 1; k >= 0; --k) {
    const int in = network.input_width(k), out = network.widths[k];
    const Matrix& source = k == 0 ? input : acts.outputs[k - 1];
    for (std::int64_t r = 0; r < rows; ++r)
      for (int j = 0; j < out; ++j) {
        const double d = delta[r * out + j];
        gradients.biases[k][j] += d;
        for (int i = 0; i < in; ++i)
          gradients.weights[k][static_cast<std::int64_t>(j) * in + i] += d * source[r * in + i];
      }
    if (k == 0) break;
    Matrix below(rows * in, 0.0);  // d loss / d outputs of layer k-1
    for (std::int64_t r = 0; r < rows; ++r)
      for (int j = 0; j < out; ++j)
        for (int i = 0; i < in; ++i)
          below[r * in + i] +=
              delta[r * out + j] * parameters.weights[k][static_cast<std::int64_t>(j) * in + i];
    if (network.adds_input(k))
      for (std::size_t c = 0; c < below.size(); ++c) below[c] += skipped[c];
    delta = below;
    for (std::size_t c = 0; c < delta.size(); ++c)
      if (acts.sums[k - 1][c] <= 0) delta[c] = 0;
    skipped = std::move(below);
  }
}

void zero(Parameters& parameters) {
  for (auto& layer : parameters.weights) std::fill(layer.begin(), layer.end(), 0.0);
  for (auto& layer : parameters.biases) std::fill(layer.begin(), layer.end(), 0.0);
}

double as_float(double value) { return static_cast<double>(static_cast<float>(value)); }

}  // namespace

void gemm(bool transpose_a, bool transpose_b, int m, int n, int k, double alpha, const float* a, int lda,
          const float* b, int ldb, double beta, double* c, int ldc) {
  for (std::int64_t i = 0; i < m; ++i)
    for (std::int64_t j = 0; j < n; ++j) {
      double sum = 0;
      for (std::int64_t l = 0; l < k; ++l)
        sum += static_cast<double>(transpose_a ? a[l * lda + i] : a[i * lda + l]) *
               static_cast<double>(transpose_b ? b[j * ldb + l] : b[l * ldb + j]);
      double& cell = c[i * ldc + j];
      // beta = 0 overwrites: what was there may be a NaN.
      cell = alpha * sum + (beta == 0 ? 0 : beta * cell);
    }
}

Parameters make_parameters(const Network& network) {
  Parameters parameters;
  for (int k = 0; k < network.depth(); ++k) {
    parameters.weights.emplace_back(static_cast<std::size_t>(network.input_width(k)) * network.widths[k]);
    parameters.biases.emplace_back(network.widths[k]);
  }
  return parameters;
}

Parameters initial_parameters(const Network& network, std::uint64_t seed) {
  Parameters parameters = make_parameters(network);
  RandomStream stream(seed);
  for (int k = 0; k < network.depth(); ++k) {
    const double in = network.input_width(k), out = network.widths[k];
    const double limit = std::sqrt(6 / (network.is_output(k) ? in + out : in));
    for (double& weight : parameters.weights[k]) weight = as_float((2 * uniform_unit(stream) - 1) * limit);
  }
  return parameters;
}

Trainer::Trainer(Network network, Parameters initial, Adam adam)
    : network_(std::move(network)),
      adam_(adam),
      parameters_(std::move(initial)),
      first_moment_(make_parameters(network_)),
      second_moment_(make_parameters(network_)) {
  bool fits = parameters_.weights.size() == first_moment_.weights.size() &&
              parameters_.biases.size() == first_moment_.biases.size();
  for (std::size_t k = 0; fits && k < first_moment_.weights.size(); ++k)
    fits = parameters_.weights[k].size() == first_moment_.weights[k].size() &&
           parameters_.biases[k].size() == first_moment_.biases[k].size();
  if (!fits) throw std::invalid_argument("reference: the initial parameters are not of this network's shape");
}

double Trainer::loss_and_gradients(const float* x, const float* y, std::int64_t rows,
                                   Parameters& gradients) const {
  if (gradients.weights.size() != parameters_.weights.size()) gradients = make_parameters(network_);
  zero(gradients);
  const int outputs = network_.outputs();
  double loss = 0;
  for (std::int64_t first = 0; first < rows; first += kRowsAtOnce) {
    const std::int64_t count = std::min(kRowsAtOnce, rows - first);
    const float* chunk_x = x + first * network_.inputs;
    const float* chunk_y = y + first * outputs;
    const Activations acts = forward(network_, parameters_, chunk_x, count);
    const Matrix &z = acts.sums.back(), &p = acts.outputs.back();
    Matrix delta(count * outputs);
    for (std::int64_t r = 0; r < count; ++r) {
      const std::int64_t at = r * outputs;
      loss += row_loss(network_.task, &z[at], &p[at], chunk_y + at, outputs);
      row_gradient(network_.task, &p[at], chunk_y + at, outputs, static_cast<double>(rows), &delta[at]);
    }
    backward(network_, parameters_, acts, chunk_x, count, std::move(delta), gradients);
  }
  return loss / static_cast<double>(rows);
}

double Trainer::step(const float* x, const float* y, std::int64_t rows) {
  Parameters gradients = make_parameters(network_);
  const double loss = loss_and_gradients(x, y, rows, gradients);
  const double t = static_cast<double>(++steps_taken_);
  const double rate =
      adam_.learning_rate * std::sqrt(1 - std::pow(adam_.beta2, t)) / (1 - std::pow(adam_.beta1, t));
  const double epsilon = adam_.epsilon_at(std::pow(adam_.beta2, t));
  const auto update = [&](std::vector<double>& w, std::vector<double>& m, std::vector<double>& v,
                          const std::vector<double>& g) {
    for (std::size_t i = 0; i < w.size(); ++i) {
      m[i] = adam_.beta1 * m[i] + (1 - adam_.beta1) * g[i];
      v[i] = adam_.beta2 * v[i] + (1 - adam_.beta2) * g[i] * g[i];
      w[i] -= rate * m[i] / (std::sqrt(v[i]) + epsilon);
    }
  };
  for (std::size_t k = 0; k < gradients.weights.size(); ++k) {
    update(parameters_.weights[k], first_moment_.weights[k], second_moment_.weights[k], gradients.weights[k]);
    update(parameters_.biases[k], first_moment_.biases[k], second_moment_.biases[k], gradients.biases[k]);
  }
  return loss;
}

Evaluation Trainer::evaluate(const float* x, const float* y, std::int64_t rows) const {
  const int outputs = network_.outputs();
  double loss = 0;
  std::int64_t right = 0;
  for (std::int64_t first = 0; first < rows; first += kRowsAtOnce) {
    const std::int64_t count = std::min(kRowsAtOnce, rows - first);
    const float* chunk_y = y + first * outputs;
    const Activations acts = forward(network_, parameters_, x + first * network_.inputs, count);
    for (std::int64_t r = 0; r < count; ++r) {
      const double *z = &acts.sums.back()[r * outputs], *p = &acts.outputs.back()[r * outputs];
      loss += row_loss(network_.task, z, p, chunk_y + r * outputs, outputs);
      right += row_is_right(network_.task, p, chunk_y + r * outputs, outputs);
    }
  }
  const double n = static_cast<double>(rows);
  return {loss / n, network_.task == Task::kRegression ? std::numeric_limits<double>::quiet_NaN()
                                                       : static_cast<double>(right) / n};
}

std::vector<double> Trainer::predict(const float* x, std::int64_t rows) const {
  std::vector<double> outputs;
  for (std::int64_t first = 0; first < rows; first += kRowsAtOnce) {
    const std::int64_t count = std::min(kRowsAtOnce, rows - first);
    const Activations acts = forward(network_, parameters_, x + first * network_.inputs, count);
    outputs.insert(outputs.end(), acts.outputs.back().begin(), acts.outputs.back().end());
  }
  return outputs;
}

}  // namespace mlpwatt::reference

#pragma once
// The oracle: scalar double-precision GEMM, forward, loss, backward and Adam in plain loops. It refuses to
// be fast: no intrinsics, no blocking, no threads, no -ffast-math. Every fast kernel, on any device,
// is compared with it.

#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/network.h"

namespace mlpwatt::reference {

/// C[m x n] = alpha * op(A) op(B) + beta * C; row-major; op(A) is [m x k], op(B) is [k x n].
/// lda/ldb/ldc are the row lengths of the stored matrices (A is [k x m] when transposed).
void gemm(bool transpose_a, bool transpose_b, int m, int n, int k, double alpha, const float* a, int lda,
          const float* b, int ldb, double beta, double* c, int ldc);

/// Weights, gradients or moments of one network. weights[k] is [out x in] row-major (out = widths[k]),
/// biases[k] is [out].
struct Parameters {
  std::vector<std::vector<double>> weights;
  std::vector<std::vector<double>> biases;
};

/// Zeros in the network's shape.
Parameters make_parameters(const Network& network);

/// He-uniform hidden layers (limit sqrt(6 / in)), Glorot-uniform output layer
/// (limit sqrt(6 / (in + out))), zero biases; rounded to float32 so that every kernel can start from
/// the same numbers. One stream for all kernels: std::mt19937_64(seed), layer by layer, row-major [out x in].
Parameters initial_parameters(const Network& network, std::uint64_t seed);

/// Adam as Keras does it: lr_t = lr sqrt(1 - b2^t) / (1 - b1^t); w -= lr_t m / (sqrt(v) + eps).
struct Adam {
  double learning_rate = 1e-4;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-7;
  /// Kingma and Ba's Algorithm 1, and PyTorch, add epsilon to the bias-corrected root. That is the formula
  /// above with eps sqrt(1 - b2^t) in place of eps.
  bool epsilon_on_corrected_root = false;
  /// The eps of the formula at step t. @param beta2_power b2^t
  double epsilon_at(double beta2_power) const {
    return epsilon_on_corrected_root ? epsilon * std::sqrt(1 - beta2_power) : epsilon;
  }
};

/// Loss and accuracy of `rows` samples, averaged. Accuracy: share of rows whose class is right
/// (argmax, or sigmoid >= 0.5); NaN for regression.
struct Evaluation {
  double loss = 0;
  double accuracy = 0;
};

/// A network under training, in double. x: [rows x inputs] row-major, y: [rows x outputs].
class Trainer {
 public:
  Trainer(Network network, Parameters initial, Adam adam = {});

  /// Mean loss over the rows; gradients of it into `gradients` (overwritten).
  double loss_and_gradients(const float* x, const float* y, std::int64_t rows, Parameters& gradients) const;
  /// One optimiser step on these rows; returns the loss before it.
  double step(const float* x, const float* y, std::int64_t rows);
  Evaluation evaluate(const float* x, const float* y, std::int64_t rows) const;
  /// Activated outputs (after softmax / sigmoid), [rows x outputs].
  std::vector<double> predict(const float* x, std::int64_t rows) const;

  const Network& network() const { return network_; }
  const Parameters& parameters() const { return parameters_; }
  Parameters& parameters() { return parameters_; }
  std::int64_t steps_taken() const { return steps_taken_; }

 private:
  Network network_;
  Adam adam_;
  Parameters parameters_, first_moment_, second_moment_;
  std::int64_t steps_taken_ = 0;
};

}  // namespace mlpwatt::reference

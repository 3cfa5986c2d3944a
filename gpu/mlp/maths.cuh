#pragma once
// The few formulas that all engines share: loss and gradient of one row, and Adam.

#include "gpu/device/cuda.cuh"
#include "gpu/mlp/plan.h"
#include "kernels/network.h"
#include "kernels/reference.h"

namespace mlpwatt::gpu {

/// Written so that a NaN goes through instead of becoming a plausible 0.
__device__ __forceinline__ float relu(float x) { return x < 0 ? 0.0f : x; }

/// Of a sigmoid: p - y and p (1 - p) without the digits that 1 - p would lose where p is nearly 1.
struct Sigmoid {
  float error, slope;
};
__device__ __forceinline__ Sigmoid sigmoid(float z, float y) {
  const float e = expf(-fabsf(z)), share = e / (1.0f + e);
  return {z < 0 ? share - y : (1.0f - y) - share, share / (1.0f + e)};
}
/// log(1 + exp(z)) without overflow
__device__ __forceinline__ float softplus(float z) { return fmaxf(z, 0.0f) + log1pf(expf(-fabsf(z))); }

/// Loss of one row from its last layer's sums z[0 .. width), and d (mean loss) / d z into `delta` (which may
/// be z). From the sums rather than the activated outputs, so that no logarithm meets a zero.
/// @param scale 1 / rows of the batch
__device__ __forceinline__ float row_loss(int task, const float* z, const float* y, int width, float scale,
                                          float* delta) {
  float loss = 0;
  if (task == static_cast<int>(Task::kMulticlass)) {
    float largest = z[0];
    for (int j = 1; j < width; ++j) largest = fmaxf(largest, z[j]);
    float total = 0;
    for (int j = 0; j < width; ++j) total += expf(z[j] - largest);
    const float log_total = largest + logf(total), inverse = 1.0f / total;
    for (int j = 0; j < width; ++j) {
      const float zj = z[j], yj = y[j];
      loss += yj * (log_total - zj);
      delta[j] = (expf(zj - largest) * inverse - yj) * scale;
    }
    return loss;
  }
  const float share = 1.0f / static_cast<float>(width);
  for (int j = 0; j < width; ++j) {
    const float zj = z[j], yj = y[j];
    const auto [difference, slope] = sigmoid(zj, yj);
    if (task == static_cast<int>(Task::kBinary)) {
      loss += (yj * softplus(-zj) + (1.0f - yj) * softplus(zj)) * share;
      delta[j] = difference * scale * share;
    } else {
      loss += difference * difference * share;
      delta[j] = 2.0f * difference * slope * scale * share;
    }
  }
  return loss;
}

/// Whether the row's class is right.
__device__ __forceinline__ bool row_is_right(int task, const float* z, const float* y, int width) {
  if (task == static_cast<int>(Task::kBinary)) return (z[0] >= 0) == (y[0] >= 0.5f);
  int best = 0, wanted = 0;
  for (int j = 1; j < width; ++j) {
    if (z[j] > z[best]) best = j;
    if (y[j] > y[wanted]) wanted = j;
  }
  return best == wanted;
}

struct AdamConstants {
  float beta1, beta2, rest1, rest2;  ///< rest = 1 - beta
};
inline AdamConstants make_adam_constants(const reference::Adam& adam) {
  return {static_cast<float>(adam.beta1), static_cast<float>(adam.beta2), static_cast<float>(1 - adam.beta1),
          static_cast<float>(1 - adam.beta2)};
}

/// Those of a step, counted from where `factors` points; beyond `left` they no longer change.
__device__ __forceinline__ AdamFactors factors_of(const AdamFactors* factors, int left, int step) {
  const float2 both = __ldg(reinterpret_cast<const float2*>(factors) + min(step, left - 1));
  return {both.x, both.y};
}

/// sqrt within one unit in the last place, by the special function unit; 0 stays 0.
__device__ __forceinline__ float fast_sqrt(float x) {
#if defined(__CUDACC__)
  float result;
  asm("sqrt.approx.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
#else
  return std::sqrt(x);
#endif
}

/// One parameter's step. The root and the quotient are the hardware's quick ones (2 units in the last place):
/// the correctly rounded ones would be half of a small network's step.
__device__ __forceinline__ void adam_step(float& w, float& m, float& v, float gradient,
                                          const AdamFactors& step, const AdamConstants& adam) {
  m = adam.beta1 * m + adam.rest1 * gradient;
  v = adam.beta2 * v + adam.rest2 * gradient * gradient;
  w -= __fdividef(step.rate * m, fast_sqrt(v) + step.epsilon);
}
__device__ __forceinline__ void adam_step(float4& w, float4& m, float4& v, const float4& gradient,
                                          const AdamFactors& step, const AdamConstants& adam) {
  adam_step(w.x, m.x, v.x, gradient.x, step, adam);
  adam_step(w.y, m.y, v.y, gradient.y, step, adam);
  adam_step(w.z, m.z, v.z, gradient.z, step, adam);
  adam_step(w.w, m.w, v.w, gradient.w, step, adam);
}

}  // namespace mlpwatt::gpu

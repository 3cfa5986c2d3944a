#pragma once
// The epilogue on V neighbouring elements of one row of C, held by one thread.

#include "gpu/gemm/epilogue.h"

namespace mlpwatt::gpu {

/// V floats from `at`: one access where everything is aligned to it, else `valid` single ones.
template <int V>
__device__ __forceinline__ void load_group(float (&x)[V], const float* at, int valid, bool vector) {
  static_assert(V == 2 || V == 4);
  if (vector) {
    if constexpr (V == 4) {
      const float4 all = *reinterpret_cast<const float4*>(at);
      x[0] = all.x, x[1] = all.y, x[2] = all.z, x[3] = all.w;
    } else {
      const float2 all = *reinterpret_cast<const float2*>(at);
      x[0] = all.x, x[1] = all.y;
    }
  } else {
#pragma unroll
    for (int i = 0; i < V; ++i) x[i] = i < valid ? at[i] : 0.0f;
  }
}

template <int V>
__device__ __forceinline__ void store_group(float* at, const float (&x)[V], int valid, bool vector) {
  if (vector) {
    if constexpr (V == 4)
      *reinterpret_cast<float4*>(at) = make_float4(x[0], x[1], x[2], x[3]);
    else
      *reinterpret_cast<float2*>(at) = make_float2(x[0], x[1]);
  } else {
#pragma unroll
    for (int i = 0; i < V; ++i)
      if (i < valid) at[i] = x[i];
  }
}

/// Elements (row, column .. column + V - 1) of the product are `x`; the first `valid` of them exist.
/// @param aligned every matrix of the epilogue may be accessed V floats at a time
template <int V>
__device__ __forceinline__ void finish_group(const Epilogue& e, float* c, std::int64_t ldc, int row,
                                             int column, float (&x)[V], int valid, bool aligned) {
  const bool vector = aligned && valid == V;
  float* to = c + row * ldc + column;
  float other[V];
  if (e.kind == Epilogue::Kind::kForward) {
    load_group(other, e.bias + column, valid, vector);
#pragma unroll
    for (int i = 0; i < V; ++i) {
      x[i] += other[i];
      if (e.relu) x[i] = x[i] < 0 ? 0.0f : x[i];  // a NaN goes through; fmaxf would hide it
    }
    if (e.before != nullptr) store_group(e.before + row * e.before_ld + column, x, valid, vector);
    if (e.addend != nullptr) {
      load_group(other, e.addend + row * e.addend_ld + column, valid, vector);
#pragma unroll
      for (int i = 0; i < V; ++i) x[i] += other[i];
    }
  } else if (e.kind == Epilogue::Kind::kBackward) {
    if (e.addend != nullptr) {
      load_group(other, e.addend + row * e.addend_ld + column, valid, vector);
#pragma unroll
      for (int i = 0; i < V; ++i) x[i] += other[i];
    }
    if (e.before != nullptr) store_group(e.before + row * e.before_ld + column, x, valid, vector);
    load_group(other, e.mask + row * e.mask_ld + column, valid, vector);
#pragma unroll
    for (int i = 0; i < V; ++i) x[i] = other[i] > 0.0f ? x[i] : 0.0f;
  } else if (e.kind == Epilogue::Kind::kAdam) {
    const AdamStep step = *e.adam;
    float* first = e.first_moment + row * e.moment_ld + column;
    float* second = e.second_moment + row * e.moment_ld + column;
    float m[V], v[V];
    load_group(m, first, valid, vector);
    load_group(v, second, valid, vector);
    load_group(other, to, valid, vector);
#pragma unroll
    for (int i = 0; i < V; ++i) {
      m[i] = step.beta1 * m[i] + (1.0f - step.beta1) * x[i];
      v[i] = step.beta2 * v[i] + (1.0f - step.beta2) * x[i] * x[i];
      x[i] = other[i] - step.learning_rate * m[i] / (sqrtf(v[i]) + step.epsilon);
    }
    store_group(first, m, valid, vector);
    store_group(second, v, valid, vector);
  }
  store_group(to, x, valid, vector);
  if (e.copy != nullptr) {
    Bf16* copy = e.copy + row * e.copy_ld + column;
#pragma unroll
    for (int i = 0; i < V; ++i)
      if (i < valid) copy[i] = to_bf16(x[i]);
  }
}

}  // namespace mlpwatt::gpu

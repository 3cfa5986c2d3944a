// Body of the fused engine's micro-kernels. Included once per instruction set inside an anonymous namespace;
// nothing here has external linkage.

typedef float Vector __attribute__((vector_size(kVectorBytes)));
typedef float LooseVector __attribute__((vector_size(kVectorBytes), aligned(4), may_alias));
constexpr int kLanes = kVectorBytes / 4;
constexpr int kPanel = kVectors * kLanes;

inline __attribute__((always_inline)) Vector load(const float* p) {
  return *reinterpret_cast<const LooseVector*>(p);
}
inline __attribute__((always_inline)) void store(float* p, Vector v) {
  *reinterpret_cast<LooseVector*>(p) = v;
}

#include "cpu/mlp/loss_math.h"

/// Rows x panel of C in registers; B's row is one panel row (L1), A a broadcast of weights (L1/L2).
template <int Rows>
inline __attribute__((always_inline)) void multiply(Vector (&sum)[Rows][kVectors], int k, const float* w,
                                                    std::int64_t w_row, std::int64_t w_col,
                                                    const float* panel) {
  for (int p = 0; p < k; ++p) {
    Vector row[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) row[v] = load(panel + v * kLanes);
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
      const float element = w[r * w_row];
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) sum[r][v] += row[v] * element;
    }
    w += w_col;
    panel += kPanel;
  }
}

template <int Rows>
void forward_rows(const PanelForward& f, int o) {
  Vector sum[Rows][kVectors];
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) sum[r][v] = splat(f.bias[o + r]);
  multiply<Rows>(sum, f.inputs, f.weights + static_cast<std::int64_t>(o) * f.inputs, f.inputs, 1, f.in);
  if (f.relu)
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
      // not a maximum: NaN must survive
      for (int v = 0; v < kVectors; ++v) sum[r][v] = select(sum[r][v] < 0.0f, Vector{}, sum[r][v]);
  float* out = f.out + o * kPanel;
  if (!f.addend) {
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) store(out + r * kPanel + v * kLanes, sum[r][v]);
    return;
  }
  const float* addend = f.addend + o * kPanel;
  float* before = f.before + o * kPanel;
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      const int at = r * kPanel + v * kLanes;
      store(before + at, sum[r][v]);
      store(out + at, sum[r][v] + load(addend + at));
    }
}

template <int Rows>
void backward_rows(const PanelBackward& b, int i) {
  Vector sum[Rows][kVectors];
  const int first = i * kPanel;
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v)
      sum[r][v] = b.addend ? load(b.addend + first + r * kPanel + v * kLanes) : Vector{};
  multiply<Rows>(sum, b.outputs, b.weights + i, 1, b.inputs, b.delta);
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      const int at = first + r * kPanel + v * kLanes;
      if (b.before) store(b.before + at, sum[r][v]);
      store(b.out + at, select(load(b.mask + at) > 0.0f, sum[r][v], Vector{}));
    }
}

template <typename Work>
using RowsFunction = void (*)(const Work&, int);
template <int... R>
struct RowTables {
  RowsFunction<PanelForward> forward[sizeof...(R)] = {forward_rows<R + 1>...};
  RowsFunction<PanelBackward> backward[sizeof...(R)] = {backward_rows<R + 1>...};
};
template <int... R>
constexpr RowTables<R...> row_tables(std::integer_sequence<int, R...>) {
  return {};
}
constexpr auto kTables = row_tables(std::make_integer_sequence<int, kRows>{});

void forward(const PanelForward& f) {
  int o = 0;
  for (; o + kRows <= f.outputs; o += kRows) forward_rows<kRows>(f, o);
  if (o < f.outputs) kTables.forward[f.outputs - o - 1](f, o);
}

void backward(const PanelBackward& b) {
  int i = 0;
  for (; i + kRows <= b.inputs; i += kRows) backward_rows<kRows>(b, i);
  if (i < b.inputs) kTables.backward[b.inputs - i - 1](b, i);
}

inline __attribute__((always_inline)) float sum_lanes(Vector v) {
  // pairwise, the same order on every run
  float lane[kLanes];
  store(lane, v);
  for (int width = kLanes / 2; width >= 1; width /= 2)
    for (int i = 0; i < width; ++i) lane[i] += lane[i + width];
  return lane[0];
}

/// Halves the partial sums of two vectors into one: of every group of 2 * Half lanes, a's go to the lower
/// half and b's to the upper half of the result's group.
template <int Half, int... I>
inline __attribute__((always_inline)) Vector fold(Vector a, Vector b, std::integer_sequence<int, I...>) {
  // lane i of the result: within its group of 2 * Half, position i % Half of a (lower half) or b (upper half)
  constexpr auto from = [](int i, int part) {
    const int group = i / (2 * Half) * (2 * Half), within = i % (2 * Half);
    return group + within % Half + part * Half + (within < Half ? 0 : kLanes);
  };
  return __builtin_shufflevector(a, b, from(I, 0)...) + __builtin_shufflevector(a, b, from(I, 1)...);
}

/// kLanes vectors to one: lane i is the sum of vector i's lanes. A tree of kLanes - 1 folds, 3 instructions
/// each, where summing every vector by itself would take 4 times as many.
inline __attribute__((always_inline)) Vector sum_each(Vector (&v)[kLanes]) {
  constexpr auto lanes = std::make_integer_sequence<int, kLanes>{};
  if constexpr (kLanes == 16) {
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) v[i] = fold<8>(v[i], v[i + 8], lanes);
  }
  if constexpr (kLanes >= 8) {
#pragma GCC unroll 8
    for (int i = 0; i < 4; ++i) v[i] = fold<4>(v[i], v[i + 4], lanes);
  }
#pragma GCC unroll 8
  for (int i = 0; i < 2; ++i) v[i] = fold<2>(v[i], v[i + 2], lanes);
  return fold<1>(v[0], v[1], lanes);
}

constexpr int kDotColumns = 4;
static_assert(kDotRows * kDotColumns % kLanes == 0, "a tile's sums fill whole vectors");

/// Rows x Columns dot products over the batch: Rows + Columns loads for Rows * Columns multiply-adds, one
/// reduction at the end.
template <int Rows, int Columns>
void dots(int inputs, int panels, const float* delta, std::int64_t delta_stride, const float* in,
          std::int64_t in_stride, float* gradient) {
  Vector sum[kDotRows * kDotColumns];
#pragma GCC unroll 16
  for (int s = 0; s < kDotRows * kDotColumns; ++s) sum[s] = Vector{};
  for (int p = 0; p < panels; ++p) {
    for (int v = 0; v < kPanel; v += kLanes) {
      Vector column[Columns];
#pragma GCC unroll 4
      for (int c = 0; c < Columns; ++c) column[c] = load(in + c * kPanel + v);
#pragma GCC unroll 4
      for (int r = 0; r < Rows; ++r) {
        const Vector d = load(delta + r * kPanel + v);
#pragma GCC unroll 4
        for (int c = 0; c < Columns; ++c) sum[r * kDotColumns + c] += d * column[c];
      }
    }
    delta += delta_stride;
    in += in_stride;
  }
  constexpr int kRowsAtOnce = kLanes / kDotColumns;
#pragma GCC unroll 4
  for (int r = 0; r < Rows; r += kRowsAtOnce) {
    Vector part[kLanes];
#pragma GCC unroll 16
    for (int s = 0; s < kLanes; ++s) part[s] = sum[r * kDotColumns + s];
    float total[kLanes];
    store(total, sum_each(part));
    for (int i = 0; i < (kRowsAtOnce < Rows - r ? kRowsAtOnce : Rows - r); ++i)
#pragma GCC unroll 4
      for (int c = 0; c < Columns; ++c)
        gradient[static_cast<std::int64_t>(r + i) * inputs + c] = total[i * kDotColumns + c];
  }
}

template <int Rows>
void dot_rows(int columns, int inputs, int panels, const float* delta, std::int64_t delta_stride,
              const float* in, std::int64_t in_stride, float* gradient) {
  int i = 0;
  for (; i + kDotColumns <= columns; i += kDotColumns)
    dots<Rows, kDotColumns>(inputs, panels, delta, delta_stride, in + i * kPanel, in_stride, gradient + i);
  const float* rest = in + i * kPanel;
  if (columns - i == 1) dots<Rows, 1>(inputs, panels, delta, delta_stride, rest, in_stride, gradient + i);
  if (columns - i == 2) dots<Rows, 2>(inputs, panels, delta, delta_stride, rest, in_stride, gradient + i);
  if (columns - i == 3) dots<Rows, 3>(inputs, panels, delta, delta_stride, rest, in_stride, gradient + i);
}

template <int... R>
constexpr auto dot_row_table(std::integer_sequence<int, R...>) {
  struct Table {
    void (*by_rows[sizeof...(R)])(int, int, int, const float*, std::int64_t, const float*, std::int64_t,
                                  float*) = {dot_rows<R + 1>...};
  };
  return Table{};
}
constexpr auto kDotRowTable = dot_row_table(std::make_integer_sequence<int, kDotRows>{});

constexpr int kDotBlockBytes = 12 << 10;

void weight_gradient(int inputs, int outputs, int panels, const float* delta, std::int64_t delta_stride,
                     const float* in, std::int64_t in_stride, float* gradient, float* bias_gradient) {
  // A block of input features (all rows of the batch) stays in L1 while all of delta passes by from L2 once;
  // without it every kDotRows rows of delta would fetch the whole input again.
  const std::int64_t feature_bytes = std::int64_t{panels} * kPanel * 4;
  const int fitting =
      static_cast<int>(kDotBlockBytes / (feature_bytes > 0 ? feature_bytes : 1)) / kDotColumns;
  const int block = (fitting > 1 ? fitting : 1) * kDotColumns;
  for (int i = 0; i < inputs; i += block) {
    const int columns = inputs - i < block ? inputs - i : block;
    for (int o = 0; o < outputs; o += kDotRows) {
      const int rows = outputs - o < kDotRows ? outputs - o : kDotRows;
      kDotRowTable.by_rows[rows - 1](columns, inputs, panels, delta + o * kPanel, delta_stride,
                                     in + i * kPanel, in_stride,
                                     gradient + static_cast<std::int64_t>(o) * inputs + i);
    }
  }
  for (int o = 0; o < outputs; ++o) {
    Vector sum{};
    for (int p = 0; p < panels; ++p)
#pragma GCC unroll 4
      for (int v = 0; v < kPanel; v += kLanes) sum += load(delta + p * delta_stride + o * kPanel + v);
    bias_gradient[o] = sum_lanes(sum);
  }
}

// Losses from logits, stable: softmax subtracts the largest logit; sigmoid losses use exp(-|z|) only.

Vector softmax_loss(int outputs, float* z, const float* y, Vector weight, bool gradient, Vector& right) {
  Vector largest = load(z), wanted_at_largest = load(y);
  for (int o = 1; o < outputs; ++o) {
    const Vector here = load(z + o * kPanel);
    wanted_at_largest = select(here > largest, load(y + o * kPanel), wanted_at_largest);
    largest = select(here > largest, here, largest);
  }
  Vector total{}, target{};
  for (int o = 0; o < outputs; ++o) {
    const Vector here = load(z + o * kPanel), wanted = load(y + o * kPanel);
    total += exp_vector(here - largest);
    target += wanted * here;
  }
  right = wanted_at_largest;  // of equal logits the first counts, as argmax does
  if (gradient) {
    const Vector scale = weight / total;
    for (int o = 0; o < outputs; ++o) {
      const Vector here = load(z + o * kPanel), wanted = load(y + o * kPanel);
      store(z + o * kPanel, exp_vector(here - largest) * scale - wanted * weight);
    }
  }
  return weight * (log_vector(total) + largest - target);
}

Vector sigmoid(Vector z) {
  const Vector e = exp_vector(select(z < 0.0f, z, -z));  // exp(-|z|)
  return select(z < 0.0f, e, splat(1.0f)) / (e + 1.0f);
}

Vector binary_loss(float* z, const float* y, Vector weight, bool gradient, Vector& right) {
  const Vector logit = load(z), wanted = load(y);
  const Vector magnitude = select(logit < 0.0f, -logit, logit);
  const Vector loss =
      select(logit > 0.0f, logit, Vector{}) - logit * wanted + log_vector(exp_vector(-magnitude) + 1.0f);
  right = select(select(logit >= 0.0f, splat(1.0f), Vector{}) == wanted, splat(1.0f), Vector{});
  if (gradient) store(z, (sigmoid(logit) - wanted) * weight);
  return weight * loss;
}

Vector squared_loss(int outputs, float* z, const float* y, Vector weight, bool gradient) {
  // mean over the outputs, as Keras
  const float share = 1.0f / static_cast<float>(outputs);
  Vector loss{};
  for (int o = 0; o < outputs; ++o) {
    const Vector s = sigmoid(load(z + o * kPanel)), error = s - load(y + o * kPanel);
    loss += error * error * share;
    if (gradient) store(z + o * kPanel, error * (s * (1.0f - s)) * (weight * (2 * share)));
  }
  return weight * loss;
}

float loss(Task task, int outputs, float* panel, const float* target, const float* weight, bool gradient,
           float* right) {
  Vector total{}, total_right{};
  for (int v = 0; v < kPanel; v += kLanes) {
    const Vector w = load(weight + v);
    Vector hit{};
    switch (task) {
      case Task::kMulticlass:
        total += softmax_loss(outputs, panel + v, target + v, w, gradient, hit);
        break;
      case Task::kBinary:
        total += binary_loss(panel + v, target + v, w, gradient, hit);
        break;
      case Task::kRegression:
        total += squared_loss(outputs, panel + v, target + v, w, gradient);
        break;
    }
    total_right += w * hit;
  }
  if (right) *right = sum_lanes(total_right);
  return sum_lanes(total);
}

void adam(const AdamStep& s, std::int64_t first, std::int64_t last, const float* gradient, int copies,
          std::int64_t stride, float* w, float* m, float* v) {
#pragma GCC ivdep
  for (std::int64_t i = first; i < last; ++i) {
    float g = gradient[i];
    for (int c = 1; c < copies; ++c) g += gradient[c * stride + i];
    m[i] = s.beta1 * m[i] + (1 - s.beta1) * g;
    v[i] = s.beta2 * v[i] + (1 - s.beta2) * (g * g);
    w[i] -= s.learning_rate * m[i] / (__builtin_sqrtf(v[i]) + s.epsilon);
  }
}

void column_sums(std::int64_t rows, std::int64_t columns, const float* x, std::int64_t ld, float* out) {
  constexpr int kBlock = 4 * kLanes;  // a strip of columns stays in registers while the rows go by
  std::int64_t j = 0;
  for (; j + kBlock <= columns; j += kBlock) {
    Vector sum[4] = {};
    for (std::int64_t i = 0; i < rows; ++i)
#pragma GCC unroll 4
      for (int v = 0; v < 4; ++v) sum[v] += load(x + i * ld + j + v * kLanes);
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) store(out + j + v * kLanes, sum[v]);
  }
  for (; j < columns; ++j) {
    float sum = 0;
    for (std::int64_t i = 0; i < rows; ++i) sum += x[i * ld + j];
    out[j] = sum;
  }
}

void exp_many(const float* x, float* y, int count) {
  for (int i = 0; i + kLanes <= count; i += kLanes) store(y + i, exp_vector(load(x + i)));
}
void log_many(const float* x, float* y, int count) {
  for (int i = 0; i + kLanes <= count; i += kLanes) store(y + i, log_vector(load(x + i)));
}

// Body of the fused engine's micro-kernels. Included once per instruction set inside an anonymous namespace;
// nothing here has external linkage.

typedef float Vector __attribute__((vector_size(kVectorBytes)));
typedef float LooseVector __attribute__((vector_size(kVectorBytes), aligned(4), may_alias));
constexpr int kLanes = kVectorBytes / 4;
#if defined(__AVX512F__)
static_assert(kLanes == 16);
#elif defined(__AVX__)
static_assert(kLanes == 8);
#else
static_assert(kLanes == 4);
#endif
constexpr int kPanel = kVectors * kLanes;
constexpr int kOuterColumns = kOuterVectors * kLanes;

inline __attribute__((always_inline)) Vector load(const float* p) {
  return *reinterpret_cast<const LooseVector*>(p);
}
inline __attribute__((always_inline)) void store(float* p, Vector v) {
  *reinterpret_cast<LooseVector*>(p) = v;
}

#include "cpu/mlp/loss_math.h"

/// max(0, x); NaN must survive.
inline __attribute__((always_inline)) Vector relu(Vector x) {
  // Of the processor's maximum the second operand is what comes out where either is NaN.
#if defined(__AVX512F__)
  return _mm512_maskz_max_ps(0xffff, _mm512_setzero_ps(), x);
#elif defined(__AVX__)
  return _mm256_max_ps(_mm256_setzero_ps(), x);
#else
  return select(x < 0.0f, Vector{}, x);
#endif
}

// A panel row is kVectors vectors; the batch is as many panels as it takes. Where a layer is too narrow to
// fill the registers with rows, tiles take several panels at once instead, so that there are always at least
// eight independent sums: two FMAs a cycle, each four cycles long.
constexpr int panels_together(int rows) {
  const int wanted = 8 / (rows * kVectors);
  return rows * kVectors >= 8 ? 1 : rows * kVectors * 2 > 8 && wanted < 2 ? 2 : wanted;
}

/// Rows x kWide vectors of C in registers; B's row is one row of each panel (L1/L2) that the vectors cover, A
/// a broadcast of weights (L1/L2).
/// @tparam kFetchAhead floats: A's lines so much farther on are fetched into L2 meanwhile; 0 = none
/// @tparam kRow floats of a row of B
template <int Rows, int kWide, int kFetchAhead = 0, int kRow = kPanel>
inline __attribute__((always_inline)) void multiply(Vector (&sum)[Rows][kWide], int k, const float* w,
                                                    std::int64_t w_row, std::int64_t w_col,
                                                    const float* panel, std::int64_t panel_stride) {
  constexpr int kRowVectors = kRow / kLanes;
  for (int p = 0; p < k; ++p) {
    if constexpr (kFetchAhead > 0) __builtin_prefetch(w + kFetchAhead, 0, 2);
    if constexpr (Rows < kWide) {  // the weights wait in registers, each vector of the panels comes by once
      Vector element[Rows];
#pragma GCC unroll 16
      for (int r = 0; r < Rows; ++r) element[r] = splat(w[r * w_row]);
#pragma GCC unroll 16
      for (int v = 0; v < kWide; ++v) {
        const Vector here = load(panel + v / kRowVectors * panel_stride + v % kRowVectors * kLanes);
#pragma GCC unroll 16
        for (int r = 0; r < Rows; ++r) sum[r][v] += here * element[r];
      }
    } else {
      Vector row[kWide];
#pragma GCC unroll 16
      for (int v = 0; v < kWide; ++v)
        row[v] = load(panel + v / kRowVectors * panel_stride + v % kRowVectors * kLanes);
#pragma GCC unroll 16
      for (int r = 0; r < Rows; ++r) {
        const float element = w[r * w_row];
#pragma GCC unroll 16
        for (int v = 0; v < kWide; ++v) sum[r][v] += row[v] * element;
      }
    }
    w += w_col;
    panel += kRow;
  }
}

/// What of the sums [k0, k1) a tile adds; a tile of a part other than the first goes on from what it stored.
struct Part {
  int k0, k1;
  bool first, last;
};

template <int Rows, int Panels>
inline __attribute__((always_inline)) void forward_tile(const PanelForward& f, int o, int p,
                                                        const Part& part) {
  constexpr int kWide = Panels * kVectors;
  Vector sum[Rows][kWide];
  float* out = f.out + p * f.out_stride + o * kPanel;
  const auto at = [](int r, int v, std::int64_t stride) {
    return v / kVectors * stride + r * kPanel + v % kVectors * kLanes;
  };
  const float* in = f.in + p * f.in_stride;
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 16
    for (int v = 0; v < kWide; ++v)
      sum[r][v] = part.first && !f.accumulate ? splat(f.bias[o + r]) : load(out + at(r, v, f.out_stride));
  multiply<Rows, kWide>(sum, part.k1 - part.k0, f.weights + o * f.weights_row + part.k0, f.weights_row, 1,
                        in + part.k0 * kPanel, f.in_stride);
  if (part.last && f.relu)
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 16
      for (int v = 0; v < kWide; ++v) sum[r][v] = relu(sum[r][v]);
  if (!(part.last && f.addend)) {
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 16
      for (int v = 0; v < kWide; ++v) store(out + at(r, v, f.out_stride), sum[r][v]);
    return;
  }
  const float* addend = f.addend + p * f.in_stride + o * kPanel;
  float* before = f.before + p * f.out_stride + o * kPanel;
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 16
    for (int v = 0; v < kWide; ++v) {
      store(before + at(r, v, f.out_stride), sum[r][v]);
      store(out + at(r, v, f.out_stride), sum[r][v] + load(addend + at(r, v, f.in_stride)));
    }
}

template <int Rows, int Panels>
inline __attribute__((always_inline)) void backward_tile(const PanelBackward& b, int i, int p,
                                                         const Part& part) {
  constexpr int kWide = Panels * kVectors;
  Vector sum[Rows][kWide];
  const std::int64_t first = p * b.out_stride + i * kPanel;
  const auto at = [](int r, int v, std::int64_t stride) {
    return v / kVectors * stride + r * kPanel + v % kVectors * kLanes;
  };
  const float* start = !part.first ? b.out + first
                       : b.addend  ? b.addend + p * b.delta_stride + i * kPanel
                                   : nullptr;
  const std::int64_t start_stride = part.first ? b.delta_stride : b.out_stride;
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 16
    for (int v = 0; v < kWide; ++v) sum[r][v] = start ? load(start + at(r, v, start_stride)) : Vector{};
  const float* weights = b.weights + part.k0 * b.weights_row + i;
  const float* delta = b.delta + p * b.delta_stride + part.k0 * kPanel;
  // Down a column of weights every element is on another line, often another page, where no hardware
  // prefetcher follows: where they come from beyond L2, the lines of the tiles to come are fetched, a tile's
  // time before they are wanted (backward at 2^24 parameters, one core: 84 ms -> 58 ms, the FMAs alone take
  // 49).
  if (b.outputs * b.weights_row * 4 > b.weight_block_bytes)
    multiply<Rows, kWide, 16>(sum, part.k1 - part.k0, weights, 1, b.weights_row, delta, b.delta_stride);
  else
    multiply<Rows, kWide>(sum, part.k1 - part.k0, weights, 1, b.weights_row, delta, b.delta_stride);
  if (!part.last) {
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 16
      for (int v = 0; v < kWide; ++v) store(b.out + first + at(r, v, b.out_stride), sum[r][v]);
    return;
  }
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 16
    for (int v = 0; v < kWide; ++v) {
      const std::int64_t here = first + at(r, v, b.out_stride);
      if (b.before) store(b.before + here, sum[r][v]);
      const Vector mask = load(b.mask + p * b.mask_stride + i * kPanel + at(r, v, b.mask_stride));
      store(b.out + here, select(mask > 0.0f, sum[r][v], Vector{}));
    }
}

/// One tile of rows over panels [p0, p1).
template <int Rows>
void forward_rows(const PanelForward& f, int o, int p0, int p1, const Part& part) {
  constexpr int kTogether = panels_together(Rows);
  if constexpr (kTogether > 1)
    for (; p0 + kTogether <= p1; p0 += kTogether) forward_tile<Rows, kTogether>(f, o, p0, part);
  for (; p0 < p1; ++p0) forward_tile<Rows, 1>(f, o, p0, part);
}

template <int Rows>
void backward_rows(const PanelBackward& b, int i, int p0, int p1, const Part& part) {
  constexpr int kTogether = panels_together(Rows);
  if constexpr (kTogether > 1)
    for (; p0 + kTogether <= p1; p0 += kTogether) backward_tile<Rows, kTogether>(b, i, p0, part);
  for (; p0 < p1; ++p0) backward_tile<Rows, 1>(b, i, p0, part);
}

template <typename Work>
using RowsFunction = void (*)(const Work&, int, int, int, const Part&);
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

constexpr int ceil_div(int a, int b) { return (a + b - 1) / b; }

// Functions that only fetch are inlined by force: to the compiler they have no effect, and it leaves out
// calls.

/// Asks for the weights of the next tile while this one is worked on. Half of them were written last by
/// another core; rows this short end before the hardware's prefetcher follows (two cores, forward at width
/// 59: 118 -> 108 us, at 117: 540 -> 471 us; of rows longer than this it knows better).
inline __attribute__((always_inline)) void fetch_rows(const float* weights, std::int64_t weights_row,
                                                      int rows, const Part& part) {
  constexpr int kShort = 512;
  if (part.k1 - part.k0 > kShort) return;
  for (int r = 0; r < rows; ++r)
    for (int k = part.k0; k < part.k1; k += 16) __builtin_prefetch(weights + r * weights_row + k, 0, 2);
}

/// The loops around the tiles of one layer, forward or backward: `rows` of C, sums over `depth`.
///   a part of the sums whose panel rows stay near (fused_blocks says where), then a block of weights that
///   stays in L2, then as many panels as fit a quarter of L1 with what is made of them, one at least, then
///   the block's tiles, each over those panels: so a narrow layer's tile takes the whole batch in one call,
///   and a wide layer's panel is read from near by all tiles of the block.
template <typename Work>
void for_each_tile(const Work& work, const RowsFunction<Work>* by_rows, int rows, int depth,
                   WeightWalk walk) {
  const FusedBlocks blocks =
      fused_blocks(walk, kPanel, kRows, rows, depth, work.panels, work.weight_block_bytes);
  const int parts = blocks.depth_parts, depth_part = ceil_div(depth, parts), block = blocks.rows,
            group = blocks.group_panels;
  for (int part = 0; part < parts; ++part) {
    const Part sums{part * depth_part, part + 1 == parts ? depth : (part + 1) * depth_part, part == 0,
                    part + 1 == parts};
    for (int r0 = 0; r0 < rows; r0 += block) {
      const int r1 = rows < r0 + block ? rows : r0 + block;
      for (int p = 0; p < work.panels; p += group) {
        const int p1 = work.panels < p + group ? work.panels : p + group;
        // Tiles of equal height, as far as it goes: a last tile of one row would run at half speed.
        for (int r = r0, left = ceil_div(r1 - r0, kRows); r < r1; --left) {
          const int height = ceil_div(r1 - r, left);
          if (walk == WeightWalk::kAlongRows && p == 0)
            fetch_rows(work.weights + (r + height) * work.weights_row, work.weights_row,
                       rows - (r + height) < kRows ? rows - (r + height) : kRows, sums);
          by_rows[height - 1](work, r, p, p1, sums);
          r += height;
        }
      }
    }
  }
}

void forward(const PanelForward& f) {
  for_each_tile(f, kTables.forward, f.outputs, f.inputs, WeightWalk::kAlongRows);
}
void backward(const PanelBackward& b) {
  for_each_tile(b, kTables.backward, b.inputs, b.outputs, WeightWalk::kDownColumns);
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
/// half and b's to the upper half of the result's group. One operand of the sum is a blend, which any port
/// takes; only the other crosses lanes, which one port does.
template <int Half, int... I>
inline __attribute__((always_inline)) Vector fold(Vector a, Vector b, std::integer_sequence<int, I...>) {
  const Vector stay = __builtin_shufflevector(a, b, ((I & Half) ? kLanes + I : I)...);
  const Vector cross = __builtin_shufflevector(a, b, ((I & Half) ? kLanes + (I ^ Half) : (I ^ Half))...);
  return stay + cross;
}

/// Lanes of `a` whose number has the bit Half change places with the lanes of `b` whose number has not.
template <int Half, int... I>
inline __attribute__((always_inline)) void exchange(Vector& a, Vector& b, std::integer_sequence<int, I...>) {
  const Vector first = __builtin_shufflevector(a, b, ((I & Half) ? kLanes + (I ^ Half) : I)...);
  b = __builtin_shufflevector(a, b, ((I & Half) ? kLanes + I : (I ^ Half))...);
  a = first;
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
typedef float Quad __attribute__((vector_size(16), aligned(4), may_alias));

/// Columns of a tile of dot products: more of them where there is only one row, for eight independent sums.
constexpr int dot_columns(int rows) { return rows == 1 ? 2 * kDotColumns : kDotColumns; }

/// Rows x Columns dot products over the batch: Rows + Columns loads for Rows * Columns multiply-adds, one
/// reduction at the end. What the loop reads is in L1 (the columns) and L2 (delta).
template <int Rows, int Columns>
void dots(const PanelGradient& g, int o, int i) {
  constexpr int kSums = Rows * Columns, kGroups = (kSums + kLanes - 1) / kLanes;
  Vector sum[kGroups * kLanes];
#pragma GCC unroll 32
  for (int s = 0; s < kGroups * kLanes; ++s) sum[s] = Vector{};
  const float *delta = g.delta + o * kPanel, *in = g.in + i * kPanel;
  for (int p = 0; p < g.panels; ++p) {
#pragma GCC unroll 4
    for (int v = 0; v < kPanel; v += kLanes) {
      Vector d[Rows];
#pragma GCC unroll 4
      for (int r = 0; r < Rows; ++r) d[r] = load(delta + r * kPanel + v);
#pragma GCC unroll 8
      for (int c = 0; c < Columns; ++c) {
        const Vector column = load(in + c * kPanel + v);
#pragma GCC unroll 4
        for (int r = 0; r < Rows; ++r) sum[r * Columns + c] += d[r] * column;
      }
    }
    delta += g.delta_stride;
    in += g.in_stride;
  }
  float total[kGroups * kLanes];
#pragma GCC unroll 2
  for (int s = 0; s < kGroups; ++s) {
    Vector part[kLanes];
#pragma GCC unroll 16
    for (int l = 0; l < kLanes; ++l) part[l] = sum[s * kLanes + l];
    store(total + s * kLanes, sum_each(part));
  }
  float* to = g.gradient + o * g.gradient_row + i;
#pragma GCC unroll 4
  for (int r = 0; r < Rows; ++r, to += g.gradient_row) {
    const float* from = total + r * Columns;
    if constexpr (Columns % 4 == 0) {
#pragma GCC unroll 2
      for (int c = 0; c < Columns; c += 4) {
        Quad* here = reinterpret_cast<Quad*>(to + c);
        const Quad add = *reinterpret_cast<const Quad*>(from + c);
        *here = g.accumulate ? *here + add : add;
      }
    } else {
      for (int c = 0; c < Columns; ++c) to[c] = g.accumulate ? to[c] + from[c] : from[c];
    }
  }
}

/// Of panel p of the data to come, the part of columns [first, last) that is the share of outputs
/// [o, o + rows). A few lines at a time: memory delivers while we multiply, as long as no more are asked for
/// than the core can wait for at once (a batch of 128 rows of 784 floats from memory, 19 outputs, forward and
/// gradient: 92 us unasked, 82 us asked for 50 lines at once, 64 us by sevens; from L2 they take 59).
inline __attribute__((always_inline)) void fetch_share(const PanelGradient& g, int p, int o, int rows,
                                                       int first, int last) {
  if (!g.next_in) return;
  const auto end = [&](int outputs) {
    return first * kPanel +
           static_cast<int>(static_cast<std::int64_t>(last - first) * kPanel * outputs / g.outputs);
  };
  for (int at = end(o); at < end(o + rows); at += 16)
    __builtin_prefetch(g.next_in + p * g.in_stride + at, 0, 2);
}

template <int Rows>
void dot_rows(const PanelGradient& g, int o, int first, int last) {
  constexpr int kColumns = dot_columns(Rows);
  int i = first;
  for (; i + kColumns <= last; i += kColumns) {
    for (int p = 0; p < g.panels; ++p) fetch_share(g, p, o, Rows, i, i + kColumns);
    dots<Rows, kColumns>(g, o, i);
  }
  for (int p = 0; p < g.panels; ++p) fetch_share(g, p, o, Rows, i, last);
  if (kColumns > 4 && i + 4 <= last) dots<Rows, 4>(g, o, i), i += 4;
  if (last - i == 1) dots<Rows, 1>(g, o, i);
  if (last - i == 2) dots<Rows, 2>(g, o, i);
  if (last - i == 3) dots<Rows, 3>(g, o, i);
}

template <int... R>
constexpr auto dot_row_table(std::integer_sequence<int, R...>) {
  struct Table {
    void (*by_rows[sizeof...(R)])(const PanelGradient&, int, int, int) = {dot_rows<R + 1>...};
  };
  return Table{};
}
constexpr auto kDotRowTable = dot_row_table(std::make_integer_sequence<int, kDotRows>{});

void bias_rows(const PanelGradient& g, int o, int rows) {
  for (int r = o; r < o + rows; ++r) {
    Vector sum{};
    for (int p = 0; p < g.panels; ++p)
#pragma GCC unroll 4
      for (int v = 0; v < kPanel; v += kLanes) sum += load(g.delta + p * g.delta_stride + r * kPanel + v);
    const float total = sum_lanes(sum);
    g.bias_gradient[r] = g.accumulate ? g.bias_gradient[r] + total : total;
  }
}

constexpr int kDotBlockBytes = 16 << 10;
constexpr int kDeltaBlockBytes = 96 << 10;

void weight_gradient(const PanelGradient& g) {
  // A block of delta (all rows of the batch) stays in L2; of the inputs a block stays in L1 while that block
  // of delta passes by. Without the first, a wide layer would fetch all of delta from L3 once a block of
  // inputs; without the second every kDotRows rows of delta would fetch the whole input again.
  const int feature_bytes = (g.panels > 0 ? g.panels : 1) * kPanel * 4;
  const int fitting = kDotBlockBytes / feature_bytes / 8;
  const int block = (fitting > 1 ? fitting : 1) * 8;
  const int deltas = kDeltaBlockBytes / feature_bytes / kDotRows;
  const int delta_block = (deltas > 1 ? deltas : 1) * kDotRows;
  for (int o0 = 0; o0 < g.outputs; o0 += delta_block) {
    const int o1 = g.outputs < o0 + delta_block ? g.outputs : o0 + delta_block;
    for (int i = 0; i < g.inputs; i += block) {
      const int last = g.inputs < i + block ? g.inputs : i + block;
      for (int o = o0, left = ceil_div(o1 - o0, kDotRows); o < o1; --left) {
        const int height = ceil_div(o1 - o, left);
        kDotRowTable.by_rows[height - 1](g, o, i, last);
        if (i == 0 && g.bias_gradient) bias_rows(g, o, height);  // while their delta is in L1
        o += height;
      }
    }
  }
}

// The weight gradient by outer products: no sums across lanes, but the
// inputs must stand batch-major. For a layer with many outputs a thread that is worth the transposition.

/// kLanes vectors turned: lane j of vector i goes to lane i of vector j.
template <int Half = kLanes / 2>
inline __attribute__((always_inline)) void turn(Vector (&v)[kLanes]) {
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i)
    if ((i & Half) == 0) exchange<Half>(v[i], v[i + Half], std::make_integer_sequence<int, kLanes>{});
  if constexpr (Half > 1) turn<Half / 2>(v);
}

/// to[block of kOuterColumns features][row of the batch][feature], zero beyond the inputs.
void turn_inputs(const PanelGradient& g, float* to) {
  for (int i0 = 0; i0 < g.inputs; i0 += kOuterColumns) {
    for (int p = 0; p < g.panels; ++p) {
      const float* panel = g.in + p * g.in_stride + i0 * kPanel;
      for (int v = 0; v < kOuterColumns; v += kLanes) {  // features
        for (int l = 0; l < kPanel; l += kLanes) {       // rows
          Vector square[kLanes];
#pragma GCC unroll 16
          for (int f = 0; f < kLanes; ++f)
            square[f] = i0 + v + f < g.inputs ? load(panel + (v + f) * kPanel + l) : Vector{};
          turn(square);
#pragma GCC unroll 16
          for (int r = 0; r < kLanes; ++r) store(to + (l + r) * kOuterColumns + v, square[r]);
        }
      }
      to += kPanel * kOuterColumns;
    }
  }
}

/// Rows outputs x kWide vectors of inputs, over the batch.
template <int Rows, int kWide>
void outer_tile(const PanelGradient& g, const float* turned, int o, int i) {
  Vector sum[Rows][kWide] = {};
  const float* delta = g.delta + o * kPanel;
  for (int p = 0; p < g.panels; ++p) {
    fetch_share(g, p, o, Rows, i, g.inputs < i + kOuterColumns ? g.inputs : i + kOuterColumns);
    multiply<Rows, kWide, 0, kOuterColumns>(sum, kPanel, delta, kPanel, 1, turned, 0);
    delta += g.delta_stride;
    turned += kPanel * kOuterColumns;
  }
  float* to = g.gradient + o * g.gradient_row + i;
  const int columns = g.inputs - i;
#pragma GCC unroll 16
  for (int r = 0; r < Rows; ++r, to += g.gradient_row)
#pragma GCC unroll 16
    for (int v = 0; v < kWide; ++v) {
      float* here = to + v * kLanes;
      if ((v + 1) * kLanes <= columns) {
        store(here, g.accumulate ? load(here) + sum[r][v] : sum[r][v]);
      } else {
        float lane[kLanes];
        store(lane, sum[r][v]);
        for (int l = 0; l < columns - v * kLanes; ++l) here[l] = g.accumulate ? here[l] + lane[l] : lane[l];
      }
    }
}

template <int Rows>
void outer_rows(const PanelGradient& g, const float* turned, int o, int i) {
  // the last block takes no more vectors than it needs
  if (kOuterVectors >= 2 && g.inputs - i <= kOuterColumns / 2)
    return outer_tile<Rows, (kOuterVectors + 1) / 2>(g, turned, o, i);
  outer_tile<Rows, kOuterVectors>(g, turned, o, i);
}

template <int... R>
constexpr auto outer_table(std::integer_sequence<int, R...>) {
  struct Table {
    void (*by_rows[sizeof...(R)])(const PanelGradient&, const float*, int, int) = {outer_rows<R + 1>...};
  };
  return Table{};
}
constexpr auto kOuterTable = outer_table(std::make_integer_sequence<int, kOuterRows>{});

/// One block of turned inputs stays in L1 while a block of delta passes by from L2.
void outer_gradient(const PanelGradient& g, const float* turned) {
  const int deltas = kDeltaBlockBytes / ((g.panels > 0 ? g.panels : 1) * kPanel * 4) / kOuterRows;
  const int delta_block = (deltas > 1 ? deltas : 1) * kOuterRows;
  for (int o0 = 0; o0 < g.outputs; o0 += delta_block) {
    const int o1 = g.outputs < o0 + delta_block ? g.outputs : o0 + delta_block;
    for (int i = 0; i < g.inputs; i += kOuterColumns) {
      const float* block = turned + static_cast<std::int64_t>(i) * g.panels * kPanel;
      for (int o = o0, left = ceil_div(o1 - o0, kOuterRows); o < o1; --left) {
        const int height = ceil_div(o1 - o, left);
        kOuterTable.by_rows[height - 1](g, block, o, i);
        if (i == 0 && g.bias_gradient) bias_rows(g, o, height);
        o += height;
      }
    }
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
    const Vector power = exp_vector(here - largest);
    total += power;
    target += wanted * here;
    if (gradient) store(z + o * kPanel, power);  // the logit is not needed any more
  }
  right = wanted_at_largest;  // of equal logits the first counts, as argmax does
  if (gradient) {
    const Vector scale = weight / total;
    for (int o = 0; o < outputs; ++o)
      store(z + o * kPanel, load(z + o * kPanel) * scale - load(y + o * kPanel) * weight);
  }
  return weight * (log_vector(total) + largest - target);
}

/// Of a sigmoid: p - y and p (1 - p) without the digits that 1 - p would lose where p is nearly 1.
struct Sigmoid {
  Vector error, slope;
};
Sigmoid sigmoid(Vector z, Vector y) {
  const Vector e = exp_vector(select(z < 0.0f, z, -z)), share = e / (e + 1.0f);  // exp(-|z|)
  return {select(z < 0.0f, share - y, (1.0f - y) - share), share / (e + 1.0f)};
}

Vector binary_loss(float* z, const float* y, Vector weight, bool gradient, Vector& right) {
  const Vector logit = load(z), wanted = load(y);
  const Vector magnitude = select(logit < 0.0f, -logit, logit);
  const Vector loss =
      select(logit > 0.0f, logit, Vector{}) - logit * wanted + log_vector(exp_vector(-magnitude) + 1.0f);
  right = select(select(logit >= 0.0f, splat(1.0f), Vector{}) == wanted, splat(1.0f), Vector{});
  if (gradient) store(z, sigmoid(logit, wanted).error * weight);
  return weight * loss;
}

Vector squared_loss(int outputs, float* z, const float* y, Vector weight, bool gradient) {
  // mean over the outputs, as Keras
  const float share = 1.0f / static_cast<float>(outputs);
  Vector loss{};
  for (int o = 0; o < outputs; ++o) {
    const auto [error, slope] = sigmoid(load(z + o * kPanel), load(y + o * kPanel));
    loss += error * error * share;
    if (gradient) store(z + o * kPanel, error * slope * (weight * (2 * share)));
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

#if defined(__AVX512F__)
// Root and quotient from the processor's approximations (2^-14), each made whole by one of Newton's steps.
// The divider would be what Adam waits for: 0.53 ns a parameter from L2 with it, 0.37 so (one core); where
// the moments come from L3, they are the wait.

/// Of a finite float >= 0, two units in the last place; 3e-19 below 1e-37, which no epsilon notices. NaN
/// stays NaN, and infinity, where the network is lost either way, becomes it.
inline __attribute__((always_inline)) Vector root(Vector x) {
  const Vector above = _mm512_maskz_max_ps(0xffff, splat(1e-37f), x);  // 0 has no reciprocal
  const Vector y = _mm512_maskz_rsqrt14_ps(0xffff, above);
  const Vector r = above * y;
  return r + r * 0.5f * (1.0f - r * y);
}
/// Two units in the last place.
inline __attribute__((always_inline)) Vector reciprocal(Vector x) {
  const Vector y = _mm512_maskz_rcp14_ps(0xffff, x);
  return y + y * (1.0f - x * y);
}
#endif

void adam(const AdamStep& s, std::int64_t first, std::int64_t last, const float* gradient, int copies,
          std::int64_t stride, float* w, float* m, float* v) {
  // The copies are added block by block in L1, so that the loop that follows is one straight run of vectors:
  // with the copies' loop inside, the compiler makes scalar code of both.
  // Non-temporal stores of the moments gained nothing (one core, medians of five: 2^20 parameters 11.2 ms a
  // step with them, 11.1 without; 2^22 47.4 and 47.3): every line that is written has just been read.
  constexpr std::int64_t kBlock = 512;
  alignas(64) float sum[kBlock];
  for (std::int64_t i = first; i < last; i += kBlock) {
    const std::int64_t count = last - i < kBlock ? last - i : kBlock;
    const float* total = gradient + i;
    if (copies > 1) {
      for (std::int64_t j = 0; j < count; ++j) sum[j] = gradient[i + j] + gradient[stride + i + j];
      for (int c = 2; c < copies; ++c)
        for (std::int64_t j = 0; j < count; ++j) sum[j] += gradient[c * stride + i + j];
      total = sum;
    }
    float *wi = w + i, *mi = m + i, *vi = v + i;
    std::int64_t j = 0;
#if defined(__AVX512F__)
    for (; j + kLanes <= count; j += kLanes) {
      const Vector g = load(total + j);
      const Vector first_moment = load(mi + j) * s.beta1 + g * (1 - s.beta1);
      const Vector second = load(vi + j) * s.beta2 + g * g * (1 - s.beta2);
      store(mi + j, first_moment);
      store(vi + j, second);
      store(wi + j, load(wi + j) - first_moment * s.learning_rate * reciprocal(root(second) + s.epsilon));
    }
#endif
#pragma GCC ivdep
    for (; j < count; ++j) {
      const float g = total[j];
      mi[j] = s.beta1 * mi[j] + (1 - s.beta1) * g;
      vi[j] = s.beta2 * vi[j] + (1 - s.beta2) * (g * g);
      wi[j] -= s.learning_rate * mi[j] / (__builtin_sqrtf(vi[j]) + s.epsilon);
    }
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

FusedKernels kernel_table(Isa isa) {
  return {.isa = isa,
          .lanes = kPanel,
          .vector_lanes = kLanes,
          .rows = kRows,
          .narrow_panels = panels_together(1),
          .dot_rows = kDotRows,
          .dot_block_bytes = kDotBlockBytes,
          .outer_columns = kOuterColumns,
          .outer_rows = kOuterRows,
          .fold_rows = kFoldRows,
          .turn_outputs = kTurnOutputs,
          .delta_block_bytes = kDeltaBlockBytes,
          .forward = forward,
          .backward = backward,
          .weight_gradient = weight_gradient,
          .turn_inputs = turn_inputs,
          .outer_gradient = outer_gradient,
          .loss = loss,
          .adam = adam,
          .column_sums = column_sums,
          .exp_many = exp_many,
          .log_many = log_many};
}

// Body of every micro-kernel file. Included once per instruction set, inside an anonymous namespace's
// reach: nothing here may have external linkage, or the linker could hand AVX-512 code to a machine without
// it.
//
// The including file defines kVectorBytes and kMostRows (of a tile 1, 2, 3 vectors wide) before including
// this.
//
// The plain loop (one tile):
//   for i < rows: for j < columns: c[i][j] = sum over p < k of A(i,p) * B(p,j)
// Registers hold the whole tile of C: Rows x Vectors accumulators, Vectors of one row of B, and A as a
// broadcast operand: Rows*Vectors FMAs for Rows + Vectors loads. From 2 vectors on the FMA units and not the
// load ports are the limit; a tile one vector wide loads once an FMA and is bound by its loads.

namespace {

typedef float Vector __attribute__((vector_size(kVectorBytes), aligned(4), may_alias));
constexpr int kLanes = kVectorBytes / 4;
constexpr int kWidest = MicroKernels::kMostVectors * kLanes;  // columns of the widest tile

inline __attribute__((always_inline)) Vector load(const float* p) {
  return *reinterpret_cast<const Vector*>(p);
}
inline __attribute__((always_inline)) void store(float* p, Vector v) { *reinterpret_cast<Vector*>(p) = v; }

typedef float Quad __attribute__((vector_size(16), aligned(4), may_alias));
typedef float Pair __attribute__((vector_size(8), aligned(4), may_alias));
inline Quad load_quad(const float* p) { return *reinterpret_cast<const Quad*>(p); }
inline void store_quad(float* p, Quad v) { *reinterpret_cast<Quad*>(p) = v; }

/// The first `left` < kLanes lanes of a sum into C, nothing beyond them touched. One mask register where
/// there are masks; else a quad, a pair and a single: AVX2's masked store is microcoded on some processors
/// (tens of cycles), and a detour through the stack costs a store and a reload of every row.
inline __attribute__((always_inline)) void store_part(float* to, Vector sum, int left, bool accumulate) {
#ifdef __AVX512F__
  const __mmask16 mask = static_cast<__mmask16>((1u << left) - 1);
  if (accumulate) sum += reinterpret_cast<Vector>(_mm512_maskz_loadu_ps(mask, to));
  _mm512_mask_storeu_ps(to, mask, reinterpret_cast<__m512>(sum));
#else
  Quad quad = __builtin_shufflevector(sum, sum, 0, 1, 2, 3);
  if constexpr (kLanes == 8)
    if (left & 4) {
      store_quad(to, accumulate ? load_quad(to) + quad : quad);
      to += 4;
      quad = __builtin_shufflevector(sum, sum, 4, 5, 6, 7);
    }
  if (left & 2) {
    Pair pair = __builtin_shufflevector(quad, quad, 0, 1);
    if (accumulate) pair += *reinterpret_cast<const Pair*>(to);
    *reinterpret_cast<Pair*>(to) = pair;
    to += 2;
    quad = __builtin_shufflevector(quad, quad, 2, 3, 2, 3);
  }
  if (left & 1) *to = accumulate ? *to + quad[0] : quad[0];
#endif
}

/// How a tile finds A. kRows: its rows lie apart, each is contiguous. kStrip: packed, a_row is 1 and steps of
/// k follow each other, so that all rows share one pointer. kLines: a_row is 1, but steps of k lie apart.
enum AccessOfA { kRows, kStrip, kLines };

/// `BApart`: rows of B lie apart from each other (read in place).
template <int Rows, int Vectors, AccessOfA A, bool BApart>
void tile_fixed(int columns, std::int64_t k, const float* a, std::int64_t a_row, std::int64_t a_col,
                const float* b, std::int64_t b_row, float* c, std::int64_t c_ld, bool accumulate) {
  // Two FMAs a cycle with a latency of four want 8 sums in flight: a smaller tile takes turns among copies.
  constexpr int kCopies = Rows * Vectors >= 8 ? 1 : Rows * Vectors >= 4 ? 2 : 4;
  Vector sum[kCopies][Rows][Vectors];
#pragma GCC unroll 4
  for (int t = 0; t < kCopies; ++t)
#pragma GCC unroll 32
    for (int i = 0; i < Rows; ++i)
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v) sum[t][i][v] = Vector{};
  // C is not touched before the loop ends; asked for now, its lines come from L2 or L3 meanwhile: of a deep
  // tile a row at a time, so that they do not queue up before what the products read. Twice as densely, so
  // that k = 256 counts as deep, and non-temporal stores of C were tried: no gain (0.95 to 1.05 and 1.00
  // to 1.03 of the time, 256 to 4096 wide).
  constexpr int kLinesOfRow = (Vectors * kVectorBytes + 63) / 64, kStepsToRow = 16 * kLinesOfRow;
  const bool deep = kCopies == 1 && k >= kStepsToRow * Rows;
  if (!deep)
#pragma GCC unroll 32
    for (int i = 0; i < Rows; ++i) __builtin_prefetch(c + i * c_ld, 1);
  // Else the addresses of C's rows are kept for the end, and push the loop's own count out of the registers.
  asm("" : "+r"(c), "+r"(c_ld));
  // Rows of A apart from each other: a pointer for every four rows and two strides reach all of them, so that
  // the tallest tile needs 9 registers; left alone, the compiler keeps a pointer a row, most of them on the
  // stack.
  constexpr bool Contiguous = A != kRows;
  constexpr int kBases = Contiguous ? 1 : (Rows + 3) / 4;
  const float* base[kBases];
#pragma GCC unroll 8
  for (int i = 0; i < kBases; ++i) base[i] = a + 4 * i * a_row;
  std::int64_t thrice = 3 * a_row;
  asm("" : "+r"(thrice));
  const auto step = [&](int t) __attribute__((always_inline)) {
    Vector row[Vectors];
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) row[v] = load(b + v * kLanes);
    // What lies apart no hardware prefetcher follows. 8 steps are some 100 cycles, an L2's latency and half
    // of an L3's: 256 x 1024 x 1024 with B in place ran at 141 GFLOP/s without (Sapphire Rapids, one core),
    // 149 with 4, 154 with 8 and 153 with 16 steps ahead.
    constexpr int kAhead = 8;
    if constexpr (BApart)
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v) __builtin_prefetch(b + kAhead * b_row + v * kLanes);
    if constexpr (A == kLines) __builtin_prefetch(base[0] + kAhead * a_col + Rows - 1);
#pragma GCC unroll 32
    for (int i = 0; i < Rows; ++i) {
      const float* four = base[Contiguous ? 0 : i / 4];
      const float element = Contiguous   ? four[i]
                            : i % 4 == 0 ? four[0]
                            : i % 4 == 1 ? four[a_row]
                            : i % 4 == 2 ? four[2 * a_row]
                                         : four[thrice];
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v) sum[t][i][v] += row[v] * element;
    }
#pragma GCC unroll 8
    for (int i = 0; i < kBases; ++i) {
      base[i] += a_col;
      if constexpr (!Contiguous) asm("" : "+r"(base[i]));
    }
    b += b_row;
  };
  if constexpr (kCopies > 1) {
    for (; k >= kCopies; k -= kCopies)
#pragma GCC unroll 4
      for (int t = 0; t < kCopies; ++t) step(t);
    for (; k > 0; --k) step(0);
  } else {
    if (deep) {  // counts go down and C's own pointer moves: no register more than the plain loop has
      for (int left = Rows; left > 0; --left) {
#pragma GCC unroll 4
        for (int line = 0; line < kLinesOfRow; ++line) __builtin_prefetch(c + 16 * line, 1);
        c += c_ld;
#pragma GCC unroll 4
        for (int steps = kStepsToRow; steps > 0; --steps) step(0);
      }
      c -= Rows * c_ld;
      k -= kStepsToRow * Rows;
    }
#pragma GCC unroll 4
    for (; k > 0; --k) step(0);
  }
#pragma GCC unroll 4
  for (int t = kCopies / 2; t >= 1; t /= 2)
#pragma GCC unroll 4
    for (int u = 0; u < t; ++u)
#pragma GCC unroll 32
      for (int i = 0; i < Rows; ++i)
#pragma GCC unroll 4
        for (int v = 0; v < Vectors; ++v) sum[u][i][v] += sum[u + t][i][v];
  // Whole vectors first: only the last one can be ragged. One branch a tile, not one a vector: at k = 32 the
  // branches were a sixth of the tile's time.
  const auto whole = [&](int vectors) __attribute__((always_inline)) {
    if (accumulate) {
#pragma GCC unroll 32
      for (int i = 0; i < Rows; ++i)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; ++v) {
          float* here = c + i * c_ld + v * kLanes;
          store(here, load(here) + sum[0][i][v]);
        }
    } else {
#pragma GCC unroll 32
      for (int i = 0; i < Rows; ++i)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; ++v) store(c + i * c_ld + v * kLanes, sum[0][i][v]);
    }
  };
  if (columns == Vectors * kLanes) {
    whole(Vectors);
  } else {
    whole(Vectors - 1);
    const int left = columns - (Vectors - 1) * kLanes;
#pragma GCC unroll 32
    for (int i = 0; i < Rows; ++i)
      store_part(c + i * c_ld + (Vectors - 1) * kLanes, sum[0][i][Vectors - 1], left, accumulate);
  }
}

using TileFunction = void (*)(int, std::int64_t, const float*, std::int64_t, std::int64_t, const float*,
                              std::int64_t, float*, std::int64_t, bool);

/// Every height of one width: entry [rows - 1][AccessOfA][B lies apart].
template <int Vectors, int... Row>
struct TileTable {
  TileFunction function[sizeof...(Row)][3][2];
  constexpr TileTable()
      : function{
            {{tile_fixed<Row + 1, Vectors, kRows, false>, tile_fixed<Row + 1, Vectors, kRows, true>},
             {tile_fixed<Row + 1, Vectors, kStrip, false>, tile_fixed<Row + 1, Vectors, kStrip, true>},
             {tile_fixed<Row + 1, Vectors, kLines, false>, tile_fixed<Row + 1, Vectors, kLines, true>}}...} {}
};
template <int Vectors, int... Row>
constexpr TileTable<Vectors, Row...> make_table(std::integer_sequence<int, Row...>) {
  return {};
}
constexpr auto kTiles1 = make_table<1>(std::make_integer_sequence<int, kMostRows[0]>{});
constexpr auto kTiles2 = make_table<2>(std::make_integer_sequence<int, kMostRows[1]>{});
constexpr auto kTiles3 = make_table<3>(std::make_integer_sequence<int, kMostRows[2]>{});

void tile(int rows, int columns, std::int64_t k, const float* a, std::int64_t a_row, std::int64_t a_col,
          const float* b, std::int64_t b_row, float* c, std::int64_t c_ld, bool accumulate) {
  const AccessOfA access = a_row != 1 ? kRows : a_col <= kMostRows[0] ? kStrip : kLines;
  const int apart = b_row > kWidest;
  const TileFunction function = columns <= kLanes       ? kTiles1.function[rows - 1][access][apart]
                                : columns <= 2 * kLanes ? kTiles2.function[rows - 1][access][apart]
                                                        : kTiles3.function[rows - 1][access][apart];
  function(columns, k, a, a_row, a_col, b, b_row, c, c_ld, accumulate);
}

void sum_parts(int parts, std::int64_t apart, std::int64_t count, const float* from, float* to) {
  std::int64_t j = 0;
  for (; j + kLanes <= count; j += kLanes) {
    Vector sum = load(from + j);
    for (int t = 1; t < parts; ++t) sum += load(from + t * apart + j);
    store(to + j, sum);
  }
  for (; j < count; ++j) {
    float sum = from[j];
    for (int t = 1; t < parts; ++t) sum += from[t * apart + j];
    to[j] = sum;
  }
}

// The last write of a tile. `columns` is a constant kLanes but at a ragged end, so that rows become straight
// vector code. Nothing overlaps: tile, C, moments and masks are different arrays.

inline __attribute__((always_inline)) void finish_forward(const Epilogue& e, const float* product, float* c,
                                                          std::int64_t row, std::int64_t column,
                                                          int columns) {
  const float* bias = e.bias + column;
  const float floor = e.relu ? 0.0f : -__builtin_inff();
  // NaN must survive ReLU, so that a poisoned network is seen: compare, do not take a maximum.
  if (!e.addend && !e.before) {
#pragma GCC ivdep
    for (int j = 0; j < columns; ++j) {
      const float z = product[j] + bias[j];
      c[j] = z < floor ? floor : z;
    }
    return;
  }
  const float* addend = e.addend ? e.addend + row * e.addend_ld + column : nullptr;
  float* before = e.before ? e.before + row * e.before_ld + column : nullptr;
  for (int j = 0; j < columns; ++j) {
    const float z = product[j] + bias[j];
    const float activated = z < floor ? floor : z;
    if (before) before[j] = activated;
    c[j] = addend ? activated + addend[j] : activated;
  }
}

inline __attribute__((always_inline)) void finish_backward(const Epilogue& e, const float* product, float* c,
                                                           std::int64_t row, std::int64_t column,
                                                           int columns) {
  const float* mask = e.mask + row * e.mask_ld + column;
  if (!e.addend && !e.before) {
#pragma GCC ivdep
    for (int j = 0; j < columns; ++j) c[j] = mask[j] > 0 ? product[j] : 0.0f;
    return;
  }
  const float* addend = e.addend ? e.addend + row * e.addend_ld + column : nullptr;
  float* before = e.before ? e.before + row * e.before_ld + column : nullptr;
  for (int j = 0; j < columns; ++j) {
    const float g = addend ? product[j] + addend[j] : product[j];
    if (before) before[j] = g;
    c[j] = mask[j] > 0 ? g : 0.0f;
  }
}

inline __attribute__((always_inline)) void finish_adam(const Epilogue& e, const float* gradient, float* w,
                                                       std::int64_t row, std::int64_t column, int columns) {
  float* m = e.first_moment + row * e.moment_ld + column;
  float* v = e.second_moment + row * e.moment_ld + column;
  const AdamStep s = e.adam;
#pragma GCC ivdep
  for (int j = 0; j < columns; ++j) {
    const float g = gradient[j];
    m[j] = s.beta1 * m[j] + (1 - s.beta1) * g;
    v[j] = s.beta2 * v[j] + (1 - s.beta2) * (g * g);
    w[j] -= s.learning_rate * m[j] / (__builtin_sqrtf(v[j]) + s.epsilon);
  }
}

/// `columns` of one row.
inline __attribute__((always_inline)) void finish_row(const Epilogue& e, const float* product, float* to,
                                                      std::int64_t row, std::int64_t column, int columns) {
  switch (e.kind) {
    case Epilogue::Kind::kStore:
#pragma GCC ivdep
      for (int j = 0; j < columns; ++j) to[j] = product[j];
      break;
    case Epilogue::Kind::kForward:
      finish_forward(e, product, to, row, column, columns);
      break;
    case Epilogue::Kind::kBackward:
      finish_backward(e, product, to, row, column, columns);
      break;
    case Epilogue::Kind::kAdam:
      finish_adam(e, product, to, row, column, columns);
      break;
  }
}

void finish(const Epilogue& e, const float* product, float* c, std::int64_t c_ld, std::int64_t row,
            std::int64_t column, int rows, int columns) {
  for (int i = 0; i < rows; ++i) {
    const float* p = product + i * kWidest;
    float* to = c + (row + i) * c_ld + column;
    int j = 0;
    for (; j + kLanes <= columns; j += kLanes) finish_row(e, p + j, to + j, row + i, column + j, kLanes);
    if (j < columns) finish_row(e, p + j, to + j, row + i, column + j, columns - j);
  }
}

#include "cpu/gemm/pack_impl.h"

constexpr MicroKernels kernel_table(Isa isa) {
  return {isa,     kMostRows[1], 2 * kLanes, kLanes,      {kMostRows[0], kMostRows[1], kMostRows[2]},
          kWidest, tile,         finish,     pack_strips, sum_parts};
}

}  // namespace

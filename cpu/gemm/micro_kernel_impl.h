// Body of every micro-kernel file. Included once per instruction set, inside an anonymous namespace's
// reach: nothing here may have external linkage, or the linker could hand AVX-512 code to a machine without
// it.
//
// The including file defines kVectorBytes, kMr and kNv before including this.
//
// The plain loop (one tile):
//   for i < rows: for j < columns: c[i][j] = sum over p < k of A(i,p) * B(p,j)
// Registers hold the whole tile of C: kMr x kNv accumulators, kNv vectors of one row of B, and A as a
// broadcast operand: kMr*kNv FMAs for kNv + kMr loads, so the FMA units and not the load ports are the limit.

namespace {

typedef float Vector __attribute__((vector_size(kVectorBytes), aligned(4), may_alias));
constexpr int kLanes = kVectorBytes / 4;
constexpr int kNr = kNv * kLanes;
static_assert(kMr >= 1 && kNv >= 1 && kNv <= 3, "tile() dispatches over 1..3 vectors");

inline __attribute__((always_inline)) Vector load(const float* p) {
  return *reinterpret_cast<const Vector*>(p);
}
inline __attribute__((always_inline)) void store(float* p, Vector v) { *reinterpret_cast<Vector*>(p) = v; }

/// `Packed`: strides of A are the compile-time constants of a packed strip.
template <int Rows, int Vectors, bool Packed>
void tile_fixed(int columns, std::int64_t k, const float* a, std::int64_t a_row, std::int64_t a_col,
                const float* b, std::int64_t b_row, float* c, std::int64_t c_ld, bool accumulate) {
  Vector sum[Rows][Vectors];
#pragma GCC unroll 16
  for (int i = 0; i < Rows; ++i)
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) sum[i][v] = Vector{};
      // C is not touched before the loop ends; asked for now, its lines come from L2 or L3 meanwhile.
#pragma GCC unroll 16
  for (int i = 0; i < Rows; ++i) __builtin_prefetch(c + i * c_ld, 1);
#pragma GCC unroll 4
  for (std::int64_t p = 0; p < k; ++p) {
    Vector row[Vectors];
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) row[v] = load(b + v * kLanes);
#pragma GCC unroll 16
    for (int i = 0; i < Rows; ++i) {
      const float element = Packed ? a[i] : a[i * a_row];
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v) sum[i][v] += row[v] * element;
    }
    a += Packed ? kMr : a_col;
    b += b_row;
  }
  // Whole vectors first; the ragged end of a row goes through the stack, so that nothing beyond `columns` is
  // touched.
#pragma GCC unroll 16
  for (int i = 0; i < Rows; ++i) {
    float* to = c + i * c_ld;
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) {
      const int left = columns - v * kLanes;
      float* here = to + v * kLanes;
      if (left >= kLanes) {
        store(here, accumulate ? load(here) + sum[i][v] : sum[i][v]);
      } else if (left > 0) {
        float ragged[kLanes];
        store(ragged, sum[i][v]);
        for (int j = 0; j < left; ++j) here[j] = accumulate ? here[j] + ragged[j] : ragged[j];
      }
    }
  }
}

using TileFunction = void (*)(int, std::int64_t, const float*, std::int64_t, std::int64_t, const float*,
                              std::int64_t, float*, std::int64_t, bool);

template <bool Packed, int Rows>
constexpr TileFunction by_vectors(int vectors) {
  if constexpr (kNv >= 3)
    if (vectors == 3) return tile_fixed<Rows, 3, Packed>;
  if constexpr (kNv >= 2)
    if (vectors == 2) return tile_fixed<Rows, 2, Packed>;
  return tile_fixed<Rows, 1, Packed>;
}

template <bool Packed, int... Row>
struct TileTable {
  TileFunction function[kMr][kNv];
  constexpr TileTable() : function{} {
    for (int v = 0; v < kNv; ++v) ((function[Row][v] = by_vectors<Packed, Row + 1>(v + 1)), ...);
  }
};
template <bool Packed, int... Row>
constexpr TileTable<Packed, Row...> make_table(std::integer_sequence<int, Row...>) {
  return {};
}
constexpr auto kTiles = make_table<false>(std::make_integer_sequence<int, kMr>{});
constexpr auto kPackedTiles = make_table<true>(std::make_integer_sequence<int, kMr>{});

void tile(int rows, int columns, std::int64_t k, const float* a, std::int64_t a_row, std::int64_t a_col,
          const float* b, std::int64_t b_row, float* c, std::int64_t c_ld, bool accumulate) {
  kTiles.function[rows - 1][(columns - 1) / kLanes](columns, k, a, a_row, a_col, b, b_row, c, c_ld,
                                                    accumulate);
}

void tile_packed(int rows, int columns, std::int64_t k, const float* a, const float* b, std::int64_t b_row,
                 float* c, std::int64_t c_ld, bool accumulate) {
  kPackedTiles.function[rows - 1][(columns - 1) / kLanes](columns, k, a, 1, kMr, b, b_row, c, c_ld,
                                                          accumulate);
}

// The last write of a tile. `columns` is a constant kNr for full tiles, so that their rows become straight
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

inline __attribute__((always_inline)) void finish_rows(const Epilogue& e, const float* product, float* c,
                                                       std::int64_t c_ld, std::int64_t row,
                                                       std::int64_t column, int rows, int columns) {
  for (int i = 0; i < rows; ++i) {
    const float* p = product + i * kNr;
    float* to = c + (row + i) * c_ld + column;
    switch (e.kind) {
      case Epilogue::Kind::kStore:
#pragma GCC ivdep
        for (int j = 0; j < columns; ++j) to[j] = p[j];
        break;
      case Epilogue::Kind::kForward:
        finish_forward(e, p, to, row + i, column, columns);
        break;
      case Epilogue::Kind::kBackward:
        finish_backward(e, p, to, row + i, column, columns);
        break;
      case Epilogue::Kind::kAdam:
        finish_adam(e, p, to, row + i, column, columns);
        break;
    }
  }
}

void finish(const Epilogue& e, const float* product, float* c, std::int64_t c_ld, std::int64_t row,
            std::int64_t column, int rows, int columns) {
  if (columns == kNr)
    finish_rows(e, product, c, c_ld, row, column, rows, kNr);
  else
    finish_rows(e, product, c, c_ld, row, column, rows, columns);
}

typedef float Quad __attribute__((vector_size(16), aligned(4), may_alias));
inline Quad load_quad(const float* p) { return *reinterpret_cast<const Quad*>(p); }
inline void store_quad(float* p, Quad v) { *reinterpret_cast<Quad*>(p) = v; }

/// to[q*width + i] = from[i*row + q] for i, q < 4.
inline __attribute__((always_inline)) void turn_4x4(const float* from, std::int64_t row, float* to,
                                                    int width) {
  const Quad r0 = load_quad(from), r1 = load_quad(from + row), r2 = load_quad(from + 2 * row),
             r3 = load_quad(from + 3 * row);
  const Quad t0 = __builtin_shufflevector(r0, r1, 0, 4, 1, 5),
             t1 = __builtin_shufflevector(r0, r1, 2, 6, 3, 7);
  const Quad t2 = __builtin_shufflevector(r2, r3, 0, 4, 1, 5),
             t3 = __builtin_shufflevector(r2, r3, 2, 6, 3, 7);
  store_quad(to, __builtin_shufflevector(t0, t2, 0, 1, 4, 5));
  store_quad(to + width, __builtin_shufflevector(t0, t2, 2, 3, 6, 7));
  store_quad(to + 2 * width, __builtin_shufflevector(t1, t3, 0, 1, 4, 5));
  store_quad(to + 3 * width, __builtin_shufflevector(t1, t3, 2, 3, 6, 7));
}

typedef float Pair __attribute__((vector_size(8), aligned(4), may_alias));

/// to[q*width + i] = from[i*row + q] for i < 2, q < 4.
inline __attribute__((always_inline)) void turn_2x4(const float* from, std::int64_t row, float* to,
                                                    int width) {
  const Quad r0 = load_quad(from), r1 = load_quad(from + row);
  const Quad low = __builtin_shufflevector(r0, r1, 0, 4, 1, 5),
             high = __builtin_shufflevector(r0, r1, 2, 6, 3, 7);
  *reinterpret_cast<Pair*>(to) = __builtin_shufflevector(low, low, 0, 1);
  *reinterpret_cast<Pair*>(to + width) = __builtin_shufflevector(low, low, 2, 3);
  *reinterpret_cast<Pair*>(to + 2 * width) = __builtin_shufflevector(high, high, 0, 1);
  *reinterpret_cast<Pair*>(to + 3 * width) = __builtin_shufflevector(high, high, 2, 3);
}

/// One strip whose rows are contiguous in the source. They are turned in blocks of Width x 16, so that each
/// cache line of the source is used up while it is in L1; 4 x 4 inside a block, since 128-bit shuffles are
/// there on every target.
template <int Width>
void pack_transposed(int count, std::int64_t k, const float* s, std::int64_t row, float* strip) {
  constexpr int kBlock = 16;
  for (std::int64_t p = 0; p < k; p += kBlock) {
    const int block = static_cast<int>(k - p < kBlock ? k - p : kBlock);
    int i = 0;
    if (block == kBlock) {
      for (; i + 4 <= count; i += 4)
#pragma GCC unroll 4
        for (int q = 0; q < kBlock; q += 4)
          turn_4x4(s + i * row + p + q, row, strip + (p + q) * Width + i, Width);
      for (; i + 2 <= count; i += 2)
#pragma GCC unroll 4
        for (int q = 0; q < kBlock; q += 4)
          turn_2x4(s + i * row + p + q, row, strip + (p + q) * Width + i, Width);
    }
    for (; i < Width; ++i)
      for (int q = 0; q < block; ++q) strip[(p + q) * Width + i] = i < count ? s[i * row + p + q] : 0.0f;
  }
}

/// Strips side by side whose columns are contiguous in the source: kTogether of them row by row, so that the
/// source is read in long runs (a single strip would touch one line of every page).
template <int Width>
void pack_straight(std::int64_t count, std::int64_t k, const float* s, std::int64_t col, float* strips) {
  constexpr int kTogether = 4;
  const std::int64_t strip = k * Width;
  for (; count >= kTogether * Width; count -= kTogether * Width, s += kTogether * Width) {
    for (std::int64_t p = 0; p < k; ++p)
#pragma GCC unroll 4
      for (int t = 0; t < kTogether; ++t)
        __builtin_memcpy(strips + t * strip + p * Width, s + p * col + t * Width, sizeof(float) * Width);
    strips += kTogether * strip;
  }
  for (; count >= Width; count -= Width, s += Width, strips += strip)
    for (std::int64_t p = 0; p < k; ++p)
      __builtin_memcpy(strips + p * Width, s + p * col, sizeof(float) * Width);
  if (count > 0)
    for (std::int64_t p = 0; p < k; ++p)
      for (int i = 0; i < Width; ++i) strips[p * Width + i] = i < count ? s[p * col + i] : 0.0f;
}

template <int Width>
void pack_width(std::int64_t count, std::int64_t k, const float* s, std::int64_t row, std::int64_t col,
                float* strips) {
  if (row == 1) return pack_straight<Width>(count, k, s, col, strips);
  for (; count > 0; count -= Width, s += Width * row, strips += k * Width)
    pack_transposed<Width>(static_cast<int>(count < Width ? count : Width), k, s, row, strips);
}

void pack_strips(int width, std::int64_t count, std::int64_t k, const float* s, std::int64_t row,
                 std::int64_t col, float* strips) {
  if (width == kMr)
    pack_width<kMr>(count, k, s, row, col, strips);
  else
    pack_width<kNr>(count, k, s, row, col, strips);
}
static_assert(kMr != kNr, "pack_strips tells A's strips from B's by their width");

}  // namespace

// Packing of operands into strips: included by micro_kernel_impl.h, in its namespace and with its Vector,
// Quad and Pair.

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

/// to[q*width + i] = from[i*row + q] for i < 16, q < 4 * quads.
inline __attribute__((always_inline)) void turn_16_rows(const float* from, std::int64_t row, int quads,
                                                        float* to, int width) {
#ifdef __AVX512F__
  // Four rows in the quads of a vector by loads that insert, which any of two ports takes: only the 4 x 4 in
  // every quad is left to the one port that shuffles.
  for (int g = 0; g < quads; ++g) {
    Vector rows[4];
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      const float* first = from + j * row + 4 * g;
      __m512 quads_of = _mm512_castps128_ps512(_mm_loadu_ps(first));
      quads_of = _mm512_insertf32x4(quads_of, _mm_loadu_ps(first + 4 * row), 1);
      quads_of = _mm512_insertf32x4(quads_of, _mm_loadu_ps(first + 8 * row), 2);
      quads_of = _mm512_insertf32x4(quads_of, _mm_loadu_ps(first + 12 * row), 3);
      rows[j] = reinterpret_cast<Vector>(quads_of);
    }
    const auto low = [](Vector x, Vector y) {
      return __builtin_shufflevector(x, y, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29);
    };
    const auto high = [](Vector x, Vector y) {
      return __builtin_shufflevector(x, y, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31);
    };
    const auto low_pairs = [](Vector x, Vector y) {
      return __builtin_shufflevector(x, y, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29);
    };
    const auto high_pairs = [](Vector x, Vector y) {
      return __builtin_shufflevector(x, y, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
    };
    const Vector t0 = low(rows[0], rows[1]), t1 = high(rows[0], rows[1]), t2 = low(rows[2], rows[3]),
                 t3 = high(rows[2], rows[3]);
    float* at = to + 4 * g * width;
    store(at, low_pairs(t0, t2));
    store(at + width, high_pairs(t0, t2));
    store(at + 2 * width, low_pairs(t1, t3));
    store(at + 3 * width, high_pairs(t1, t3));
  }
#else
  for (int i = 0; i < 16; i += 4)
    for (int g = 0; g < quads; ++g) turn_4x4(from + i * row + 4 * g, row, to + 4 * g * width + i, width);
#endif
}

/// `count` zeros.
inline __attribute__((always_inline)) void clear(float* to, int count) {
  int i = 0;
  for (; i + kLanes <= count; i += kLanes) store(to + i, Vector{});
  for (; i + 4 <= count; i += 4) store_quad(to + i, Quad{});
  for (; i < count; ++i) to[i] = 0;
}

/// One strip whose rows are contiguous in the source. They are turned in blocks of width x 16, so that each
/// cache line of the source is used up while it is in L1; 4 x 4 inside a block, since 128-bit shuffles are
/// there on every target.
void pack_transposed(int width, int count, std::int64_t k, const float* s, std::int64_t row, float* strip) {
  constexpr int kBlock = 16;
  for (std::int64_t p = 0; p < k; p += kBlock) {
    const int block = static_cast<int>(k - p < kBlock ? k - p : kBlock), quads = block / 4;
    const float* from = s + p;
    float* to = strip + p * width;
    int i = 0;
    for (; i + 16 <= count; i += 16) turn_16_rows(from + i * row, row, quads, to + i, width);
    for (; i + 4 <= count; i += 4)
      for (int q = 0; q < 4 * quads; q += 4) turn_4x4(from + i * row + q, row, to + q * width + i, width);
    for (; i + 2 <= count; i += 2)
      for (int q = 0; q < 4 * quads; q += 4) turn_2x4(from + i * row + q, row, to + q * width + i, width);
    if (i < count)
      for (int q = 0; q < 4 * quads; ++q) to[q * width + i] = from[i * row + q];
    for (int q = 4 * quads; q < block; ++q)
      for (i = 0; i < count; ++i) to[q * width + i] = from[i * row + q];
    if (count < width)
      for (int q = 0; q < block; ++q) clear(to + q * width + count, width - count);
  }
}

/// width >= 1 floats by whole quads, the last one overlapping the one before it: no call of a library for 24
/// bytes.
inline __attribute__((always_inline)) void copy_row(int width, const float* from, float* to) {
  if (width >= 4) {
    for (int i = 0; i + 4 < width; i += 4) store_quad(to + i, load_quad(from + i));
    store_quad(to + width - 4, load_quad(from + width - 4));
  } else {
    for (int i = 0; i < width; ++i) to[i] = from[i];
  }
}

/// Strips side by side whose columns are contiguous in the source: kTogether of them row by row, so that the
/// source is read in long runs (a single strip would touch one line of every page). `width` is a constant
/// where it is inlined for whole vectors.
inline __attribute__((always_inline)) void pack_straight(int width, std::int64_t count, std::int64_t k,
                                                         const float* s, std::int64_t col, float* strips) {
  constexpr int kTogether = 4, kAhead = 12;
  const std::int64_t strip = k * width;
  for (; count >= kTogether * width; count -= kTogether * width, s += kTogether * width) {
    for (std::int64_t p = 0; p < k; ++p) {
      // Rows may lie a page apart, where no hardware prefetcher follows: 12 rows ahead, 48 lines in flight.
      // Packing is 9 to 14 % of a product of 256 rows from 2048 x 2048 on (measured by leaving it out). All
      // strips of a part row by row gained 1 to 2 %, within noise; fetching the next part's source into L2
      // while the tiles of this one run (two lines every 16 steps of k) nothing: 0.97 to 1.04 of the time.
#pragma GCC unroll 8
      for (int at = 0; at < kTogether * width; at += 16) __builtin_prefetch(s + (p + kAhead) * col + at);
#pragma GCC unroll 4
      for (int t = 0; t < kTogether; ++t)
        copy_row(width, s + p * col + t * width, strips + t * strip + p * width);
    }
    strips += kTogether * strip;
  }
  for (; count >= width; count -= width, s += width, strips += strip)
    for (std::int64_t p = 0; p < k; ++p) copy_row(width, s + p * col, strips + p * width);
  if (count > 0)
    for (std::int64_t p = 0; p < k; ++p) {
      const int left = static_cast<int>(count);
      copy_row(left, s + p * col, strips + p * width);
      clear(strips + p * width + left, width - left);
    }
}

void pack_strips(int width, std::int64_t count, std::int64_t k, const float* s, std::int64_t row,
                 std::int64_t col, float* strips) {
  if (row == 1) {
    if (width == kLanes) return pack_straight(kLanes, count, k, s, col, strips);
    if (width == 2 * kLanes) return pack_straight(2 * kLanes, count, k, s, col, strips);
    if (width == 3 * kLanes) return pack_straight(3 * kLanes, count, k, s, col, strips);
    return pack_straight(width, count, k, s, col, strips);
  }
  for (; count > 0; count -= width, s += width * row, strips += k * width)
    pack_transposed(width, static_cast<int>(count < width ? count : width), k, s, row, strips);
}

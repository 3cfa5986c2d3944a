#pragma once
// The register micro-kernels behind one table of function pointers per instruction set. The loops above them
// see tile sizes and these pointers; they never see an instruction set.

#include <cstdint>

#include "cpu/gemm/epilogue.h"
#include "cpu/isa.h"

namespace mlpwatt {

struct MicroKernels {
  static constexpr int kMostVectors = 3;  ///< of a tile's width
  Isa isa;
  int mr;     ///< rows of the tile that fits most shapes
  int nr;     ///< its columns; a multiple of `lanes`
  int lanes;  ///< floats of one vector
  /// Rows of the tallest tile 1, 2, 3 vectors wide whose sums stay in registers; every lower one is there
  /// too.
  int most_rows[kMostVectors];
  int tile_ld;  ///< row length of the tile that `finish` reads: columns of the widest tile
  /// C[rows x columns] (+)= A B over k; columns <= kMostVectors * lanes, rows <= most_rows of that width.
  /// A(i,p) = a[i*a_row + p*a_col], in a packed strip of height h: a_row 1, a_col h; B(p,j) = b[p*b_row + j],
  /// readable up to the next multiple of `lanes` columns; exactly `columns` of C are written.
  void (*tile)(int rows, int columns, std::int64_t k, const float* a, std::int64_t a_row, std::int64_t a_col,
               const float* b, std::int64_t b_row, float* c, std::int64_t c_ld, bool accumulate);
  /// Last write: reads the finished product from `tile` (row length tile_ld) and writes rows x columns of C
  /// at (row, column).
  void (*finish)(const Epilogue& epilogue, const float* tile, float* c, std::int64_t c_ld, std::int64_t row,
                 std::int64_t column, int rows, int columns);
  /// Packs `count` rows of A or columns of B into strips of `width` >= 1, one after another:
  /// strips[t*width*k + p*width + i] = source(t*width + i, p) for p < k; source(i,p) = s[i*row + p*col]; the
  /// rest of the last strip becomes 0. One of row, col is 1.
  void (*pack_strips)(int width, std::int64_t count, std::int64_t k, const float* s, std::int64_t row,
                      std::int64_t col, float* strips);
  /// to[j] = from[j] + from[apart + j] + ... in this order, `parts` >= 1 of them, for j < count.
  void (*sum_parts)(int parts, std::int64_t apart, std::int64_t count, const float* from, float* to);
};

/// Errors: std::invalid_argument when the instruction set was not compiled in.
const MicroKernels& micro_kernels(Isa isa);

const MicroKernels& micro_kernels_avx512();
const MicroKernels& micro_kernels_avx2();
const MicroKernels& micro_kernels_avx2_nofma();
const MicroKernels& micro_kernels_generic();

}  // namespace mlpwatt

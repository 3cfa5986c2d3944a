#pragma once
// The register micro-kernels behind one table of function pointers per instruction set. The loops above them
// see tile sizes and these pointers; they never see an instruction set.

#include <cstdint>

#include "cpu/gemm/epilogue.h"
#include "cpu/isa.h"

namespace mlpwatt {

struct MicroKernels {
  Isa isa;
  int mr;     ///< rows of a full tile
  int nr;     ///< columns of a full tile
  int lanes;  ///< floats of one vector; nr is a multiple
  /// C[rows x columns] (+)= A B over k, rows <= mr, columns <= nr.
  /// A(i,p) = a[i*a_row + p*a_col]; B(p,j) = b[p*b_row + j], readable up to the next multiple of `lanes`
  /// columns; exactly `columns` of C are written.
  void (*tile)(int rows, int columns, std::int64_t k, const float* a, std::int64_t a_row, std::int64_t a_col,
               const float* b, std::int64_t b_row, float* c, std::int64_t c_ld, bool accumulate);
  /// The same with A in a packed strip: A(i,p) = a[p*mr + i].
  void (*tile_packed)(int rows, int columns, std::int64_t k, const float* a, const float* b,
                      std::int64_t b_row, float* c, std::int64_t c_ld, bool accumulate);
  /// Last write: reads the finished product from `tile` (row length nr) and writes rows x columns of C at
  /// (row, column).
  void (*finish)(const Epilogue& epilogue, const float* tile, float* c, std::int64_t c_ld, std::int64_t row,
                 std::int64_t column, int rows, int columns);
  /// Packs `count` rows of A or columns of B into strips of `width` (mr or nr), one after another:
  /// strips[t*width*k + p*width + i] = source(t*width + i, p) for p < k; source(i,p) = s[i*row + p*col]; the
  /// rest of the last strip becomes 0. One of row, col is 1.
  void (*pack_strips)(int width, std::int64_t count, std::int64_t k, const float* s, std::int64_t row,
                      std::int64_t col, float* strips);
};

/// Errors: std::invalid_argument when the instruction set was not compiled in.
const MicroKernels& micro_kernels(Isa isa);

const MicroKernels& micro_kernels_avx512();
const MicroKernels& micro_kernels_avx2();
const MicroKernels& micro_kernels_avx2_nofma();
const MicroKernels& micro_kernels_generic();

}  // namespace mlpwatt

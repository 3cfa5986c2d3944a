#pragma once
// A matrix product as a kernel of the catalogue; shared by the families that differ only in which shapes they
// list.

#include <memory>

#include "cpu/gemm/gemm.h"
#include "kernels/kernel.h"

namespace mlpwatt {

/// What `options` ask for, or as many of the cores as pay.
int gemm_threads(const GemmProblem& problem, Isa isa, const RunOptions& options);

/// C = op(A) op(B) on gemm_threads, checked row by row against the reference.
std::unique_ptr<Kernel> make_gemm_kernel(const GemmProblem& problem, const RunOptions& options);

/// A product as it lies in memory: operands, their row lengths, and what came out.
struct ProductInMemory {
  GemmProblem problem;
  const float* a;
  std::int64_t lda;
  const float* b;
  std::int64_t ldb;
  const float* c;
  std::int64_t ldc;
};
/// Holds C against the reference: all rows of a small one, a spread of a large one.
/// @param roundings 0 = to the bit; else how many units in the last place each of the k products may round
/// @param what the operands are, for the failure's text
Check check_product(const ProductInMemory& product, double roundings, const char* what);

/// "nn", "nt" or "tn".
const char* layout_name(GemmLayout layout);

}  // namespace mlpwatt

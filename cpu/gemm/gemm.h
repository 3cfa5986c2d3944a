#pragma once
// Packed, cache-blocked single-precision matrix product in the three layouts that training needs, with the
// layer's next operation fused into the last write of each tile.

#include <cstdint>

#include "cpu/aligned.h"
#include "cpu/gemm/epilogue.h"
#include "cpu/gemm/micro_kernel.h"
#include "cpu/team.h"
#include "kernels/hierarchy.h"

namespace mlpwatt {

/// Of C[m x n] = op(A) op(B), all stored row-major.
enum class GemmLayout {
  kNN,  ///< A [m x k], B [k x n]: forward, Y = X W
  kNT,  ///< A [m x k], B [n x k]: input gradient, dX = dY W^T
  kTN,  ///< A [k x m], B [k x n]: weight gradient, dW = X^T dY
};

struct GemmProblem {
  GemmLayout layout = GemmLayout::kNN;
  std::int64_t m = 0, n = 0, k = 0;
};

/// How one problem is blocked; chosen by choose_gemm_blocking, or by hand in tests and searches.
struct GemmBlocking {
  enum class Resident { kA, kB };
  Resident resident = Resident::kA;  ///< whose strip stays in L1 while the other's strips pass by
  std::int64_t kc = 0;               ///< depth of one packed block: the resident strip fits half of L1
  std::int64_t strips_in_l2 = 1;     ///< strips of the other operand that stay in half of a core's L2
  bool pack_a = true;
  bool pack_b = true;
  int team_rows = 1;  ///< members along m; the others along n
};

GemmBlocking choose_gemm_blocking(const GemmProblem& problem, const MicroKernels& kernels, int threads,
                                  const Hierarchy& hierarchy);

/// A plan for one problem; owns the packing buffers, so run() allocates nothing.
class Gemm {
 public:
  /// Errors: std::invalid_argument for dimensions < 1.
  Gemm(GemmProblem problem, Isa isa, int threads, const Hierarchy& hierarchy);
  Gemm(GemmProblem problem, Isa isa, int threads, const GemmBlocking& blocking);

  /// Called by every member of a team of `threads`; returns when this member's part is done. C is complete,
  /// and A and B may change, after the team's next barrier. The order of every sum depends on the problem and
  /// blocking only: results are bit-identical for any number of threads.
  /// @param lda, ldb, ldc row lengths of the stored matrices, in floats
  void run(const TeamMember& member, const float* a, std::int64_t lda, const float* b, std::int64_t ldb,
           float* c, std::int64_t ldc, const Epilogue& epilogue = {});

  const GemmProblem& problem() const { return problem_; }
  const GemmBlocking& blocking() const { return blocking_; }
  const MicroKernels& kernels() const { return kernels_; }
  int threads() const { return threads_; }

 private:
  struct Operands;
  void pack(const TeamMember& member, const Operands& x, std::int64_t p0, std::int64_t kc);
  void compute(const TeamMember& member, const Operands& x, std::int64_t p0, std::int64_t kc);

  GemmProblem problem_;
  GemmBlocking blocking_;
  const MicroKernels& kernels_;
  int threads_;
  AlignedFloats packed_a_, packed_b_;
  AlignedFloats partial_;  ///< running sums of a gradient that is consumed by kAdam and deeper than kc
};

}  // namespace mlpwatt

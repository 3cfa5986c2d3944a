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
  int team_rows = 1;    ///< members along m; see team_columns() for n
  int depth_parts = 1;  ///< members along k, each with sums of its own, added up in their order at the end
  int mr = 0, nr = 0;   ///< the register tile; 0: the one that fits most shapes
  /// pack_b: each member packs the strips it is about to use into a buffer of its own that stays in L2,
  /// instead of the team packing all of B's block, which only L3 holds. Resident kB: a few strips, once a
  /// part of A; kA: the strips_in_l2 of a part.
  bool b_in_turn = false;

  int team_columns(int threads) const { return threads / (team_rows * depth_parts); }
  /// k of one member: a multiple of 8 but for the last, so that parts do not depend on kc.
  std::int64_t part_depth(std::int64_t k) const {
    return depth_parts == 1 ? k : (((k + depth_parts - 1) / depth_parts) + 7) / 8 * 8;
  }
  int tile_rows(const MicroKernels& kernels) const { return mr > 0 ? mr : kernels.mr; }
  int tile_columns(const MicroKernels& kernels) const { return nr > 0 ? nr : kernels.nr; }
};

/// The fastest by a model of the machine's registers, caches and team (blocking_choice.cpp).
GemmBlocking choose_gemm_blocking(const GemmProblem& problem, const MicroKernels& kernels, int threads,
                                  const Hierarchy& hierarchy);

/// Threads, of `cores`, that finish a product that stands alone first: 1, 2, 4 .. or all, by the same model
/// and what it costs to wake a team, since a product of a microsecond does not pay for a second core.
int choose_gemm_threads(const GemmProblem& problem, const MicroKernels& kernels, int cores,
                        const Hierarchy& hierarchy);

/// A plan for one problem; owns the packing buffers, so run() allocates nothing.
class Gemm {
 public:
  /// Errors: std::invalid_argument for dimensions < 1, and for a blocking whose team or tile does not exist.
  Gemm(GemmProblem problem, Isa isa, int threads, const Hierarchy& hierarchy);
  Gemm(GemmProblem problem, Isa isa, int threads, const GemmBlocking& blocking);

  /// Called by every member of a team of `threads`; returns when this member's part is done. C is complete,
  /// and A and B may change, after the team's next barrier. The order of every sum depends on the problem and
  /// blocking only, never on who comes first: runs are bit-identical.
  /// @param lda, ldb, ldc row lengths of the stored matrices, in floats
  /// @param b readable for one vector beyond its last row
  void run(const TeamMember& member, const float* a, std::int64_t lda, const float* b, std::int64_t ldb,
           float* c, std::int64_t ldc, const Epilogue& epilogue = {});

  const GemmProblem& problem() const { return problem_; }
  const GemmBlocking& blocking() const { return blocking_; }
  const MicroKernels& kernels() const { return kernels_; }
  int threads() const { return threads_; }

 private:
  struct Operands;
  struct Block;
  void pack(const Operands& x, const Block& block);
  void compute(const Operands& x, const Block& block);
  void add_parts(const TeamMember& member, const Operands& x);

  GemmProblem problem_;
  GemmBlocking blocking_;
  const MicroKernels& kernels_;
  int threads_;
  int mr_ = 0, nr_ = 0;
  std::int64_t packed_a_floats_ = 0,
               packed_b_floats_ = 0;  ///< of one part of k, or of one member (b_in_turn)
  AlignedFloats packed_a_, packed_b_;
  /// Running sums [depth_parts][m x n]: of a gradient that is consumed by kAdam and deeper than kc, or of
  /// each part of k.
  AlignedFloats partial_;
};

}  // namespace mlpwatt

#include "cpu/gemm/gemm.h"

#include <algorithm>
#include <stdexcept>

namespace mlpwatt {

namespace {
std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
constexpr std::int64_t kStripsInTurn = 4;  // of B, packed together: the source is read in runs of cache lines
}  // namespace

struct Gemm::Operands {
  // A(i,p) = a[i*a_row + p*a_col]; B(p,j) = b[p*b_row + j*b_col]
  const float* a;
  std::int64_t a_row, a_col;
  const float* b;
  std::int64_t b_row, b_col;
  float* c;
  std::int64_t ldc;
  const Epilogue& epilogue;
};

/// One member's place in the team's grid and its block of k.
struct Gemm::Block {
  TeamMember along_m, along_n, packers;
  int id, part;
  std::int64_t p0, kc;
  bool first, last;  ///< of the member's part of k
};

Gemm::Gemm(GemmProblem problem, Isa isa, int threads, const Hierarchy& hierarchy)
    : Gemm(problem, isa, threads, choose_gemm_blocking(problem, micro_kernels(isa), threads, hierarchy)) {}

Gemm::Gemm(GemmProblem problem, Isa isa, int threads, const GemmBlocking& blocking)
    : problem_(problem), blocking_(blocking), kernels_(micro_kernels(isa)), threads_(threads) {
  if (problem.m < 1 || problem.n < 1 || problem.k < 1 || threads < 1)
    throw std::invalid_argument("gemm: m, n, k and threads must be at least 1");
  if (blocking.kc < 1 || blocking.team_rows < 1 || blocking.depth_parts < 1 ||
      threads % (blocking.team_rows * blocking.depth_parts) != 0)
    throw std::invalid_argument("gemm: the blocking does not divide the team");
  mr_ = blocking.tile_rows(kernels_);
  nr_ = blocking.tile_columns(kernels_);
  const int vectors = nr_ / kernels_.lanes;
  if (nr_ % kernels_.lanes != 0 || vectors < 1 || vectors > MicroKernels::kMostVectors || mr_ < 1 ||
      mr_ > kernels_.most_rows[vectors - 1])
    throw std::invalid_argument("gemm: no register tile of " + std::to_string(mr_) + " x " +
                                std::to_string(nr_));
  const bool in_turn = blocking_.b_in_turn = blocking_.b_in_turn && blocking_.pack_b;
  const std::int64_t turn =
      blocking_.resident == GemmBlocking::Resident::kB ? kStripsInTurn : blocking_.strips_in_l2;
  const std::int64_t deepest = std::min(blocking_.kc, problem.k);
  if (blocking_.pack_a) packed_a_floats_ = ceil_div(problem.m, mr_) * mr_ * deepest;
  if (blocking_.pack_b) {
    const std::int64_t strips = ceil_div(problem.n, nr_);
    packed_b_floats_ = (in_turn ? std::min(turn, strips) : strips) * nr_ * deepest;
  }
  // Written before they are read, whole strips: whoever packs a strip first gets it in the memory next to it.
  packed_a_ = AlignedFloats::untouched(packed_a_floats_ * blocking_.depth_parts);
  packed_b_ = AlignedFloats::untouched(packed_b_floats_ * (in_turn ? threads : blocking_.depth_parts));
  if (blocking_.depth_parts > 1 || (problem.k > blocking_.kc && problem.layout == GemmLayout::kTN))
    partial_ = AlignedFloats::untouched(problem.m * problem.n * blocking_.depth_parts);
}

void Gemm::pack(const Operands& x, const Block& block) {
  const auto pack_operand = [&](int width, std::int64_t count, const float* source, std::int64_t along,
                                std::int64_t deep, float* packed) {
    const auto [first, last] = block.packers.share(ceil_div(count, width));
    if (first == last) return;
    kernels_.pack_strips(width, std::min<std::int64_t>(last * width, count) - first * width, block.kc,
                         source + block.p0 * deep + first * width * along, along, deep,
                         packed + first * width * block.kc);
  };
  if (blocking_.pack_a)
    pack_operand(mr_, problem_.m, x.a, x.a_row, x.a_col, packed_a_.data() + block.part * packed_a_floats_);
  if (blocking_.pack_b && !blocking_.b_in_turn)
    pack_operand(nr_, problem_.n, x.b, x.b_col, x.b_row, packed_b_.data() + block.part * packed_b_floats_);
}

void Gemm::compute(const Operands& x, const Block& block) {
  const std::int64_t m = problem_.m, n = problem_.n, kc = block.kc, p0 = block.p0;
  const bool store = x.epilogue.kind == Epilogue::Kind::kStore;
  const bool apart = blocking_.depth_parts > 1 || x.epilogue.kind == Epilogue::Kind::kAdam;
  float* sums = apart ? partial_.data() + block.part * m * n : x.c;
  const std::int64_t sums_ld = apart ? n : x.ldc;
  const bool finishes = block.last && !store && blocking_.depth_parts == 1;
  const float* packed_a = packed_a_.data() + block.part * packed_a_floats_;
  float* packed_b = packed_b_.data() + (blocking_.b_in_turn ? block.id : block.part) * packed_b_floats_;

  const auto [row_first, row_last] = block.along_m.share(ceil_div(m, mr_));
  const auto [column_first, column_last] = block.along_n.share(ceil_div(n, nr_));
  alignas(64) float tile[28 * 48];  // most_rows[0] * tile_ld is the most of any kernel; L1
  /// `b`: strip s as it is read, rows b_row apart
  const auto compute_tile = [&](std::int64_t r, std::int64_t s, const float* b, std::int64_t b_row) {
    const int rows = static_cast<int>(std::min<std::int64_t>(mr_, m - r * mr_));
    const int columns = static_cast<int>(std::min<std::int64_t>(nr_, n - s * nr_));
    const float* a = blocking_.pack_a ? packed_a + r * mr_ * kc : x.a + r * mr_ * x.a_row + p0 * x.a_col;
    const std::int64_t a_row = blocking_.pack_a ? 1 : x.a_row, a_col = blocking_.pack_a ? mr_ : x.a_col;
    float* here = sums + r * mr_ * sums_ld + s * nr_;
    if (!finishes) {
      kernels_.tile(rows, columns, kc, a, a_row, a_col, b, b_row, here, sums_ld, !block.first);
      return;
    }
    const int ld = kernels_.tile_ld;
    if (!block.first)
      for (int i = 0; i < rows; ++i) std::copy_n(here + i * sums_ld, columns, tile + i * ld);
    kernels_.tile(rows, columns, kc, a, a_row, a_col, b, b_row, tile, ld, !block.first);
    kernels_.finish(x.epilogue, tile, x.c, x.ldc, r * mr_, s * nr_, rows, columns);
  };
  const auto strip_of_b = [&](std::int64_t s) {
    return blocking_.pack_b ? packed_b + s * nr_ * kc : x.b + p0 * x.b_row + s * nr_;
  };
  const std::int64_t b_row = blocking_.pack_b ? nr_ : x.b_row;
  const auto pack_in_turn = [&](std::int64_t s0, std::int64_t s1) {
    kernels_.pack_strips(nr_, std::min(s1 * nr_, n) - s0 * nr_, kc, x.b + p0 * x.b_row + s0 * nr_ * x.b_col,
                         x.b_col, x.b_row, packed_b);
  };
  // One operand's strip stays in L1 while the strips of a part of the other (in L2) pass by it.
  const std::int64_t pass = blocking_.strips_in_l2;
  if (blocking_.resident == GemmBlocking::Resident::kB) {
    for (std::int64_t r0 = row_first; r0 < row_last; r0 += pass)
      for (std::int64_t s0 = column_first; s0 < column_last; s0 += kStripsInTurn) {
        const std::int64_t s1 = std::min<std::int64_t>(s0 + kStripsInTurn, column_last);
        if (blocking_.b_in_turn) pack_in_turn(s0, s1);
        for (std::int64_t s = s0; s < s1; ++s) {
          const float* b = strip_of_b(blocking_.b_in_turn ? s - s0 : s);
          for (std::int64_t r = r0; r < std::min<std::int64_t>(r0 + pass, row_last); ++r)
            compute_tile(r, s, b, b_row);
        }
      }
  } else {
    for (std::int64_t s0 = column_first; s0 < column_last; s0 += pass) {
      const std::int64_t s1 = std::min<std::int64_t>(s0 + pass, column_last);
      if (blocking_.b_in_turn) pack_in_turn(s0, s1);
      for (std::int64_t r = row_first; r < row_last; ++r)
        for (std::int64_t s = s0; s < s1; ++s)
          compute_tile(r, s, strip_of_b(blocking_.b_in_turn ? s - s0 : s), b_row);
    }
  }
}

/// The parts of k in their order, whoever was first: the same bits every time.
void Gemm::add_parts(const TeamMember& member, const Operands& x) {
  const std::int64_t m = problem_.m, n = problem_.n, apart = m * n;
  const auto [first, last] = member.share(m);
  alignas(64) float tile[64];  // at least tile_ld of every kernel
  for (std::int64_t i = first; i < last; ++i) {
    const float* from = partial_.data() + i * n;
    if (x.epilogue.kind == Epilogue::Kind::kStore) {
      kernels_.sum_parts(blocking_.depth_parts, apart, n, from, x.c + i * x.ldc);
      continue;
    }
    for (std::int64_t j = 0; j < n; j += kernels_.tile_ld) {
      const int columns = static_cast<int>(std::min<std::int64_t>(kernels_.tile_ld, n - j));
      kernels_.sum_parts(blocking_.depth_parts, apart, columns, from + j, tile);
      kernels_.finish(x.epilogue, tile, x.c, x.ldc, i, j, 1, columns);
    }
  }
}

void Gemm::run(const TeamMember& member, const float* a, std::int64_t lda, const float* b, std::int64_t ldb,
               float* c, std::int64_t ldc, const Epilogue& epilogue) {
  const bool ta = problem_.layout == GemmLayout::kTN, tb = problem_.layout == GemmLayout::kNT;
  if (epilogue.kind == Epilogue::Kind::kAdam && !ta)
    throw std::invalid_argument("gemm: Adam finishes weight gradients (tn) only");
  const Operands x{a, ta ? 1 : lda, ta ? lda : 1, b, tb ? 1 : ldb, tb ? ldb : 1, c, ldc, epilogue};
  const int parts = blocking_.depth_parts, rows = blocking_.team_rows,
            columns = blocking_.team_columns(threads_), group = threads_ / parts;
  Block block{};
  block.id = member.id;
  block.part = member.id / group;
  block.packers = {member.id % group, group, nullptr};
  block.along_m = {block.packers.id / columns, rows, nullptr};
  block.along_n = {block.packers.id % columns, columns, nullptr};
  const bool packs_together = blocking_.pack_a || (blocking_.pack_b && !blocking_.b_in_turn);
  // A short or empty last part takes part in every meeting of the others.
  const std::int64_t depth = blocking_.part_depth(problem_.k),
                     from = std::min(problem_.k, block.part * depth), to = std::min(problem_.k, from + depth);
  for (std::int64_t done = 0; done < depth; done += blocking_.kc) {
    block.p0 = from + done;
    block.kc = std::clamp<std::int64_t>(to - block.p0, 0, blocking_.kc);
    block.first = done == 0;
    block.last = block.p0 + block.kc >= to;
    if (packs_together) {
      if (done > 0) member.wait();  // the others may still read the last block
      if (block.kc > 0) pack(x, block);
      member.wait();
    }
    // the sums of an empty part must still be 0
    if (block.kc > 0 || block.first) compute(x, block);
  }
  if (parts == 1) return;
  member.wait();
  add_parts(member, x);
}

}  // namespace mlpwatt

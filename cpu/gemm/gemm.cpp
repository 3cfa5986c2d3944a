#include "cpu/gemm/gemm.h"

#include <algorithm>
#include <stdexcept>

namespace mlpwatt {

namespace {
std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

/// Rows of the team's grid with the smallest largest share, in tiles.
int choose_team_rows(std::int64_t row_strips, std::int64_t column_strips, int threads) {
  int best = 1;
  std::int64_t best_share = INT64_MAX;
  for (int rows = 1; rows <= threads; ++rows) {
    if (threads % rows) continue;
    const std::int64_t share = ceil_div(row_strips, rows) * ceil_div(column_strips, threads / rows);
    // On a tie prefer more rows: members then read all of B together, which is the operand L3 keeps.
    if (share <= best_share) best_share = share, best = rows;
  }
  return best;
}
}  // namespace

GemmBlocking choose_gemm_blocking(const GemmProblem& problem, const MicroKernels& kernels, int threads,
                                  const Hierarchy& hierarchy) {
  const auto [layout, m, n, k] = problem;
  const std::int64_t l1_bytes = hierarchy.capacity_bytes("L1", 32 << 10);
  const std::int64_t l2_bytes = hierarchy.capacity_bytes("L2", 256 << 10);
  GemmBlocking blocking;
  // The wider strip is the better one to keep in L1, since the narrower then streams past it from L2: B's, if
  // a block of kBlockDepth fits half of L1; else A's. width * kc * 4 <= L1 / 2 is what bounds the depth.
  constexpr std::int64_t kBlockDepth = 256;
  const bool b_fits = kernels.nr * kBlockDepth * 4 <= l1_bytes / 2;
  blocking.resident = b_fits ? GemmBlocking::Resident::kB : GemmBlocking::Resident::kA;
  const std::int64_t stays = b_fits ? kernels.nr : kernels.mr, passes_by = b_fits ? kernels.mr : kernels.nr;
  const std::int64_t kc_max = std::max<std::int64_t>(64, l1_bytes / 2 / (stays * 4) / 8 * 8);
  const std::int64_t blocks = ceil_div(k, kc_max);
  blocking.kc = std::min(k, ceil_div(ceil_div(k, blocks), 8) * 8);
  // The part of the other operand that is read again for every strip lies in half of L2.
  blocking.strips_in_l2 = std::max<std::int64_t>(1, l2_bytes / 2 / (blocking.kc * 4) / passes_by);
  blocking.team_rows = choose_team_rows(ceil_div(m, kernels.mr), ceil_div(n, kernels.nr), threads);
  // A is read once per strip of columns, B once per strip of rows: packing pays from a few readings on.
  // TN's A and NN's B are already contiguous along the tile, so only their stride (pages, cache sets) is
  // against them.
  const std::int64_t column_strips = ceil_div(n, kernels.nr), row_strips = ceil_div(m, kernels.mr);
  const bool small = m * k * 4 <= l1_bytes / 2 || k * n * 4 <= l1_bytes / 2;
  blocking.pack_a = !(column_strips <= 2 || (small && column_strips <= 4));
  blocking.pack_b = layout == GemmLayout::kNT || n % kernels.lanes != 0 || !(row_strips <= 2 || small);
  return blocking;
}

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

Gemm::Gemm(GemmProblem problem, Isa isa, int threads, const Hierarchy& hierarchy)
    : Gemm(problem, isa, threads, choose_gemm_blocking(problem, micro_kernels(isa), threads, hierarchy)) {}

Gemm::Gemm(GemmProblem problem, Isa isa, int threads, const GemmBlocking& blocking)
    : problem_(problem), blocking_(blocking), kernels_(micro_kernels(isa)), threads_(threads) {
  if (problem.m < 1 || problem.n < 1 || problem.k < 1 || threads < 1)
    throw std::invalid_argument("gemm: m, n, k and threads must be at least 1");
  if (blocking_.pack_a)
    packed_a_ = AlignedFloats(ceil_div(problem.m, kernels_.mr) * kernels_.mr * blocking_.kc);
  if (blocking_.pack_b)
    packed_b_ = AlignedFloats(ceil_div(problem.n, kernels_.nr) * kernels_.nr * blocking_.kc);
  if (problem.k > blocking_.kc && problem.layout == GemmLayout::kTN)
    partial_ = AlignedFloats(problem.m * problem.n);
}

void Gemm::pack(const TeamMember& member, const Operands& x, std::int64_t p0, std::int64_t kc) {
  const auto pack_operand = [&](int width, std::int64_t count, const float* source, std::int64_t along,
                                std::int64_t deep, float* packed) {
    const auto [first, last] = member.share(ceil_div(count, width));
    if (first == last) return;
    kernels_.pack_strips(width, std::min<std::int64_t>(last * width, count) - first * width, kc,
                         source + p0 * deep + first * width * along, along, deep,
                         packed + first * width * kc);
  };
  if (blocking_.pack_a) pack_operand(kernels_.mr, problem_.m, x.a, x.a_row, x.a_col, packed_a_.data());
  if (blocking_.pack_b) pack_operand(kernels_.nr, problem_.n, x.b, x.b_col, x.b_row, packed_b_.data());
}

void Gemm::compute(const TeamMember& member, const Operands& x, std::int64_t p0, std::int64_t kc) {
  const int mr = kernels_.mr, nr = kernels_.nr;
  const std::int64_t m = problem_.m, n = problem_.n;
  const bool first_block = p0 == 0, last_block = p0 + kc == problem_.k;
  const bool store = x.epilogue.kind == Epilogue::Kind::kStore;
  const bool adam = x.epilogue.kind == Epilogue::Kind::kAdam;
  float* sums = adam ? partial_.data() : x.c;
  const std::int64_t sums_ld = adam ? n : x.ldc;

  const int team_columns = threads_ / blocking_.team_rows;
  const TeamMember along_m{member.id / team_columns, blocking_.team_rows, nullptr};
  const TeamMember along_n{member.id % team_columns, team_columns, nullptr};
  const auto [row_first, row_last] = along_m.share(ceil_div(m, mr));
  const auto [column_first, column_last] = along_n.share(ceil_div(n, nr));
  alignas(64) float tile[32 * 64];  // at least mr * nr of every kernel; L1
  const auto compute_tile = [&](std::int64_t r, std::int64_t s) {
    const int rows = static_cast<int>(std::min<std::int64_t>(mr, m - r * mr));
    const int columns = static_cast<int>(std::min<std::int64_t>(nr, n - s * nr));
    const float* a =
        blocking_.pack_a ? packed_a_.data() + r * mr * kc : x.a + r * mr * x.a_row + p0 * x.a_col;
    const float* b = blocking_.pack_b ? packed_b_.data() + s * nr * kc : x.b + p0 * x.b_row + s * nr;
    const std::int64_t b_row = blocking_.pack_b ? nr : x.b_row;
    const auto multiply = [&](float* to, std::int64_t ld, bool accumulate) {
      if (blocking_.pack_a)
        kernels_.tile_packed(rows, columns, kc, a, b, b_row, to, ld, accumulate);
      else
        kernels_.tile(rows, columns, kc, a, x.a_row, x.a_col, b, b_row, to, ld, accumulate);
    };
    float* here = sums + r * mr * sums_ld + s * nr;
    if (store || !last_block) {
      multiply(here, sums_ld, !first_block);
      return;
    }
    if (!first_block)
      for (int i = 0; i < rows; ++i) std::copy_n(here + i * sums_ld, columns, tile + i * nr);
    multiply(tile, nr, !first_block);
    kernels_.finish(x.epilogue, tile, x.c, x.ldc, r * mr, s * nr, rows, columns);
  };
  // One operand's strip stays in L1 while the strips of a part of the other (in L2) pass by it.
  const std::int64_t pass = blocking_.strips_in_l2;
  if (blocking_.resident == GemmBlocking::Resident::kB) {
    for (std::int64_t r0 = row_first; r0 < row_last; r0 += pass)
      for (std::int64_t s = column_first; s < column_last; ++s)
        for (std::int64_t r = r0; r < std::min<std::int64_t>(r0 + pass, row_last); ++r) compute_tile(r, s);
  } else {
    for (std::int64_t s0 = column_first; s0 < column_last; s0 += pass)
      for (std::int64_t r = row_first; r < row_last; ++r)
        for (std::int64_t s = s0; s < std::min<std::int64_t>(s0 + pass, column_last); ++s) compute_tile(r, s);
  }
}

void Gemm::run(const TeamMember& member, const float* a, std::int64_t lda, const float* b, std::int64_t ldb,
               float* c, std::int64_t ldc, const Epilogue& epilogue) {
  const bool ta = problem_.layout == GemmLayout::kTN, tb = problem_.layout == GemmLayout::kNT;
  if (epilogue.kind == Epilogue::Kind::kAdam && !ta)
    throw std::invalid_argument("gemm: Adam finishes weight gradients (tn) only");
  const Operands x{a, ta ? 1 : lda, ta ? lda : 1, b, tb ? 1 : ldb, tb ? ldb : 1, c, ldc, epilogue};
  const bool packs = blocking_.pack_a || blocking_.pack_b;
  for (std::int64_t p0 = 0; p0 < problem_.k; p0 += blocking_.kc) {
    const std::int64_t kc = std::min(blocking_.kc, problem_.k - p0);
    if (packs) {
      if (p0 > 0) member.wait();  // the others may still read the last block
      pack(member, x, p0, kc);
      member.wait();
    }
    compute(member, x, p0, kc);
  }
}

}  // namespace mlpwatt

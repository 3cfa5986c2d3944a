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
  // mr * kc * 4 <= L1 / 2: a strip of A stays in L1 while strips of B stream past it from L2.
  const std::int64_t kc_max = std::max<std::int64_t>(64, l1_bytes / 2 / (kernels.mr * 4) / 8 * 8);
  const std::int64_t blocks = ceil_div(k, kc_max);
  blocking.kc = std::min(k, ceil_div(ceil_div(k, blocks), 8) * 8);
  // kc * nc * 4 <= L2 / 2: that part of B is read once for every strip of A.
  blocking.nc =
      std::max<std::int64_t>(kernels.nr, l2_bytes / 2 / (blocking.kc * 4) / kernels.nr * kernels.nr);
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
  if (blocking_.pack_a) {
    const int mr = kernels_.mr;
    const auto [first, last] = member.share(ceil_div(problem_.m, mr));
    for (std::int64_t s = first; s < last; ++s) {
      const int count = static_cast<int>(std::min<std::int64_t>(mr, problem_.m - s * mr));
      kernels_.pack_strip(mr, count, kc, x.a + s * mr * x.a_row + p0 * x.a_col, x.a_row, x.a_col,
                          packed_a_.data() + s * mr * kc);
    }
  }
  if (blocking_.pack_b) {
    const int nr = kernels_.nr;
    const auto [first, last] = member.share(ceil_div(problem_.n, nr));
    for (std::int64_t s = first; s < last; ++s) {
      const int count = static_cast<int>(std::min<std::int64_t>(nr, problem_.n - s * nr));
      kernels_.pack_strip(nr, count, kc, x.b + p0 * x.b_row + s * nr * x.b_col, x.b_col, x.b_row,
                          packed_b_.data() + s * nr * kc);
    }
  }
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
  const std::int64_t pass = std::max<std::int64_t>(1, blocking_.nc / nr);

  alignas(64) float tile[32 * 64];  // at least mr * nr of every kernel; L1
  for (std::int64_t c0 = column_first; c0 < column_last; c0 += pass) {  // this part of B: L2
    const std::int64_t c1 = std::min<std::int64_t>(c0 + pass, column_last);
    for (std::int64_t r = row_first; r < row_last; ++r) {  // this strip of A: L1
      const int rows = static_cast<int>(std::min<std::int64_t>(mr, m - r * mr));
      const float* a =
          blocking_.pack_a ? packed_a_.data() + r * mr * kc : x.a + r * mr * x.a_row + p0 * x.a_col;
      for (std::int64_t s = c0; s < c1; ++s) {
        const int columns = static_cast<int>(std::min<std::int64_t>(nr, n - s * nr));
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
          continue;
        }
        if (!first_block)
          for (int i = 0; i < rows; ++i) std::copy_n(here + i * sums_ld, columns, tile + i * nr);
        multiply(tile, nr, !first_block);
        kernels_.finish(x.epilogue, tile, x.c, x.ldc, r * mr, s * nr, rows, columns);
      }
    }
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

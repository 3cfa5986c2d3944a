// The choice of a blocking: every candidate's time by a small model of the hierarchy, in cycles of the
// busiest member; the least wins. `mlpwatt gemm-regret` says what the choice costs against trying them all.

#include <algorithm>
#include <cmath>
#include <numeric>

#include "cpu/gemm/blocking_search.h"

namespace mlpwatt {
namespace {

double ceil_div(std::int64_t a, std::int64_t b) {
  const std::int64_t parts = (a + b - 1) / b;
  return static_cast<double>(parts);
}

// Two FMAs a cycle on every x86 core with AVX2. A load takes 0.63 of a cycle: the tile of 8 x 1 vectors, 9
// loads for 8 FMAs, ran at 0.70 and that of 12 x 1 at 0.74 of the FMA peak of a Zen 3 core, all data in L1.
constexpr double kFma = 0.5, kLoad = 0.63, kLatency = 4;
constexpr double kTileStart = 80;  // call, first sums, the mispredicted end of the loop, C's lines
constexpr double kBarrier = 1500;
/// Waking the others for one product, beside the barrier at its end: on two cores 32 x 32 x 32 took 1.29 us
/// and on one 0.46, 256 x 42 x 16 3.3 and 3.1, 64 x 64 x 64 2.9 and 3.1.
constexpr double kTeamStart = 1000;
constexpr double kPackStart = 100;
// A row of C whose line two members write: it travels between their caches twice a product.
constexpr double kSharedLine = 40;
constexpr double kPackStraight = 0.3, kPackTurned = 0.55;  // a float, source in L2

/// Cycles of one step of k of a tile. Loads disturb before they decide: of the peak of a Golden Cove core,
/// all data in L1, tiles of 9 x 3 vectors ran at 100 % (4 loads for 9 FMAs), 14 x 2 of AVX-512 and 4 x 3 of
/// AVX2 at 98 %, 6 x 2 at 95, 5 x 2 at 93.
double step_cycles(int rows, int vectors) {
  const double sums = rows * vectors, copies = sums >= 8 ? 1 : sums >= 4 ? 2 : 4;
  const double fma = kFma * sums, load = kLoad * (rows + vectors);
  return std::max(std::pow(std::pow(fma, 6) + std::pow(load, 6), 1.0 / 6), kLatency / copies);
}

/// Cycles that a byte costs beyond what overlaps with computing, by the capacity it must fit.
double byte_cycles(double bytes, const Hierarchy& hierarchy) {
  if (bytes <= 0.75 * static_cast<double>(hierarchy.capacity_bytes("L1", 32 << 10))) return 0;
  if (bytes <= 0.75 * static_cast<double>(hierarchy.capacity_bytes("L2", 256 << 10))) return 0.0015;
  if (bytes <= 0.75 * static_cast<double>(hierarchy.capacity_bytes("L3", 4 << 20))) return 0.04;
  return 0.15;
}

/// How much of `rows` x `row_bytes`, `stride_bytes` apart in memory, does not stay in a part of a cache: 0
/// to 1. Rows a multiple of a large power of two apart begin in the same few sets, so that only a part of the
/// cache can hold them: 344 rows of B 4 KiB apart, 2 KiB of each, cost nothing in 2 MiB of L2, 512 half and
/// 1024 all of what L3 costs (Sapphire Rapids).
double crowded_out(std::int64_t rows, std::int64_t row_bytes, std::int64_t stride_bytes, double part_of_cache,
                   const Hierarchy& hierarchy, const char* name, std::int64_t fallback_bytes) {
  const CacheLevel* level = hierarchy.find(name);
  const std::int64_t capacity = hierarchy.capacity_bytes(name, fallback_bytes);
  const std::int64_t way = capacity / (level && level->associativity > 0 ? level->associativity : 8);
  const std::int64_t apart = std::gcd(stride_bytes, way);
  // a row that does not begin with a line touches, on average, nearly one more
  const double touched =
      static_cast<double>(std::max<std::int64_t>(row_bytes + (stride_bytes % 64 != 0 ? 60 : 0), 64));
  const double usable =
      part_of_cache * static_cast<double>(capacity) * std::min(1.0, touched / static_cast<double>(apart));
  const double needed = static_cast<double>(rows) * touched;
  return std::clamp((needed / usable - 0.6) / 0.8, 0.0, 1.0);
}

}  // namespace

double model_gemm_cycles(const GemmProblem& problem, const GemmBlocking& b, const MicroKernels& kernels,
                         int threads, const Hierarchy& hierarchy) {
  const auto [layout, m, n, k] = problem;
  const int mr = b.tile_rows(kernels), nr = b.tile_columns(kernels), lanes = kernels.lanes;
  const std::int64_t depth = b.part_depth(k), kc = std::min(b.kc, depth);
  const double blocks = ceil_div(depth, kc);
  const double row_strips = ceil_div(m, mr), column_strips = ceil_div(n, nr);
  const int team_columns = b.team_columns(threads), group = threads / b.depth_parts;
  const double my_rows = ceil_div((m + mr - 1) / mr, b.team_rows),
               my_columns = ceil_div((n + nr - 1) / nr, team_columns);
  // All tiles, the lower and narrower ones at the edges too; the busiest member has the largest share.
  const int last_rows = static_cast<int>(m - (static_cast<std::int64_t>(row_strips) - 1) * mr);
  const int last_vectors =
      static_cast<int>((n - (static_cast<std::int64_t>(column_strips) - 1) * nr + lanes - 1) / lanes);
  const double per_k = (row_strips - 1) * (column_strips - 1) * step_cycles(mr, nr / lanes) +
                       (column_strips - 1) * step_cycles(last_rows, nr / lanes) +
                       (row_strips - 1) * step_cycles(mr, last_vectors) +
                       step_cycles(last_rows, last_vectors);
  const double share = my_rows * my_columns / (row_strips * column_strips);
  double cycles = per_k * static_cast<double>(depth) * share;
  const double tiles = my_rows * my_columns * blocks;
  const double tile_floats = mr * (static_cast<double>(n) / column_strips);
  cycles += tiles * (kTileStart + (blocks > 1 ? 2 : 1) * tile_floats / lanes);

  const double a_block = static_cast<double>(m * kc) * 4, b_block = static_cast<double>(kc * n) * 4;
  const bool b_stays = b.resident == GemmBlocking::Resident::kB;
  const double strip_a = 4.0 * static_cast<double>(mr * kc), strip_b = 4.0 * static_cast<double>(nr * kc);
  // A stored across the tile and read in place occupies a line for every step of k.
  const double lines_a =
      layout == GemmLayout::kTN && !b.pack_a ? static_cast<double>(kc) * std::max(64.0, 4.0 * mr) : strip_a;
  const double near = strip_b + lines_a;
  const double l1 = static_cast<double>(hierarchy.capacity_bytes("L1", 32 << 10));
  // The strips that pass by come from the level that holds the part of them in use; the one that stays must
  // leave them room in L1.
  const double pass_strips = b_stays ? my_rows : my_columns, pass_strip = b_stays ? strip_a : strip_b,
               stay_strip = b_stays ? strip_b : strip_a;
  const double part = std::min(static_cast<double>(b.strips_in_l2), pass_strips);
  cycles += tiles * pass_strip * byte_cycles(part * pass_strip + stay_strip, hierarchy);
  if (near > l1) cycles += tiles * stay_strip * 0.004;
  if (stay_strip > 0.65 * l1) cycles += tiles * stay_strip * 0.01;
  const double parts = pass_strips / part;
  cycles += parts * blocks * (b_stays ? b_block : a_block) *
            (b_stays ? my_columns / column_strips : my_rows / row_strips) *
            byte_cycles((b_stays ? b_block : a_block) + part * pass_strip, hierarchy);
  // Read in place. What passes by is read again for every strip that stays, from L2 if its part stays there;
  // what stays is a strip, whose lines may meet in few sets of L1 and come from L2 each time.
  constexpr double kInL2 = 0.001, kInL3 = 0.04, kFromL2 = 0.002, kLineFromL2 = 0.3, kLineFromL3 = 2.5;
  const std::int64_t part_strips = static_cast<std::int64_t>(part);
  const auto passing = [&](std::int64_t rows, std::int64_t row_bytes, std::int64_t stride) {
    return kInL2 + kInL3 * crowded_out(rows, row_bytes, stride, 1.0, hierarchy, "L2", 256 << 10);
  };
  const auto staying = [&](std::int64_t rows, std::int64_t row_bytes, std::int64_t stride) {
    return crowded_out(rows, row_bytes, stride, 0.5, hierarchy, "L1", 32 << 10);
  };
  if (!b.pack_a && layout == GemmLayout::kTN) {  // a line or two for every step of k
    const std::int64_t strips = b_stays ? part_strips : 1;
    cycles += tiles * static_cast<double>(kc) *
              (kLineFromL2 * (b_stays ? 1 : staying(kc, 4 * mr, 4 * m)) +
               kLineFromL3 * crowded_out(kc, 4 * strips * mr, 4 * m, 1.0, hierarchy, "L2", 256 << 10));
  } else if (!b.pack_a && b_stays) {
    cycles += tiles * strip_a * passing(part_strips * mr, 4 * kc, 4 * k);
  }
  if (!b.pack_b)
    cycles += tiles * strip_b *
              (b_stays ? kFromL2 * staying(kc, 4 * nr, 4 * n) : passing(kc, 4 * part_strips * nr, 4 * n));
  const double source = byte_cycles(static_cast<double>(m * k + k * n + m * n) * 4, hierarchy);
  const double packers = group;
  if (b.pack_a)
    cycles += static_cast<double>(m * depth) / packers *
              ((layout == GemmLayout::kTN ? kPackStraight : kPackTurned) + 4 * source);
  if (b.pack_b) {
    const double floats = static_cast<double>(depth * n);
    const double pack = (layout == GemmLayout::kNT ? kPackTurned : kPackStraight) + 4 * source;
    // In turn: once a row of the team (and a part of A where B stays), but what was packed is still near.
    // Else it is written to, and comes from, the level that holds all of it.
    cycles += b.b_in_turn ? floats * (my_columns / column_strips) * pack * (b_stays ? parts : 1)
                          : floats / packers * (pack + 8 * byte_cycles(b_block, hierarchy));
  }
  const double c_bytes = static_cast<double>(m * n) * 4;
  cycles += share * c_bytes * (blocks > 1 ? 2 * blocks - 1 : 1) *
            byte_cycles(c_bytes + (blocks > 1 ? a_block + b_block
                                   : b_stays  ? a_block
                                              : b_block),
                        hierarchy);
  if (b.pack_a) cycles += kPackStart * blocks;
  if (b.pack_b)
    cycles += kPackStart * blocks * (!b.b_in_turn ? 1.0 : b_stays ? std::max(1.0, my_columns / 4) : parts);
  if (team_columns > 1 && (n % 16 != 0 || static_cast<std::int64_t>(my_columns) * nr % 16 != 0))
    cycles += kSharedLine * static_cast<double>(m) / b.team_rows * (team_columns - 1);
  if (threads > 1) {
    // What others packed comes from their caches, 24 cycles a line with several under way. In a team of one
    // row (column) each member packs the very strips of B (A) that it uses.
    constexpr double kFromAnotherCore = 1.5;
    if (b.pack_a)
      cycles += kFromAnotherCore * (1 - 1.0 / team_columns) * static_cast<double>(m * depth) / b.team_rows;
    if (b.pack_b && !b.b_in_turn)
      cycles += kFromAnotherCore * (1 - 1.0 / b.team_rows) * static_cast<double>(n * depth) / team_columns;
    const bool together = b.pack_a || (b.pack_b && !b.b_in_turn);
    cycles += kBarrier * ((together ? 2 * blocks - 1 : 0) + 1 + (b.depth_parts > 1 ? 1 : 0));
  }
  if (b.depth_parts > 1) {
    const double sums = static_cast<double>(m * n) * b.depth_parts;
    cycles += sums / threads * (1.0 / lanes + 4 * byte_cycles(4 * sums, hierarchy) + 0.2);
  }
  return cycles;
}

namespace {

/// The least of what the model says of all candidates, and whose it is.
std::pair<double, GemmBlocking> quickest(const GemmProblem& problem, const MicroKernels& kernels, int threads,
                                         const Hierarchy& hierarchy) {
  std::pair<double, GemmBlocking> best{-1, {}};
  for (const GemmBlocking& candidate : gemm_blocking_candidates(problem, kernels, threads, hierarchy)) {
    const double cycles = model_gemm_cycles(problem, candidate, kernels, threads, hierarchy);
    if (best.first < 0 || cycles < best.first) best = {cycles, candidate};
  }
  return best;
}

}  // namespace

GemmBlocking choose_gemm_blocking(const GemmProblem& problem, const MicroKernels& kernels, int threads,
                                  const Hierarchy& hierarchy) {
  return quickest(problem, kernels, threads, hierarchy).second;
}

int choose_gemm_threads(const GemmProblem& problem, const MicroKernels& kernels, int cores,
                        const Hierarchy& hierarchy) {
  int best = 1;
  double least = quickest(problem, kernels, 1, hierarchy).first;
  for (int before = 1; before < cores;) {
    const int threads = std::min(2 * before, cores);
    const double cycles = kTeamStart + quickest(problem, kernels, threads, hierarchy).first;
    if (cycles < least) least = cycles, best = threads;
    before = threads;
  }
  return best;
}

}  // namespace mlpwatt

#include "cpu/gemm/traffic.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace mlpwatt {

namespace {

constexpr double kFloat = 4, kLine = 64;

double ceil_div(double a, double b) {
  const std::int64_t parts = (static_cast<std::int64_t>(a + b) - 1) / static_cast<std::int64_t>(b);
  return static_cast<double>(parts);
}

/// How the lines of an operand's strip lie in L1, whose sets are chosen by address bits inside a page: strips
/// fit or they do not, set by set.
struct StripInL1 {
  double lines, sets;
};

/// Of the lines of `mine`, read again tile after tile, the share that `other` (read between) pushes out.
double pushed_out(const StripInL1& mine, const StripInL1& other, double sets, double ways) {
  const double alone = mine.lines / mine.sets, both = alone + other.lines / other.sets;
  const double shared = std::min(1.0, other.sets / sets);
  // C's lines pass by as well: where the strips fill a set to the last way, half of it is lost.
  const auto lost = [&](double lines) { return std::clamp(lines - ways + 0.5, 0.0, 1.0); };
  return shared * lost(both) + (1 - shared) * lost(alone);
}

/// The two ways a strip may lie: read in place across its matrix's rows (`width` floats of each, rows
/// `row_floats` apart) it opens a line a row, or two where it crosses a line's end. Rows of whole lines make
/// that the same for all rows of a strip, and use only some sets; others mix both in every strip.
struct StripCases {
  StripInL1 usual, crossing;
  double crossing_share;
};
StripCases even_strip(double bytes, double sets) {
  const StripInL1 strip{bytes / kLine, sets};
  return {strip, strip, 0};
}
StripCases across_rows(double width, double rows, double row_floats, double sets) {
  constexpr double kPerLine = kLine / kFloat;
  const auto row_lines = static_cast<std::int64_t>(row_floats / kPerLine);
  if (static_cast<double>(row_lines) * kPerLine != row_floats) {
    const StripInL1 mixed{rows * (width + kPerLine - 1) / kPerLine, sets};
    return {mixed, mixed, 0};
  }
  const double lines = std::ceil(width / kPerLine);
  const double strided = sets / static_cast<double>(std::gcd(row_lines, static_cast<std::int64_t>(sets)));
  double crossing = 0;
  for (int strip = 0; strip < kPerLine; ++strip)
    if (std::fmod(strip * width, kPerLine) + width > lines * kPerLine) crossing += 1 / kPerLine;
  return {{rows * lines, std::min(sets, strided * lines)},
          {rows * (lines + 1), std::min(sets, strided * (lines + 1))},
          crossing};
}

}  // namespace

GemmWork add_gemm_traffic(ReuseTrace& trace, const GemmProblem& problem, const GemmBlocking& blocking,
                          const MicroKernels& kernels, int threads, const GemmTrafficArrays& arrays) {
  const double m = static_cast<double>(problem.m), n = static_cast<double>(problem.n),
               k = static_cast<double>(problem.k), mr = blocking.tile_rows(kernels),
               nr = blocking.tile_columns(kernels);
  const double kc_full = static_cast<double>(blocking.kc);
  const int team_columns = blocking.team_columns(threads), parts_of_k = blocking.depth_parts;
  const double depth = static_cast<double>(blocking.part_depth(problem.k));
  const double strips_m = ceil_div(m, mr), strips_n = ceil_div(n, nr);
  // The busiest member's share, in strips, floats and vectors.
  const double rows_strips = ceil_div(strips_m, blocking.team_rows),
               column_strips = ceil_div(strips_n, team_columns);
  const double rows = std::min(m, rows_strips * mr), columns = std::min(n, column_strips * nr);
  const double mean_strips = strips_m * strips_n * parts_of_k / threads;
  const double vector_columns = ceil_div(columns, kernels.lanes) * kernels.lanes;
  const bool b_stays = blocking.resident == GemmBlocking::Resident::kB;
  const bool in_turn = blocking.b_in_turn && blocking.pack_b;
  // The operand whose strip stays in L1, and the one whose strips pass by it, a part of L2's size at a time.
  const double stay_strips = b_stays ? column_strips : rows_strips,
               pass_strips = b_stays ? rows_strips : column_strips;
  const double stay_width = b_stays ? nr : mr, pass_width = b_stays ? mr : nr;
  const double stay_floats = b_stays ? columns : rows, pass_floats = b_stays ? rows : columns;
  const double part_strips = std::clamp(static_cast<double>(blocking.strips_in_l2), 1.0, pass_strips);
  const double parts = ceil_div(pass_strips, part_strips);

  const CacheLevel l1 = trace.hierarchy().levels.empty() ? CacheLevel{"L1", 32 << 10, 64, 8, 1}
                                                         : trace.hierarchy().levels.front();
  const double l1_ways = l1.associativity > 0 ? l1.associativity : 8,
               l1_sets =
                   std::max(1.0, std::floor(static_cast<double>(l1.capacity_bytes) / (kLine * l1_ways)));

  GemmWork work;
  work.imbalance = rows_strips * column_strips / mean_strips;
  // A strip of A read in place along its rows uses mr floats of each line it opens.
  const bool a_across = problem.layout == GemmLayout::kTN;
  const int packed_a =
      blocking.pack_a ? trace.add({rows * std::min(k, kc_full) * kFloat, m * std::min(k, kc_full) * kFloat})
                      : -1;
  const double strips_in_turn = b_stays ? 4 : part_strips;  // packed together into a member's own buffer
  const int packed_b =
      in_turn ? trace.add({std::min(columns, strips_in_turn * nr) * std::min(depth, kc_full) * kFloat})
      : blocking.pack_b
          ? trace.add({columns * std::min(k, kc_full) * kFloat, n * std::min(k, kc_full) * kFloat})
          : -1;
  const bool adam = !arrays.updated_with_c.empty();
  const bool keeps_sums = parts_of_k > 1 || (adam && k > kc_full);
  const int sums = keeps_sums ? trace.add({rows * columns * kFloat, m * n * kFloat * parts_of_k}) : arrays.c;
  const int blocks_of_k = static_cast<int>(ceil_div(depth, kc_full));
  for (int p = 0; p < blocks_of_k; ++p) {
    const double kc = std::min(kc_full, depth - p * kc_full), block = kc / k;
    const bool first = p == 0, last = p + 1 == blocks_of_k;
    if (packed_a >= 0 || (packed_b >= 0 && !in_turn)) work.barriers += first ? 1 : 2;
    if (packed_a >= 0) {
      trace.touch(arrays.a, block, arrays.a_remote);
      trace.touch(packed_a);
      trace.registers(2 * rows * kc * kFloat);
    }
    if (packed_b >= 0 && !in_turn) {
      trace.touch(arrays.b, block, arrays.b_remote);
      trace.touch(packed_b);
      trace.registers(2 * columns * kc * kFloat);
    }
    const double others = threads > 1 ? 1.0 - 1.0 / threads : 0;
    if (packed_a >= 0)
      trace.touch(packed_a, 1, others);
    else
      trace.touch(arrays.a, block, arrays.a_remote);
    if (in_turn) {
      // Read, written into the buffer, read from it; where B stays, once a part of A.
      const double times = b_stays ? parts : 1;
      const double turns = std::max(1.0, columns / (strips_in_turn * nr)) * times;
      trace.touch(arrays.b, block * times, arrays.b_remote);
      trace.touch(packed_b, turns);
      trace.touch(packed_b, turns);
      trace.registers(2 * columns * kc * kFloat * times);
    } else if (packed_b >= 0)
      trace.touch(packed_b, 1, others);
    else
      trace.touch(arrays.b, block, arrays.b_remote);
    // What a strip really opens: across its rows (tn, in place) mr floats of every line of a column, and of
    // the next line where they cross its end.
    const double strip_a = blocking.pack_a ? mr * kc * kFloat
                           : a_across      ? kc * (kLine + mr * kFloat - kFloat)
                                           : mr * (kc * kFloat + kLine);
    const double strip_b = nr * kc * kFloat, strip = b_stays ? strip_b : strip_a;
    const double opened_a = !blocking.pack_a && a_across ? strip_a / (mr * kc * kFloat) : 1;
    const double opened_stay = b_stays ? 1 : opened_a, opened_pass = b_stays ? opened_a : 1;
    const double part_floats = std::min(pass_floats, part_strips * pass_width);
    const double part = part_floats * kc * kFloat, tiles_c = stay_width * part_floats * kFloat;
    // L1: the strip that stays, once a tile; and where strips are opened line by line, the lines that
    // neighbours open again.
    const StripCases lie_a = !blocking.pack_a && a_across ? across_rows(mr, kc, m, l1_sets)
                                                          : even_strip(strip_a, l1_sets),
                     lie_b =
                         !blocking.pack_b ? across_rows(nr, kc, n, l1_sets) : even_strip(strip_b, l1_sets);
    const StripCases &stays = b_stays ? lie_b : lie_a, &passes = b_stays ? lie_a : lie_b;
    const double near = strip + pass_width * kc * kFloat * opened_pass + mr * kLine;
    const auto again_in_l1 = [&](double bytes, const StripCases& mine, const StripCases& other) {
      double out = 0;
      for (const bool my : {false, true})
        for (const bool its : {false, true})
          out += (my ? mine.crossing_share : 1 - mine.crossing_share) *
                 (its ? other.crossing_share : 1 - other.crossing_share) *
                 pushed_out(my ? mine.crossing : mine.usual, its ? other.crossing : other.usual, l1_sets,
                            l1_ways);
      trace.again((1 - out) * bytes, 0, 0);
      trace.again_beyond_l1(out * bytes, near, near);
    };
    again_in_l1((pass_strips - parts) * stay_floats * kc * kFloat * opened_stay, stays, passes);
    if (opened_pass > 1)
      again_in_l1((opened_pass - 1) * pass_floats * kc * kFloat * stay_strips, passes, stays);
    // L2: the part that passes by, once a strip that stays.
    trace.again((stay_strips - 1) * pass_floats * kc * kFloat, part + strip + tiles_c, threads * part);
    // All of the operand that stays, once a part after the first.
    const double all = stay_floats * kc * kFloat + part + stay_floats * part_floats * kFloat;
    if (!in_turn || !b_stays) trace.again((parts - 1) * stay_floats * kc * kFloat, all, threads * all);
    trace.registers(rows_strips * column_strips * kc * kFloat * mr +
                    rows_strips * kc * kFloat * vector_columns);
    if (!last || !adam || parts_of_k > 1) {
      trace.touch(sums, first ? 1 : 2);
      trace.registers(rows * columns * kFloat * (first ? 1 : 2));
    } else if (keeps_sums) {
      trace.touch(sums);
      trace.registers(rows * columns * kFloat);
    }
    // The strips that pass were in use until the block's end.
    if (stay_strips > 1)
      trace.touch(b_stays ? (packed_a >= 0 ? packed_a : arrays.a) : packed_b >= 0 ? packed_b : arrays.b, 0);
    work.tiles += rows_strips * column_strips * threads;
    work.issued_flops += 2 * rows * vector_columns * kc * threads;
  }
  if (parts_of_k > 1) {  // each member adds up its share of the rows of all parts
    work.barriers += 1;
    const double share = m * n * kFloat / threads;
    trace.touch(sums, share * parts_of_k / (rows * columns * kFloat), 1 - 1.0 / parts_of_k);
    if (!adam) trace.touch(arrays.c);
    trace.registers(share * (parts_of_k + 1));
  }
  const double cells = m * n * kFloat / threads * work.imbalance;
  for (const int array : arrays.read_with_c) trace.touch(array), trace.registers(cells);
  for (const int array : arrays.written_with_c) trace.touch(array), trace.registers(cells);
  for (const int array : arrays.updated_with_c) trace.touch(array, 2), trace.registers(2 * cells);
  if (adam) trace.touch(arrays.c, 2), trace.registers(4 * cells);  // and the tile, through L1
  return work;
}

Traffic gemm_traffic(const GemmProblem& problem, const GemmBlocking& blocking, const MicroKernels& kernels,
                     int threads, const Hierarchy& hierarchy) {
  ReuseTrace trace(hierarchy, threads);
  const double m = static_cast<double>(problem.m), n = static_cast<double>(problem.n),
               k = static_cast<double>(problem.k);
  const double team_rows = blocking.team_rows, team_columns = blocking.team_columns(threads);
  GemmTrafficArrays arrays;
  arrays.a = trace.add({m * k * kFloat / (team_rows * blocking.depth_parts), m * k * kFloat});
  arrays.b = trace.add({k * n * kFloat / (team_columns * blocking.depth_parts), k * n * kFloat});
  arrays.c = trace.add({m * n * kFloat / threads, m * n * kFloat});
  const GemmWork work = add_gemm_traffic(trace, problem, blocking, kernels, threads, arrays);
  Traffic traffic = trace.per_step();
  traffic.issued_flops = work.issued_flops;
  traffic.tiles = work.tiles;
  traffic.barriers = work.barriers + 1;
  traffic.imbalance = work.imbalance;
  return traffic;
}

}  // namespace mlpwatt

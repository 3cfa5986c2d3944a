#include "cpu/gemm/blocking_search.h"

#include <algorithm>
#include <set>

namespace mlpwatt {

namespace {
std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
constexpr int kLineFloats = 16;

/// Depths of a block worth trying: the resident strip in half of L1 (blocks of equal depth), and all of k
/// where that is not much more.
std::vector<std::int64_t> depths(std::int64_t k, int resident_width, std::int64_t l1_bytes) {
  const std::int64_t most = std::max<std::int64_t>(64, l1_bytes / 2 / (resident_width * 4) / 8 * 8);
  const std::int64_t equal = ceil_div(ceil_div(k, ceil_div(k, most)), 8) * 8;
  std::vector<std::int64_t> found{std::min(k, equal)};
  if (k > most && k <= 2 * most) found.push_back(k);
  return found;
}

/// Strips of a part, when `most` of them take half of L2: equal parts, and rather one a little larger than a
/// last one of a strip or two, for which all of the other operand would pass by again.
std::int64_t part_strips(std::int64_t strips, std::int64_t most) {
  const std::int64_t parts = ceil_div(strips, most + most / 4);
  return ceil_div(strips, parts);
}

/// Heights of the register tile worth trying: the tallest, cut so that all strips are of nearly one height,
/// for the whole of m and for each member's part of it.
std::set<int> heights(std::int64_t m, int most, int threads) {
  std::set<int> found;
  for (const int members : {1, threads}) {
    const std::int64_t strips = ceil_div(ceil_div(m, most), members) * members;
    found.insert(static_cast<int>(std::min<std::int64_t>(most, ceil_div(m, strips))));
  }
  found.insert(static_cast<int>(std::min<std::int64_t>(most, m)));
  return found;
}
}  // namespace

std::string describe_blocking(const GemmBlocking& b, int threads) {
  std::string text;
  if (b.mr > 0) text = std::to_string(b.mr) + "x" + std::to_string(b.nr) + " ";
  text += "kc=" + std::to_string(b.kc) + (b.resident == GemmBlocking::Resident::kB ? " b" : " a") + "_in_l1" +
          (b.pack_a ? " pack_a" : "") +
          (b.b_in_turn ? " pack_b_in_turn"
           : b.pack_b  ? " pack_b"
                       : "") +
          " " + std::to_string(b.team_rows) + "x" + std::to_string(b.team_columns(threads));
  if (b.depth_parts > 1) text += "x" + std::to_string(b.depth_parts);
  return text;
}

std::vector<GemmBlocking> gemm_blocking_candidates(const GemmProblem& problem, const MicroKernels& kernels,
                                                   int threads, const Hierarchy& hierarchy) {
  const std::int64_t l1_bytes = hierarchy.capacity_bytes("L1", 32 << 10),
                     l2_bytes = hierarchy.capacity_bytes("L2", 256 << 10);
  std::vector<GemmBlocking> all;
  for (int vectors = 1; vectors <= MicroKernels::kMostVectors; ++vectors) {
    const int nr = vectors * kernels.lanes;
    if (vectors > 1 && nr - kernels.lanes >= problem.n) break;  // a whole vector of nothing
    for (const int mr : heights(problem.m, kernels.most_rows[vectors - 1], threads))
      for (int parts = 1; parts <= threads; ++parts) {
        // Only a weight gradient is deep for its size; a part must be worth its own sums.
        if (threads % parts != 0 ||
            (parts > 1 && (problem.layout != GemmLayout::kTN || problem.k < 32 * parts)))
          continue;
        for (int rows = 1; rows <= threads / parts; ++rows) {
          if (threads / parts % rows != 0) continue;
          GemmBlocking b;
          b.mr = mr;
          b.nr = nr;
          b.depth_parts = parts;
          b.team_rows = rows;
          for (const auto resident : {GemmBlocking::Resident::kA, GemmBlocking::Resident::kB}) {
            b.resident = resident;
            const bool b_stays = resident == GemmBlocking::Resident::kB;
            for (const std::int64_t kc : depths(b.part_depth(problem.k), b_stays ? nr : mr, l1_bytes)) {
              b.kc = kc;
              const std::int64_t passing = b_stays
                                               ? ceil_div(ceil_div(problem.m, mr), rows)
                                               : ceil_div(ceil_div(problem.n, nr), b.team_columns(threads));
              const std::int64_t most =
                  std::max<std::int64_t>(1, l2_bytes / 2 / (kc * 4) / (b_stays ? mr : nr));
              for (const bool pack_a : {false, true})
                // B is read in place only where vectors of it are contiguous.
                for (int pack_b = problem.layout == GemmLayout::kNT ? 1 : 0; pack_b <= 2; ++pack_b) {
                  // A row of a strip that is not whole lines opens a line more, which the next strip opens
                  // again: 2 for 24 floats.
                  if (pack_b == 0 && nr > kLineFloats && nr % kLineFloats != 0 && problem.n > nr) continue;
                  // A part packed in turn shares L2 with what it was packed from.
                  b.strips_in_l2 = part_strips(
                      passing, pack_b == 2 && !b_stays ? std::max<std::int64_t>(1, most / 2) : most);
                  b.pack_a = pack_a;
                  b.pack_b = pack_b > 0;
                  b.b_in_turn = pack_b == 2;
                  all.push_back(b);
                }
            }
          }
        }
      }
  }
  return all;
}

std::vector<GemmBlocking> all_gemm_blockings(const GemmProblem& problem, const MicroKernels& kernels,
                                             int threads, const Hierarchy& hierarchy) {
  std::vector<GemmBlocking> all = gemm_blocking_candidates(problem, kernels, threads, hierarchy);
  // What the rules of depths() and part_strips() leave out, so that a wrong rule shows as regret: blocks of
  // half and twice the depth, parts of half and twice the strips.
  const std::size_t candidates = all.size();
  const auto add = [&](const GemmBlocking& variation) {
    const auto same = [&](const GemmBlocking& other) {
      return describe_blocking(other, threads) == describe_blocking(variation, threads) &&
             other.strips_in_l2 == variation.strips_in_l2;
    };
    if (std::none_of(all.begin(), all.end(), same)) all.push_back(variation);
  };
  for (std::size_t i = 0; i < candidates; ++i) {
    const std::int64_t depth = all[i].part_depth(problem.k);
    for (const std::int64_t kc : {ceil_div(all[i].kc, 16) * 8, std::min(depth, 2 * all[i].kc)}) {
      GemmBlocking other = all[i];
      other.kc = kc;
      if (kc >= 16 && kc != all[i].kc) add(other);
    }
    for (const std::int64_t strips : {(all[i].strips_in_l2 + 1) / 2, 2 * all[i].strips_in_l2}) {
      GemmBlocking other = all[i];
      other.strips_in_l2 = strips;
      const std::int64_t most = ceil_div(std::max(problem.m, problem.n), kernels.lanes);
      if (strips != all[i].strips_in_l2 && all[i].strips_in_l2 <= most) add(other);
    }
  }
  const auto less = [&](const GemmBlocking& x, const GemmBlocking& y) {
    return model_gemm_cycles(problem, x, kernels, threads, hierarchy) <
           model_gemm_cycles(problem, y, kernels, threads, hierarchy);
  };
  const auto end = all.begin() + static_cast<std::ptrdiff_t>(candidates);  // what the choice is made of
  std::iter_swap(all.begin(), std::min_element(all.begin(), end, less));
  return all;
}

}  // namespace mlpwatt

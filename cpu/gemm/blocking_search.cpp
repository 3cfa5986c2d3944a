#include "cpu/gemm/blocking_search.h"

#include <algorithm>

namespace mlpwatt {

std::string describe_blocking(const GemmBlocking& b, int threads) {
  return "kc=" + std::to_string(b.kc) + (b.resident == GemmBlocking::Resident::kB ? " b" : " a") + "_in_l1" +
         (b.pack_a ? " pack_a" : "") + (b.pack_b ? " pack_b" : "") + " " + std::to_string(b.team_rows) + "x" +
         std::to_string(threads / b.team_rows);
}

std::vector<GemmBlocking> all_gemm_blockings(const GemmProblem& problem, const MicroKernels& kernels,
                                             int threads, const Hierarchy& hierarchy) {
  const GemmBlocking chosen = choose_gemm_blocking(problem, kernels, threads, hierarchy);
  const std::int64_t l2_bytes = hierarchy.capacity_bytes("L2", 256 << 10);
  std::vector<std::int64_t> depths{chosen.kc};
  for (const std::int64_t depth : {std::int64_t{128}, std::int64_t{256}, std::int64_t{512}, problem.k})
    if (depth <= problem.k) depths.push_back(depth);
  std::sort(depths.begin() + 1, depths.end());
  depths.erase(std::unique(depths.begin() + 1, depths.end()), depths.end());
  // B is read in place only where whole vectors of it are contiguous and readable.
  const bool b_in_place = problem.layout != GemmLayout::kNT && problem.n % kernels.lanes == 0;
  std::vector<GemmBlocking> all{chosen};
  for (const std::int64_t kc : depths)
    for (const auto resident : {GemmBlocking::Resident::kA, GemmBlocking::Resident::kB})
      for (const bool pack_a : {false, true})
        for (const bool pack_b : {false, true})
          for (int rows = 1; rows <= threads; ++rows) {
            if (threads % rows != 0 || (!pack_b && !b_in_place)) continue;
            GemmBlocking b;
            b.resident = resident;
            b.kc = kc;
            const int passes_by = resident == GemmBlocking::Resident::kB ? kernels.mr : kernels.nr;
            b.strips_in_l2 = std::max<std::int64_t>(1, l2_bytes / 2 / (kc * 4) / passes_by);
            b.pack_a = pack_a;
            b.pack_b = pack_b;
            b.team_rows = rows;
            const auto same = [&](const GemmBlocking& o) {
              return o.kc == b.kc && o.resident == b.resident && o.pack_a == b.pack_a &&
                     o.pack_b == b.pack_b && o.team_rows == b.team_rows;
            };
            if (std::none_of(all.begin(), all.end(), same)) all.push_back(b);
          }
  return all;
}

}  // namespace mlpwatt

// Every blocking that the search offers computes the product.

#include <gtest/gtest.h>

#include <set>

#include "cpu/gemm/blocking_search.h"
#include "kernels/reference.h"
#include "tests/harness/program.h"

namespace mlpwatt {
namespace {

TEST(GemmBlockingSearch, EveryCandidateIsRight) {
  Hierarchy hierarchy;
  hierarchy.cores = 2;
  hierarchy.levels = {{"L1", 8 << 10}, {"L2", 32 << 10}, {"L3", 1 << 20}};
  for (const Isa isa : available_isas())
    for (const GemmLayout layout : {GemmLayout::kNN, GemmLayout::kNT, GemmLayout::kTN}) {
      const GemmProblem problem{layout, 37, 64, 300};
      const bool ta = layout == GemmLayout::kTN, tb = layout == GemmLayout::kNT;
      const int lda = ta ? 37 : 300, ldb = tb ? 300 : 64;
      AlignedFloats a(37 * 300 + 64), b(300 * 64 + 64), c(37 * 64);
      for (int i = 0; i < 37 * 300; ++i) a[i] = static_cast<float>(i % 7 - 3);
      for (int i = 0; i < 300 * 64; ++i) b[i] = static_cast<float>(i % 5 - 2);
      std::vector<double> want(37 * 64);
      reference::gemm(ta, tb, 37, 64, 300, 1.0, a.data(), lda, b.data(), ldb, 0.0, want.data(), 64);
      const auto all = all_gemm_blockings(problem, micro_kernels(isa), 2, hierarchy);
      EXPECT_GT(all.size(), 8u);
      for (const GemmBlocking& blocking : all) {
        std::fill_n(c.data(), c.size(), -1.0f);
        Gemm gemm(problem, isa, 2, blocking);
        run_team(2, [&](const TeamMember& member) {
          gemm.run(member, a.data(), lda, b.data(), ldb, c.data(), 64);
        });
        for (std::size_t i = 0; i < want.size(); ++i)
          ASSERT_EQ(c[i], want[i]) << isa_name(isa) << " " << describe_blocking(blocking, 2) << " at " << i;
      }
    }
}

/// The rules that leave blockings out before the model rates them must be judged by the search too.
TEST(GemmBlockingSearch, LooksBeyondWhatTheChoiceConsiders) {
  Hierarchy hierarchy;
  hierarchy.cores = 1;
  hierarchy.levels = {{"L1", 32 << 10}, {"L2", 512 << 10}, {"L3", 16 << 20}};
  const GemmProblem problem{GemmLayout::kNN, 1024, 1024, 8192};
  const MicroKernels& kernels = micro_kernels(Isa::kGeneric);
  const auto depths = [](const std::vector<GemmBlocking>& blockings) {
    std::set<std::int64_t> found;
    for (const GemmBlocking& blocking : blockings) found.insert(blocking.kc);
    return found;
  };
  const auto considered = gemm_blocking_candidates(problem, kernels, 1, hierarchy),
             searched = all_gemm_blockings(problem, kernels, 1, hierarchy);
  EXPECT_GT(searched.size(), 2 * considered.size());
  EXPECT_GT(*depths(searched).rbegin(), *depths(considered).rbegin());
  EXPECT_LT(*depths(searched).begin(), *depths(considered).begin());
  EXPECT_EQ(describe_blocking(searched.front(), 1),
            describe_blocking(choose_gemm_blocking(problem, kernels, 1, hierarchy), 1))
      << "the first one is the choice that is judged";
}

TEST(GemmRegret, NamesTheChosenAndTheBest) {
  const auto outcome = testing::run({"gemm-regret", "--shape", "nt/256x13x5", "--rounds", "3", "--slice-s",
                                     "0.0001", "--threads", "1", "--json"});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  const auto answer = outcome.json();
  ASSERT_EQ(answer["shapes"].size(), 1u);
  const auto& shape = answer["shapes"][0];
  EXPECT_EQ(shape["layout"], "nt");
  EXPECT_GE(shape["regret"].get<double>(), 0);
  EXPECT_GE(shape["chosen_s"].get<double>(), shape["best_s"].get<double>());
  EXPECT_GT(shape["candidates"].get<int>(), 4);
  EXPECT_EQ(testing::run({"gemm-regret", "--shape", "nn/7x7x7"}).status, 2);
}

}  // namespace
}  // namespace mlpwatt

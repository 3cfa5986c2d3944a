// Every blocking that the search offers computes the product.

#include <gtest/gtest.h>

#include "cpu/gemm/blocking_search.h"
#include "kernels/reference.h"

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

}  // namespace
}  // namespace mlpwatt

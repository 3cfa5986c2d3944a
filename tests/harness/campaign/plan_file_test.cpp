// Malformed plans: the line, what is wrong with it, status 2, and nothing made.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "harness/campaign/plan.h"
#include "tests/harness/campaign/records.h"
#include "tests/harness/program.h"

namespace mlpwatt::testing {
namespace {

using ::testing::HasSubstr;

struct Malformed {
  const char* label;
  const char* text;
  std::vector<std::string> said;
};
class MalformedPlans : public ::testing::TestWithParam<Malformed> {};

TEST_P(MalformedPlans, AreRefusedWithTheirLineAndStatusTwo) {
  TemporaryFolder folder;
  write_text(folder.path("bad.plan"), GetParam().text);
  const Outcome outcome = run({"campaign", folder.path("bad.plan"), "--out", folder.path("store")});
  EXPECT_EQ(outcome.status, 2);
  EXPECT_EQ(outcome.error_lines(), 1u) << outcome.err;
  for (const std::string& word : GetParam().said) EXPECT_THAT(outcome.err, HasSubstr(word));
  EXPECT_FALSE(std::filesystem::exists(folder.path("store")));
}

INSTANTIATE_TEST_SUITE_P(
    Plan, MalformedPlans,
    ::testing::Values(
        Malformed{"empty", "", {"bad.plan:1:", "empty"}},
        Malformed{"other_file", "{}\n", {"bad.plan:1:", "mlpwatt plan 1"}},
        Malformed{"newer", "mlpwatt plan 2\n", {"bad.plan:1:", "'mlpwatt plan 2'"}},
        Malformed{"nothing", "mlpwatt plan 1\n# no\n", {"no configuration"}},
        Malformed{"word", "mlpwatt plan 1\nrnu cpu/fma/generic\n", {"bad.plan:2:", "'rnu'", "run"}},
        Malformed{"seed", "mlpwatt plan 1\n\nseed x\n", {"bad.plan:3:", "seed", "'x'"}},
        Malformed{"window", "mlpwatt plan 1\nwindow_s -1\n", {"bad.plan:2:", "window_s", "-1"}},
        Malformed{"nan", "mlpwatt plan 1\nprecision nan\n", {"bad.plan:2:", "precision"}},
        Malformed{"energy", "mlpwatt plan 1\nenergy_target 2\n", {"bad.plan:2:", "energy_target 2"}},
        Malformed{"twice", "mlpwatt plan 1\nseed 1\nseed 1\n", {"bad.plan:3:", "line 2"}},
        Malformed{"too_much", "mlpwatt plan 1\nseed 1 2\n", {"bad.plan:2:", "'2'"}},
        Malformed{"source", "mlpwatt plan 1\ndataset_source fiel\n", {"bad.plan:2:", "'fiel'", "file"}},
        Malformed{"nameless", "mlpwatt plan 1\nrun\n", {"bad.plan:2:", "name"}},
        Malformed{"batch", "mlpwatt plan 1\nrun cpu/fma/generic batch=0\n", {"bad.plan:2:", "batch 0"}},
        Malformed{
            "key", "mlpwatt plan 1\nrun cpu/fma/generic bathc=1\n", {"bad.plan:2:", "'bathc'", "batch"}},
        Malformed{"value", "mlpwatt plan 1\nrun cpu/fma/generic batch\n", {"bad.plan:2:", "KEY=VALUE"}},
        Malformed{"late", "mlpwatt plan 1\nrun cpu/fma/generic\nseed 1\n", {"bad.plan:3:", "before"}},
        Malformed{"duplicate",
                  "mlpwatt plan 1\nrun cpu/fma/generic\n# c\nrun cpu/fma/generic batch=256\n",
                  {"bad.plan:4:", "line 2"}},
        Malformed{"unknown_benchmark",
                  "mlpwatt plan 1\n# c\nrun cpu/fma/generic\n\nrun cpu/fma/genric\nrun cpu/a/b\n",
                  {"bad.plan:5:", "'cpu/fma/genric'", "cpu/fma/generic"}},
        Malformed{"isa",
                  "mlpwatt plan 1\nrun cpu/fma/generic isa=avx1024\n",
                  {"bad.plan:2:", "isa 'avx1024'", "avx512", "avx2_nofma", "generic"}},
        Malformed{
            "isa_in_capitals", "mlpwatt plan 1\nrun cpu/fma/generic isa=AVX2\n", {"bad.plan:2:", "avx2"}},
        Malformed{"algorithm",
                  "mlpwatt plan 1\nseed 1\nrun cpu/mlp_train/adult/rectangle/1024/3 algorithm=fussed\n",
                  {"bad.plan:3:", "algorithm", "'fussed'", "fused", "blocked", "twin_shallow"}},
        Malformed{"algorithm_of_the_other_backend",
                  "mlpwatt plan 1\nrun cpu/mlp_train/adult/rectangle/1024/3 algorithm=graph\n",
                  {"bad.plan:2:", "'graph'", "cpu/mlp_train"}},
        Malformed{"algorithm_of_a_device_that_need_not_be_here",
                  "mlpwatt plan 1\nrun gpu/mlp_train/adult/rectangle/1024/3 algorithm=blocked\n",
                  {"bad.plan:2:", "'blocked'", "gpu/mlp_train", "resident", "cooperative", "graph"}}),
    [](const auto& tested) { return std::string(tested.param.label); });

TEST(PlanFile, WhatMayStandInALineIsTakenAndKnowsItsLine) {
  std::istringstream file(
      "mlpwatt plan 1\nseed 3\n# c\n"
      "run cpu/mlp_train/adult/rectangle/1024/3 isa=avx512 algorithm=twin_unblocked\n\n"
      "run gpu/mlp_train/adult/rectangle/1024/3 isa=any algorithm=graph_tf32\n"
      "run cpu/gemm_twin/a isa=avx2_nofma algorithm=a_variant_that_only_the_run_knows\n");
  const Plan plan = parse_plan(file, "x");
  ASSERT_EQ(plan.entries.size(), 3u);
  EXPECT_EQ(plan.entries[0].line, 4);
  EXPECT_EQ(plan.entries[1].line, 6);
  EXPECT_EQ(plan.entries[2].line, 7);
  // where a line stands is no part of what the campaign is
  Plan moved = plan;
  moved.entries[0].line = 99;
  EXPECT_EQ(moved.campaign(), plan.campaign());
  EXPECT_TRUE(moved.entries[0].same_configuration(plan.entries[0]));
}

}  // namespace
}  // namespace mlpwatt::testing

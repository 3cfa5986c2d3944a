// Malformed plans: the line, what is wrong with it, status 2, and nothing made.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

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
                  "mlpwatt plan 1\nrun cpu/fma/genric\n",
                  {"bad.plan", "'cpu/fma/genric'", "cpu/fma/generic"}}),
    [](const auto& tested) { return std::string(tested.param.label); });

}  // namespace
}  // namespace mlpwatt::testing

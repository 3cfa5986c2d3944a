// Turns: who runs when, how often, and what the ratios of known times are.

#include "harness/compare/turns.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

namespace mlpwatt::testing {
namespace {

using ::testing::ElementsAre;

/// A contestant whose step takes what the script says; it notes each call.
Contestant scripted(const std::string& name, double step_s, std::vector<std::string>& calls) {
  return {name, [=, &calls](std::int64_t warm, std::int64_t steps) {
            EXPECT_GE(warm, 1);
            calls.push_back(name + " " + std::to_string(steps));
            return step_s * static_cast<double>(steps);
          }};
}

TurnOptions quick(int rounds) { return {.turn_s = 0.1, .rounds = rounds, .pause_s = 0}; }

TEST(Turns, InterleaveAndHaveThePowerOfTwoStepsThatFillATurn) {
  std::vector<std::string> calls;
  const std::vector<Turns> turns =
      take_turns({scripted("a", 0.01, calls), scripted("b", 1.0, calls), scripted("c", 1e-7, calls)},
                 quick(3), system_clock());
  ASSERT_EQ(turns.size(), 3u);
  EXPECT_EQ(turns[0].steps, 8);  // 0.08 s is nearer to 0.1 than 0.16
  EXPECT_EQ(turns[1].steps, 1);
  EXPECT_EQ(turns[2].steps, TurnOptions{}.most_steps);
  ASSERT_GE(calls.size(), 9u);
  EXPECT_THAT(std::vector<std::string>(calls.end() - 9, calls.end()),
              ElementsAre("a 8", "b 1", "c 8192", "a 8", "b 1", "c 8192", "a 8", "b 1", "c 8192"));
  EXPECT_EQ(turns[0].step_s.size(), 3u);
  for (const double step_s : turns[0].step_s) EXPECT_DOUBLE_EQ(step_s, 0.01);
  EXPECT_DOUBLE_EQ(turns[0].duration_s, 0.24);
  const Window window = turns[0].window();
  EXPECT_EQ(window.steps, 24);
  EXPECT_DOUBLE_EQ(window.step.median, 0.01);
  EXPECT_TRUE(window.few_blocks);
  EXPECT_TRUE(std::isnan(window.cpu_s));
}

TEST(Turns, OneThatFailsLeavesAndTheOthersGoOn) {
  std::vector<std::string> calls;
  int good = 5;
  const Contestant failing{"f", [&](std::int64_t, std::int64_t steps) -> double {
                             if (good-- == 0) throw std::runtime_error("broke down");
                             return static_cast<double>(steps);
                           }};
  const Contestant nothing{"n", [](std::int64_t, std::int64_t) { return 0.0; }};
  const std::vector<Turns> turns =
      take_turns({failing, scripted("a", 0.1, calls), nothing}, quick(12), system_clock());
  EXPECT_EQ(turns[0].error, "broke down");
  EXPECT_TRUE(turns[0].step_s.empty());
  EXPECT_EQ(turns[1].error, "");
  EXPECT_EQ(turns[1].step_s.size(), 12u);
  EXPECT_FALSE(turns[1].window().few_blocks);
  EXPECT_THAT(turns[2].error, ::testing::HasSubstr("no time"));
}

TEST(Turns, RatioOfMediansAndItsInterval) {
  // A drift that falls on both alike leaves the ratio exact, however wild.
  std::vector<double> base, twice;
  for (int i = 0; i < 15; ++i) {
    base.push_back(1 + (i * 7 % 15) * 0.1);
    twice.push_back(2 * base.back());
  }
  const Ratio exact = ratio_of_medians(twice, base, 1);
  EXPECT_DOUBLE_EQ(exact.value, 2);
  EXPECT_DOUBLE_EQ(exact.low95, 2);
  EXPECT_DOUBLE_EQ(exact.high95, 2);
  // Noise on one of them opens the interval around the ratio.
  std::vector<double> steady(15, 1.0), noisy;
  for (int i = 0; i < 15; ++i) noisy.push_back(3 + 0.1 * (i - 7));
  const Ratio noise = ratio_of_medians(noisy, steady, 1);
  EXPECT_DOUBLE_EQ(noise.value, 3);
  EXPECT_LT(noise.low95, 3);
  EXPECT_GT(noise.high95, 3);
  EXPECT_GT(noise.low95, 2.3);
  EXPECT_LT(noise.high95, 3.7);
  const Ratio again = ratio_of_medians(noisy, steady, 1);
  EXPECT_EQ(noise.low95, again.low95);
  EXPECT_TRUE(std::isnan(ratio_of_medians({}, {}, 1).value));
  EXPECT_THROW(ratio_of_medians({1}, {}, 1), std::logic_error);
}

}  // namespace
}  // namespace mlpwatt::testing

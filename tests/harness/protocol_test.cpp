// The measurement protocol on kernels of known step time and a clock that only they move.

#include "harness/protocol/order.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>

#include "harness/protocol/window.h"
#include "tests/harness/fakes.h"

namespace mlpwatt::testing {
namespace {

using ::testing::ElementsAre;

const double kNan = std::numeric_limits<double>::quiet_NaN();
const double kInfinity = std::numeric_limits<double>::infinity();

struct WarmedUp {
  WarmUp result;
  std::vector<std::int64_t> calls;
};

WarmedUp warm_up_of(const FakeScript& script, const ProtocolOptions& options = {}) {
  FakeClock clock;
  FakeKernel kernel(script, &clock);
  WarmedUp warmed{warm_up(kernel, options, clock), kernel.calls_of_run};
  EXPECT_EQ(warmed.result.steps, kernel.total_steps);
  return warmed;
}

TEST(WarmUpProtocol, SteadyStepsEndItAfterATenthOfTheWindow) {
  const WarmedUp warmed = warm_up_of({});
  EXPECT_TRUE(warmed.result.steady);
  EXPECT_DOUBLE_EQ(warmed.result.step_s, 0x1p-10);
  EXPECT_DOUBLE_EQ(warmed.result.duration_s, static_cast<double>(warmed.result.steps) * 0x1p-10);
  EXPECT_GE(warmed.result.duration_s, 0.1);
  EXPECT_LT(warmed.result.duration_s, 0.4) << "two groups of three blocks of 1/25 s, and the growth to them";
}

TEST(WarmUpProtocol, GrowsFromOneStepByAtMostSixteenTimes) {
  const WarmedUp warmed = warm_up_of({.step_s = 1e-8});
  ASSERT_FALSE(warmed.calls.empty());
  EXPECT_EQ(warmed.calls.front(), 1);
  for (std::size_t i = 1; i < warmed.calls.size(); ++i)
    EXPECT_LE(warmed.calls[i], 16 * warmed.calls[i - 1]) << i;
  EXPECT_NEAR(static_cast<double>(warmed.calls.back()) * 1e-8, 1.0 / 25, 1e-3);
  EXPECT_TRUE(warmed.result.steady);
}

TEST(WarmUpProtocol, NoiseWithinTheToleranceIsSteady) {
  const WarmedUp warmed = warm_up_of({.noise = 0.01});
  EXPECT_TRUE(warmed.result.steady);
  EXPECT_NEAR(warmed.result.step_s, 0x1p-10, 0.01 * 0x1p-10);
}

TEST(WarmUpProtocol, OneSlowBlockIsNotDrift) {
  EXPECT_TRUE(warm_up_of({.outlier_share = 0.1}).result.steady);
}

TEST(WarmUpProtocol, WaitsUntilAColdStartIsOver) {
  // ten times slower for 0.6 s, far longer than the least warm-up
  const WarmedUp warmed = warm_up_of({.cold_factor = 10, .cold_s = 0.05}, {.warm_up_minimum_s = 0.01});
  EXPECT_TRUE(warmed.result.steady);
  EXPECT_DOUBLE_EQ(warmed.result.step_s, 0x1p-10);
}

TEST(WarmUpProtocol, GivesUpOnDriftAfterTwoWindows) {
  const WarmedUp warmed = warm_up_of({.drift_per_s = 4});
  EXPECT_FALSE(warmed.result.steady);
  EXPECT_GE(warmed.result.duration_s, 2);
  EXPECT_LT(warmed.result.duration_s, 2.5) << "at most one block more";
  const WarmedUp longer = warm_up_of({.drift_per_s = 4}, {.warm_up_maximum_s = 3});
  EXPECT_GE(longer.result.duration_s, 3);
  EXPECT_TRUE(warm_up_of({.drift_per_s = 4}, {.steady_tolerance = 10}).result.steady);
}

TEST(WarmUpProtocol, AStepLongerThanAllIsRunOnce) {
  const WarmedUp warmed = warm_up_of({.step_s = 3});
  EXPECT_THAT(warmed.calls, ElementsAre(1));
  EXPECT_FALSE(warmed.result.steady);
  EXPECT_DOUBLE_EQ(warmed.result.step_s, 3);
}

TEST(WarmUpProtocol, LeastWarmUpIsKeptEvenBeyondTwoWindows) {
  EXPECT_GE(warm_up_of({}, {.warm_up_minimum_s = 0.5}).result.duration_s, 0.5);
  EXPECT_GE(warm_up_of({}, {.warm_up_minimum_s = 5}).result.duration_s, 5);
  EXPECT_GE(warm_up_of({.drift_per_s = 4}, {.warm_up_minimum_s = 5}).result.duration_s, 5);
}

Window window_of(const FakeScript& script, const ProtocolOptions& options = {}, double estimate_s = 0) {
  FakeClock clock;
  FakeKernel kernel(script, &clock);
  const Window window = run_window(kernel, options, clock, estimate_s > 0 ? estimate_s : script.step_s);
  EXPECT_EQ(window.steps, kernel.total_steps);
  EXPECT_EQ(window.block_step_s.size(), kernel.calls_of_run.size());
  for (const std::int64_t steps : kernel.calls_of_run) EXPECT_EQ(steps, window.steps_per_block);
  return window;
}

TEST(WindowProtocol, TwentyFiveBlocksOfAKnownStep) {
  const Window window = window_of({.threads = 2});
  EXPECT_EQ(window.steps_per_block, 41);  // 1/25 s of 1/1024 s
  EXPECT_EQ(window.block_step_s.size(), 25u);
  EXPECT_DOUBLE_EQ(window.duration_s, 25 * 41 * 0x1p-10);
  EXPECT_DOUBLE_EQ(window.step.median, 0x1p-10);
  EXPECT_DOUBLE_EQ(window.step.mad, 0);
  EXPECT_DOUBLE_EQ(window.step.low95, 0x1p-10);
  EXPECT_DOUBLE_EQ(window.step.high95, 0x1p-10);
  EXPECT_DOUBLE_EQ(window.cpu_s, 2 * window.duration_s);
  EXPECT_FALSE(window.few_blocks);
  EXPECT_DOUBLE_EQ(window.start_s, 128);
  EXPECT_EQ(window.start_monotonic_ns, 128'000'000'000);
  EXPECT_EQ(window.start_realtime_ns, 1'769'860'928'000'000'000);
}

TEST(WindowProtocol, SlowStepsProlongItForTenBlocks) {
  const Window window = window_of({.step_s = 0.25});
  EXPECT_EQ(window.steps_per_block, 1);
  EXPECT_EQ(window.block_step_s.size(), 10u);
  EXPECT_DOUBLE_EQ(window.duration_s, 2.5);
  EXPECT_FALSE(window.few_blocks);
}

TEST(WindowProtocol, TheLongestWindowGivesUpTheTenBlocks) {
  const Window window = window_of({.step_s = 2});
  EXPECT_EQ(window.block_step_s.size(), 5u);
  EXPECT_DOUBLE_EQ(window.duration_s, 10);
  EXPECT_TRUE(window.few_blocks);
  EXPECT_TRUE(std::isnan(window.step.low95)) << "five blocks have no 95 % interval";
  const Window shorter = window_of({.step_s = 2}, {.maximum_window_s = 4});
  EXPECT_EQ(shorter.block_step_s.size(), 2u);
  EXPECT_TRUE(shorter.few_blocks);
  const Window one = window_of({.step_s = 64});
  EXPECT_EQ(one.block_step_s.size(), 1u);
  EXPECT_DOUBLE_EQ(one.step.median, 64);
  EXPECT_TRUE(std::isnan(one.step.stddev));
}

TEST(WindowProtocol, TheWindowIsNeverCutBelowItsLeastLength) {
  const Window window = window_of({}, {.window_s = 1, .maximum_window_s = 0.25});
  EXPECT_GE(window.duration_s, 1);
  EXPECT_EQ(window.block_step_s.size(), 25u);
}

TEST(WindowProtocol, AWrongEstimateChangesBlocksNotTheResult) {
  const Window many = window_of({}, {}, 0x1p-6);  // estimated 16 times too slow: blocks 16 times too short
  EXPECT_EQ(many.steps_per_block, 3);
  EXPECT_GE(many.duration_s, 1);
  EXPECT_DOUBLE_EQ(many.step.median, 0x1p-10);
  const Window few = window_of({}, {}, 0x1p-14);
  EXPECT_EQ(few.block_step_s.size(), 10u);
  EXPECT_DOUBLE_EQ(few.step.median, 0x1p-10);
}

TEST(WindowProtocol, InjectedOutliersLeaveTheMedianAlone) {
  const Window window = window_of({.noise = 0.02, .outlier_share = 0.2});
  EXPECT_NEAR(window.step.median, 0x1p-10, 0.02 * 0x1p-10);
  EXPECT_GE(window.step.maximum, 9 * 0x1p-10) << "the script has outliers in this window";
  EXPECT_GT(window.step.mean, 1.3 * 0x1p-10);
  EXPECT_LE(window.step.low95, window.step.median);
  EXPECT_LE(window.step.median, window.step.high95);
}

TEST(WindowProtocol, InjectedDriftShowsInTheBlocks) {
  const Window window = window_of({.drift_per_s = 0.5});
  EXPECT_TRUE(std::is_sorted(window.block_step_s.begin(), window.block_step_s.end()));
  EXPECT_GT(window.block_step_s.back(), 1.4 * window.block_step_s.front());
}

TEST(WindowProtocol, ItsLengthAdaptsToTheNoise) {
  const ProtocolOptions options{.window_s = 0.5, .maximum_window_s = 5, .precision = 0.02};
  const double block_s = options.window_s / options.blocks;
  const auto half_width = [](const Window& window) {
    return 0.5 * (window.step.high95 - window.step.low95) / window.step.median;
  };
  // quiet: stops at the least length
  const Window quiet = window_of({.noise = 0.002}, options);
  EXPECT_GE(quiet.duration_s, 0.5);
  EXPECT_LT(quiet.duration_s, 0.5 + 6 * block_s) << "looked at every five blocks";
  EXPECT_FALSE(quiet.wide_interval);
  EXPECT_LE(half_width(quiet), 0.02);
  // noisier: goes on until the interval is tight, and no longer
  const Window noisy = window_of({.noise = 0.1}, options);
  EXPECT_GT(noisy.duration_s, 1.5 * quiet.duration_s);
  EXPECT_LT(noisy.duration_s, 4);
  EXPECT_FALSE(noisy.wide_interval);
  EXPECT_LE(half_width(noisy), 0.02);
  // so noisy that nothing helps: the longest window, and the flag
  const Window hopeless = window_of({.noise = 0.8}, options);
  EXPECT_GE(hopeless.duration_s, 5);
  EXPECT_LT(hopeless.duration_s, 5 + 2 * block_s);
  EXPECT_TRUE(hopeless.wide_interval);
  EXPECT_GT(half_width(hopeless), 0.02);
  EXPECT_FALSE(hopeless.few_blocks);
  // nobody asked for precision: the least length whatever the noise, and no flag
  ProtocolOptions careless = options;
  careless.precision = 0;
  const Window short_one = window_of({.noise = 0.8}, careless);
  EXPECT_LT(short_one.duration_s, 0.5 + 2 * block_s);
  EXPECT_FALSE(short_one.wide_interval);
}

class LoggingObserver : public Observer {
 public:
  LoggingObserver(std::string name, std::vector<std::string>& log) : name_(std::move(name)), log_(log) {}
  void prepare() override { log_.push_back(name_ + " prepares"); }
  void begin() override { log_.push_back(name_ + " begins"); }
  void end(std::int64_t steps) override { log_.push_back(name_ + " ends " + std::to_string(steps)); }
  void finish() override { log_.push_back(name_ + " finishes"); }

 private:
  std::string name_;
  std::vector<std::string>& log_;
};

TEST(WindowProtocol, ObserversEncloseTheStepsAndEachOther) {
  std::vector<std::string> log;
  LoggingObserver outer("outer", log), inner("inner", log);
  FakeClock clock;
  FakeScript script{.step_s = 0.5};
  script.during_run = [&] { log.emplace_back("runs"); };
  FakeKernel kernel(script, &clock);
  const ProtocolOptions options{.window_s = 1, .minimum_blocks = 2};
  run_window(kernel, options, clock, 0.5, {&outer, &inner});
  EXPECT_THAT(log, ElementsAre("outer prepares", "inner prepares", "outer begins", "inner begins", "runs",
                               "runs", "inner ends 2", "outer ends 2", "outer finishes", "inner finishes"));
}

TEST(WindowProtocol, WhatTheKernelThrowsGetsOut) {
  FakeClock clock;
  FakeScript script;
  script.throws_in = "100";
  FakeKernel kernel(script, &clock);
  EXPECT_THROW(run_window(kernel, {}, clock, script.step_s), std::runtime_error);
}

TEST(Statistics, OfKnownValues) {
  const Summary odd = summarise({3, 1, 2, 10, 4});
  EXPECT_DOUBLE_EQ(odd.median, 3);
  EXPECT_DOUBLE_EQ(odd.mean, 4);
  EXPECT_DOUBLE_EQ(odd.minimum, 1);
  EXPECT_DOUBLE_EQ(odd.maximum, 10);
  EXPECT_DOUBLE_EQ(odd.mad, 1);                   // of 0 1 1 2 7
  EXPECT_DOUBLE_EQ(odd.stddev, std::sqrt(12.5));  // 9 + 4 + 1 + 0 + 36 = 50 over 4
  EXPECT_TRUE(std::isnan(odd.low95));
  const Summary even = summarise({8, 2, 4, 1});
  EXPECT_DOUBLE_EQ(even.median, 3);
  EXPECT_DOUBLE_EQ(even.mad, 1.5);  // of 1 1 2 5
  std::vector<double> ten(10);
  std::iota(ten.rbegin(), ten.rend(), 1);
  EXPECT_DOUBLE_EQ(summarise(ten).low95, 2);
  EXPECT_DOUBLE_EQ(summarise(ten).high95, 9);
}

TEST(Statistics, OfTooFewValues) {
  const Summary one = summarise({7});
  EXPECT_DOUBLE_EQ(one.median, 7);
  EXPECT_DOUBLE_EQ(one.mad, 0);
  EXPECT_TRUE(std::isnan(one.stddev));
  const Summary none = summarise({});
  for (const double value : {none.median, none.mean, none.minimum, none.maximum, none.mad, none.stddev})
    EXPECT_TRUE(std::isnan(value));
}

TEST(Statistics, WhatIsNoNumberPoisonsAll) {
  for (const double poison : {kNan, kInfinity, -kInfinity})
    for (std::size_t place = 0; place < 12; ++place) {
      std::vector<double> values(12, 1.0);
      values[place] = poison;
      const Summary summary = summarise(values);
      for (const double value : {summary.median, summary.mean, summary.minimum, summary.maximum, summary.mad,
                                 summary.stddev, summary.low95, summary.high95})
        EXPECT_TRUE(std::isnan(value)) << poison << " at " << place;
    }
}

/// By counting all 2^n ways in which n values can lie below and above the median.
int brute_force_interval_index(int n, double coverage) {
  int index = -1;
  for (int i = 0; 2 * i < n - 1; ++i) {
    std::int64_t covered = 0;
    for (std::uint32_t below = 0; below < (1u << n); ++below) {
      const int count = std::popcount(below);
      covered += count >= i + 1 && count <= n - 1 - i ? 1 : 0;
    }
    if (static_cast<double>(covered) < coverage * static_cast<double>(1u << n)) break;
    index = i;
  }
  return index;
}

TEST(Statistics, IntervalOfTheMedianAgainstBruteForce) {
  for (int n = 0; n <= 18; ++n)
    for (const double coverage : {0.5, 0.8, 0.95, 0.99})
      EXPECT_EQ(median_interval_index(n, coverage), brute_force_interval_index(n, coverage))
          << n << " values, " << coverage;
  // the tables' ranks for 95 %, 1-based: 25 -> 8 .. 18, 50 -> 18 .. 33, 100 -> 40 .. 61
  EXPECT_EQ(median_interval_index(5, 0.95), -1);
  EXPECT_EQ(median_interval_index(6, 0.95), 0);
  EXPECT_EQ(median_interval_index(25, 0.95), 7);
  EXPECT_EQ(median_interval_index(50, 0.95), 17);
  EXPECT_EQ(median_interval_index(100, 0.95), 39);
  // normal approximation n/2 - 1.96 sqrt(n)/2 where 2^-n underflows
  EXPECT_NEAR(median_interval_index(100'000, 0.95), 50'000 - 0.98 * std::sqrt(100'000.0), 2);
}

TEST(Statistics, IntervalCoversTheMedianAsOftenAsItSays) {
  RandomStream stream(7);
  constexpr int kTrials = 4000;
  int covered = 0;
  for (int trial = 0; trial < kTrials; ++trial) {
    std::vector<double> values(25);
    for (double& value : values) value = std::pow(uniform_unit(stream), 8);  // skewed: its median is 2^-8
    const Summary summary = summarise(values);
    covered += summary.low95 <= 0x1p-8 && 0x1p-8 <= summary.high95 ? 1 : 0;
  }
  // exactly 95.67 % for 25 values; four standard deviations of the count
  const double expected = 0.9567 * kTrials, spread = 4 * std::sqrt(kTrials * 0.9567 * 0.0433);
  EXPECT_NEAR(covered, expected, spread);
}

std::vector<std::size_t> benchmarks_of(const std::vector<OrderedRun>& order) {
  std::vector<std::size_t> benchmarks;
  for (const OrderedRun& run : order) benchmarks.push_back(run.benchmark);
  return benchmarks;
}

TEST(Order, IsTheSameOnEveryMachine) {
  // from an independent mt19937_64 and Fisher-Yates
  EXPECT_THAT(benchmarks_of(shuffled_order(5, 2, 1)), ElementsAre(1, 2, 3, 4, 4, 0, 0, 2, 1, 3));
  EXPECT_THAT(benchmarks_of(shuffled_order(7, 1, 20260131)), ElementsAre(6, 2, 0, 5, 1, 4, 3));
}

TEST(Order, HasEveryRunOnceAndNumbersRepetitionsAsTheyCome) {
  for (const std::uint64_t seed : {0ull, 1ull, 99ull, ~0ull}) {
    std::map<std::size_t, int> next;
    for (const OrderedRun& run : shuffled_order(20, 5, seed))
      EXPECT_EQ(run.repetition, next[run.benchmark]++);
    ASSERT_EQ(next.size(), 20u);
    for (const auto& [benchmark, count] : next) EXPECT_EQ(count, 5) << benchmark;
  }
}

TEST(Order, ComesFromItsSeed) {
  EXPECT_EQ(benchmarks_of(shuffled_order(30, 3, 5)), benchmarks_of(shuffled_order(30, 3, 5)));
  EXPECT_NE(benchmarks_of(shuffled_order(30, 3, 5)), benchmarks_of(shuffled_order(30, 3, 6)));
  EXPECT_TRUE(shuffled_order(0, 3, 1).empty());
}

}  // namespace
}  // namespace mlpwatt::testing

// Two kernels of the catalogue in turns: both prove themselves first, and one that cannot take part says why.

#include "harness/compare/compare_kernels.h"

#include <gtest/gtest.h>

#include "tests/harness/fakes.h"

namespace mlpwatt::testing {
namespace {

using testing::fake_benchmark;
using testing::FakeClock;
using testing::FakeKernel;
using testing::FakeScript;

CompareSettings settings_for(FakeClock&) {
  CompareSettings settings;
  settings.turns.turn_s = 0.004;
  settings.turns.rounds = 3;
  settings.turns.pause_s = 0;
  return settings;
}

/// A fake that moves the clock it is given.
Benchmark timed_benchmark(const std::string& name, FakeScript script, FakeClock& clock) {
  Benchmark benchmark = fake_benchmark(name, script);
  benchmark.make = [script, &clock](const RunOptions&) {
    return std::make_unique<FakeKernel>(script, &clock);
  };
  return benchmark;
}

Comparison compare(const Benchmark& ours, const Benchmark& peer, FakeClock& clock) {
  CompareSettings settings = settings_for(clock);
  return compare_kernels(ours, peer, "library", settings, clock);
}

TEST(CompareKernels, ThePeersRowHoldsItsRatioToOurs) {
  FakeClock clock;
  FakeScript slower;
  slower.step_s = 0x1p-9;  // twice ours
  const Comparison comparison = compare(timed_benchmark("gpu/x/1", {}, clock),
                                        timed_benchmark("gpu/x_library/1", slower, clock), clock);
  ASSERT_EQ(comparison.standings.size(), 2u);
  const Row& peer = comparison.standings[1].record.run;
  EXPECT_EQ(comparison.ours().record.run.text("status"), "ok");
  EXPECT_EQ(peer.text("status"), "ok");
  EXPECT_EQ(peer.text("name"), "peer/library/x/1");
  EXPECT_NEAR(peer.real("ratio_to_ours"), 2.0, 1e-9);
}

TEST(CompareKernels, WhoCannotTakePartSaysWhy) {
  FakeScript wrong, broken;
  wrong.check = {false, "C(1,2) is 3, reference 4", 1, 0};
  broken.throws_in = "set_up";
  FakeClock clock;
  Benchmark absent = timed_benchmark("gpu/x_library/1", {}, clock);
  absent.unavailable = "libcublas.so not found";
  const std::pair<Benchmark, const char*> cases[] = {
      {timed_benchmark("gpu/x_library/1", wrong, clock), "failed"},
      {timed_benchmark("gpu/x_library/1", broken, clock), "error"},
      {absent, "unavailable"},
  };
  for (const auto& [peer, status] : cases) {
    const Comparison comparison = compare(timed_benchmark("gpu/x/1", {}, clock), peer, clock);
    EXPECT_EQ(comparison.ours().record.run.text("status"), "ok") << status;
    EXPECT_EQ(comparison.standings[1].record.run.text("status"), status);
    EXPECT_FALSE(comparison.standings[1].record.run.text("reason").empty()) << status;
    EXPECT_TRUE(comparison.standings[1].step_s.empty()) << status;
  }
}

}  // namespace
}  // namespace mlpwatt::testing

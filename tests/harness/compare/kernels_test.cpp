// Two kernels of the catalogue in turns: both prove themselves first, and one that cannot take part says why.

#include "harness/compare/compare_kernels.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <thread>

#include "harness/compare/tables.h"
#include "tests/harness/fakes.h"
#include "tests/harness/program.h"
#include "tests/meters/trees.h"
#include "tests/support/temporary_folder.h"

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

/// Of three contestants ours and the quickest peer have their joules, of windows long enough for the meter.
TEST(Comparison, OursAndTheBestPeerHaveTheirJoules) {
  FileInstrument powercap = play_powercap(Waveform::constant(100), 0.005);  // package and dram: 110 W
  CompareSettings settings;
  settings.turns.turn_s = 0.002;
  settings.turns.rounds = 3;
  settings.turns.pause_s = 0;
  settings.run.protocol.window_s = 0.1;
  settings.run.machine = read_machine();
  PowerOptions power;
  power.meters = "powercap";
  power.config = {{"powercap", powercap.config}};
  power.idle_s = 0.1;
  open_meters(settings.run, power, 0.05, false);
  const Benchmark benchmark = fake_benchmark("cpu/x/1");
  std::vector<Entrant> entrants;
  for (const auto& [name, step_s] : {std::pair{"ours", 1e-3}, {"slow", 4e-3}, {"better", 2e-3}}) {
    Entrant entrant{begin_standing(name, benchmark, settings, system_clock()), {}};
    entrant.run_s = [step_s](std::int64_t warm, std::int64_t steps) {
      const auto seconds = [&](std::int64_t n) { return std::chrono::duration<double>(step_s * n); };
      std::this_thread::sleep_for(seconds(warm + steps));
      return seconds(steps).count();
    };
    entrants.push_back(std::move(entrant));
  }
  const Comparison comparison =
      run_comparison(benchmark, std::move(entrants), FakeKernel({}).cost(), 0, settings, system_clock());
  const auto joules = [&](std::size_t i) {
    return comparison.standings[i].record.run.real("step_energy_j_measured");
  };
  EXPECT_TRUE(std::isnan(joules(1))) << "neither ours nor the best";
  for (const std::size_t i : {std::size_t{0}, std::size_t{2}}) {
    const Row& row = comparison.standings[i].record.run;
    EXPECT_NEAR(joules(i), 110 * row.real("step_mean_s"), 0.1 * joules(i)) << row.text("name");
    EXPECT_NEAR(row.real("step_mean_s"), row.real("duration_s") / static_cast<double>(row.integer("steps")),
                1e-12);
    EXPECT_NEAR(row.real("step_s"), i == 0 ? 1e-3 : 2e-3, 1e-9) << "the times are those of the turns";
    EXPECT_GE(row.integer("energy_updates"), 10);
    EXPECT_EQ(comparison.standings[i].record.energies.size(), 2u);
    const TemporaryFolder folder;
    RecordFile file(folder.path("metered.h5"));
    file.append(comparison.standings[i].record);
    const Outcome checked = run({"check", folder.path("metered.h5")});
    EXPECT_EQ(checked.status, 0) << checked.out << checked.err;
  }
  const std::string table = energy_comparison_table({comparison});
  EXPECT_NE(table.find("better"), std::string::npos) << table;
  EXPECT_EQ(table.find("(mod)"), std::string::npos) << table;
  EXPECT_EQ(energy_comparison_table({}), "");
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

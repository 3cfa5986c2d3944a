// Simulated counters: geometry, parsing, and real simulations of a walk whose misses are known.

#include <gtest/gtest.h>

#include <bit>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <stdexcept>

#include "cpu/isa.h"
#include "harness/record/record_file.h"
#include "meters/counters/child_process.h"
#include "meters/counters/simulated.h"
#include "meters/counters/valgrind_bracket.h"
#include "tests/support/shell.h"

namespace mlpwatt {
namespace {

TEST(SimulatedGeometry, ValidOnesAreKept) {
  for (const CacheGeometry& real : std::initializer_list<CacheGeometry>{{"L1", 32768, 8, 64},
                                                                        {"L1", 49152, 12, 64},
                                                                        {"L2", 1310720, 20, 64},
                                                                        {"L3", 31457280, 15, 64},
                                                                        {"L3", 33554432, 16, 64},
                                                                        {"L2", 12582912, 12, 128}})
    EXPECT_EQ(geometry_text(nearest_simulable(real)), geometry_text(real));
}

TEST(SimulatedGeometry, OthersKeepTheCapacityWhereWaysAllowIt) {
  EXPECT_EQ(geometry_text(nearest_simulable({"L3", 25165824, 16, 64})), "25165824,12,64");
  EXPECT_EQ(geometry_text(nearest_simulable({"L3", 37748736, 12, 64})), "37748736,9,64");
  EXPECT_EQ(geometry_text(nearest_simulable({"L1", 32768, 0, 64})), "32768,8,64");
  EXPECT_THROW(nearest_simulable({"L1", 0, 8, 64}), std::invalid_argument);
}

TEST(SimulatedGeometry, AlwaysAPowerOfTwoOfSetsAndNearTheRealCapacity) {
  for (std::int64_t capacity = 8192; capacity <= (std::int64_t{1} << 29); capacity += capacity / 7)
    for (const int ways : {0, 1, 4, 6, 11, 16, 20}) {
      const CacheGeometry real{"L", capacity, ways, 64};
      const CacheGeometry simulated = nearest_simulable(real);
      const std::int64_t sets = simulated.capacity_bytes / simulated.ways / simulated.line_bytes;
      EXPECT_EQ(sets * simulated.ways * simulated.line_bytes, simulated.capacity_bytes);
      EXPECT_TRUE(std::has_single_bit(static_cast<std::uint64_t>(sets))) << geometry_text(simulated);
      const double off =
          std::abs(static_cast<double>(simulated.capacity_bytes - capacity)) / static_cast<double>(capacity);
      // n ways within a factor of two of w: the nearest multiple is at most half a way-size off
      EXPECT_LE(off, ways == 1 ? 0.5 : 0.126)
          << capacity << " " << ways << " -> " << geometry_text(simulated);
    }
}

TEST(CallgrindDump, TotalsAreReadByName) {
  std::istringstream dump("version: 1\nevents: Ir Dr Dw D1mr\nfn=(1)\n1 2 3\ntotals: 100 20 5\n");
  const auto totals = parse_callgrind_totals(dump);
  EXPECT_EQ(totals.at("Ir"), 100);
  EXPECT_EQ(totals.at("Dw"), 5);
  EXPECT_EQ(totals.at("D1mr"), 0);
}

TEST(CallgrindDump, BrokenDumpsAreRefused) {
  for (const char* bad :
       {"", "events: Ir\n", "totals: 3\n", "events: Ir\ntotals: 1 2\n", "events: Ir Dr\ntotals: 3 -1\n"}) {
    std::istringstream dump(bad);
    EXPECT_THROW(parse_callgrind_totals(dump), std::runtime_error) << bad;
  }
}

// ---- the child: reads one float of every line of a block, `steps` times -------------------------

std::string own_argument(const std::string& prefix) {
  std::ifstream file("/proc/self/cmdline");
  for (std::string word; std::getline(file, word, '\0');)
    if (word.rfind(prefix, 0) == 0) return word.substr(prefix.size());
  return "";
}

TEST(SimulatedChild, DISABLED_Walk) {
  const std::size_t bytes = std::stoul(own_argument("--walk-bytes="));
  const std::int64_t steps = std::stol(own_argument("--walk-steps="));
  auto* block = static_cast<volatile float*>(std::aligned_alloc(4096, bytes));
  for (std::size_t i = 0; i < bytes / sizeof(float); ++i) block[i] = 0;
  run_in_valgrind_bracket(1, steps, [&](std::int64_t n) {
    for (std::int64_t step = 0; step < n; ++step)
      for (std::size_t i = 0; i < bytes / sizeof(float); i += 16) static_cast<void>(block[i]);
  });
}

// Small caches, so that the simulation is quick and the block sizes lie well between the levels.
const std::vector<CacheGeometry> kCaches{{"L1", 4096, 4, 64}, {"L2", 32768, 8, 64}, {"L3", 262144, 16, 64}};

CounterRequest walk_request(std::int64_t bytes, std::int64_t steps) {
  CounterRequest request;
  request.names = {"l1_access", "l1_miss", "l2_miss", "l3_miss", "l2_bytes", "dram_bytes", "instructions"};
  request.caches = kCaches;
  request.step_command = {std::filesystem::read_symlink("/proc/self/exe").string(),
                          "--gtest_filter=SimulatedChild.DISABLED_Walk", "--gtest_also_run_disabled_tests",
                          "--walk-bytes=" + std::to_string(bytes), "--walk-steps=" + std::to_string(steps)};
  request.step_command_steps = steps;
  return request;
}

std::map<std::string, double> simulate(const CounterRequest& request) {
  auto source = make_simulated_source();
  source->probe();
  source->prepare(request);
  source->start(0);
  std::map<std::string, double> result;
  for (const CounterValue& value : source->stop(0)) {
    EXPECT_TRUE(value.value.has_value()) << value.name << ": " << value.reason;
    EXPECT_EQ(value.provenance, Provenance::kSimulated);
    result[value.name] = value.per_step().value_or(-1);
  }
  return result;
}

class SimulatedCounters : public ::testing::Test {
 protected:
  void SetUp() override {
    if (std::getenv("MLPWATT_SANITIZED") != nullptr)
      GTEST_SKIP() << "a program built with sanitizers does not run under valgrind";
    const CounterStatus status = make_simulated_source()->probe();
    if (status.state != CounterStatus::State::kFound)
      GTEST_SKIP() << "no cache simulation here: " << status.detail << "; " << status.remedy;
  }
};

TEST_F(SimulatedCounters, AWalkMissesExactlyInTheLevelsItDoesNotFit) {
  struct Case {
    std::int64_t bytes;
    bool l1, l2, l3;
  };
  for (const Case& c : {Case{2048, false, false, false}, Case{16384, true, false, false},
                        Case{131072, true, true, false}, Case{1048576, true, true, true}}) {
    const auto counts = simulate(walk_request(c.bytes, 4));
    const double lines = static_cast<double>(c.bytes) / 64;
    const auto near = [&](const char* name, double expected) {
      // besides the block, the loop touches a few lines of stack
      EXPECT_NEAR(counts.at(name), expected, 0.01 * expected + 2) << name << " of " << c.bytes;
    };
    near("l1_miss", c.l1 ? lines : 0);
    near("l2_miss", c.l2 ? lines : 0);
    near("l3_miss", c.l3 ? lines : 0);
    EXPECT_GE(counts.at("l1_access"), lines);
    EXPECT_GE(counts.at("instructions"), lines);
    EXPECT_EQ(counts.at("l2_bytes"), 64 * counts.at("l1_miss"));
    EXPECT_EQ(counts.at("dram_bytes"), 64 * counts.at("l3_miss"));
  }
}

TEST_F(SimulatedCounters, TwoSimulationsAgreeToTheLastCount) {
  EXPECT_EQ(simulate(walk_request(131072, 2)), simulate(walk_request(131072, 2)));
}

TEST_F(SimulatedCounters, TwoLevelsOfCacheGiveNoThird) {
  CounterRequest request = walk_request(131072, 2);
  request.caches.resize(2);
  auto source = make_simulated_source();
  source->probe();
  const CounterPlan plan = source->prepare(request);
  ASSERT_EQ(plan.refused.size(), 1u);
  EXPECT_EQ(plan.refused[0].name, "l3_miss");
  const auto counts = simulate(request);
  EXPECT_EQ(counts.at("dram_bytes"), 64 * counts.at("l2_miss"));
}

TEST_F(SimulatedCounters, TheEventSaysWhatWasSimulatedInsteadOfWhat) {
  CounterRequest request = walk_request(2048, 1);
  request.names = {"l3_miss"};
  request.caches[2] = {"L3", 196608, 16, 64};
  request.step_command_facts = "run with --isa none";
  auto source = make_simulated_source();
  source->probe();
  source->prepare(request);
  const auto values = source->stop(0);
  ASSERT_EQ(values.size(), 1u);
  EXPECT_NE(values[0].event.find("LL=196608,12,64"), std::string::npos) << values[0].event;
  EXPECT_NE(values[0].event.find("machine's L3 is 196608,16,64"), std::string::npos) << values[0].event;
  EXPECT_TRUE(values[0].event.ends_with("; run with --isa none")) << values[0].event;
}

TEST_F(SimulatedCounters, TheRecordNamesTheInstructionSetThatWasSimulated) {
  const char* build = std::getenv("MLPWATT_BUILD");
  if (build == nullptr) GTEST_SKIP() << "MLPWATT_BUILD does not say where the program is";
  const ScratchFolder folder;
  const std::string file = folder.path() + "/simulated.h5";
  const testing::Shell ran =
      testing::shell(std::string(build) +
                     "/mlpwatt run --filter '^cpu/gemm/nn/32x32x32$' --threads 1 --window-s 0.01 "
                     "--counters simulate,l1_miss,dram_bytes --out " +
                     file);
  ASSERT_EQ(ran.status, 0) << ran.out;
  const std::vector<Row> rows = read_file(file).rows(runs_table());
  ASSERT_EQ(rows.size(), 1u);
  const auto details = nlohmann::json::parse(rows[0].text("counter_details"));
  for (const char* name : {"l1_miss", "dram_bytes"}) {
    ASSERT_TRUE(details.at(name).contains("event")) << details.at(name).dump();
    const std::string event = details.at(name).at("event");
    EXPECT_TRUE(event.ends_with("; run with --isa " + isa_name(simulated_isa("")))) << event;
  }
}

TEST_F(SimulatedCounters, FailuresAreReasons) {
  const auto reason_of = [](std::vector<std::string> command, double limit_s) {
    CounterRequest request = walk_request(2048, 1);
    request.step_command = std::move(command);
    request.time_limit_s = limit_s;
    auto source = make_simulated_source();
    source->probe();
    source->prepare(request);
    const auto started = std::chrono::steady_clock::now();
    const auto values = source->stop(0);
    EXPECT_LT(std::chrono::steady_clock::now() - started, std::chrono::seconds(30));
    EXPECT_EQ(values.size(), request.names.size());
    for (const CounterValue& value : values) {
      EXPECT_FALSE(value.value.has_value()) << value.name;
      EXPECT_EQ(value.reason, values[0].reason);
    }
    return values.empty() ? "" : values[0].reason;
  };
  EXPECT_NE(reason_of({"/bin/sleep", "60"}, 1.5).find("longer than 1.5 s"), std::string::npos);
  EXPECT_NE(reason_of({"/bin/true"}, 30).find("without a bracketed step"), std::string::npos);
  EXPECT_NE(reason_of({"/bin/false"}, 30).find("status 1"), std::string::npos);
  EXPECT_NE(reason_of({"/nonexistent/program"}, 30).find("/nonexistent/program"), std::string::npos);
}

TEST(SimulatedSource, WithoutValgrindThereIsARemedy) {
  auto source = make_simulated_source("no-such-valgrind");
  const CounterStatus status = source->probe();
  EXPECT_NE(status.state, CounterStatus::State::kFound);
  EXPECT_NE(status.remedy.find("apt-get install valgrind"), std::string::npos);
}

TEST(SimulatedSource, RefusesWithReasons) {
  auto source = make_simulated_source();
  CounterRequest request;
  request.names = {"l1_miss", "cycles"};
  CounterPlan plan = source->prepare(request);  // no command
  EXPECT_TRUE(plan.passes.empty());
  ASSERT_EQ(plan.refused.size(), 2u);
  request.step_command = {"/bin/true"};  // no caches
  plan = source->prepare(request);
  EXPECT_EQ(plan.refused.size(), 2u);
  request.caches = kCaches;
  plan = source->prepare(request);
  ASSERT_EQ(plan.refused.size(), 1u);
  EXPECT_EQ(plan.refused[0].name, "cycles");
}

TEST(ChildProcess, IsKilledWithItsChildren) {
  const ScratchFolder folder;
  const std::string mark = folder.path() + "/mark";
  {
    ChildProcess child({"sh", "-c", "(sleep 2; touch " + mark + ") & wait"}, {}, folder.path() + "/log");
    EXPECT_FALSE(child.wait_until(ChildProcess::Clock::now() + std::chrono::milliseconds(200)));
    EXPECT_NE(child.failure(), "");
  }
  ChildProcess wait({"sleep", "2.3"}, {}, folder.path() + "/log2");
  EXPECT_TRUE(wait.wait_until(ChildProcess::Clock::now() + std::chrono::seconds(20)));
  EXPECT_EQ(wait.failure(), "");
  EXPECT_FALSE(std::filesystem::exists(mark));
}

TEST(ChildProcess, EnvironmentIsReplacedAndFailureCarriesTheLastLine) {
  const ScratchFolder folder;
  ::setenv("MLPWATT_CHILD_TEST", "old", 1);
  ChildProcess child({"sh", "-c", "echo said $MLPWATT_CHILD_TEST; exit 7"}, {"MLPWATT_CHILD_TEST=new"},
                     folder.path() + "/log");
  EXPECT_TRUE(child.wait_until(ChildProcess::Clock::now() + std::chrono::seconds(20)));
  EXPECT_EQ(child.failure(), "exited with status 7: said new");
  EXPECT_THROW(ChildProcess({"/no/such/program"}, {}, folder.path() + "/log3"), std::runtime_error);
}

}  // namespace
}  // namespace mlpwatt

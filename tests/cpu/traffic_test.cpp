// The kernels' own traffic models: their sums by hand, their trends, and against the simulated caches.

#include <gtest/gtest.h>

#include <array>
#include <cinttypes>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "cpu/gemm/blocking_search.h"
#include "cpu/gemm/traffic.h"
#include "cpu/mlp/traffic.h"
#include "cpu/twins/mlp_twin.h"
#include "harness/model/training_runs.h"
#include "tests/support/temporary_folder.h"

namespace mlpwatt {
namespace {

Hierarchy hierarchy(std::int64_t l2_bytes = 512 << 10) {
  Hierarchy h;
  h.cores = 2;
  h.levels = {{"L1", 32 << 10, 64, 8, 1}, {"L2", l2_bytes, 64, 8, 1}, {"L3", 32 << 20, 64, 16, 2}};
  return h;
}

double total(const Traffic& traffic) { return traffic.bytes[0] + traffic.bytes_beyond(0); }

TEST(GemmTraffic, MovesEveryOperandAtLeastOnceBeyondTheCachesThatCannotHoldIt) {
  const MicroKernels& kernels = micro_kernels(Isa::kGeneric);
  for (const GemmLayout layout : {GemmLayout::kNN, GemmLayout::kNT, GemmLayout::kTN})
    for (const std::int64_t n : {512, 1024, 2048}) {
      const GemmProblem problem{layout, n, n, n};
      const GemmBlocking blocking = choose_gemm_blocking(problem, kernels, 1, hierarchy());
      const Traffic traffic = gemm_traffic(problem, blocking, kernels, 1, hierarchy());
      const double once = 3.0 * 4 * static_cast<double>(n * n);
      EXPECT_GE(traffic.bytes_beyond(1), 0.9 * once) << n;
      EXPECT_GE(traffic.issued_flops, 2.0 * static_cast<double>(n * n * n)) << n;
      EXPECT_LE(traffic.issued_flops, 2.2 * static_cast<double>(n * n * n)) << n;
      // Blocking is what keeps the product from rereading operands from L3: far below one operand a tile.
      EXPECT_LE(traffic.bytes_beyond(1), 20 * once) << n;
    }
}

TEST(GemmTraffic, AProductInTheFirstLevelLeavesItNever) {
  const MicroKernels& kernels = micro_kernels(Isa::kGeneric);
  const GemmProblem problem{GemmLayout::kNN, 24, 24, 24};
  const Traffic traffic =
      gemm_traffic(problem, choose_gemm_blocking(problem, kernels, 1, hierarchy()), kernels, 1, hierarchy());
  EXPECT_EQ(traffic.bytes_beyond(0), 0);
}

TEST(GemmTraffic, BlockingSavesTrafficBeyondL2) {
  const MicroKernels& kernels = micro_kernels(Isa::kGeneric);
  const GemmProblem problem{GemmLayout::kNN, 1024, 1024, 1024};
  const GemmBlocking blocked = choose_gemm_blocking(problem, kernels, 1, hierarchy());
  GemmBlocking unblocked = blocked;
  unblocked.b_in_turn = false;
  unblocked.kc = problem.k;
  unblocked.strips_in_l2 = 1 << 20;
  EXPECT_LT(gemm_traffic(problem, blocked, kernels, 1, hierarchy()).bytes_beyond(1),
            0.7 * gemm_traffic(problem, unblocked, kernels, 1, hierarchy()).bytes_beyond(1));
}

TEST(MlpTraffic, ALargerCacheNeverServesLess) {
  for (const std::string& algorithm : mlp_traffic_algorithms())
    for (const std::int64_t size : {1024, 16384, 262144}) {
      const Network network = make_network(Shape::kRectangle, size, 5, 11, 7, Task::kMulticlass);
      const MlpTrafficProblem problem{algorithm, "generic", 1, 256, 4898};
      double before = 1e300;
      for (const std::int64_t l2 : {128 << 10, 512 << 10, 2 << 20, 8 << 20}) {
        // A fused step's loops do not depend on the cache; the blocked one chooses other blocks for it.
        const double beyond = mlp_train_traffic(network, problem, hierarchy(l2)).bytes_beyond(1);
        EXPECT_LE(beyond, before * (algorithm == "fused" ? 1 : 1.15))
            << algorithm << ' ' << size << ' ' << l2;
        before = beyond;
      }
    }
}

TEST(MlpTraffic, WorkIsSharedNotMultipliedByThreads) {
  const Network network = make_network(Shape::kTrapezoid, 65536, 4, 48, 1, Task::kRegression);
  for (const std::string& algorithm : mlp_traffic_algorithms()) {
    const Traffic one = mlp_train_traffic(network, {algorithm, "generic", 1, 256, 15000}, hierarchy());
    const Traffic two = mlp_train_traffic(network, {algorithm, "generic", 2, 256, 15000}, hierarchy());
    EXPECT_NEAR(two.issued_flops / one.issued_flops, 1, 0.1) << algorithm;
    // a twin is blocked for caches that are not there, and otherwise for each number of threads
    EXPECT_NEAR(total(two) / total(one), 1, is_mlp_twin(algorithm) ? 0.35 : 0.25) << algorithm;
    EXPECT_EQ(one.roots, static_cast<double>(network.parameters())) << algorithm;
    EXPECT_GE(two.imbalance, 1) << algorithm;
  }
  EXPECT_THROW(mlp_train_traffic(network, {"no_such", "generic", 1, 256, 15000}, hierarchy()),
               std::invalid_argument);
}

/// "" or why no step can be run under simulated caches here.
std::string cannot_simulate() {
  if (std::system("command -v valgrind >/dev/null 2>&1") != 0) return "valgrind is not installed";
  if (std::getenv("MLPWATT_SANITIZED") != nullptr) return "valgrind cannot run a sanitized program";
  if (std::getenv("MLPWATT_BUILD") == nullptr) return "MLPWATT_BUILD does not say where the program is";
  return "";
}

/// What the program records of `filter` with simulated counters, once with each of `variants`' options.
Contents simulated(const std::string& filter, std::vector<std::string> variants) {
  const testing::TemporaryFolder folder;
  if (variants.empty()) variants.emplace_back();
  for (const std::string& options : variants) {
    const std::string command = std::string(std::getenv("MLPWATT_BUILD")) + "/mlpwatt run --filter '^" +
                                filter + "$' --threads 1 --isa " +
                                (__builtin_cpu_supports("avx2") ? "avx2_nofma" : "generic") +
                                " --counters simulate --window-s 0.01 --out " + folder.path("simulated.h5") +
                                " " + options + " >/dev/null 2>&1";
    EXPECT_EQ(std::system(command.c_str()), 0) << command;
  }
  return read_file(folder.path("simulated.h5"));
}

constexpr double kNothing = 64 << 10;  // bytes: start and end of a run, the simulator's own rounding

/// The simulator runs the very step under its own caches; our loops' account must come close, level by level.
TEST(MlpTraffic, AgreesWithTheSimulatedCaches) {
  if (const std::string why = cannot_simulate(); !why.empty()) GTEST_SKIP() << why;
  const std::vector<model::TrainingRun> runs = model::training_runs(simulated(
      "cpu/mlp_train/wine_quality_white/(rectangle/16384/5|wide_first_4x/16384/5|rectangle/65536/5)",
      {"--algorithm fused", "--algorithm blocked"}));
  ASSERT_EQ(runs.size(), 6u);
  for (const model::TrainingRun& run : runs) {
    const auto found = run.counter_bytes.find("simulated");
    ASSERT_NE(found, run.counter_bytes.end()) << run.configuration.name();
    const auto beyond = [](const std::vector<double>& bytes, std::size_t first) {
      double sum = 0;
      for (std::size_t i = first; i < bytes.size(); ++i) sum += bytes[i];
      return sum;
    };
    const std::string what = run.configuration.name() + ' ' + run.configuration.algorithm;
    for (const auto& [level, tolerance] : {std::pair{1, 0.3}, std::pair{2, 0.35}}) {
      const double seen = beyond(found->second, static_cast<std::size_t>(level));
      EXPECT_NEAR(beyond(run.work.traffic_bytes, static_cast<std::size_t>(level)), seen,
                  tolerance * seen + kNothing)
          << what << " beyond L" << level;
    }
  }
}

/// Ten products, of every layout: what the loops' account says of each level, against the program run under
/// the simulated caches of this machine.
TEST(GemmTraffic, AgreesWithTheSimulatedCaches) {
  if (const std::string why = cannot_simulate(); !why.empty()) GTEST_SKIP() << why;
  const bool avx2 = __builtin_cpu_supports("avx2");
  const MicroKernels& kernels = micro_kernels(avx2 ? Isa::kAvx2NoFma : Isa::kGeneric);
  const Contents contents = simulated(
      "cpu/gemm/(nn/(128x128x128|256x256x256|512x512x512|256x97x97)|nt/(256x97x97|256x784x64)|"
      "tn/(97x97x256|64x64x256|784x64x256|512x512x256))",
      {});
  const Hierarchy machine = model::hierarchy_of(contents.rows(machine_table()).at(0));
  ASSERT_EQ(contents.rows(runs_table()).size(), 10u);
  // Caches differ from machine to machine, and on some of them what one of the ten keeps is just the capacity
  // of one of its levels: which lines survive then is not in the account.
  int at_the_edge = 0;
  for (const Row& row : contents.rows(runs_table())) {
    const std::string name = row.text("name");
    ASSERT_EQ(row.text("status"), "ok") << name;
    GemmProblem problem;
    std::array<char, 3> layout{};
    ASSERT_EQ(std::sscanf(name.c_str(), "cpu/gemm/%2s/%" SCNd64 "x%" SCNd64 "x%" SCNd64, layout.data(),
                          &problem.m, &problem.n, &problem.k),
              4);
    problem.layout = layout[0] == 't'   ? GemmLayout::kTN
                     : layout[1] == 't' ? GemmLayout::kNT
                                        : GemmLayout::kNN;
    const GemmBlocking blocking = choose_gemm_blocking(problem, kernels, 1, machine);
    const Traffic traffic = gemm_traffic(problem, blocking, kernels, 1, machine);
    constexpr double kLine = 64;
    for (const auto& [counter, level] :
         {std::pair{"l1_miss_simulated", 0}, std::pair{"l2_miss_simulated", 1}}) {
      const double seen = kLine * row.real(counter);
      const double told = traffic.bytes_beyond(static_cast<std::size_t>(level));
      const std::string what = name + ' ' + counter + ", " + describe_blocking(blocking, 1);
      EXPECT_NEAR(told, seen, 0.25 * seen + kNothing) << what;
      if (!(std::abs(told - seen) <= 0.15 * seen + kNothing)) {
        ++at_the_edge;
        std::printf("%s: told %.0f bytes, seen %.0f\n", what.c_str(), told, seen);
      }
    }
  }
  EXPECT_LE(at_the_edge, 1);
}

}  // namespace
}  // namespace mlpwatt

// The kernels' own traffic models: their sums by hand, their trends, and against the simulated caches.

#include <gtest/gtest.h>

#include <cstdlib>

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

/// The simulator runs the very step under its own caches; our loops' account must come close, level by level.
TEST(MlpTraffic, AgreesWithTheSimulatedCaches) {
  if (std::system("command -v valgrind >/dev/null 2>&1") != 0) GTEST_SKIP() << "valgrind is not installed";
  if (std::getenv("MLPWATT_SANITIZED") != nullptr) GTEST_SKIP() << "valgrind cannot run a sanitized program";
  const char* build = std::getenv("MLPWATT_BUILD");
  if (build == nullptr) GTEST_SKIP() << "MLPWATT_BUILD does not say where the program is";
  const testing::TemporaryFolder folder;
  for (const std::string algorithm : {"fused", "blocked"}) {
    const std::string command =
        std::string(build) +
        "/mlpwatt run --filter '^cpu/mlp_train/wine_quality_white/(rectangle/16384/5|wide_first_4x/16384/5|"
        "rectangle/65536/5)$' --threads 1 --isa " +
        (__builtin_cpu_supports("avx2") ? "avx2_nofma" : "generic") +
        " --counters simulate --window-s 0.01 --out " + folder.path("simulated.h5") + " --algorithm " +
        algorithm + " >/dev/null 2>&1";
    ASSERT_EQ(std::system(command.c_str()), 0) << command;
  }
  const std::vector<model::TrainingRun> runs = model::training_runs(read_file(folder.path("simulated.h5")));
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
    EXPECT_NEAR(beyond(run.work.traffic_bytes, 1) / beyond(found->second, 1), 1, 0.3) << what << " beyond L1";
    EXPECT_NEAR(beyond(run.work.traffic_bytes, 2) / beyond(found->second, 2), 1, 0.35)
        << what << " beyond L2";
  }
}

}  // namespace
}  // namespace mlpwatt

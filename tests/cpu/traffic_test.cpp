// The kernels' own traffic models: their sums by hand, their trends, and against the simulated caches.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "cpu/gemm/blocking_search.h"
#include "cpu/gemm/gemm_kernel.h"
#include "cpu/gemm/traffic.h"
#include "cpu/mlp/fused_plan.h"
#include "cpu/mlp/traffic.h"
#include "cpu/twins/mlp_twin.h"
#include "harness/model/training_runs.h"
#include "meters/counters/simulated.h"
#include "meters/counters/valgrind_bracket.h"
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
        // A fused step's loops hardly depend on the cache; the blocked one chooses other blocks for it. (So
        // does a split hidden layer, which is kept, at more bytes and less time, where that is the quicker.)
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

/// Groups of threads that share panels do one thread's work between them, and meet after every layer.
TEST(MlpTraffic, WorkIsSharedWithinGroups) {
  const Network network{48, {200, 200, 200, 1}, false, Task::kRegression};
  for (const Isa each : available_isas()) {
    const int batch = fused_kernels(each).lanes;
    const std::string isa = isa_name(each);
    const Traffic one = mlp_train_traffic(network, {"fused", isa, 1, batch, 15000}, hierarchy());
    EXPECT_EQ(one.barriers, 2);
    for (const int threads : {4, 8}) {
      const FusedKernels& kernels = choose_fused_kernels(network, each, threads, batch, hierarchy());
      const FusedPlan plan = make_fused_plan(network, kernels, threads, batch, hierarchy());
      ASSERT_LT(plan.groups, threads) << isa;
      const Traffic team = mlp_train_traffic(network, {"fused", isa, threads, batch, 15000}, hierarchy());
      EXPECT_EQ(team.barriers, 2 + 2 * network.depth()) << isa;
      EXPECT_NEAR(team.issued_flops / one.issued_flops, 1, 0.15) << isa << ' ' << threads;
      EXPECT_NEAR(team.imbalance, 1, 1e-9) << isa << ' ' << threads;
      EXPECT_EQ(team.roots, one.roots);
      EXPECT_TRUE(std::isfinite(total(team)));
    }
  }
}

/// One hidden layer of 1 unit to thousands, on more threads than it has lines of units, too.
TEST(MlpTraffic, ASplitHiddenLayerIsSharedAmongThoseWhoHaveUnits) {
  int split = 0, compared = 0;
  for (const Isa each : available_isas())
    for (const int width : {1, 15, 17, 100, 5000})
      for (const int threads : {1, 2, 3, 64})
        for (const int batch : {7, 256, 32768}) {
          const Network network{4, {width, 1}, false, Task::kRegression};
          const std::string isa = isa_name(each);
          if (!splits_hidden_layer(network, threads, batch, hierarchy())) continue;
          const FusedKernels& kernels = choose_fused_kernels(network, each, threads, batch, hierarchy());
          ++split;
          const Traffic traffic =
              mlp_train_traffic(network, {"fused", isa, threads, batch, 100000}, hierarchy());
          const std::string what =
              isa + ' ' + std::to_string(width) + ' ' + std::to_string(threads) + ' ' + std::to_string(batch);
          EXPECT_EQ(traffic.barriers, 1) << what;
          EXPECT_EQ(traffic.roots, static_cast<double>(network.parameters())) << what;
          EXPECT_TRUE(std::isfinite(total(traffic))) << what;
          EXPECT_GE(traffic.imbalance, 1) << what;
          EXPECT_LE(traffic.imbalance, threads) << what;
          // forward, both gradients and the one at the layer, at least, and no more than once again, however
          // many threads
          const double flops = 2.0 * batch * width * (2 * 4 + 3 * 1);
          EXPECT_GE(traffic.issued_flops * 1.001, flops) << what;
          const double padding = std::ceil(batch / double(kernels.lanes)) * kernels.lanes / batch;
          // (sums across lanes: one for each of at least `lanes` rows)
          EXPECT_LE(traffic.issued_flops,
                    2.1 * flops * padding + 10 * static_cast<double>(network.parameters()))
              << what;
          const Traffic alone = mlp_train_traffic(network, {"fused", isa, 1, batch, 100000}, hierarchy());
          const auto keeps = [&](int team) {
            return make_one_hidden_plan(network, kernels, team, batch, hierarchy()).keeps_hidden;
          };
          if (alone.barriers == 1 && keeps(threads) == keeps(1)) {
            ++compared;
            EXPECT_NEAR(traffic.issued_flops / alone.issued_flops, 1, 0.1) << what;
          }
        }
  EXPECT_GT(split, 15);
  EXPECT_GT(compared, 5);
  const Hierarchy machine = hierarchy(2 << 20);
  // The rest of an epoch is done by the engine that was made for whole batches.
  const Network network{11, {800, 7}, false, Task::kMulticlass};
  ASSERT_TRUE(splits_hidden_layer(network, 1, 256, machine));
  ASSERT_FALSE(splits_hidden_layer(network, 1, 10, machine));
  MlpTrafficProblem rest{"fused", "generic", 1, 10, 4898};
  EXPECT_EQ(mlp_train_traffic(network, rest, machine).barriers, 2);
  rest.whole_batch = 256;
  EXPECT_EQ(mlp_train_traffic(network, rest, machine).barriers, 1);
}

/// "" or why no step can be run under simulated caches here.
std::string cannot_simulate() {
  if (std::getenv("MLPWATT_SANITIZED") != nullptr) return "valgrind cannot run a sanitized program";
  const CounterStatus status = make_simulated_source()->probe();
  return status.state == CounterStatus::State::kFound ? "" : status.detail + "; " + status.remedy;
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
  if (std::getenv("MLPWATT_BUILD") == nullptr)
    GTEST_SKIP() << "MLPWATT_BUILD does not say where the program is";
  const std::vector<model::TrainingRun> runs = model::training_runs(simulated(
      "cpu/mlp_train/(wine_quality_white/(rectangle/(16384/5|65536/5|65536/2)|wide_first_4x/16384/5)|"
      "banana/rectangle/65536/2)",
      {"--algorithm fused --dataset-source auto", "--algorithm blocked --dataset-source auto"}));
  ASSERT_EQ(runs.size(), 10u);
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

// ---- ten products in the caches of a machine that is not here -----------------------------------

/// The blocking is chosen for these caches and run in them. They are so small that the products leave every
/// level: in a machine's own, most of them would be held and nothing compared with nothing.
Hierarchy small_machine() {
  Hierarchy h;
  h.levels = {{"L1", 32 << 10, 64, 8, 1}, {"L2", 128 << 10, 64, 8, 1}, {"L3", 256 << 10, 64, 16, 1}};
  return h;
}
const std::vector<std::string> kMisses{"l1_miss", "l2_miss", "l3_miss"};  // of its levels

/// Each layout with k in one block and in two, even and ragged tiles, tiles of both widths, either operand in
/// L1, each packed and in place. Where rows of B are read in place they are whole lines, and not a power of
/// two apart: what neighbouring strips share of a line, and that such rows meet in few sets of L2 and L3, is
/// not in the account.
const std::vector<std::string> kProducts{
    "nn/352x288x304", "nn/304x528x208", "nn/345x208x464", "nn/272x192x192", "nt/304x352x304",
    "nt/251x304x363", "nt/333x336x208", "tn/336x336x288", "tn/320x336x371", "tn/288x416x240"};

constexpr double kTolerance = 0.15;
constexpr double kSlackBytes = 4 << 10;  // a step: the stack, what the call itself touches
/// So many times the slack must be seen for a comparison to mean anything, at each level by so many products.
constexpr double kClear = 10;
constexpr int kClearProducts = 8;

constexpr const char* kProductToRun = "MLPWATT_TEST_PRODUCT";

GemmProblem problem_of(const std::string& product) {
  GemmProblem problem;
  std::array<char, 3> layout{};
  EXPECT_EQ(std::sscanf(product.c_str(), "%2s/%" SCNd64 "x%" SCNd64 "x%" SCNd64, layout.data(), &problem.m,
                        &problem.n, &problem.k),
            4)
      << product;
  for (const GemmLayout known : {GemmLayout::kNN, GemmLayout::kNT, GemmLayout::kTN})
    if (std::string(layout_name(known)) == layout.data()) problem.layout = known;
  return problem;
}

/// In a process of its own, under the simulator: one step of the product that the environment names.
TEST(GemmTrafficChild, DISABLED_Product) {
  const char* product = std::getenv(kProductToRun);
  if (product == nullptr) GTEST_SKIP() << "a child of AgreesWithTheSimulatedCaches only";
  RunOptions options;
  options.threads = 1;
  options.isa = isa_name(Isa::kAvx2NoFma);
  options.hierarchy = small_machine();
  const std::unique_ptr<Kernel> kernel = make_gemm_kernel(problem_of(product), options);
  kernel->set_up();
  run_in_valgrind_bracket(1, 1, [&](std::int64_t steps) { kernel->run(steps); });
}

/// Bytes that a step fetches beyond each level of the small machine.
std::vector<double> simulated_bytes_beyond(const std::string& product) {
  const Hierarchy machine = small_machine();
  CounterRequest request;
  request.names = kMisses;
  for (const CacheLevel& level : machine.levels)
    request.caches.push_back({level.name, level.capacity_bytes, level.associativity, level.line_bytes});
  request.step_command = {std::filesystem::read_symlink("/proc/self/exe").string(),
                          "--gtest_filter=GemmTrafficChild.DISABLED_Product",
                          "--gtest_also_run_disabled_tests"};
  const std::unique_ptr<CounterSource> source = make_simulated_source();
  source->probe();
  source->prepare(request);
  ::setenv(kProductToRun, product.c_str(), 1);
  const std::vector<CounterValue> values = source->stop(0);
  ::unsetenv(kProductToRun);
  std::vector<double> bytes;
  for (const CounterValue& value : values) {
    EXPECT_TRUE(value.value.has_value()) << product << ' ' << value.name << ": " << value.reason;
    bytes.push_back(machine.levels[bytes.size()].line_bytes * value.per_step().value_or(0));
  }
  return bytes;
}

/// What the loops' account says of each level, against the very loops in the simulated caches.
TEST(GemmTraffic, AgreesWithTheSimulatedCaches) {
  if (const std::string why = cannot_simulate(); !why.empty()) GTEST_SKIP() << why;
  if (simulated_isa("") != Isa::kAvx2NoFma) GTEST_SKIP() << "the products are chosen for the tiles of AVX2";
  const MicroKernels& kernels = micro_kernels(Isa::kAvx2NoFma);
  const Hierarchy machine = small_machine();
  std::vector<int> clear(machine.levels.size());
  for (const std::string& product : kProducts) {
    const GemmProblem problem = problem_of(product);
    const GemmBlocking blocking = choose_gemm_blocking(problem, kernels, 1, machine);
    const Traffic traffic = gemm_traffic(problem, blocking, kernels, 1, machine);
    const std::vector<double> seen = simulated_bytes_beyond(product);
    ASSERT_EQ(seen.size(), machine.levels.size());
    std::string figures =
        fmt::format("{} ({}): modelled/simulated KiB", product, describe_blocking(blocking, 1));
    for (std::size_t level = 0; level < seen.size(); ++level)
      figures += fmt::format(" {} {:.0f}/{:.0f} ({:+.1f} %)", machine.levels[level].name,
                             traffic.bytes_beyond(level) / 1024, seen[level] / 1024,
                             100 * (traffic.bytes_beyond(level) / seen[level] - 1));
    std::puts(figures.c_str());
    for (std::size_t level = 0; level < seen.size(); ++level) {
      EXPECT_NEAR(traffic.bytes_beyond(level), seen[level], kTolerance * seen[level] + kSlackBytes)
          << machine.levels[level].name << " of " << figures;
      clear[level] += seen[level] > kClear * kSlackBytes ? 1 : 0;
    }
  }
  for (std::size_t level = 0; level < clear.size(); ++level)
    EXPECT_GE(clear[level], kClearProducts) << "too little leaves " << machine.levels[level].name;
}

}  // namespace
}  // namespace mlpwatt

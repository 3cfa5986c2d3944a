// The floor of a piece of work on peaks written by hand, and the processors a comparison is kept to.

#include "harness/compare/floor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <utility>

#include "harness/compare/processors.h"

namespace mlpwatt::testing {
namespace {

using ::testing::ElementsAre;

Cost cost(std::int64_t flops, std::int64_t bytes) {
  Cost cost;
  cost.multiplies = cost.adds = flops / 2;
  cost.compulsory_read_bytes = bytes;
  return cost;
}

TEST(Floor, IsTheLongerOfArithmeticAndTraffic) {
  const Peaks peaks{100, {{"L1", 1000, 50}, {"memory", std::numeric_limits<std::int64_t>::max(), 10}}};
  EXPECT_DOUBLE_EQ(floor_s(cost(1000, 100), 100, peaks), 10);   // 2 s of traffic in L1
  EXPECT_DOUBLE_EQ(floor_s(cost(100, 1000), 1000, peaks), 20);  // fits L1 to the byte
  EXPECT_DOUBLE_EQ(floor_s(cost(100, 1000), 1001, peaks), 100);
  EXPECT_TRUE(std::isnan(floor_s(cost(100, 100), 100, {})));
  EXPECT_TRUE(std::isnan(floor_s(cost(100, 100), 100, {100, {{"L1", 1000, 0}}})));
}

TEST(Floor, PeaksOfThisMachineAreThere) {
  RunOptions options;
  options.hierarchy = {.source = "assumed", .cores = 1, .hardware_threads = 1};
  options.hierarchy.levels = {{"L1", 32 << 10, 64, 8, 1}, {"L2", 256 << 10, 64, 8, 1}};
  const Peaks peaks = measure_peaks(options, 0.05, system_clock(), {});
  EXPECT_GT(peaks.flops_per_s, 0);
  ASSERT_EQ(peaks.levels.size(), 3u);
  for (const Bandwidth& level : peaks.levels) EXPECT_GT(level.bytes_per_s, 0) << level.level;
  EXPECT_EQ(peaks.levels[2].level, "memory");
}

TEST(Floor, EveryRunOfTheProcessorHasOneButItsProbes) {
  RunOptions options;
  options.hierarchy = {.source = "assumed", .cores = 1, .hardware_threads = 1};
  options.hierarchy.levels = {{"L1", 32 << 10, 64, 8, 1}, {"L2", 256 << 10, 64, 8, 1}};
  PeaksOnDemand peaks(options, 0.05, system_clock());
  Cost cost;
  cost.multiplies = cost.adds = 50'000;
  cost.compulsory_read_bytes = 200, cost.compulsory_write_bytes = 100;
  const auto row_of = [&](const std::string& backend, const std::string& family) {
    Row row(runs_table());
    row.set("backend", backend);
    row.set("family", backend + "/" + family);
    row.set("threads", 1);
    row.set("step_s", 1.0);
    set_floor(row, cost, peaks);
    return row;
  };
  const auto least_s = [&](std::int64_t footprint) {
    return floor_s(cost, footprint, peaks.of({.threads = 1}, footprint));
  };
  for (const auto& [family, footprint] :
       {std::pair{"gemm", 300}, {"gemm_twin", 300}, {"mlp_train", 200}, {"train", 200}}) {
    const Row row = row_of("cpu", family);
    EXPECT_DOUBLE_EQ(row.real("floor_s"), least_s(footprint)) << family;
    EXPECT_DOUBLE_EQ(row.real("floor_ratio"), 1 / row.real("floor_s")) << family;
  }
  for (const auto& [backend, family] :
       {std::pair{"cpu", "fma"}, {"cpu", "stream"}, {"cpu", "chase"}, {"gpu", "stream"}}) {
    const Row row = row_of(backend, family);
    EXPECT_TRUE(std::isnan(row.real("floor_s")) && std::isnan(row.real("floor_ratio"))) << backend << family;
  }
  EXPECT_EQ(footprint_bytes("cpu/gemm", cost), 300);
  EXPECT_EQ(footprint_bytes("cpu/mlp_train", cost), 200) << "weights are written where they were read";
}

TEST(Floor, ABatchComesFromWhereTheDatasetLives) {
  const Peaks peaks{
      100, {{"L1", 1000, 50}, {"L2", 10000, 10}, {"memory", std::numeric_limits<std::int64_t>::max(), 2}}};
  Cost cost;
  cost.multiplies = 100;
  cost.compulsory_read_bytes = 300;
  cost.compulsory_write_bytes = 100;
  cost.batch_bytes = 200;
  EXPECT_EQ(dataset_footprint_bytes(cost, 300), 300);
  EXPECT_DOUBLE_EQ(floor_s(cost, 300, peaks), 8) << "all of it in L1: 400 bytes at 50";
  cost.working_sets.dataset.replicated_bytes = 5000;
  EXPECT_EQ(dataset_footprint_bytes(cost, 300), 5300);
  EXPECT_DOUBLE_EQ(floor_s(cost, 300, peaks), 20) << "200 bytes of a dataset in L2";
  cost.working_sets.dataset.replicated_bytes = 50000;
  EXPECT_DOUBLE_EQ(floor_s(cost, 300, peaks), 100) << "of one in memory";
  Peaks part = peaks;
  part.levels.back().bytes_per_s = 0;
  EXPECT_TRUE(std::isnan(floor_s(cost, 300, part))) << "a level that nobody has measured makes no floor";
}

TEST(Floor, ARowSaysWhoseItIs) {
  const auto of = [](const char* backend, const char* name, const char* algorithm) {
    Row row(runs_table());
    row.set("backend", backend);
    row.set("name", name);
    row.set("algorithm", algorithm);
    row.set("threads", 3);
    return ceiling_of(row);
  };
  EXPECT_EQ(of("cpu", "cpu/gemm/nn/8x8x8", ""), (Ceiling{"cpu", "fp32", 3}));
  EXPECT_EQ(of("gpu", "gpu/gemm/fp32/nn/8x8x8", ""), (Ceiling{"gpu", "fp32", 0}));
  EXPECT_EQ(of("gpu", "gpu/gemm/tf32/nn/8x8x8", ""), (Ceiling{"gpu", "tf32", 0}));
  EXPECT_EQ(of("gpu", "gpu/mlp_train/adult/rectangle/64/2", "graph_bf16 64x64"), (Ceiling{"gpu", "bf16", 0}));
  EXPECT_EQ(of("gpu", "gpu/mlp_train/adult/rectangle/64/2", "resident"), (Ceiling{"gpu", "fp32", 0}));
}

TEST(Processors, OneOfEachCoreFirst) {
  const std::vector<int> allowed{0, 1, 2, 3};
  const std::vector<std::string> siblings{"0,2", "1,3", "0,2", "1,3"};
  EXPECT_THAT(choose_processors(allowed, siblings, 1), ElementsAre(0));
  EXPECT_THAT(choose_processors(allowed, siblings, 2), ElementsAre(0, 1))
      << "with as many threads as cores one of each";
  EXPECT_THAT(choose_processors(allowed, siblings, 3), ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(choose_processors({4, 6, 7}, {"4,5", "6,7", "6,7"}, 1), ElementsAre(4));
  EXPECT_THAT(choose_processors({0, 1, 2}, {"0", "1", "2"}, 2), ElementsAre(0, 1));
}

}  // namespace
}  // namespace mlpwatt::testing

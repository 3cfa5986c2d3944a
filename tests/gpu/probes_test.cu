// The probes of gpu/: each proves its own result, the proof fails on wrong values, and the declared work is
// the loop's.

#include "gpu/probes/probes.h"

#include <gtest/gtest.h>

#include <cmath>

#include "gpu/gemm/gemm_benchmarks.h"
#include "gpu/runtime.h"
#include "harness/compare/floor.h"
#include "tests/gpu/usable.h"

namespace mlpwatt::gpu {
namespace {

#if defined(MLPWATT_EMULATED)
constexpr std::int64_t kSizes[] = {4096, 4096 + 48, 100'000};
#else
constexpr std::int64_t kSizes[] = {4096, 4096 + 48, 100'000, 3 << 20, 128 << 20};
#endif

TEST(GpuProbes, EveryMultiplyAddUnitProvesItsSums) {
  for (const std::string& unit : fma_units()) {
    const std::unique_ptr<Kernel> probe = make_fma_probe(unit);
    probe->set_up();
    const Check check = probe->check();
    EXPECT_TRUE(check.passed) << unit << ": " << check.detail;
    EXPECT_GT(probe->cost().flops(), 0) << unit;
    EXPECT_EQ(probe->cost().multiplies, probe->cost().adds);
  }
}

TEST(GpuProbes, StreamsEqualThePlainLoop) {
  for (const char* operation : {"copy", "triad", "read"})
    for (const Where where : {Where::kDevice, Where::kShared})
      for (const std::int64_t bytes : kSizes) {
        if (where == Where::kShared && bytes > device().shared_block_bytes) continue;
        const std::unique_ptr<Kernel> probe = make_stream_probe(operation, bytes, where);
        probe->set_up();
        const Check check = probe->check();
        EXPECT_TRUE(check.passed) << operation << " " << bytes << ": " << check.detail;
        probe->run(2);  // more than one pass over what is already there
      }
}

TEST(GpuProbes, StreamsDeclareTheBytesOfTheirLoop) {
  const std::unique_ptr<Kernel> triad = make_stream_probe("triad", 3 << 20, Where::kDevice);
  triad->set_up();
  EXPECT_EQ(triad->cost().compulsory_read_bytes, 2 << 20);
  EXPECT_EQ(triad->cost().compulsory_write_bytes, 1 << 20);
  EXPECT_EQ(triad->cost().flops(), 2 << 18);
}

TEST(GpuProbes, TheRingOfTheChaseIsWhole) {
  for (const Where where : {Where::kDevice, Where::kShared})
    for (const std::int64_t lines : {1, 2, 37, 128, 360}) {
      const std::unique_ptr<Kernel> probe = make_chase_probe(lines * 128, where, 5);
      probe->set_up();
      const Check check = probe->check();
      EXPECT_TRUE(check.passed) << lines << " lines: " << check.detail;
      EXPECT_GT(probe->cost().compulsory_read_bytes, 0);
    }
}

TEST(GpuProbes, WrongResultsDoNotPass) {
  EXPECT_EQ(fma_error("tf32", {80.0f * 32 * 0.125f, 80.0f * 32 * 0.125f}, 10), 0.0);
  EXPECT_GT(fma_error("tf32", {80.0f * 32 * 0.125f, 79.0f * 32 * 0.125f}, 10), 0.0);
  EXPECT_TRUE(std::isnan(fma_error("fp32", {NAN, 16.0f}, 10)));
  EXPECT_EQ(stream_error("copy", {-6, -4, -2}, 0), 0.0);
  EXPECT_GT(stream_error("copy", {-6, -4, -3}, 0), 0.0);
  EXPECT_GT(stream_error("copy", {-6, -4, -2}, 1), 0.0);
  EXPECT_GT(stream_error("triad", {-6, -4, -2}, 0), 0.0);
  EXPECT_TRUE(std::isnan(stream_error("copy", {NAN, -4}, 0)));
  EXPECT_EQ(read_error({-6, 0}, 14), 0.0);
  EXPECT_GT(read_error({-6, 1}, 14), 0.0);
  const auto ring_of = [](std::int64_t length) {
    return [=](std::int64_t hops) { return hops % length == 0; };
  };
  EXPECT_TRUE(check_ring(36, ring_of(36)).passed);
  for (const std::int64_t length : {1, 12, 18, 35, 72})
    EXPECT_FALSE(check_ring(36, ring_of(length)).passed) << length;
}

TEST(GpuProbes, SizesCoverTheirRange) {
  EXPECT_EQ(probe_sizes(4, 16, {}), (std::vector<std::int64_t>{4, 6, 8, 12, 16}));
  EXPECT_EQ(probe_sizes(8192, 32768, {16384}),
            (std::vector<std::int64_t>{8192, 12288, 14336, 15360, 16384, 17408, 18432, 24576, 32768}));
}

TEST(GpuProbes, AProductUnderTheKernelContractProvesItself) {
  for (const Precision precision : {Precision::kFp32, Precision::kTf32, Precision::kBf16}) {
    const std::unique_ptr<Kernel> kernel = make_product_kernel({GemmLayout::kTN, 33, 40, 24}, precision, {});
    kernel->set_up();
    const Check check = kernel->check();
    EXPECT_TRUE(check.passed) << precision_name(precision) << ": " << check.detail;
    kernel->run(33);  // one captured group and one more
    EXPECT_FALSE(kernel->facts().at("algorithm").empty());
  }
}

TEST(GpuProbes, AVariantThatIsNotThereIsNamed) {
  RunOptions options;
  options.algorithm = "simt_7x7x7";
  const std::unique_ptr<Kernel> kernel =
      make_product_kernel({GemmLayout::kNN, 8, 8, 8}, Precision::kFp32, options);
  try {
    kernel->set_up();
    FAIL() << "accepted a variant that is not there";
  } catch (const std::invalid_argument& error) {
    EXPECT_NE(std::string(error.what()).find("simt_7x7x7"), std::string::npos);
  }
}

/// The floor of the device's rows is made of what its own probes reach.
TEST(GpuProbes, TheFloorOfARowIsTheDevices) {
  const Usable usable;
  PeaksOnDemand peaks({}, 0.01, system_clock());
  Cost cost;
  cost.multiplies = cost.adds = 500'000;
  cost.compulsory_read_bytes = 300'000, cost.compulsory_write_bytes = 100'000;
  Row row(runs_table());
  row.set("backend", "gpu");
  row.set("family", "gpu/gemm");
  row.set("name", "gpu/gemm/fp32/nn/100x100x50");
  row.set("threads", 1024);
  row.set("step_s", 1.0);
  set_floor(row, cost, peaks);
  const Peaks& found = peaks.of({.device = "gpu"}, 400'000);
  ASSERT_EQ(found.levels.size(), 3u);
  EXPECT_EQ(found.levels[0].capacity_bytes,
            static_cast<std::int64_t>(device().l1_bytes) * device().multiprocessors);
  EXPECT_EQ(found.levels[1].capacity_bytes, static_cast<std::int64_t>(device().l2_bytes));
  EXPECT_GT(found.flops_per_s, 0);
  EXPECT_GT(row.real("floor_s"), 0);
  EXPECT_DOUBLE_EQ(row.real("floor_s"), floor_s(cost, 400'000, found));
  EXPECT_DOUBLE_EQ(row.real("floor_ratio"), 1 / row.real("floor_s"));
}

}  // namespace
}  // namespace mlpwatt::gpu

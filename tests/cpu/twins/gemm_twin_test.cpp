// The twins compute the same product, and their checker sees wrong ones.

#include "cpu/twins/gemm_twin.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <random>
#include <stdexcept>
#include <vector>

#include "cpu/isa.h"

namespace mlpwatt {
namespace {

RunOptions options_for(Isa isa, int threads) {
  RunOptions options;
  options.isa = isa_name(isa);
  options.threads = threads;
  options.hierarchy.cores = threads;
  // Small caches: small problems cross the blocking boundaries.
  options.hierarchy.levels = {{"L1", 8 << 10}, {"L2", 32 << 10}, {"L3", 1 << 20}};
  return options;
}

TEST(GemmTwin, EveryVariantInstructionSetAndTeamAgreesWithTheReference) {
  const int shapes[][3] = {{1, 1, 1},    {1, 7, 13},     {31, 1, 5},    {17, 64, 1},
                           {64, 64, 64}, {97, 101, 103}, {129, 65, 257}};
  for (const std::string& variant : gemm_twin::variants())
    for (const Isa isa : available_isas())
      for (const int threads : {1, 3})
        for (const auto& [m, n, k] : shapes) {
          const auto kernel = gemm_twin::make(variant, m, n, k, options_for(isa, threads));
          kernel->set_up();
          const Check check = kernel->check();
          EXPECT_TRUE(check.passed) << variant << " " << isa_name(isa) << " " << m << "x" << n << "x" << k
                                    << ": " << check.detail;
          EXPECT_EQ(kernel->facts().at("isa"), isa_name(isa));
          EXPECT_EQ(kernel->cost().flops(), gemm_cost(m, n, k).flops());
        }
}

TEST(GemmTwin, TheCheckerSeesOneWrongValueAndNaN) {
  const std::int64_t m = 13, n = 11, k = 17, pitch = 16;
  std::mt19937 generator(1);
  std::uniform_real_distribution<float> values(-1, 1);
  std::vector<float> a(m * k), b(k * n), c(m * pitch);
  for (float& value : a) value = values(generator);
  for (float& value : b) value = values(generator);
  for (std::int64_t i = 0; i < m; ++i)
    for (std::int64_t j = 0; j < n; ++j) {
      double sum = 0;
      for (std::int64_t p = 0; p < k; ++p) sum += double{a[i * k + p]} * b[p * n + j];
      c[i * pitch + j] = static_cast<float>(sum);
    }
  const auto error = [&] { return gemm_twin::product_error(m, n, k, a.data(), b.data(), c.data(), pitch); };
  EXPECT_LE(error(), 1);
  const float right = c[7 * pitch + 4];
  c[7 * pitch + 4] = right + 1e-4f;
  EXPECT_GT(error(), 1);
  c[7 * pitch + 4] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_FALSE(error() <= 1);
  c[7 * pitch + 4] = right;
  EXPECT_LE(error(), 1);
}

TEST(GemmTwin, UnknownVariantsAndEmptyProductsAreRefused) {
  const RunOptions options = options_for(Isa::kGeneric, 1);
  EXPECT_THROW(gemm_twin::make("kij", 8, 8, 8, options), std::invalid_argument);
  EXPECT_THROW(gemm_twin::make("ikj", 0, 8, 8, options), std::invalid_argument);
  EXPECT_THROW(gemm_twin::make("unpacked", 8, 0, 8, options), std::invalid_argument);
}

TEST(GemmTwin, CatalogueHasEveryVariantNextToTheFastOne) {
  std::vector<std::string> names;
  for (const Family& family : catalogue())
    if (family.name == "cpu/gemm_twin")
      family.enumerate({}, [&](const Benchmark& benchmark) { names.push_back(benchmark.name); });
  for (const std::string& variant : gemm_twin::variants())
    EXPECT_NE(std::find(names.begin(), names.end(), "cpu/gemm_twin/" + variant + "/512x512x512"), names.end())
        << variant;
}

}  // namespace
}  // namespace mlpwatt

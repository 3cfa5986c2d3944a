// Which networks and products ours is compared on when nobody chooses.

#include "harness/compare/points.h"

#include <gtest/gtest.h>

#include <set>
#include <sstream>

#include "harness/program.h"

namespace mlpwatt {
namespace {

/// cpu/mlp_train/<dataset>/<shape>/<size>/<depth>
std::vector<std::string> parts_of(const std::string& name) {
  std::vector<std::string> parts;
  std::stringstream rest(name);
  for (std::string part; std::getline(rest, part, '/');) parts.push_back(part);
  return parts;
}

TEST(ComparisonPoints, TheSampleReachesOverTheWholeGrid) {
  const std::vector<Benchmark> points = comparison_points({.only = "training"}, {});
  EXPECT_GE(points.size(), 60u);
  std::set<std::string> datasets, sizes, depths;
  for (const Benchmark& point : points) {
    const std::vector<std::string> parts = parts_of(point.name);
    ASSERT_EQ(parts.size(), 6u) << point.name;
    datasets.insert(parts[2]);
    sizes.insert(parts[4]);
    depths.insert(parts[5]);
  }
  EXPECT_EQ(datasets.size(), 4u);
  for (int power = 6; power <= 24; power += 2)
    EXPECT_TRUE(sizes.contains(std::to_string(1 << power))) << power;
  EXPECT_EQ(depths, (std::set<std::string>{"2", "5", "20"}));
}

TEST(ComparisonPoints, TheQuickOnesAreAHandfulOfEach) {
  std::size_t products = 0, networks = 0;
  for (const Benchmark& point : comparison_points({.quick = true}, {}))
    (point.family.ends_with("/gemm") ? products : networks) += 1;
  EXPECT_EQ(networks, 6u);
  EXPECT_GE(products, 4u);
  EXPECT_LE(products, 8u);
}

TEST(ComparisonPoints, RefusesWhatDoesNotExist) {
  EXPECT_THROW(comparison_points({.only = "inference"}, {}), UsageError);
  EXPECT_THROW(comparison_points({.quick = true, .grid = true}, {}), UsageError);
  EXPECT_THROW(comparison_points({.device = "tpu"}, {}), UsageError);
  EXPECT_THROW(comparison_points({.filter = "no_such_dataset"}, {}), UsageError);
}

}  // namespace
}  // namespace mlpwatt

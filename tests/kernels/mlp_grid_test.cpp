#include "kernels/mlp_grid.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <stdexcept>

namespace mlpwatt {
namespace {

constexpr MlpPoint kQuick[] = {{Shape::kRectangle, 64, 2}, {Shape::kTrapezoid, 4096, 5}};

std::vector<Benchmark> visited(const std::string& unavailable,
                               const std::function<std::unique_ptr<Kernel>(const Network&, const std::string&,
                                                                           const RunOptions&)>& make) {
  std::vector<Benchmark> all;
  visit_mlp_grid("test/mlp", kQuick, unavailable, make, [&](const Benchmark& b) { all.push_back(b); });
  return all;
}

TEST(MlpGrid, NamesEveryNetworkOnceAndTheQuickOnesOfTheShippedDataset) {
  std::set<std::string> names, quick;
  for (const Benchmark& b :
       visited("no device", [](const Network&, const std::string&, const RunOptions&) { return nullptr; })) {
    EXPECT_TRUE(names.insert(b.name).second) << b.name;
    if (b.quick) quick.insert(b.name);
    EXPECT_EQ(b.family, "test/mlp");
    EXPECT_EQ(b.unavailable, "no device");
  }
  EXPECT_EQ(names.size(), 27300u);  // 13 datasets x 20 sizes x (13 depths x 8 shapes + one shape at depth 2)
  EXPECT_THAT(quick, ::testing::ElementsAre("test/mlp/wine_quality_white/rectangle/64/2",
                                            "test/mlp/wine_quality_white/trapezoid/4096/5"));
}

TEST(MlpGrid, MakesTheNetworkOfTheNameAndRefusesOneThatDoesNotExist) {
  std::vector<int> widths;
  std::string dataset;
  const auto all = visited("", [&](const Network& network, const std::string& name, const RunOptions&) {
    widths = network.widths;
    dataset = name;
    return nullptr;
  });
  const auto named = [&](const std::string& name) {
    for (const Benchmark& b : all)
      if (b.name == name) return b;
    throw std::out_of_range(name);
  };
  named("test/mlp/mnist/trapezoid/65536/7").make({});
  EXPECT_EQ(dataset, "mnist");
  const DatasetInfo& mnist = dataset_info("mnist");
  EXPECT_EQ(widths,
            make_network(Shape::kTrapezoid, 65536, 7, mnist.features, mnist.outputs, mnist.task).widths);
  EXPECT_ANY_THROW(named("test/mlp/mnist/rectangle/32/2").make({}));
}

}  // namespace
}  // namespace mlpwatt

// What a check runs: the batch that is timed, from rows that the reference can follow; and that it sees an
// engine that leaves out part of that batch.

#include "kernels/mlp_check.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "kernels/backend.h"
#include "kernels/mlp_grid.h"
#include "tests/kernels/reference_engine.h"

namespace mlpwatt::testing {
namespace {

Dataset wine() { return load_dataset("wine_quality_white", DatasetOptions{}); }

Network wine_network(std::int64_t size, int depth) {
  const DatasetInfo& info = dataset_info("wine_quality_white");
  return make_network(Shape::kRectangle, size, depth, info.features, info.outputs, info.task);
}

/// Reference and engine get the same means: every row of the reference's batch is in the engine's as often as
/// every other.
void expect_same_means(const MlpCheckPlan& plan) {
  const std::int64_t width = plan.followed.info.features;
  const std::int64_t batches = plan.followed.train_batches(plan.rows);
  ASSERT_EQ(plan.engine_data.train_batches(plan.batch), batches);
  for (std::int64_t b = 0; b < batches; ++b) {
    std::map<std::vector<float>, std::int64_t> of_reference, of_engine;
    const auto count = [&](const Dataset& from, int rows, auto& into) {
      const std::int64_t first = b * rows, end = std::min(first + rows, from.train_rows());
      for (std::int64_t i = first; i < end; ++i)
        ++into[{from.x.begin() + i * width, from.x.begin() + (i + 1) * width}];
      return end - first;
    };
    const std::int64_t few = count(plan.followed, plan.rows, of_reference),
                       many = count(plan.engine_data, plan.batch, of_engine);
    ASSERT_EQ(many % few, 0);
    for (auto& [row, times] : of_reference) times *= many / few;
    EXPECT_EQ(of_reference, of_engine) << "batch " << b;
  }
}

TEST(MlpCheck, ASmallNetworkIsFollowedAsItIsTimed) {
  const MlpCheckPlan plan = plan_mlp_check(wine_network(1024, 3), wine(), 256);
  EXPECT_EQ(plan.rows, 256);
  EXPECT_EQ(plan.batch, 256);
  EXPECT_EQ(plan.steps, 10);
  // a whole batch, and the partial one that ends an epoch: 3918 = 15 * 256 + 78
  EXPECT_EQ(plan.followed.train_rows(), 256 + 78);
  expect_same_means(plan);
}

TEST(MlpCheck, ALargeOneRunsTheBatchThatIsTimed) {
  const Dataset data = wine();
  struct Case {
    std::int64_t size;
    int batch, least_batch;
  };
  for (const auto& [size, batch, least_batch] :
       {Case{65536, 256, 256}, Case{65536, 257, 256}, Case{65536, 251, 250}, Case{1048576, 256, 256},
        Case{1048576, 250, 248}, Case{1048576, 257, 256}, Case{1048576, 3000, 3000}, Case{4194304, 256, 256},
        Case{1048576, 10000, 10000}, Case{4096, 10000, 10000}, Case{1048576, 1, 1}, Case{64, 1, 1},
        Case{4194304, 2, 2}}) {
    SCOPED_TRACE(std::to_string(size) + " parameters, batch " + std::to_string(batch));
    const MlpCheckPlan plan = plan_mlp_check(wine_network(size, 4), data, batch);
    EXPECT_LE(plan.batch, batch);
    EXPECT_GE(plan.batch, least_batch);
    EXPECT_GE(plan.steps, 2) << "Adam's second step is another than its first";
    if (const std::int64_t rest = data.train_rows() % batch; data.train_rows() > batch) {
      EXPECT_EQ(plan.engine_data.train_rows(), plan.batch + rest) << "and the partial one that is timed";
    }
    if (batch > data.train_rows()) {
      EXPECT_GT(plan.engine_data.train_rows(), data.train_rows() - 8) << "all there is";
    }
    expect_same_means(plan);
  }
}

TEST(MlpCheck, AnEngineThatLeavesOutRowsOfALargeBatchIsSeen) {
  const Dataset data = wine();
  const reference::Adam adam;
  for (const std::int64_t size : {65536, 1048576}) {
    const Network network = wine_network(size, 4);
    const MlpCheckPlan plan = plan_mlp_check(network, data, 256);
    ASSERT_LT(plan.rows, 256);
    const auto verdict = [&](double share_seen) {
      ReferenceEngine engine(network, plan.engine_data, plan.batch, adam, share_seen);
      return check_engine(engine, network, plan.followed, plan.rows, adam, 1, 1);
    };
    if (size == 65536) {
      EXPECT_TRUE(verdict(1).passed) << verdict(1).detail;
    }
    EXPECT_FALSE(verdict(0.5).passed);
    EXPECT_FALSE(verdict(0.97).passed);
  }
}

TEST(MlpCheck, ATrainerOfABackendIsCheckedAsABenchmarkIs) {
  const Dataset data = wine();
  const Network network = wine_network(4096, 3);
  const reference::Adam adam;
  for (const double share_seen : {1.0, 0.5}) {
    const Check check =
        check_trainer(reference_trainer(network, data, 256, adam, share_seen), network, data, 256, adam, 1);
    EXPECT_EQ(check.passed, share_seen == 1.0) << check.detail;
  }
}

}  // namespace
}  // namespace mlpwatt::testing

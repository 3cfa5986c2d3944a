// What a check runs: the batch that is timed, from rows that the reference can follow; and that it sees an
// engine that leaves out part of that batch.

#include "kernels/mlp_check.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "kernels/backend.h"
#include "kernels/mlp_grid.h"

namespace mlpwatt {
namespace {

/// The reference as an engine, which may look at the first rows of each batch only.
class ReferenceEngine : public MlpEngine {
 public:
  ReferenceEngine(const Network& network, const Dataset& data, int batch, const reference::Adam& adam,
                  double share_seen)
      : network_(network),
        data_(data),
        batch_(batch),
        adam_(adam),
        share_seen_(share_seen),
        trainer_(network, reference::initial_parameters(network, 1), adam),
        moments_(reference::make_parameters(network)) {
    train_batches_ = static_cast<int>(data.train_batches(batch));
  }
  const char* algorithm() const override { return "reference"; }
  int threads() const override { return 1; }
  double train(const int* batches, std::int64_t count) override {
    double loss = 0;
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int64_t first = std::int64_t{batches[i]} * batch_,
                         all = std::min<std::int64_t>(batch_, data_.train_rows() - first),
                         rows = std::max<std::int64_t>(
                             1, static_cast<std::int64_t>(share_seen_ * static_cast<double>(all)));
      const float* x = data_.x.data() + first * data_.info.features;
      const float* y = data_.y.data() + first * data_.info.outputs;
      trainer_.loss_and_gradients(x, y, rows, moments_);
      for (auto* layers : {&moments_.weights, &moments_.biases})
        for (auto& layer : *layers)
          for (double& value : layer) value *= 1 - adam_.beta1;
      loss += trainer_.step(x, y, rows);
    }
    return loss / static_cast<double>(count);
  }
  reference::Evaluation evaluate(Split) override { return {}; }
  void set_parameters(const reference::Parameters& p) override {
    trainer_ = reference::Trainer(network_, p, adam_);
  }
  reference::Parameters parameters() const override { return trainer_.parameters(); }
  reference::Parameters first_moments() const override { return moments_; }

 private:
  Network network_;
  Dataset data_;
  int batch_;
  reference::Adam adam_;
  double share_seen_;
  reference::Trainer trainer_;
  reference::Parameters moments_;
};

Dataset wine() { return load_dataset("wine_quality_white", DatasetOptions{}); }

Network wine_network(std::int64_t size, int depth) {
  const DatasetInfo& info = dataset_info("wine_quality_white");
  return make_network(Shape::kRectangle, size, depth, info.features, info.outputs, info.task);
}

TEST(MlpCheck, ASmallNetworkIsFollowedAsItIsTimed) {
  const MlpCheckPlan plan = plan_mlp_check(wine_network(1024, 3), wine(), 256);
  EXPECT_EQ(plan.rows, 256);
  EXPECT_EQ(plan.batch, 256);
  EXPECT_EQ(plan.steps, 10);
  EXPECT_EQ(plan.engine_data.train_rows(), 384);  // a whole batch and a partial one
}

TEST(MlpCheck, ALargeOneRunsTheBatchThatIsTimed) {
  const Dataset data = wine();
  const std::int64_t width = data.info.features;
  const std::vector<std::pair<std::int64_t, int>> cases = {{65536, 256},   {1048576, 256},  {1048576, 250},
                                                           {1048576, 257}, {1048576, 3000}, {4194304, 256}};
  for (const auto& [size, batch] : cases) {
    SCOPED_TRACE(std::to_string(size) + " parameters, batch " + std::to_string(batch));
    const MlpCheckPlan plan = plan_mlp_check(wine_network(size, 4), data, batch);
    EXPECT_LT(plan.rows, batch);
    EXPECT_LE(plan.batch, batch);
    EXPECT_GT(plan.batch, batch - plan.rows);
    if (batch == 256) {
      EXPECT_EQ(plan.batch, 256);
    }
    // every row of the reference's batch is in the engine's equally often
    const int batches = static_cast<int>(plan.followed.train_batches(plan.rows));
    ASSERT_EQ(plan.engine_data.train_batches(plan.batch), batches);
    EXPECT_EQ(plan.engine_data.test_rows, plan.followed.test_rows);
    for (int b = 0; b < batches; ++b) {
      std::map<std::vector<float>, std::int64_t> of_reference, of_engine;
      const auto count = [&](const Dataset& from, int rows, auto& into) {
        const std::int64_t first = std::int64_t{b} * rows, end = std::min(first + rows, from.train_rows());
        for (std::int64_t i = first; i < end; ++i)
          ++into[{from.x.begin() + i * width, from.x.begin() + (i + 1) * width}];
      };
      count(plan.followed, plan.rows, of_reference);
      count(plan.engine_data, plan.batch, of_engine);
      for (auto& [row, times] : of_reference) times *= plan.batch / plan.rows;
      EXPECT_EQ(of_reference, of_engine) << "batch " << b;
    }
  }
}

TEST(MlpCheck, AnEngineThatLeavesOutRowsOfALargeBatchIsSeen) {
  const Dataset data = wine();
  const Network network = wine_network(65536, 4);
  const reference::Adam adam;
  const MlpCheckPlan plan = plan_mlp_check(network, data, 256);
  ASSERT_LT(plan.rows, 256);
  const auto verdict = [&](double share_seen) {
    ReferenceEngine engine(network, plan.engine_data, plan.batch, adam, share_seen);
    return check_engine(engine, network, plan.followed, plan.rows, adam, 1, 1);
  };
  EXPECT_TRUE(verdict(1).passed) << verdict(1).detail;
  EXPECT_FALSE(verdict(0.5).passed);
  EXPECT_FALSE(verdict(0.97).passed);
}

TEST(MlpCheck, ATrainerOfABackendIsCheckedAsABenchmarkIs) {
  const Dataset data = wine();
  const Network network = wine_network(4096, 3);
  const reference::Adam adam;
  for (const double share_seen : {1.0, 0.5}) {
    const Backend backend{
        "checked",
        [] { return std::string(); },
        {},
        [share_seen](const Network& n, const Dataset& d, const RunOptions& o, const reference::Adam& a) {
          return Backend::Trainer{std::make_unique<ReferenceEngine>(n, d, o.batch, a, share_seen), {}};
        }};
    const Check check = check_trainer(backend, backend.make_trainer(network, data, RunOptions{}, adam),
                                      network, data, RunOptions{}, adam);
    EXPECT_EQ(check.passed, share_seen == 1.0) << check.detail;
  }
}

}  // namespace
}  // namespace mlpwatt

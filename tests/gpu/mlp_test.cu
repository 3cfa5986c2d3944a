// The training engines against the double-precision reference: ten-step trajectories, gradients by name,
// every loss, residuals, partial batches, clusters and grids of several sizes, equal bits in every thread
// order and re-run.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "gpu/mlp/engine.h"
#include "gpu/mlp/mlp_train.h"
#include "kernels/mlp_check.h"
#include "kernels/random.h"
#include "tests/gpu/small_networks.h"
#include "tests/gpu/small_shapes.h"

namespace mlpwatt::gpu {
namespace {

struct Case {
  const char* name;
  Network network;
  int batch;
  std::int64_t train_rows;
};

/// Rows that leave a partial last batch, widths on both sides of every padding.
std::vector<Case> cases() {
  return {
      {"multiclass", network_of(5, {9, 6, 3}, Task::kMulticlass), 20, 47},
      {"binary", network_of(7, {4, 1}, Task::kBinary), 13, 30},
      {"regression", network_of(2, {16, 5, 1}, Task::kRegression), 8, 19},
      {"residual", network_of(3, {6, 6, 6, 10, 10, 4}, Task::kMulticlass, true), 16, 37},
      {"width 1", network_of(11, {1, 1, 7}, Task::kMulticlass), 9, 9},
      {"wide", network_of(6, {35, 33, 3}, Task::kMulticlass), 33, 70},
  };
}

/// A rate at which ten steps show.
reference::Adam quick_adam() {
  reference::Adam adam;
  adam.learning_rate = 1e-2;
  return adam;
}

std::unique_ptr<Engine> make(const Case& c, const Dataset& data, const std::string& algorithm, int blocks,
                             const reference::Adam& adam = quick_adam()) {
  EngineOptions options;
  options.algorithm = algorithm;
  options.batch = c.batch;
  options.blocks = blocks;
  options.adam = adam;
  return make_engine(c.network, data, options);
}

/// An engine that takes the steps of `adam` against a reference that takes those of `wanted`.
Check against_reference(const Case& c, const std::string& algorithm, int blocks, int steps,
                        const reference::Adam& adam, const reference::Adam& wanted) {
  const Dataset data = small_data(c.network.inputs, c.network.outputs(), c.network.task, c.train_rows);
  const auto engine = make(c, data, algorithm, blocks, adam);
  EXPECT_EQ(engine->algorithm(), algorithm);
  return check_against_reference(*engine, c.network, data, c.batch, wanted, 3, steps,
                                 tolerance_of(algorithm));
}

void expect_as_reference(const Case& c, const std::string& algorithm, int blocks, int steps = 10,
                         const reference::Adam& adam = quick_adam()) {
  const Check check = against_reference(c, algorithm, blocks, steps, adam, adam);
  EXPECT_TRUE(check.passed) << algorithm << " " << blocks << " " << c.name << ": " << check.detail;
  EXPECT_GT(check.error, 0) << "compared nothing";
}

/// Bits of the parameters after some steps.
std::vector<double> trained(const Case& c, const std::string& algorithm, int blocks, int steps) {
  const Dataset data = small_data(c.network.inputs, c.network.outputs(), c.network.task, c.train_rows);
  const auto engine = make(c, data, algorithm, blocks);
  engine->set_parameters(reference::initial_parameters(c.network, 5));
  std::vector<int> batches;
  for (int s = 0; s < steps; ++s) batches.push_back((s * 2 + 1) % engine->train_batches());
  std::vector<double> all{engine->train(batches.data(), steps)};
  const reference::Parameters moved = engine->parameters();
  for (const auto* tensors : {&moved.weights, &moved.biases})
    for (const auto& tensor : *tensors) all.insert(all.end(), tensor.begin(), tensor.end());
  return all;
}

TEST(GpuMlpResident, FollowsTheReferenceOnOneBlock) {
  for (const Case& c : cases()) expect_as_reference(c, "resident", 1);
}

TEST(GpuMlpResident, FollowsTheReferenceOnClusters) {
  for (const Case& c : cases())
    for (const int blocks : {2, 4}) expect_as_reference(c, "resident", blocks, 4);
}

TEST(GpuMlpResident, FollowsTheReferenceOnTheLargestClusters) {
  if (device().largest_cluster < 16) GTEST_SKIP() << "this device has clusters of 8 at most";
  const std::vector<Case> all = cases();
  for (const int blocks : {8, 16})  // more blocks than some have rows
    for (const Case* c : {&all[0], &all[2], &all[5]}) expect_as_reference(*c, "resident", blocks, 2);
}

TEST(GpuMlpResident, SumsEverywhereOrInSlices) {
  // Enough parameters that each block owns a part of them.
  const Case c{"slices", network_of(30, {96, 60, 5}, Task::kMulticlass), 16, 30};
  const Dataset data = small_data(30, 5, Task::kMulticlass, 30);
  EXPECT_THAT(make(c, data, "resident", 4)->layout(), testing::HasSubstr("in slices"));
  expect_as_reference(c, "resident", 4, 3);
  const Case few = cases()[0];
  EXPECT_THAT(make(few, small_data(5, 3, Task::kMulticlass, 47), "resident", 4)->layout(),
              testing::HasSubstr("everywhere"));
}

TEST(GpuMlpResident, RowTilesOfWideBatches) {
  // rows x width fill a block: lanes take 2 or 4 rows each
  expect_as_reference({"rows", network_of(4, {36, 3}, Task::kMulticlass), 128, 150}, "resident", 1, 2);
  expect_as_reference({"rows", network_of(4, {36, 3}, Task::kMulticlass), 64, 70}, "resident", 1, 2);
}

TEST(GpuMlpCooperative, FollowsTheReferenceOnGridsOfSeveralSizes) {
  for (const Case& c : cases()) expect_as_reference(c, "cooperative", 3, 4);
  expect_as_reference(cases()[3], "cooperative", 1);
  expect_as_reference({"tiles", network_of(37, {70, 65, 5}, Task::kMulticlass), 70, 75}, "cooperative", 4, 2);
}

TEST(GpuMlpGraph, FollowsTheReference) {
  for (const Case& c : cases()) expect_as_reference(c, "graph", 0, 4);
  // more steps than one large graph holds
  expect_as_reference(cases()[1], "graph", 0, 18);
}

TEST(GpuMlpGraph, TensorCoreProductsAreAsNearAsTheirRounding) {
  for (const char* algorithm : {"graph_tf32", "graph_bf16"}) {
    expect_as_reference(cases()[0], algorithm, 0, 3);
    expect_as_reference(cases()[3], algorithm, 0, 3);
  }
}

TEST(GpuMlp, AdamMayAddItsEpsilonToTheCorrectedRoot) {
  reference::Adam ours = quick_adam();
  ours.epsilon = 1e-3;  // so large that it matters where it is added
  reference::Adam other = ours;
  other.epsilon_on_corrected_root = true;
  const std::pair<const char*, int> engines[] = {{"resident", 1}, {"cooperative", 3}, {"graph", 0}};
  for (const auto& [algorithm, blocks] : engines) {
    expect_as_reference(cases()[0], algorithm, blocks, 4, other);
    EXPECT_FALSE(against_reference(cases()[0], algorithm, blocks, 4, ours, other).passed)
        << algorithm << " makes no difference between the two";
  }
}

TEST(GpuMlp, AllEnginesEvaluateAsTheReference) {
  for (const Case& c : cases()) {
    const Dataset data = small_data(c.network.inputs, c.network.outputs(), c.network.task, c.train_rows);
    const reference::Parameters start = reference::initial_parameters(c.network, 11);
    const reference::Trainer oracle(c.network, start);
    for (const char* algorithm : {"resident", "cooperative", "graph"}) {
      const auto engine = make(c, data, algorithm, 1);
      engine->set_parameters(start);
      for (const Split split : {Split::kTrain, Split::kTest}) {
        const std::int64_t first = split == Split::kTrain ? 0 : data.train_rows();
        const std::int64_t rows = split == Split::kTrain ? data.train_rows() : data.test_rows;
        const reference::Evaluation want = oracle.evaluate(data.x.data() + first * data.info.features,
                                                           data.y.data() + first * data.info.outputs, rows);
        const reference::Evaluation got = engine->evaluate(split);
        EXPECT_NEAR(got.loss, want.loss, 1e-5 * (1 + want.loss)) << algorithm << " " << c.name;
        EXPECT_EQ(std::isnan(got.accuracy), std::isnan(want.accuracy));
        if (!std::isnan(want.accuracy)) {
          EXPECT_NEAR(got.accuracy, want.accuracy, 1.001 / static_cast<double>(rows))
              << algorithm << " " << c.name;
        }
      }
    }
  }
}

TEST(GpuMlp, ParametersComeBackAsTheyWereSet) {
  const Case c = cases()[5];
  const Dataset data = small_data(c.network.inputs, c.network.outputs(), c.network.task, c.train_rows);
  const reference::Parameters start = reference::initial_parameters(c.network, 2);
  for (const char* algorithm : {"resident", "cooperative", "graph"}) {
    const auto engine = make(c, data, algorithm, 1);
    engine->set_parameters(start);
    EXPECT_EQ(engine->parameters().weights, start.weights) << algorithm;
    const int batch = 0;
    engine->train(&batch, 1);
    EXPECT_NE(engine->parameters().weights, start.weights) << algorithm;
    engine->set_parameters(start);
    for (const auto& layer : engine->first_moments().weights)
      for (const double m : layer) ASSERT_EQ(m, 0) << algorithm;
  }
}

/// The same bits in every thread order, and again.
void expect_same_bits(const std::string& algorithm, int blocks, int steps) {
  const Case c = cases()[3];
  const std::vector<double> want = trained(c, algorithm, blocks, steps);
  EXPECT_FALSE(std::any_of(want.begin(), want.end(), [](double x) { return std::isnan(x); }));
#if defined(MLPWATT_EMULATED)
  emulation::run_in_orders([&](unsigned order) {
    EXPECT_EQ(trained(c, algorithm, blocks, steps), want) << algorithm << " " << order;
  });
#else
  EXPECT_EQ(trained(c, algorithm, blocks, steps), want) << algorithm;
#endif
}

TEST(GpuMlpResident, TheSameBitsInEveryThreadOrder) { expect_same_bits("resident", 2, 3); }
TEST(GpuMlpCooperative, TheSameBitsInEveryThreadOrder) { expect_same_bits("cooperative", 3, 2); }
TEST(GpuMlpGraph, TheSameBitsInEveryThreadOrder) { expect_same_bits("graph", 0, 2); }

/// Networks of the study's shapes with random sizes and batches: small on the emulator, up to 2^18 parameters
/// and the study's batch on a device.
TEST(GpuMlp, RandomNetworksFollowTheReference) {
  const bool small = small_shapes();
  RandomStream stream(2026);
  const auto any = [&](int least, int most) {
    return least + static_cast<int>(uniform_below(stream, static_cast<std::uint64_t>(most - least + 1)));
  };
  for (int i = 0; i < (small ? 6 : 24); ++i) {
    const Task task = static_cast<Task>(any(0, 2));
    const int inputs = any(1, small ? 14 : 130), outputs = task == Task::kMulticlass ? any(2, 10) : 1;
    std::vector<int> widths;
    for (int k = any(1, small ? 3 : 7); k > 0; --k)
      widths.push_back(!widths.empty() && any(0, 1) == 0 ? widths.back() : any(1, small ? 24 : 160));
    widths.push_back(outputs);
    const int batch = any(2, small ? 24 : 256);
    const Case c{"random", network_of(inputs, widths, task, any(0, 1) == 0), batch,
                 std::int64_t{batch} + any(1, batch)};
    SCOPED_TRACE("network number " + std::to_string(i));
    const Dataset data = small_data(inputs, outputs, task, 1);
    EngineOptions options;
    options.batch = batch;
    for (const Candidate& way : candidates(c.network, data.info, options))
      expect_as_reference(c, way.algorithm, way.blocks, 3);
  }
}

TEST(GpuMlpCalibration, TakesTheQuickestAndSurvivesWhatCannotRun) {
  const std::vector<Candidate> ways{{"resident", 1}, {"resident", 16}, {"cooperative", 0}, {"graph", 0}};
  const auto seconds = [](const Candidate& way) {
    if (way.blocks == 16) throw std::runtime_error("no cluster of 16 here");
    return way.algorithm == "cooperative" ? 1e-6 : 2e-6;
  };
  EXPECT_EQ(quickest(ways, seconds).algorithm, "cooperative");
  try {
    quickest({{"resident", 16}}, seconds);
    FAIL();
  } catch (const std::runtime_error& error) {
    EXPECT_STREQ(error.what(), "no cluster of 16 here");
  }
}

TEST(GpuMlpCalibration, OnlyWhatFitsIsACandidate) {
  const auto names = [](const Network& network, EngineOptions options) {
    std::string text;
    for (const Candidate& way :
         candidates(network, small_data(network.inputs, 3, Task::kMulticlass, 10).info, options))
      text += (text.empty() ? "" : " ") + way.algorithm +
              (way.algorithm == "resident" ? std::to_string(way.blocks) : "");
    return text;
  };
  const Network small = network_of(5, {8, 3}, Task::kMulticlass),
                large = network_of(5, {600, 600, 3}, Task::kMulticlass);
  EXPECT_THAT(names(small, {}), testing::StartsWith("resident1 resident2 resident4 resident8"));
  EXPECT_EQ(names(large, {}), "cooperative graph");
  EXPECT_EQ(names(small, {.algorithm = "graph_bf16"}), "graph_bf16");
  EXPECT_EQ(names(small, {.algorithm = "resident", .blocks = 4}), "resident4");
}

TEST(GpuMlp, RefusalsNameTheRemedy) {
  const Case c{"large", network_of(5, {600, 600, 3}, Task::kMulticlass), 8, 20};
  const Dataset data = small_data(5, 3, Task::kMulticlass, 20);
  const auto complaint = [&](const std::string& algorithm, const Dataset& on) {
    try {
      make(c, on, algorithm, 0);
      return std::string();
    } catch (const std::invalid_argument& error) {
      return std::string(error.what());
    }
  };
  EXPECT_THAT(complaint("resident", data), testing::HasSubstr("--algorithm cooperative or graph"));
  EXPECT_THAT(complaint("fused", data), testing::HasSubstr("resident, cooperative, graph"));
  EXPECT_THAT(complaint("graph", small_data(6, 3, Task::kMulticlass, 20)), testing::HasSubstr("6 features"));
}

TEST(GpuMlpTrain, TheCataloguesKernelProvesItself) {
  RunOptions options;
  options.batch = 16;
  options.dataset.source = DatasetSource::kSynthetic;
  options.algorithm = "resident";
  const DatasetInfo& info = dataset_info("wine_quality_white");
  const auto kernel =
      make_mlp_train(make_network(mlpwatt::Shape::kRectangle, 64, 2, info.features, info.outputs, info.task),
                     info.name, options);
  kernel->set_up();
  const Check check = kernel->check();
  EXPECT_TRUE(check.passed) << check.detail;
  kernel->run(3);
  const auto facts = kernel->facts();
  EXPECT_THAT(facts.at("algorithm"), testing::StartsWith("resident cluster of"));
  EXPECT_EQ(facts.at("isa").substr(0, 3), "sm_");
  EXPECT_TRUE(facts.contains("device_uuid"));
  EXPECT_GT(kernel->cost().flops(), 0);
}

}  // namespace
}  // namespace mlpwatt::gpu

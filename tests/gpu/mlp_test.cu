// The training engines against the double-precision reference: ten-step trajectories, gradients by name,
// every loss, residuals, partial batches, clusters and grids of several sizes, equal bits in every thread
// order and re-run.

#include <gtest/gtest.h>

#include <algorithm>

#include "gpu/mlp/engine.h"
#include "gpu/mlp/order.h"
#include "kernels/mlp_check.h"
#include "kernels/random.h"

namespace mlpwatt::gpu {
namespace {

/// Two unequal numbers of anything prime, so that an index swapped anywhere shows.
Dataset small_data(int features, int outputs, Task task, std::int64_t train_rows,
                   std::int64_t test_rows = 9) {
  Dataset data;
  data.info = {"small", train_rows + test_rows, features, outputs, task};
  data.rows = train_rows + test_rows;
  data.test_rows = test_rows;
  RandomStream stream(7);
  for (std::int64_t r = 0; r < data.rows; ++r) {
    for (int f = 0; f < features; ++f) data.x.push_back(static_cast<float>(uniform_unit(stream)));
    const auto right =
        static_cast<int>(uniform_below(stream, static_cast<std::uint64_t>(std::max(outputs, 2))));
    for (int o = 0; o < outputs; ++o)
      data.y.push_back(task == Task::kMulticlass ? (o == right ? 1.0f : 0.0f)
                       : task == Task::kBinary   ? static_cast<float>(right)
                                                 : static_cast<float>(uniform_unit(stream)));
  }
  return data;
}

Network network_of(int inputs, std::vector<int> widths, Task task, bool residual = false) {
  Network network;
  network.inputs = inputs;
  network.widths = std::move(widths);
  network.task = task;
  network.residual = residual;
  return network;
}

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

std::unique_ptr<Engine> make(const Case& c, const Dataset& data, const std::string& algorithm, int blocks) {
  EngineOptions options;
  options.algorithm = algorithm;
  options.batch = c.batch;
  options.blocks = blocks;
  options.adam.learning_rate = 1e-2;
  return make_engine(c.network, data, options);
}

void expect_as_reference(const Case& c, const std::string& algorithm, int blocks, int steps = 10) {
  const Dataset data = small_data(c.network.inputs, c.network.outputs(), c.network.task, c.train_rows);
  const auto engine = make(c, data, algorithm, blocks);
  ASSERT_EQ(engine->algorithm(), algorithm);
  reference::Adam adam;
  adam.learning_rate = 1e-2;
  const Check check = check_against_reference(*engine, c.network, data, c.batch, adam, 3, steps);
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

TEST(GpuMlpOrder, TheDeviceShufflesAsTheHost) {
  for (const int batches : {1, 2, 7, 331}) {
    const int entries = 2 * batches + 5;
    BatchOrder order(batches, 42);
    std::vector<int> want;
    while (want.size() < static_cast<std::size_t>(entries)) {
      const std::vector<int>& epoch = order.next_epoch();
      want.insert(want.end(), epoch.begin(), epoch.end());
    }
    want.resize(static_cast<std::size_t>(entries));
    EXPECT_EQ(make_order(batches, 42, entries).download(), want) << batches;
  }
}

TEST(GpuMlpResident, FollowsTheReferenceOnOneBlock) {
  for (const Case& c : cases()) expect_as_reference(c, "resident", 1);
}

TEST(GpuMlpResident, FollowsTheReferenceOnClusters) {
  for (const Case& c : cases())
    for (const int blocks : {2, 4}) expect_as_reference(c, "resident", blocks, 4);
}

TEST(GpuMlpResident, TheSameBitsInEveryThreadOrder) {
  const Case c = cases()[3];
  const std::vector<double> want = trained(c, "resident", 2, 5);
#if defined(MLPWATT_EMULATED)
  emulation::run_in_orders([&](unsigned order) { EXPECT_EQ(trained(c, "resident", 2, 5), want) << order; });
#else
  EXPECT_EQ(trained(c, "resident", 2, 5), want);
#endif
}

}  // namespace
}  // namespace mlpwatt::gpu

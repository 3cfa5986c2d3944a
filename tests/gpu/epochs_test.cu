// Training's order of batches: drawn on the device, it is the host's, epoch after epoch, and what is trained
// in it is the same network.

#include <gtest/gtest.h>

#include "gpu/mlp/engine.h"
#include "gpu/mlp/order.h"
#include "harness/run/training.h"
#include "kernels/random.h"
#include "tests/gpu/small_networks.h"
#include "tests/gpu/usable.h"

namespace mlpwatt::gpu {
namespace {

constexpr std::uint64_t kSeed = 42;

TEST(GpuMlpOrder, IsTheHostsEpochAfterEpoch) {
  for (const int batches : {1, 2, 7, 331}) {
    BatchOrder host(batches, kSeed);
    DeviceBatchOrder device(batches, kSeed);
    const Buffer<int> epoch(static_cast<std::size_t>(batches));
    for (int i = 0; i < 5; ++i) {
      device.draw(epoch);
      EXPECT_EQ(epoch.download(), host.next_epoch()) << batches << " batches, epoch " << i;
    }
  }
}

TEST(GpuMlpOrder, OtherSeedsAreOtherOrders) {
  const Buffer<int> one(64), other(64);
  DeviceBatchOrder(64, 1).draw(one);
  DeviceBatchOrder(64, 2).draw(other);
  EXPECT_NE(one.download(), other.download());
}

TEST(GpuMlpOrder, FillsWhatItIsGivenWithEpochs) {
  for (const int batches : {1, 2, 7, 331}) {
    std::vector<int> want;
    BatchOrder host(batches, kSeed);
    for (int i = 0; i < 3; ++i) {
      const std::vector<int>& epoch = host.next_epoch();
      want.insert(want.end(), epoch.begin(), epoch.end());
    }
    want.resize(static_cast<std::size_t>(2 * batches + (batches + 1) / 2));
    const Buffer<int> got(want.size());
    DeviceBatchOrder(batches, kSeed).draw(got);
    EXPECT_EQ(got.download(), want) << batches;
  }
}

/// More batches than a block's shared memory holds: MNIST's rows one by one are such an epoch.
TEST(GpuMlpOrder, IsTheHostsWhereItDoesNotFitSharedMemory) {
  const int batches = static_cast<int>(device().shared_block_bytes / 4) + 1;
  BatchOrder host(batches, kSeed);
  DeviceBatchOrder device(batches, kSeed);
  const Buffer<int> epoch(static_cast<std::size_t>(batches));
  for (int i = 0; i < 2; ++i) {
    device.draw(epoch);
    EXPECT_EQ(epoch.download(), host.next_epoch()) << "epoch " << i;
  }
}

TEST(GpuMlpOrder, TrainingTakesItAndTheNetworkIsThatOfTheHostsOrder) {
  const Usable usable;
  const Network network = network_of(5, {9, 3}, Task::kMulticlass);
  const Dataset data = small_data(5, 3, Task::kMulticlass, 47);
  RunOptions options;
  options.batch = 8;
  options.seed = 3;
  options.algorithm = "graph";  // one way to run: nothing to calibrate, the same bits each time
  reference::Adam adam;
  adam.learning_rate = 1e-2;
  EngineOptions engine_options;
  engine_options.batch = options.batch;
  engine_options.algorithm = options.algorithm;
  engine_options.adam = adam;
  const auto losses_of = [&](std::uint64_t order_seed) {
    const auto trainee = make_trainee("gpu", network, data, options, adam);
    std::vector<double> losses;
    train(
        *trainee, {.epochs = 4, .target_test_loss = {}, .seed = order_seed}, [] { return 0.0; },
        [&](const Epoch& point) {
          losses.push_back(point.test_loss);
          return true;
        });
    return losses;
  };
  const auto engine = make_engine(network, data, engine_options);
  engine->set_parameters(reference::initial_parameters(network, options.seed));
  BatchOrder host(engine->train_batches(), kSeed);
  std::vector<double> want{engine->evaluate(Split::kTest).loss};
  for (int i = 0; i < 4; ++i) {
    engine->train(host.next_epoch().data(), engine->train_batches());
    want.push_back(engine->evaluate(Split::kTest).loss);
  }
  EXPECT_EQ(losses_of(kSeed), want);
  EXPECT_NE(losses_of(kSeed + 1), want) << "the order makes no difference here";
}

/// The order of a resident engine's sums is its cluster's: who asks for the threads gets that cluster.
TEST(GpuMlpOrder, AClusterIsAskedForByItsThreads) {
  const Usable usable;
  const Network network = network_of(5, {9, 3}, Task::kMulticlass);
  const Dataset data = small_data(5, 3, Task::kMulticlass, 47);
  RunOptions options;
  options.batch = 8;
  options.algorithm = "resident";
  for (const int threads : {256, 512}) {
    options.threads = threads;
    EXPECT_EQ(make_trainee("gpu", network, data, options, {})->facts().at("threads"),
              std::to_string(threads));
  }
  options.threads = 300;
  EXPECT_THROW(make_trainee("gpu", network, data, options, {}), std::invalid_argument);
  options.algorithm = "graph";  // whose threads are the device's
  EXPECT_NO_THROW(make_trainee("gpu", network, data, options, {}));
}

}  // namespace
}  // namespace mlpwatt::gpu

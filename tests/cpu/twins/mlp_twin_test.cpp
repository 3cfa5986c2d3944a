// The training twins: the same maths as the blocked engine, and the traffic that makes them twins.

#include "cpu/twins/mlp_twin.h"

#include <gtest/gtest.h>

#include "cpu/mlp/mlp_train.h"
#include "cpu/mlp/traffic.h"
#include "kernels/dataset.h"

namespace mlpwatt {
namespace {

Hierarchy hierarchy() {
  Hierarchy h;
  h.cores = 2;
  h.levels = {{"L1", 32 << 10, 64, 8, 1}, {"L2", 512 << 10, 64, 8, 1}, {"L3", 32 << 20, 64, 16, 2}};
  return h;
}

TEST(MlpTwins, TrainLikeTheReferenceUnderTheirOwnName) {
  const Network network =
      make_network(Shape::kTrapezoid, 16384, 3, 11, 7, Task::kMulticlass);  // layers beyond a block of L1
  for (const std::string& twin : mlp_twins())
    for (const int threads : {1, 2}) {
      RunOptions options;
      options.algorithm = twin;
      options.threads = threads;
      options.batch = 100;
      options.hierarchy = hierarchy();
      options.dataset.source = DatasetSource::kSynthetic;
      const std::unique_ptr<Kernel> kernel = make_mlp_train(network, "wine_quality_white", options);
      kernel->set_up();
      const Check check = kernel->check();
      EXPECT_TRUE(check.passed) << twin << ' ' << check.detail;
      EXPECT_EQ(kernel->facts().at("algorithm"), twin);
    }
}

TEST(MlpTwins, MoveMoreThanTheBlockedEngine) {
  // Layers of 1024 x 1024: far beyond L1 and L2.
  const Network network = make_network(Shape::kRectangle, 1 << 22, 5, 784, 10, Task::kMulticlass);
  const auto beyond_l2 = [&](const std::string& algorithm) {
    return mlp_train_traffic(network, {algorithm, "generic", 1, 256, 70000}, hierarchy()).bytes_beyond(1);
  };
  for (const std::string& twin : mlp_twins()) EXPECT_GT(beyond_l2(twin), 1.2 * beyond_l2("blocked")) << twin;
}

TEST(MlpTwins, AnUnknownOneIsNamed) {
  EXPECT_FALSE(is_mlp_twin("blocked"));
  EXPECT_THROW(pretended_hierarchy("twin_of_none", hierarchy()), std::invalid_argument);
}

}  // namespace
}  // namespace mlpwatt

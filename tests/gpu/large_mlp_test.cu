// Networks of up to 2^24 parameters through the graph engine on a device, proven as a benchmark's are before
// they are timed; on the emulator the same code over small ones.

#include <gtest/gtest.h>

#include "gpu/mlp/engine.h"
#include "kernels/backend.h"
#include "kernels/nearest.h"
#include "tests/gpu/small_networks.h"
#include "tests/gpu/small_shapes.h"

namespace mlpwatt::gpu {
namespace {

/// @return what is wrong; "" when nothing is
std::string failure_on(const Network& network, const std::string& algorithm, int batch,
                       const std::string& against = "") {
  const Dataset data = small_data(network.inputs, network.outputs(), network.task, batch + batch / 3);
  RunOptions options;
  options.algorithm = algorithm;
  options.batch = batch;
  Backend::Trainer trainer = find_backend("gpu")->make_trainer(network, data, options, {});
  EXPECT_EQ(trainer.engine->algorithm(), algorithm);
  if (!against.empty()) trainer.tolerance = tolerance_of(against);
  return failure_of(check_trainer(trainer, network, data, batch, {}, 1));
}

TEST(GpuLargeMlp, RandomLargeNetworksFollowTheReference) {
  const std::vector<std::int64_t> sizes = small_shapes()
                                              ? std::vector<std::int64_t>{1 << 10}
                                              : std::vector<std::int64_t>{1 << 20, 1 << 22, 1 << 24};
  constexpr Shape kShapes[] = {Shape::kRectangle, Shape::kTrapezoid, Shape::kWideFirst4x,
                               Shape::kRectangleResidual};
  RandomStream random(31);
  const auto any = [&](int least, int most) {
    return least + static_cast<int>(uniform_below(random, static_cast<std::uint64_t>(most - least + 1)));
  };
  for (const std::int64_t size : sizes)
    for (const char* algorithm : {"graph", "graph_tf32", "graph_bf16"}) {
      const Task task = static_cast<Task>(any(0, 2));
      const Network network = make_network(kShapes[any(0, 3)], size, any(3, 6), any(5, 90),
                                           task == Task::kMulticlass ? any(2, 10) : 1, task);
      const int batch = small_shapes() ? any(8, 24) : any(128, 256);
      EXPECT_EQ(failure_on(network, algorithm, batch), "")
          << algorithm << ", " << network.parameters() << " parameters, batch " << batch;
    }
}

/// What rounds to 8 bits is not taken for fp32.
TEST(GpuLargeMlp, TheCheckTellsBf16FromFp32) {
  const Network network = make_network(Shape::kRectangle, 1 << 10, 3, 12, 3, Task::kMulticlass);
  EXPECT_NE(failure_on(network, "graph_bf16", 16, "graph"), "");
}

}  // namespace
}  // namespace mlpwatt::gpu

// Commands that ask the device itself, on the emulated one: what it is, and which of two networks is cheaper.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gpu/runtime.h"
#include "harness/model/verification.h"
#include "kernels/dataset.h"
#include "tests/gpu/usable.h"
#include "tests/harness/program.h"

namespace mlpwatt::gpu {
namespace {

using ::testing::HasSubstr;

TEST(GpuCommands, InfoDescribesTheDevice) {
  const Usable usable;
  const auto text = mlpwatt::testing::run({"info", "--backend", "gpu"});
  ASSERT_EQ(text.status, 0) << text.err;
  EXPECT_THAT(text.out, HasSubstr("cuda: " + device().name));
  EXPECT_THAT(text.out, ::testing::Not(HasSubstr("ISAs")));
  const auto json = mlpwatt::testing::run({"info", "--backend", "gpu", "--json"}).json();
  EXPECT_EQ(json["backend"], "gpu");
  EXPECT_EQ(json["cores"], device().multiprocessors);
  ASSERT_EQ(json["caches"].size(), 2u);
  EXPECT_EQ(json["caches"][1]["capacity_bytes"], device().l2_bytes);
  EXPECT_EQ(json["caches"][1]["shared_by_cores"], device().multiprocessors);
  EXPECT_TRUE(json["isas"].empty()) << "the processor's";
}

TEST(GpuCommands, ARecommendationIsRunOnTheDevice) {
  const Usable usable;
  const DatasetInfo& info = dataset_info("505_tecator");
  const auto pick = [&](int batch) {
    model::Candidate candidate;
    model::Configuration& c = candidate.configuration;
    c.backend = "gpu";
    c.dataset = info.name;
    c.shape = "rectangle";
    c.size = 128;
    c.depth = 2;
    c.batch = batch;
    c.algorithm = "graph";
    c.threads = 1;  // recorded elsewhere: the engine takes what it takes
    c.isa = "sm_80";
    c.dataset_rows = info.observations;
    c.network = make_network(Shape::kRectangle, c.size, c.depth, info.features, info.outputs, info.task);
    candidate.per_datum = candidate.s_per_datum = 1;
    return candidate;
  };
  model::VerifyOptions options;
  options.repetitions = 3;
  options.window_s = 0.005;
  options.meters = "none";
  options.dataset_source = "synthetic";
  std::ostringstream progress;
  const model::Verification found = model::verify(pick(32), pick(64), options, progress);
  EXPECT_EQ(found.top.size(), 3u);
  for (const double seconds : found.top) EXPECT_GT(seconds, 0);
  EXPECT_EQ(found.target, model::Target::kTime);
}

TEST(GpuCommands, ADeviceThatIsNotThereIsOneLine) {
  const auto outcome = mlpwatt::testing::run({"info", "--backend", "gpu"});
  EXPECT_EQ(outcome.status, 1);
  EXPECT_EQ(outcome.error_lines(), 1u) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("backend gpu cannot be used here"));
}

}  // namespace
}  // namespace mlpwatt::gpu

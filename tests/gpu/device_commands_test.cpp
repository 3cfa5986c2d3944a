// Commands that ask the device itself, on the emulated one: what it is, and which of two networks is cheaper.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>

#include "gpu/runtime.h"
#include "harness/build_facts.h"
#include "harness/model/verification.h"
#include "harness/record/record_file.h"
#include "kernels/dataset.h"
#include "tests/gpu/usable.h"
#include "tests/harness/program.h"
#include "tests/support/temporary_folder.h"

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

/// Ours on the device in turns with a driver that is told to use it.
TEST(GpuCommands, PeersAreComparedOnTheDevice) {
  const Usable usable;
  const mlpwatt::testing::TemporaryFolder folder;
  std::filesystem::create_directory(folder.path("drivers"));
  std::filesystem::copy_file(build_facts().source_dir + "/tests/harness/compare/fake_driver.py",
                             folder.path("drivers/honest.py"));
  const std::string out = folder.path("x.h5");
  std::vector<std::string> args{"compare-peers",
                                "--device",
                                "gpu",
                                "--only",
                                "training",
                                "--grid",
                                "--filter",
                                "/wine_quality_white/rectangle/256/2$",
                                "--algorithm",
                                "graph",
                                "--drivers",
                                folder.path("drivers"),
                                "--python",
                                "/usr/bin/python3",
                                "--out",
                                out,
                                "--batch",
                                "8",
                                "--rounds",
                                "5",
                                "--turn-s",
                                "0.002",
                                "--peaks-s",
                                "0",
                                "--meters",
                                "none",
                                "--peers-folder",
                                "/no/such/folder"};
  const auto outcome = mlpwatt::testing::run(args);
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  std::map<std::string, Row> rows;
  const Contents contents = read_file(out);
  for (const Row& row : contents.rows(runs_table())) rows.emplace(row.text("backend"), row);
  ASSERT_EQ(rows.size(), 2u) << outcome.err;
  const Row &ours = rows.at("gpu"), &peer = rows.at("peer/honest");
  for (const Row* row : {&ours, &peer}) {
    EXPECT_EQ(row->text("status"), "ok") << row->text("reason");
    EXPECT_GT(row->real("step_s"), 0);
    EXPECT_EQ(row->text("device"), "emulated");
  }
  EXPECT_THAT(ours.text("algorithm"), ::testing::StartsWith("graph "));
  EXPECT_EQ(ours.text("working_set_f_level"), peer.text("working_set_f_level")) << "both lie in the device";

  *std::find(args.begin(), args.end(), "graph") = "graph_bf16";
  const auto mixed = mlpwatt::testing::run(args);
  EXPECT_EQ(mixed.status, 2);
  EXPECT_THAT(mixed.err, HasSubstr("graph_bf16 is of another precision than the peers"));
}

/// Without a cuBLAS that works, ours is recorded and its absence said.
TEST(GpuCommands, ProductsAreComparedWithCublasWhereThereIsOne) {
  const Usable usable;
  const mlpwatt::testing::TemporaryFolder folder;
  const auto outcome = mlpwatt::testing::run({"compare-cublas", "--filter", "/fp32/nn/64x64x64$", "--rounds",
                                              "3", "--turn-s", "0.002", "--out", folder.path("x.h5")});
  const Contents contents = read_file(folder.path("x.h5"));
  const std::vector<Row>& rows = contents.rows(runs_table());
  ASSERT_EQ(rows.size(), 2u) << outcome.err;
  EXPECT_EQ(rows[0].text("name"), "gpu/gemm/fp32/nn/64x64x64");
  EXPECT_EQ(rows[0].text("status"), "ok") << rows[0].text("reason");
  EXPECT_NE(rows[1].text("status"), "ok");
  EXPECT_NE(rows[1].text("reason"), "");
}

TEST(GpuCommands, ADeviceThatIsNotThereIsOneLine) {
  const auto outcome = mlpwatt::testing::run({"info", "--backend", "gpu"});
  EXPECT_EQ(outcome.status, 1);
  EXPECT_EQ(outcome.error_lines(), 1u) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("backend gpu cannot be used here"));
}

}  // namespace
}  // namespace mlpwatt::gpu

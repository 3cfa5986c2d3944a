// Models of a GPU's runs: fitted, asked, advised, from a file that describes the device.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <set>

#include "harness/model/advice.h"
#include "harness/model/model.h"
#include "harness/model/probes.h"
#include "harness/record/reader.h"
#include "tests/harness/model/synthetic_file.h"
#include "tests/harness/program.h"
#include "tests/support/temporary_folder.h"

namespace mlpwatt::model {
namespace {

using mlpwatt::testing::Outcome;
using mlpwatt::testing::run;
using mlpwatt::testing::TemporaryFolder;
using ::testing::HasSubstr;

const std::map<std::string, mlpwatt::testing::TruePrices>& device_prices() {
  // Work is of each of the device's threads: prices are of bytes and FLOPs divided by 33792, or 2048.
  static const std::map<std::string, mlpwatt::testing::TruePrices> prices{
      {"resident", {{"step", 1e-6}, {"layer", 4e-7}, {"flop", 2e-9}, {"L1", 4e-9}, {"L2", 2e-8}}},
      {"cooperative", {{"step", 3e-6}, {"layer", 3e-6}, {"flop", 6e-9}, {"L1", 2e-8}, {"L2", 4e-8}}},
      {"graph",
       {{"step", 1.5e-5}, {"layer", 4e-6}, {"flop", 1e-9}, {"L1", 4e-9}, {"L2", 1e-8}, {"memory", 4e-8}}}};
  return prices;
}

class DeviceModel : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new TemporaryFolder;
    file_ = folder_->path("gpu.h5");
    write_file(file_, mlpwatt::testing::synthetic_device_contents(device_prices(), 500, 0.02));
    fit_ = run({"fit", file_, "--resamples", "20"});
  }
  static void TearDownTestSuite() { delete folder_; }

  /// An answer of predict for a rectangle of mnist, from the model of a file.
  static Outcome predict_from(const std::string& file, const std::string& size,
                              const std::vector<std::string>& more = {}) {
    std::vector<std::string> args{"predict",   "--model", file, "--dataset", "mnist", "--shape",
                                  "rectangle", "--size",  size, "--depth",   "4",     "--json"};
    args.insert(args.end(), more.begin(), more.end());
    return run(args);
  }
  static Outcome predict(const std::string& size, const std::vector<std::string>& more = {}) {
    return predict_from(file_, size, more);
  }

  static TemporaryFolder* folder_;
  static std::string file_;
  static Outcome fit_;
};
TemporaryFolder* DeviceModel::folder_ = nullptr;
std::string DeviceModel::file_;
Outcome DeviceModel::fit_;

TEST_F(DeviceModel, AnEngineIsOneAlgorithmHoweverItWasTuned) {
  ASSERT_EQ(fit_.status, 0) << fit_.err;
  std::set<std::string> algorithms;
  for (const Row& row : Reader(file_).rows(model_table())) {
    algorithms.insert(row.text("algorithm"));
    if (row.text("form") != "placement" || row.text("state") != "identified") continue;
    const auto& prices = device_prices().at(row.text("algorithm"));
    const auto price = prices.find(row.text("term"));
    if (price == prices.end() || row.text("term") == "flop" || row.text("term") == "L1") continue;
    EXPECT_LE(row.real("low95"), 1.1 * price->second) << row.text("algorithm") << ' ' << row.text("term");
    EXPECT_GE(row.real("high95"), 0.9 * price->second) << row.text("algorithm") << ' ' << row.text("term");
  }
  EXPECT_EQ(algorithms, (std::set<std::string>{"cooperative", "graph", "resident"}));
}

TEST_F(DeviceModel, PredictTakesTheEngineThatWouldBeQuickest) {
  const Outcome small = predict("2048"), large = predict("16777216");
  ASSERT_EQ(small.status, 0) << small.err;
  ASSERT_EQ(large.status, 0) << large.err;
  EXPECT_EQ(small.json()["algorithm"], "resident");
  EXPECT_EQ(small.json()["threads"], 2048) << "what the networks like it had";
  EXPECT_EQ(small.json()["isa"], "sm_90");
  EXPECT_THAT(small.json()["basis"].get<std::string>(), HasSubstr("pretend (Pretend GPU)"));
  EXPECT_EQ(large.json()["algorithm"], "graph");
  EXPECT_FALSE(large.json()["extrapolated"].get<bool>());
  // 16 M parameters are 64 MB: beyond the device's L2 of 50 MiB, far beyond the processor's caches
  EXPECT_EQ(large.json()["working_set_levels"]["f"], "memory");
  EXPECT_EQ(predict("4194304").json()["working_set_levels"]["f"], "L2");
  // what keeps a network on the chip is never chosen for one far beyond those it held
  EXPECT_NE(predict("65536").json()["algorithm"], "resident");
  const auto forced = predict("65536", {"--algorithm", "resident"}).json();
  EXPECT_EQ(forced["algorithm"], "resident");
  EXPECT_TRUE(forced["extrapolated"].get<bool>()) << "eight times what it ever held";
}

TEST_F(DeviceModel, ALargerCacheIsAskedThroughAFile) {
  const auto device = [](int l2_mib) {
    std::ofstream(folder_->path("device.json")) << R"({"cores": 132, "memory_bytes": 85899345920, "caches": [
      {"level": "L1", "capacity_bytes": 262144, "line_bytes": 128, "shared_by_cores": 1},
      {"level": "L2", "capacity_bytes": )" << l2_mib * 1048576LL
                                                << R"(, "line_bytes": 128, "shared_by_cores": 132}]})";
    return folder_->path("device.json");
  };
  const auto per_step = [&](int l2_mib) {
    const Outcome outcome = predict("16777216", {"--algorithm", "graph", "--hierarchy", device(l2_mib)});
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    return outcome.json()["estimates"][0]["per_step"].get<double>();
  };
  EXPECT_NEAR(per_step(50),
              predict("16777216", {"--algorithm", "graph"}).json()["estimates"][0]["per_step"].get<double>(),
              1e-12);
  EXPECT_LT(per_step(1024), per_step(50));
}

/// Sweeps of the pretended GPU: latency by one thread of one L1, bandwidth over all 132 of them.
void add_probes(Contents& contents) {
  const auto add = [&](const std::string& name, int threads, double bytes, double step_s, double read,
                       std::int64_t flops) {
    Record record;
    record.machine = mlpwatt::testing::plain_machine();
    record.run = Row(runs_table());
    record.run.set("name", name);
    record.run.set("family", name.substr(0, name.find('/', 4)));
    record.run.set("status", "ok");
    record.run.set("threads", threads);
    record.run.set("step_s", step_s);
    record.run.set("compulsory_read_bytes", static_cast<std::int64_t>(read));
    record.run.set("flops", flops);
    record.run.set("other_parameters", "{\"loads_per_step\":100,\"working_set_bytes\":" +
                                           std::to_string(static_cast<long>(bytes)) + "}");
    mlpwatt::testing::set_pretended_device(record.run);
    contents.add(std::move(record));
  };
  for (double octave = 16 << 10; octave <= 4e9; octave *= 2)
    for (int quarter = 0; quarter < 4; ++quarter) {
      const double bytes = octave * (1 + quarter / 4.0);
      const auto level = [&](double l1_bytes) { return bytes <= l1_bytes ? 0 : bytes <= 50 << 20 ? 1 : 2; };
      const std::string size = std::to_string(static_cast<long>(bytes));
      const double latency_s[] = {3e-8, 2e-7, 5e-7}, bandwidth[] = {2e13, 5e12, 2e12};
      add("gpu/chase/" + size, 1, bytes, 100 * latency_s[level(256 << 10)], 800, 0);
      add("gpu/stream/read/" + size, 135168, bytes, bytes / bandwidth[level(132 * (256 << 10))], bytes, 0);
    }
  add("gpu/stream/read/98304/shared", 135168, 98304, 1e-9, 98304, 0);
  add("gpu/fma/fp32", 135168, 0, 1e-5, 0, 500000000);
  add("gpu/fma/bf16", 135168, 0, 1e-5, 0, 9000000000);
}

TEST_F(DeviceModel, ProbesTellWhatTheDeviceDelivers) {
  Contents contents = mlpwatt::testing::synthetic_device_contents(device_prices(), 300, 0.02);
  add_probes(contents);
  const ProbeFindings found = find_hierarchy(contents, "memory", -1, "gpu");
  ASSERT_EQ(found.levels.size(), 3u);
  for (const LevelFinding& level : found.levels) EXPECT_EQ(level.disagreement, "") << level.level;
  EXPECT_EQ(found.levels[0].capacity_bytes, 256 << 10);
  EXPECT_EQ(found.levels[0].swept_capacity_bytes, 132 * (256 << 10)) << "33 MiB, close below an L2 of 50";
  const double latency_s[] = {3e-8, 2e-7, 5e-7}, bandwidth[] = {2e13, 5e12, 2e12};
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_NEAR(found.levels[i].latency_s.value / latency_s[i], 1, 1e-6) << i;
    EXPECT_NEAR(found.levels[i].bandwidth_bytes_per_s.value / bandwidth[i], 1, 1e-6) << i;
  }
  EXPECT_NEAR(found.flops_per_s.value, 5e13, 1e6) << "of fp32, not of the tensor cores";

  const std::string file = folder_->path("probed.h5");
  write_file(file, contents);
  ASSERT_EQ(run({"fit", file, "--resamples", "20"}).status, 0);
  const Outcome text = run({"probes", file});
  EXPECT_EQ(text.status, 0) << text.err;
  EXPECT_THAT(text.out, HasSubstr("cuda: Pretend GPU; the whole device, its latency by one thread"));
  const Outcome processor = run({"probes", file, "--backend", "cpu"});
  EXPECT_EQ(processor.status, 2);
  EXPECT_THAT(processor.err, HasSubstr("'^cpu/(fma|stream|chase)/'"));

  // described by its own probes it is no other device; with a memory of a tenth it is slower
  auto described = run({"probes", file, "--backend", "gpu", "--hierarchy"}).json();
  const auto saving = [&] {
    std::ofstream(folder_->path("described.json")) << described;
    const Outcome outcome = predict_from(file, "16777216", {"--hierarchy", folder_->path("described.json")});
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    return outcome.json()["against"]["saving"].get<double>();
  };
  EXPECT_EQ(described["backend"], "gpu");
  EXPECT_EQ(described["processor"], "cuda: Pretend GPU");
  EXPECT_NEAR(saving(), 0, 1e-9);
  described["memory"]["bandwidth_bytes_per_s"] = 2e11;
  EXPECT_LT(saving(), -0.1);
}

TEST_F(DeviceModel, RatesOfADeviceChangeFittedPricesOnly) {
  // what a whole device delivers is no price of an engine that may run on few multiprocessors of it
  std::ofstream(folder_->path("rate.json"))
      << R"({"backend": "gpu", "cores": 132, "caches": [{"level": "L1", "capacity_bytes": 262144},
      {"level": "L2", "capacity_bytes": 52428800, "shared_by_cores": 132}],
      "memory": {"bandwidth_bytes_per_s": 1e6}})";
  const Outcome outcome =
      predict("16777216", {"--algorithm", "graph", "--hierarchy", folder_->path("rate.json")});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_NEAR(outcome.json()["against"]["saving"].get<double>(), 0, 1e-12);
  EXPECT_THAT(outcome.json()["basis"].get<std::string>(),
              HasSubstr("without effect: this file has no probes"));
}

TEST_F(DeviceModel, ADescriptionIsOfOneBackend) {
  std::ofstream(folder_->path("cpu.json")) << run({"info", "--json"}).out;
  const Outcome outcome = predict("2048", {"--backend", "gpu", "--hierarchy", folder_->path("cpu.json")});
  EXPECT_EQ(outcome.status, 2);
  EXPECT_THAT(outcome.err, HasSubstr("describes a machine for --backend cpu, not gpu"));
  std::ofstream(folder_->path("bad.json")) << R"({"backend": "tpu", "cores": 1, "caches": []})";
  EXPECT_THAT(predict("2048", {"--hierarchy", folder_->path("bad.json")}).err,
              HasSubstr(R"(backend is "tpu", not "cpu" or "gpu")"));
}

TEST_F(DeviceModel, OneDeviceIsFittedAtATime) {
  Contents contents = mlpwatt::testing::synthetic_device_contents(device_prices(), 120, 0.02);
  std::vector<Row>& rows = contents.rows(runs_table());
  for (std::size_t i = 0; i < 20; ++i) {
    rows[i].set("device", "Another GPU");
    rows[i].set("device_l2_bytes", std::int64_t{4} << 20);
  }
  const std::string file = folder_->path("two.h5");
  write_file(file, contents);
  const Outcome fit = run({"fit", file, "--resamples", "20"});
  ASSERT_EQ(fit.status, 0) << fit.err;
  EXPECT_THAT(fit.err,
              HasSubstr("20 run(s) of sm_90 of Another GPU: 100 of sm_90 of Pretend GPU are fitted"));
  const Outcome outcome = predict_from(file, "4194304");
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_THAT(outcome.json()["basis"].get<std::string>(), HasSubstr("pretend (Pretend GPU)"));
  EXPECT_EQ(outcome.json()["working_set_levels"]["f"], "L2");
}

TEST_F(DeviceModel, AnUndescribedDeviceIsAskedForAndNotGuessed) {
  Contents contents = mlpwatt::testing::synthetic_device_contents(device_prices(), 120, 0.02);
  for (Row& row : contents.rows(runs_table())) {
    row.set("device_l2_bytes", kAbsentInteger);
    for (const char* letter : {"l", "f", "b", "d"})
      row.set("working_set_" + std::string(letter) + "_level", "L2");
  }
  const std::string file = folder_->path("undescribed.h5");
  write_file(file, contents);
  ASSERT_EQ(run({"fit", file, "--resamples", "20"}).status, 0);
  const Outcome outcome = predict_from(file, "4096");
  EXPECT_EQ(outcome.status, 2);
  EXPECT_THAT(outcome.err, HasSubstr("its GPU runs do not describe their device"));
  EXPECT_TRUE(advise(file).empty());
  std::ofstream(folder_->path("said.json"))
      << R"({"backend": "gpu", "cores": 132, "caches": [{"level": "L1", "capacity_bytes": 262144},
      {"level": "L2", "capacity_bytes": 52428800, "shared_by_cores": 132}]})";
  const Outcome said = predict_from(file, "4096", {"--hierarchy", folder_->path("said.json")});
  EXPECT_EQ(said.status, 0) << said.err;
}

TEST_F(DeviceModel, ReducedPrecisionIsAskedForByName) {
  Contents contents = mlpwatt::testing::synthetic_device_contents(device_prices(), 60, 0.02);
  for (Row& row : contents.rows(runs_table())) row.set("algorithm", "graph_bf16 18 kernels a step");
  const std::string file = folder_->path("bf16.h5");
  write_file(file, contents);
  ASSERT_EQ(run({"fit", file, "--resamples", "20"}).status, 0);
  const Outcome plain = predict_from(file, "4096");
  EXPECT_EQ(plain.status, 2);
  EXPECT_THAT(
      plain.err,
      HasSubstr("no fp32 engine was fitted for backend gpu; --algorithm asks for one of: graph_bf16"));
  EXPECT_EQ(predict_from(file, "4096", {"--algorithm", "graph_bf16"}).status, 0);
}

TEST_F(DeviceModel, RecommendAndAdviseRankWhatTheDeviceWouldRun) {
  const Outcome outcome =
      run({"recommend", "--model", file_, "--dataset", "mnist", "--parameters", "4096", "--json"});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  const auto ranked = outcome.json();
  // that its engine is the quickest by these prices: a cluster of eight is no match for the device in large
  // batches
  std::map<std::string, int> engines;
  for (const auto& candidate : ranked["candidates"]) {
    ++engines[candidate["algorithm"].get<std::string>()];
    if (candidate["batch"] == 32) {
      EXPECT_EQ(candidate["algorithm"], "resident") << candidate;
    }
  }
  EXPECT_GT(engines["resident"], 0);
  EXPECT_GT(engines["cooperative"], 0);
  EXPECT_EQ(engines["graph"], 0);
  const auto advice = advise(file_, 2);
  ASSERT_FALSE(advice.empty());
  for (const auto& one : advice) EXPECT_EQ(one["machine"], "pretend, Pretend GPU");
}

TEST_F(DeviceModel, EnergyIsFittedAndRankedBefore) {
  Contents contents = mlpwatt::testing::synthetic_device_contents(device_prices(), 300, 0.02);
  for (Row& row : contents.rows(runs_table())) {
    // 100 W whatever is done, and as much again where data comes from memory
    const double watts = row.text("algorithm").starts_with("graph") ? 200 : 100;
    row.set("step_energy_j_measured", watts * row.real("step_s"));
    row.set("energy_quality", "ok");
  }
  const std::string file = folder_->path("joules.h5");
  write_file(file, contents);
  ASSERT_EQ(run({"fit", file, "--resamples", "20"}).status, 0);
  const auto answer = predict_from(file, "2048").json();
  EXPECT_EQ(answer["estimates"][0]["target"], "energy_measured");
  EXPECT_NEAR(
      answer["estimates"][0]["per_step"].get<double>() / answer["estimates"][1]["per_step"].get<double>(),
      100, 15);
  const auto ranked =
      run({"recommend", "--model", file, "--dataset", "mnist", "--parameters", "4096", "--json"}).json();
  EXPECT_EQ(ranked["candidates"][0]["target"], "energy_measured");
}

TEST_F(DeviceModel, FilesAreComparedByEngineHoweverItWasTuned) {
  const Contents a = mlpwatt::testing::synthetic_device_contents(device_prices(), 40, 0);
  Contents b = mlpwatt::testing::synthetic_device_contents(device_prices(), 40, 0);
  for (Row& row : b.rows(runs_table())) {
    row.set("algorithm", row.text("algorithm") + " otherwise");
    row.set("threads", 2 * row.integer("threads"));
    row.set("step_s", 2 * row.real("step_s"));
  }
  write_file(folder_->path("a.h5"), a);
  write_file(folder_->path("b.h5"), b);
  const Outcome outcome = run({"compare", folder_->path("a.h5"), folder_->path("b.h5"), "--json"});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  std::set<std::string> networks;
  for (const Row& row : a.rows(runs_table())) networks.insert(row.text("name"));
  EXPECT_EQ(outcome.json()["comparisons"][0]["rows"].size(), networks.size()) << outcome.out;
}

TEST_F(DeviceModel, AskingForWhatWasNotFittedSaysWhatThereIs) {
  const Outcome processor = predict("2048", {"--backend", "cpu"});
  EXPECT_EQ(processor.status, 2);
  EXPECT_THAT(processor.err, HasSubstr("nothing was fitted for backend cpu on machine pretend; it has: gpu"));
  const Outcome threads = predict("2048", {"--threads", "4"});
  EXPECT_EQ(threads.status, 2);
  EXPECT_THAT(threads.err, HasSubstr("others are predicted as they ran"));
  const Outcome engine = predict("2048", {"--algorithm", "graph_tf32"});
  EXPECT_EQ(engine.status, 2);
  EXPECT_THAT(engine.err, HasSubstr("the file has: cooperative, graph, resident"));
  EXPECT_THAT(engine.err, HasSubstr("'^gpu/mlp_train/'"));
  for (const Outcome& outcome : {processor, threads, engine})
    EXPECT_EQ(outcome.error_lines(), 1u) << outcome.err;
}

TEST_F(DeviceModel, AFileOfBothIsAskedByBackend) {
  const std::string both = folder_->path("both.h5");
  Contents contents = mlpwatt::testing::synthetic_device_contents(device_prices(), 300, 0.02);
  const Contents processor = mlpwatt::testing::synthetic_contents(
      "traffic", {{"step", 2e-6}, {"layer", 5e-7}, {"flop", 3e-11}, {"L2", 2e-11}}, 120, 0.02);
  for (const Row& row : processor.rows(runs_table())) {
    Record record;
    record.machine = mlpwatt::testing::plain_machine();
    record.run = row;
    contents.add(std::move(record));
  }
  write_file(both, contents);
  const Outcome fit = run({"fit", both, "--resamples", "20"});
  ASSERT_EQ(fit.status, 0) << fit.err;
  EXPECT_THAT(fit.out, HasSubstr("\ngpu 0  time"));
  EXPECT_THAT(fit.out, HasSubstr("\ncpu 0  time"));
  EXPECT_THAT(fit_.out, ::testing::StartsWith("target")) << "one machine's are not named in each line";
  const auto algorithm = [&](const std::vector<std::string>& more) {
    const Outcome outcome = predict_from(both, "4096", more);
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    return outcome.json()["algorithm"].get<std::string>();
  };
  EXPECT_THAT(algorithm({}), ::testing::AnyOf("fused", "blocked"))
      << "the processor's where the file has them";
  EXPECT_EQ(algorithm({"--backend", "gpu"}), "resident");
  std::set<std::string> advised;
  for (const auto& one : advise(both, 1)) advised.insert(one["machine"]);
  EXPECT_EQ(advised, (std::set<std::string>{"pretend, Pretend GPU", "pretend, Pretend Processor"}));
}

}  // namespace
}  // namespace mlpwatt::model

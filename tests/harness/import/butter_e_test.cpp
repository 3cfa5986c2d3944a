// A small folder in exactly the published schemas: each rule rejects what it should, each joule is accounted
// for.

#include "harness/import/butter_e.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "harness/import/civil_time.h"
#include "harness/import/csv.h"
#include "harness/model/training_runs.h"
#include "harness/record/reader.h"
#include "tests/harness/program.h"
#include "tests/support/shell.h"
#include "tests/support/temporary_folder.h"

namespace mlpwatt {
namespace {

constexpr const char* kHeader =
    "run_id,experiment_id,slurm_job_id,start_time,update_time,node,size,depth,shape,dataset,learning_rate,"
    "batch_size,"
    "optimizer,is_gpu,batch,energy,run_time,filter,power,num_reps,std_power,std_energy,energy_overhead,"
    "non_overhead_energy,runtime_overhead,non_overhead_runtime\n";

struct Line {
  std::string id = "r1", job, start = "2022-01-10 12:00:30", end = "2022-01-10 12:10:30", node = "r1i0n1",
              size = "4096", depth = "4", shape = "rectangle", dataset = "mnist", batch = "256",
              gpu = "False", energy = "64000", std_energy = "66000", run_time = "600", filter = "False",
              overhead = "1000", runtime_overhead = "100";
  std::string text() const {
    return id + ",7," + job + "," + start + "," + end + "," + node + "," + size + "," + depth + "," + shape +
           "," + dataset + ",0.0001," + batch + ",adam," + gpu + ",batch_a," + energy + "," + run_time + "," +
           filter + ",110,2,1," + std_energy + "," + overhead + ",0," + runtime_overhead + ",0\n";
  }
};

class ButterE : public ::testing::Test {
 protected:
  void runs(const std::vector<Line>& lines) {
    std::ofstream file(folder_.path("runs_with_standardized_energy.csv"));
    file << kHeader;
    for (const Line& line : lines) file << line.text();
  }
  /// Minutes of `watts` from 11:55 UTC on 2022-01-10, stamped as Denver's wall clock (seven hours back) with
  /// a Z.
  void job(const std::string& name, const std::vector<double>& watts, const std::string& node = "r1i0n1") {
    std::filesystem::create_directories(folder_.path("butter_e_energy"));
    std::ofstream file(folder_.path("butter_e_energy/" + name + ".csv"));
    file << "timestamp,node,watts\n";
    for (std::size_t i = 0; i < watts.size(); ++i) {
      if (watts[i] < 0) continue;  // a missing minute
      char stamp[40];
      const int minute = 295 + static_cast<int>(i);
      std::snprintf(stamp, sizeof stamp, "2022-01-10T%02d:%02d:00Z", minute / 60, minute % 60);
      file << stamp << "," << node << "," << watts[i] << "\n";
    }
  }
  ButterEImport import() { return import_butter_e(folder_.path(), {}); }
  static const Row& only(const ButterEImport& imported) { return imported.contents.rows(runs_table()).at(0); }
  testing::TemporaryFolder folder_;
};

TEST_F(ButterE, AnOrdinaryRunKeepsItsEnergyLessTheOverhead) {
  runs({Line{}});
  const ButterEImport imported = import();
  ASSERT_EQ(imported.contents.rows(runs_table()).size(), 1u);
  const Row& row = only(imported);
  // mnist: 56,000 training rows, 219 batches of 256, 3000 epochs
  EXPECT_EQ(row.integer("steps"), 219 * 3000);
  EXPECT_NEAR(row.real("step_s"), 500.0 / (219 * 3000), 1e-12);
  EXPECT_EQ(row.text("backend"), "cpu");
  EXPECT_GT(row.integer("working_set_f_bytes"), 4 * 4000);
  ASSERT_TRUE(runs_table().has("step_energy_j_measured"));
  EXPECT_NEAR(row.real("step_energy_j_measured"), 65000.0 / (219 * 3000), 1e-9);
  EXPECT_EQ(model::training_runs(imported.contents).size(), 1u);
}

TEST_F(ButterE, WattsAreIntegratedWithPartialMinutes) {
  Line line;
  line.job = "42";
  line.overhead = "0";
  runs({line});
  // 100 W but for one minute at 200 W in the middle: between 12:04 and 12:06 a triangle of 100 W x 60 s more.
  std::vector<double> watts(20, 100);
  watts[10] = 200;
  job("42", watts);
  const ButterEImport imported = import();
  EXPECT_EQ(imported.integrated, 1);
  ASSERT_TRUE(runs_table().has("energy_j_measured"));
  EXPECT_NEAR(only(imported).real("energy_j_measured"), 600 * 100 + 100 * 60, 1e-6);
}

TEST_F(ButterE, IdleOffsetsAreStandardisedToTheTypesMedian) {
  Line a, b, c;
  a.job = "1", b.job = "2", c.job = "3";
  a.overhead = b.overhead = c.overhead = "0";
  b.id = "r2", b.node = "r1i0n2";
  c.id = "r3", c.node = "r1i0n3";
  runs({a, b, c});
  for (const auto& [name, node, watts] :
       {std::tuple{"1", "r1i0n1", 310.0}, std::tuple{"2", "r1i0n2", 320.0}, std::tuple{"3", "r1i0n3", 350.0}})
    job(name, std::vector<double>(20, watts), node);
  std::ofstream(folder_.path("node_power_dist.csv"))
      << "node,count,min,p050000,max\nr1i0n1,9,1,210,1\nr1i0n2,9,1,220,1\nr1i0n3,9,1,250,1\n";
  const ButterEImport imported = import();
  ASSERT_EQ(imported.contents.rows(runs_table()).size(), 3u);
  ASSERT_TRUE(runs_table().has("energy_j_measured"));
  for (const Row& row : imported.contents.rows(runs_table()))
    EXPECT_NEAR(row.real("energy_j_measured"), 600 * 320, 1e-6);
}

TEST_F(ButterE, ThePublishedEnergyIsTheStandardisedOne) {
  Line published, raw, other;
  published.energy = "70000", published.std_energy = "66000";
  raw.id = "r2", raw.energy = "70000", raw.std_energy = "";  // this node idles 10 W above the median
  other.id = "r3", other.node = "r1i0n2";
  Line third = other;
  third.id = "r4", third.node = "r1i0n3";
  runs({published, raw, other, third});
  std::ofstream(folder_.path("node_power_dist.csv"))
      << "node,count,min,p050000,max\nr1i0n1,9,1,230,1\nr1i0n2,9,1,220,1\nr1i0n3,9,1,210,1\n";
  const ButterEImport imported = import();
  const std::vector<Row>& rows = imported.contents.rows(runs_table());
  ASSERT_EQ(rows.size(), 4u);
  ASSERT_TRUE(runs_table().has("energy_j_measured"));
  EXPECT_NEAR(rows[0].real("energy_j_measured"), 66000 - 1000, 1e-6);
  EXPECT_NEAR(rows[1].real("energy_j_measured"), 70000 - 10 * 600 - 1000, 1e-6);
}

TEST_F(ButterE, EachRuleRejects) {
  std::vector<Line> lines;
  for (int i = 0; i < 40; ++i) {  // a group whose run times scatter by a little
    Line line;
    line.id = "g" + std::to_string(i);
    line.run_time = std::to_string(600 + i % 5);
    lines.push_back(line);
  }
  Line slow, endless, marked, gap, zero, nothing;
  slow.id = "slow", slow.run_time = "9000";
  endless.id = "endless", endless.run_time = "75001";
  marked.id = "marked", marked.filter = "True";
  gap.id = "gap", gap.job = "10";
  zero.id = "zero", zero.job = "11";
  nothing.id = "nothing", nothing.std_energy = "900";
  for (const Line& line : {slow, endless, marked, gap, zero, nothing}) lines.push_back(line);
  runs(lines);
  std::vector<double> watts(20, 100);
  watts[8] = watts[9] = -1;
  job("10", watts);
  watts[8] = 100, watts[9] = 0;
  job("11", watts);
  const ButterEImport imported = import();
  const std::map<std::string, std::int64_t> expected{{"run time beyond 4 standard deviations", 1},
                                                     {"run time over 75,000 s", 1},
                                                     {"marked by the publishers' filter", 1},
                                                     {"missing minutes", 1},
                                                     {"zero watts", 1},
                                                     {"no energy beyond the overhead", 1}};
  EXPECT_EQ(imported.rejected, expected);
  EXPECT_EQ(imported.contents.rows(runs_table()).size(), 40u);
  EXPECT_EQ(imported.rows, 46);
}

TEST_F(ButterE, BadFilesAreNamedWithTheirLine) {
  const auto error = [&] {
    try {
      import();
    } catch (const CsvError& e) {
      return std::string(e.what());
    }
    return std::string("no error");
  };
  EXPECT_NE(error().find("runs_with_standardized_energy.csv: cannot be read"), std::string::npos) << error();
  const auto expect = [&](const Line& bad, const std::string& words) {
    Line good;
    runs({good, bad});
    EXPECT_NE(error().find("runs_with_standardized_energy.csv:3: " + words), std::string::npos) << error();
  };
  Line bad;
  bad.energy = "12x";
  expect(bad, "energy is '12x', not a number");
  bad = {};
  bad.std_energy = "12x";
  expect(bad, "std_energy is '12x', not a number");
  bad = {};
  bad.start = "yesterday";
  expect(bad, "start_time is 'yesterday'");
  bad = {};
  bad.dataset = "mnsit";
  expect(bad, "unknown dataset 'mnsit'");
  bad = {};
  bad.gpu = "maybe";
  expect(bad, "is_gpu is 'maybe'");
  bad = {};
  bad.id = "a,b";
  expect(bad, "27 fields where the header has 26");
  std::ofstream(folder_.path("runs_with_standardized_energy.csv")) << "run_id,node\n";
  EXPECT_NE(error().find("csv:1: no column"), std::string::npos) << error();
  Line with_job;
  with_job.job = "42";
  runs({with_job});
  std::filesystem::create_directories(folder_.path("butter_e_energy"));
  std::ofstream(folder_.path("butter_e_energy/42.csv"))
      << "timestamp,node,watts\n2022-01-10T05:00:00Z,n,many\n";
  EXPECT_NE(error().find("42.csv:2: watts is 'many'"), std::string::npos) << error();
}

TEST_F(ButterE, TheCommandMakesAFileThatReadsBack) {
  runs({Line{}});
  const std::string out = folder_.path("imported.h5");
  const auto outcome = testing::run({"import-butter-e", folder_.path(), "--out", out});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_TRUE(Reader(out).problems().empty());
  EXPECT_EQ(testing::run({"import-butter-e", folder_.path(), "--out", out}).status,
            2);  // it is there already
  std::ofstream(folder_.path("runs_with_standardized_energy.csv")) << "nothing\n";
  const auto bad = testing::run({"import-butter-e", folder_.path(), "--out", folder_.path("none.h5")});
  EXPECT_EQ(bad.status, 1);
  EXPECT_EQ(bad.error_lines(), 1u) << bad.err;
  EXPECT_FALSE(std::filesystem::exists(folder_.path("none.h5")));
}

TEST_F(ButterE, APackedArchiveIsNotPassedOver) {
  runs({Line{}});
  std::ofstream(folder_.path("butter_e_energy.zip")) << "PK";
  const auto packed = testing::run({"import-butter-e", folder_.path(), "--out", folder_.path("packed.h5")});
  EXPECT_EQ(packed.status, 1);
  EXPECT_EQ(packed.error_lines(), 1u) << packed.err;
  EXPECT_NE(packed.err.find("unzip"), std::string::npos) << packed.err;
}

TEST_F(ButterE, AGpusWorkingSetsLieInItsOwnLevels) {
  std::vector<Line> lines;
  for (const int power : {10, 24}) {
    Line line;
    line.id = "g" + std::to_string(power);
    line.gpu = "True";
    line.size = std::to_string(1 << power);
    lines.push_back(line);
  }
  runs(lines);
  const ButterEImport imported = import();
  const std::vector<model::TrainingRun> found = model::training_runs(imported.contents);
  ASSERT_EQ(found.size(), 2u);
  // weights, moments and activations of 2^24 parameters are beyond a V100's 6 MiB; those of 2^10 are not
  EXPECT_NE(found[0].work.placement.forward_pass, "memory");
  EXPECT_EQ(found[1].work.placement.forward_pass, "memory");
  EXPECT_GT(found[0].work.placement_bytes[0] + found[0].work.placement_bytes[1], 0);
  EXPECT_GT(found[1].work.placement_bytes[3], 4.0 * (1 << 24));
  EXPECT_EQ(found[1].work.placement_bytes[2], 0) << "a V100 has no third level";
}

TEST_F(ButterE, TheSameFitRunsOnIt) {
  std::vector<Line> lines;
  for (const auto& [dataset, gpu] : {std::pair{"mnist", "False"},
                                     {"adult", "False"},
                                     {"sleep", "False"},
                                     {"mnist", "True"},
                                     {"adult", "True"},
                                     {"sleep", "True"}})
    for (int power = 12; power < 22; ++power)
      for (const char* depth : {"3", "6"}) {
        Line line;
        line.id = "r" + std::to_string(lines.size());
        line.gpu = gpu;
        line.dataset = dataset;
        line.depth = depth;
        line.size = std::to_string(1 << power);
        line.run_time = std::to_string(500 + (1 << power) / 100);
        line.std_energy = std::to_string(66000 + (1 << power));
        lines.push_back(line);
      }
  runs(lines);
  const std::string out = folder_.path("fit.h5");
  ASSERT_EQ(testing::run({"import-butter-e", folder_.path(), "--out", out}).status, 0);
  const auto fit = testing::run({"fit", out, "--resamples", "20"});
  ASSERT_EQ(fit.status, 0) << fit.err;
  EXPECT_NE(fit.out.find("placement"), std::string::npos) << fit.out;
  EXPECT_NE(fit.out.find("energy_measured"), std::string::npos) << fit.out;
  // and is asked as any other: what ran there was no engine of ours
  for (const std::string backend : {"cpu", "gpu"}) {
    const auto answer = testing::run(
        {"predict", "--model", out, "--machine", backend == "cpu" ? "BUTTER-E CPU node" : "BUTTER-E GPU node",
         "--dataset", "mnist", "--shape", "rectangle", "--size", "1048576", "--depth", "4", "--json"});
    ASSERT_EQ(answer.status, 0) << answer.err;
    EXPECT_EQ(answer.json()["algorithm"], "tensorflow");
    EXPECT_EQ(answer.json()["estimates"][0]["target"], "energy_measured");
    EXPECT_EQ(answer.json()["working_set_levels"]["f"], backend == "cpu" ? "L3" : "L2")
        << "of the node's own";
  }
  const auto other =
      testing::run({"predict", "--model", out, "--machine", "BUTTER-E CPU node", "--backend", "gpu",
                    "--dataset", "mnist", "--shape", "rectangle", "--size", "1048576", "--depth", "4"});
  EXPECT_EQ(other.status, 2);
  EXPECT_NE(other.err.find("BUTTER-E GPU node"), std::string::npos) << other.err;
  if (testing::shell("/usr/bin/python3 -c 'import h5py, matplotlib'").status != 0)
    GTEST_SKIP() << "the figures: /usr/bin/python3 has no h5py or no matplotlib";
  const auto report =
      testing::run({"report", out, "-o", folder_.path("report.html"), "--figures", folder_.path("figures")});
  ASSERT_EQ(report.status, 0) << report.err;
  for (const char* name : {"study1_epoch_by_rows", "study2_datum_by_parameters",
                           "study3_datum_by_flops_and_depth", "study4_datum_by_working_sets"}) {
    std::ostringstream drawn;
    drawn << std::ifstream(folder_.path("figures/" + std::string(name) + ".svg")).rdbuf();
    EXPECT_NE(drawn.str().find("[J]"), std::string::npos) << name;
  }
  EXPECT_TRUE(std::filesystem::exists(folder_.path("figures/study6_model_error.svg")));
}

TEST(CivilTime, DenverIsSixOrSevenHoursBehind) {
  EXPECT_EQ(*parse_utc_s("1970-01-02 00:00:00"), 86400);
  EXPECT_EQ(*parse_utc_s("2022-01-10T12:00:30.5+01:00"), *parse_utc_s("2022-01-10 11:00:30.5Z"));
  EXPECT_EQ(*parse_denver_s("2022-01-10T05:00:00Z") - *parse_utc_s("2022-01-10T05:00:00Z"), 7 * 3600);
  EXPECT_EQ(*parse_denver_s("2022-07-10T05:00:00Z") - *parse_utc_s("2022-07-10T05:00:00Z"), 6 * 3600);
  // 2021: summer time from 14 March 2:00 to 7 November 2:00
  EXPECT_EQ(*parse_denver_s("2021-03-14T03:00:00Z") - *parse_denver_s("2021-03-14T01:59:00Z"), 60);
  const double first = *parse_denver_s("2021-11-07T01:59:00Z");
  EXPECT_EQ(*parse_denver_s("2021-11-07T01:00:00Z", first) - first, 60);  // the hour that comes twice
  EXPECT_FALSE(parse_utc_s("2022-13-01 00:00:00"));
  EXPECT_FALSE(parse_utc_s("2022-01-01"));
}

}  // namespace
}  // namespace mlpwatt

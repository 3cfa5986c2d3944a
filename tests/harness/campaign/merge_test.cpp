// Merging: every row once, references renumbered, duplicates by the stated rule, memory flat.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <hdf5.h>

#include <cmath>
#include <map>
#include <set>

#include "harness/campaign/merge.h"
#include "harness/campaign/record_json.h"
#include "harness/campaign/store.h"
#include "harness/record/error.h"
#include "harness/record/reader.h"
#include "tests/harness/campaign/records.h"
#include "tests/harness/program.h"

namespace mlpwatt::testing {
namespace {

using ::testing::HasSubstr;

class MergeFiles : public ::testing::Test {
 protected:
  std::string file(const std::string& name, const std::vector<Record>& records) const {
    Contents contents;
    for (const Record& record : records) contents.add(record);
    write_file(folder_.path(name), contents);
    return folder_.path(name);
  }
  Contents merged(const std::vector<std::string>& inputs, const MergeOptions& options = {}) {
    report_ = merge_files(folder_.path("out.h5"), inputs, options);
    return read_file(folder_.path("out.h5"));
  }
  TemporaryFolder folder_;
  MergeReport report_;
};

Record curve_of(Record record, int points) {
  for (int i = 0; i < points; ++i) {
    Row point(curves_table());
    point.set("epoch", i);
    point.set("test_loss", 1.0 / (i + 1));
    record.curve.push_back(point);
  }
  return record;
}

TEST_F(MergeFiles, RowsSamplesAndCurvesKeepTheirRuns) {
  std::vector<Record> first, second;
  for (int i = 0; i < 70; ++i) first.push_back(curve_of(synthetic_record(i, "c", "host-a", i % 3), i % 2));
  for (int i = 70; i < 100; ++i) second.push_back(curve_of(synthetic_record(i, "c", "host-b", i % 3), i % 2));
  const Contents contents = merged({file("a.h5", first), file("b.h5", second)});
  const auto& runs = contents.rows(runs_table());
  ASSERT_EQ(runs.size(), 100u);
  EXPECT_EQ(report_.duplicates(), 0);
  for (std::size_t i = 0; i < 100; ++i) {
    EXPECT_EQ(runs[i].integer("order_index"), static_cast<std::int64_t>(i));
    const auto machine = static_cast<std::size_t>(runs[i].integer("machine_row"));
    EXPECT_EQ(contents.rows(machine_table())[machine].text("host"), runs[i].text("host"));
  }
  std::vector<int> samples(100, 0), points(100, 0);
  for (const Row& sample : contents.rows(samples_table())) {
    const std::int64_t run = sample.integer("run_row");
    ++samples[static_cast<std::size_t>(run)];
    EXPECT_EQ(std::floor(sample.real("monotonic_s")), static_cast<double>(run));
    const auto meter = static_cast<std::size_t>(sample.integer("meter_row"));
    EXPECT_EQ(contents.rows(meters_table())[meter].text("host"),
              runs[static_cast<std::size_t>(run)].text("host"));
  }
  std::vector<int> energies(100, 0);
  for (const Row& energy : contents.rows(energies_table())) {
    const std::int64_t run = energy.integer("run_row");
    ++energies[static_cast<std::size_t>(run)];
    EXPECT_EQ(energy.real("energy_j"), static_cast<double>(run) + 0.25);
    const auto meter = static_cast<std::size_t>(energy.integer("meter_row"));
    EXPECT_EQ(contents.rows(meters_table())[meter].text("host"),
              runs[static_cast<std::size_t>(run)].text("host"));
  }
  for (const Row& point : contents.rows(curves_table()))
    ++points[static_cast<std::size_t>(point.integer("run_row"))];
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(samples[static_cast<std::size_t>(i)], i % 3);
    EXPECT_EQ(energies[static_cast<std::size_t>(i)], i % 3 > 0);
    EXPECT_EQ(points[static_cast<std::size_t>(i)], i % 2);
  }
  EXPECT_EQ(run({"check", folder_.path("out.h5")}).status, 0);
}

TEST_F(MergeFiles, DuplicatesByTheStatedRule) {
  const auto variant = [](std::int64_t index, const char* status, const char* quality, std::int64_t later,
                          double step_s) {
    Record record = synthetic_record(index, "c", "host-a", 2);
    record.run.set("status", status);
    record.run.set("quality", quality);
    if (std::string(status) != "ok") record.run.set("reason", "because");
    record.run.set("start_realtime_ns", record.run.integer("start_realtime_ns") + later);
    record.run.set("step_s", step_s);
    return record;
  };
  const std::string a = file("a.h5", {variant(0, "ok", "ok", 0, 1), variant(1, "ok", "few_blocks", 0, 1),
                                      variant(2, "ok", "ok", 0, 1), variant(3, "error", "", 9, 1)}),
                    b = file("b.h5", {variant(0, "failed", "", 5, 2), variant(1, "ok", "ok", -5, 2),
                                      variant(2, "ok", "ok", 5, 2), variant(3, "ok", "not_steady", 0, 2)});
  const Contents contents = merged({a, b});
  std::map<std::int64_t, double> kept;
  for (const Row& row : contents.rows(runs_table())) kept[row.integer("order_index")] = row.real("step_s");
  EXPECT_EQ(kept, (std::map<std::int64_t, double>{{0, 1}, {1, 2}, {2, 2}, {3, 2}}));
  EXPECT_EQ(report_.duplicates(), 4);
  EXPECT_EQ(contents.rows(samples_table()).size(), 8u);
  EXPECT_EQ(contents.rows(energies_table()).size(), 4u);
  // merging again, in any order, changes nothing
  EXPECT_EQ(merge_files(folder_.path("again.h5"), {folder_.path("out.h5"), b, a}, {}).runs_out, 4);
}

TEST_F(MergeFiles, OtherHostsOtherCampaignsAndOtherSittingsAreNoDuplicates) {
  Record sitting = synthetic_record(0, ""), later = synthetic_record(0, "");
  later.run.set("start_realtime_ns", later.run.integer("start_realtime_ns") + 1);
  const Contents contents =
      merged({file("a.h5", {synthetic_record(0, "c", "host-a"), synthetic_record(0, "c", "host-b"),
                            synthetic_record(0, "d", "host-a"), sitting, later, sitting})});
  EXPECT_EQ(contents.rows(runs_table()).size(), 5u);
}

TEST_F(MergeFiles, SamplesAreOptional) {
  const std::string a = file("a.h5", {synthetic_record(0, "c", "h", 5)});
  EXPECT_TRUE(merged({a}, {.samples = false}).rows(samples_table()).empty());
  EXPECT_EQ(run({"merge", folder_.path("none.h5"), a, "--no-samples"}).status, 0);
}

TEST_F(MergeFiles, FittedModelsAreLeftOutAndSaidToBe) {
  Contents contents;
  contents.add(synthetic_record(0));
  Row coefficient(model_table());
  coefficient.set("machine_row", 0);
  coefficient.set("configurations", 1);
  contents.rows(model_table()).push_back(coefficient);
  write_file(folder_.path("a.h5"), contents);
  const Outcome outcome = run({"merge", folder_.path("out.h5"), folder_.path("a.h5")});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("1 coefficients of models left out"));
  EXPECT_THAT(outcome.err, HasSubstr("mlpwatt fit"));
  EXPECT_EQ(run({"check", folder_.path("out.h5")}).status, 0);
}

TEST_F(MergeFiles, OutputIsNotOverwrittenByMistake) {
  const std::string a = file("a.h5", {synthetic_record(0)}), b = file("b.h5", {synthetic_record(1)});
  const Outcome outcome = run({"merge", a, b});
  EXPECT_EQ(outcome.status, 2);
  EXPECT_THAT(outcome.err, HasSubstr("exists"));
  EXPECT_EQ(read_file(a).rows(runs_table())[0].integer("order_index"), 0);
  ASSERT_EQ(run({"merge", a, a, b}).status, 0);
  EXPECT_EQ(read_file(a).rows(runs_table()).size(), 2u);
  ASSERT_EQ(run({"merge", a, b, "--replace"}).status, 0);
  EXPECT_EQ(read_file(a).rows(runs_table()).size(), 1u);
}

TEST_F(MergeFiles, OtherSchemasAndUnknownColumnsAreRefused) {
  const std::string a = file("a.h5", {synthetic_record(0)}), b = file("b.h5", {synthetic_record(1)});
  hid_t opened = H5Fopen(b.c_str(), H5F_ACC_RDWR, H5P_DEFAULT);
  H5Lcopy(opened, "runs/step_s", opened, "runs/step_furlongs", H5P_DEFAULT, H5P_DEFAULT);
  H5Fclose(opened);
  Outcome outcome = run({"merge", folder_.path("out.h5"), a, b});
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.err, HasSubstr("step_furlongs"));
  opened = H5Fopen(a.c_str(), H5F_ACC_RDWR, H5P_DEFAULT);
  const hid_t attribute = H5Aopen(opened, "mlpwatt_schema", H5P_DEFAULT);
  const std::int64_t version = 99;
  H5Awrite(attribute, H5T_NATIVE_INT64, &version);
  H5Aclose(attribute);
  H5Fclose(opened);
  outcome = run({"merge", folder_.path("out.h5"), a});
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.err, HasSubstr("99"));
  EXPECT_FALSE(std::filesystem::exists(folder_.path("out.h5")));
  EXPECT_EQ(run({"merge", folder_.path("out.h5"), folder_.path()}).status, 1)
      << "a folder that is no campaign's";
}

TEST_F(MergeFiles, AcrossPieces) {
  // more rows than a piece (4096), with duplicates far apart
  constexpr std::int64_t kRows = 10'000;
  for (const char* name : {"a.h5", "b.h5"}) {
    Contents contents;
    const std::int64_t first = name[0] == 'a' ? 0 : kRows / 2 - 100;
    for (std::int64_t i = first; i < first + kRows / 2; ++i)
      contents.add(synthetic_record(i, "c", "h", i % 1000 == 0 ? 1 : 0));
    write_file(folder_.path(name), contents);
  }
  const MergeReport report =
      merge_files(folder_.path("out.h5"), {folder_.path("a.h5"), folder_.path("b.h5")}, {});
  EXPECT_EQ(report.runs_in, kRows);
  EXPECT_EQ(report.runs_out, kRows - 100);
  const Reader reader(folder_.path("out.h5"));
  std::set<std::int64_t> seen;
  for (const Value& value : reader.column(runs_table(), "order_index", 0, kRows - 100))
    seen.insert(std::get<std::int64_t>(value));
  EXPECT_EQ(seen.size(), static_cast<std::size_t>(kRows - 100));
  EXPECT_TRUE(reader.problems().empty());
  for (const Row& sample : reader.rows(samples_table()))
    EXPECT_EQ(std::get<std::int64_t>(
                  reader.column(runs_table(), "order_index", sample.integer("run_row"), 1).front()) %
                  1000,
              0);
}

TEST(RecordJson, ReturnsEveryBit) {
  Record record = curve_of(synthetic_record(7, "c", "h", 3), 2);
  record.run.set("step_s", 0.1 + 0.2);
  record.run.set("command", "quote \" and \\ and \u00e9\n");
  record.run.set("flops_per_s", 1e300);
  record.samples[1].set("value", std::nan(""));
  record.samples[1].set("reason", "the meter was asleep");
  const Record again = parse_record(record_json(record), "x");
  EXPECT_TRUE(again.run.same_values(record.run));
  EXPECT_TRUE(again.machine.same_values(record.machine));
  ASSERT_EQ(again.energies.size(), 1u);
  EXPECT_TRUE(again.energies[0].same_values(record.energies[0]));
  ASSERT_EQ(again.samples.size(), 3u);
  for (std::size_t i = 0; i < 3; ++i) EXPECT_TRUE(again.samples[i].same_values(record.samples[i]));
  ASSERT_EQ(again.curve.size(), 2u);
  EXPECT_TRUE(again.curve[1].same_values(record.curve[1]));
  EXPECT_TRUE(again.meters.at(0).same_values(record.meters.at(0)));
  for (const char* wrong :
       {"", "{}", "[1]", "{\"mlpwatt_schema\": 2}", "{\"mlpwatt_schema\":1,\"run\":{\"x\":1}}"})
    EXPECT_THROW(parse_record(wrong, "x"), RecordError) << wrong;
}

}  // namespace
}  // namespace mlpwatt::testing

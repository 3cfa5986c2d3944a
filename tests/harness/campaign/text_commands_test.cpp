// check and export: what they say about good and broken files.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <hdf5.h>

#include <cmath>
#include <functional>

#include "harness/campaign/check_file.h"
#include "tests/harness/campaign/records.h"
#include "tests/harness/program.h"

namespace mlpwatt::testing {
namespace {

using ::testing::HasSubstr;

class TextCommands : public ::testing::Test {
 protected:
  void write(const std::function<void(Contents&)>& change = {}) {
    Contents contents;
    for (int i = 0; i < 5; ++i) contents.add(synthetic_record(i, "0123456789abcdef", "host-a", 2));
    if (change) change(contents);
    write_file(file(), contents);
  }
  std::string file() const { return folder_.path("a.h5"); }
  TemporaryFolder folder_;
};

TEST_F(TextCommands, CheckPassesAGoodFile) {
  write();
  const Outcome outcome = run({"check", file()});
  EXPECT_EQ(outcome.status, 0) << outcome.out << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("valid, 5 runs, 5 ok"));
}

TEST_F(TextCommands, CheckNamesRowAndFault) {
  const auto says = [&](const std::string& column, const auto& value, const std::string& said) {
    write([&](Contents& contents) { contents.rows(runs_table())[3].set(column, value); });
    const Outcome outcome = run({"check", file()});
    EXPECT_EQ(outcome.status, 1) << column;
    EXPECT_THAT(outcome.out, HasSubstr("/runs row 3"));
    EXPECT_THAT(outcome.out, HasSubstr(said));
  };
  says("status", std::string("okay"), "'okay'");
  says("status", std::string("failed"), "without a reason");
  says("reason", std::string("why"), "with a reason");
  says("step_s", -1.0, "step_s -1");
  says("step_s", std::nan(""), "step_s nan");
  says("step_high95_s", 1e-9, "outside its interval");
  says("blocks", std::int64_t{7}, "100 steps");
  says("name", std::string(), "no name");
}

TEST_F(TextCommands, CheckFindsBrokenReferences) {
  write([](Contents& contents) { contents.rows(samples_table())[4].set("run_row", std::int64_t{99}); });
  const Outcome outcome = run({"check", file()});
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.out, HasSubstr("/samples/run_row: row 99"));
}

TEST_F(TextCommands, CheckFindsAMissingColumnAndForeignFiles) {
  write();
  const hid_t opened = H5Fopen(file().c_str(), H5F_ACC_RDWR, H5P_DEFAULT);
  H5Ldelete(opened, "runs/step_s", H5P_DEFAULT);
  H5Fclose(opened);
  const Outcome outcome = run({"check", file(), "--json"});
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.json()["files"][0]["problems"][0], HasSubstr("/runs/step_s: missing"));
  write_text(folder_.path("b.h5"), "not a file");
  EXPECT_EQ(run({"check", folder_.path("b.h5")}).status, 1);
  EXPECT_EQ(run({"check", folder_.path("none.h5")}).status, 1);
}

TEST_F(TextCommands, CheckCountsWhatAPlanLacks) {
  Plan plan;
  for (int i = 0; i < 4; ++i) plan.entries.push_back({.benchmark = "cpu/fma/generic", .batch = i + 1});
  plan.repetitions = 2;
  write_text(folder_.path("a.plan"), plan_text(plan));
  Contents contents;
  for (const int i : {0, 1, 2, 4, 5, 6, 7}) contents.add(synthetic_record(i, plan.campaign()));
  write_file(file(), contents);
  Outcome outcome = run({"check", file(), "--plan", folder_.path("a.plan")});
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.out, HasSubstr("1 of the plan's 8 runs are missing, the first at order_index 3"));
  contents.add(synthetic_record(3, plan.campaign()));
  write_file(file(), contents);
  EXPECT_EQ(run({"check", file(), "--plan", folder_.path("a.plan")}).status, 0);
}

TEST_F(TextCommands, CsvQuotesAndLeavesAbsentEmpty) {
  write([](Contents& contents) {
    contents.rows(runs_table())[0].set("command", "say \"a\", then\nb");
    contents.rows(runs_table())[1].set("step_s", std::nan(""));
  });
  const Outcome outcome = run({"export", file(), "--csv", "--columns", "order_index,command,step_s,m"});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_TRUE(
      outcome.out.starts_with("order_index,command,step_s,m\r\n0,\"say \"\"a\"\", "
                              "then\nb\",1e-06,\r\n1,mlpwatt campaign a.plan --out b,,\r\n"))
      << outcome.out;
}

TEST_F(TextCommands, JsonHoldsEveryValueExactly) {
  write();
  const Outcome outcome = run({"export", file(), "--json"});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  const auto rows = outcome.json();
  ASSERT_EQ(rows.size(), 5u);
  const Contents contents = read_file(file());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const Row& row = contents.rows(runs_table())[i];
    EXPECT_EQ(rows[i]["step_s"].get<double>(), row.real("step_s"));
    EXPECT_EQ(rows[i]["start_realtime_ns"].get<std::int64_t>(), row.integer("start_realtime_ns"));
    EXPECT_EQ(rows[i]["name"].get<std::string>(), row.text("name"));
    EXPECT_FALSE(rows[i].contains("m"));
  }
  const Outcome samples =
      run({"export", file(), "--json", "--table", "samples", "--out", folder_.path("s.json")});
  ASSERT_EQ(samples.status, 0) << samples.err;
  EXPECT_EQ(nlohmann::json::parse(read_text(folder_.path("s.json"))).size(), 10u);
}

TEST_F(TextCommands, WrongWordsEndInStatusTwo) {
  write();
  EXPECT_EQ(run({"export", file()}).status, 2);
  EXPECT_EQ(run({"export", file(), "--csv", "--json"}).status, 2);
  const Outcome outcome = run({"export", file(), "--csv", "--columns", "stp_s"});
  EXPECT_EQ(outcome.status, 2);
  EXPECT_THAT(outcome.err, HasSubstr("step_s"));
  EXPECT_EQ(run({"export", file(), "--csv", "--table", "rnus"}).status, 2);
}

}  // namespace
}  // namespace mlpwatt::testing

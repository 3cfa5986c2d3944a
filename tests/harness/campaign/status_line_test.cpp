// The progress line: what it says, redrawn on a terminal, line by line elsewhere.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "harness/campaign/status_line.h"
#include "tests/harness/campaign/records.h"

namespace mlpwatt::testing {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(StatusLine, DoneRateTimeLeftPowerFlaggedAndWhatRuns) {
  std::ostringstream out;
  // 10 of 100 were there; the 90 others are predicted to take 300 s, the first three of them 10 s
  StatusLine line(out, true, 60, {100, 10, 300});
  line.begin("cpu/a", 1000);
  EXPECT_THAT(out.str(), HasSubstr("[10/100]  cpu/a"));
  Record record = synthetic_record(0);
  record.run.set("power_w_measured", 231.24);
  line.end(record, 2, 1005);
  record.run.set("quality", "few_blocks");
  line.end(record, 3, 1010);
  record.run.set("quality", "ok");
  record.run.set("energy_quality", "under_sampled");
  line.end(record, 5, 1020);
  out.str("");
  line.begin("cpu/b", 1020);
  // twice as slow as predicted so far: 290 predicted seconds are 580
  EXPECT_THAT(out.str(), EndsWith("[13/100] 0.15/s, 10 min left, 231.2 W, 2 flagged  cpu/b"));
  EXPECT_EQ(out.str().find('\n'), std::string::npos);
  EXPECT_EQ(line.flagged(), 2);
}

TEST(StatusLine, ModelledPowerSaysSo) {
  Record record = synthetic_record(0);
  EXPECT_EQ(power_text(record.run), "");
  record.run.set("power_w_modelled", 12.5);
  EXPECT_EQ(power_text(record.run), "12.5 W modelled");
  record.run.set("power_w_measured", 40.0);
  EXPECT_EQ(power_text(record.run), "40 W");
}

TEST(StatusLine, WithoutPredictionsTheRunsSoFarSayHowLong) {
  std::ostringstream out;
  StatusLine line(out, true, 60, {20, 0, std::nan("")});
  line.begin("cpu/a", 0);
  line.end(synthetic_record(0), std::nan(""), 3);
  out.str("");
  line.begin("cpu/b", 3);
  EXPECT_THAT(out.str(), HasSubstr("[1/20] 0.333/s, 57 s left"));
}

TEST(StatusLine, ANarrowTerminalIsNotWrapped) {
  std::ostringstream out;
  StatusLine line(out, true, 60, {1, 0, 1}, 20);
  line.begin("cpu/" + std::string(100, 'x'), 0);
  EXPECT_EQ(out.str().size(), std::string("\r\033[K").size() + 19);
}

TEST(StatusLine, OffATerminalALineNowAndThen) {
  std::ostringstream out;
  StatusLine line(out, false, 60, {10, 0, 300});
  for (int i = 0; i < 10; ++i) {
    line.begin("cpu/" + std::to_string(i), 30.0 * i);
    line.end(synthetic_record(i), 30, 30.0 * (i + 1));
  }
  line.clear();
  // at 60, 120, 180, 240 and 300 s
  const std::string said = out.str();
  EXPECT_EQ(std::count(said.begin(), said.end(), '\n'), 5);
  EXPECT_THAT(said, HasSubstr("[10/10]"));
  EXPECT_THAT(said, Not(HasSubstr("\r")));
  EXPECT_THAT(said, Not(HasSubstr("\033")));
}

TEST(StatusLine, TroubleIsSaidAtOnceAndStays) {
  for (const bool terminal : {false, true}) {
    std::ostringstream out;
    StatusLine line(out, terminal, 1000, {10, 0, 300});
    line.begin("cpu/a", 0);
    Record record = synthetic_record(0);
    record.run.set("status", "failed");
    record.run.set("reason", "wrong result");
    line.end(record, 30, 1);
    EXPECT_THAT(out.str(), HasSubstr("cpu/a: failed: wrong result\n"));
    EXPECT_EQ(line.failed(), 1);
    EXPECT_EQ(line.flagged(), 0);
  }
}

}  // namespace
}  // namespace mlpwatt::testing

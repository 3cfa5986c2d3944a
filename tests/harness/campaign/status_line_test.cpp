// The progress line: what it says, redrawn on a terminal, line by line elsewhere.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <functional>
#include <memory>
#include <optional>
#include <thread>

#include "harness/campaign/status_line.h"
#include "meters/power_session.h"
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
  EXPECT_THAT(out.str(), EndsWith("[13/100] 0.15/s, 10 min left, 231.2 W in the last run, 2 flagged  cpu/b"));
  EXPECT_EQ(out.str().find('\n'), std::string::npos);
  EXPECT_EQ(line.flagged(), 2);
}

TEST(StatusLine, TheMetersNewestGoesBeforeTheLastRuns) {
  for (const bool terminal : {false, true}) {
    std::ostringstream out;
    std::string now;
    StatusLine line(out, terminal, 0, {10, 0, 10}, 0, [&] { return now; });
    Record record = synthetic_record(0);
    record.run.set("power_w_measured", 231.24);
    line.begin("cpu/a", 0);
    EXPECT_THAT(out.str(), Not(HasSubstr(" W")));  // nothing is known yet
    line.end(record, 1, 1);
    line.begin("cpu/b", 1);
    EXPECT_THAT(out.str(), HasSubstr(", 231.2 W in the last run  cpu/"));
    now = "77.5 W modelled";
    out.str("");
    line.begin("cpu/b", 1);
    line.end(record, 1, 2);
    line.begin("cpu/c", 2);
    EXPECT_THAT(out.str(), HasSubstr(", 77.5 W modelled now  cpu/"));
    EXPECT_THAT(out.str(), Not(HasSubstr("last run")));
  }
}

/// Shows what it is told to, every 5 ms.
class ToldMeter : public Meter {
 public:
  ToldMeter(std::string name, const Channel& channel, std::function<std::optional<double>()> shown)
      : name_(std::move(name)), channels_{channel}, shown_(std::move(shown)) {}
  std::string name() const override { return name_; }
  const std::vector<Channel>& channels() const override { return channels_; }
  std::vector<Reading> read(double) override {
    Reading reading;
    reading.monotonic_s = monotonic_now_s();
    reading.value = shown_();
    if (!reading.value) reading.reason = "told: nothing";
    return {reading};
  }
  double poll_period_s() const override { return 0.005; }
  bool slow() const override { return false; }

 private:
  std::string name_;
  std::vector<Channel> channels_;
  std::function<std::optional<double>()> shown_;
};

Channel channel_of(const std::string& domain, ReadingKind kind, const std::string& parent = "",
                   Provenance provenance = Provenance::kMeasured) {
  Channel channel;
  channel.domain = domain;
  channel.parent = parent;
  channel.kind = kind;
  channel.provenance = provenance;
  channel.update_period_s = 0.005;
  return channel;
}

/// Asked until there is an answer that `wanted` likes; the last one when there never is.
std::optional<PowerNow> power_when(const PowerSession& session,
                                   const std::function<bool(const std::optional<PowerNow>&)>& wanted) {
  std::optional<PowerNow> now;
  for (int i = 0; i < 2000; ++i) {
    now = session.power_now();
    if (wanted(now)) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return now;
}

TEST(PowerNow, AddsUpTheOutermostDomainsOfWattsAndOfCounters) {
  // a package by its counter at 40 W, the memory inside it, an accelerator by its watts, and a model of it
  // all
  const double start_s = monotonic_now_s();
  const auto counter = [=](double watts) {
    return [=] { return std::optional<double>(watts * (monotonic_now_s() - start_s)); };
  };
  std::vector<std::unique_ptr<Meter>> meters;
  meters.push_back(
      std::make_unique<ToldMeter>("rapl", channel_of("package0", ReadingKind::kEnergyCounter), counter(40)));
  meters.push_back(std::make_unique<ToldMeter>(
      "rapl", channel_of("dram0", ReadingKind::kEnergyCounter, "package0"), counter(7)));
  meters.push_back(std::make_unique<ToldMeter>("gpu", channel_of("gpu:0", ReadingKind::kInstantPower),
                                               [] { return std::optional<double>(300); }));
  meters.push_back(std::make_unique<ToldMeter>(
      "estimate", channel_of("node", ReadingKind::kInstantPower, "", Provenance::kModelled),
      [] { return std::optional<double>(5000); }));
  const PowerSession session(std::move(meters), 0);
  // a reading that was put off between the counter and its stamp makes the first watts wrong
  const auto right = [](const std::optional<PowerNow>& now) {
    return now && std::fabs(now->watts - 340) < 1;
  };
  const std::optional<PowerNow> now = power_when(session, right);
  ASSERT_TRUE(now);
  EXPECT_NEAR(now->watts, 340, 1);
  EXPECT_EQ(now->provenance, Provenance::kMeasured);
}

TEST(PowerNow, IsTheNewestAndEndsWithTheMeter) {
  const auto shown = std::make_shared<std::atomic<double>>(100);
  std::vector<std::unique_ptr<Meter>> meters;
  meters.push_back(std::make_unique<ToldMeter>(
      "estimate", channel_of("node", ReadingKind::kInstantPower, "", Provenance::kModelled), [shown] {
        const double watts = *shown;
        return watts < 0 ? std::optional<double>() : std::optional<double>(watts);
      }));
  const PowerSession session(std::move(meters), 0);
  const auto is = [](double watts) {
    return [=](const std::optional<PowerNow>& now) { return now && std::fabs(now->watts - watts) < 1; };
  };
  const std::optional<PowerNow> before = power_when(session, is(100));
  ASSERT_TRUE(before);
  EXPECT_EQ(watts_text(before->watts, before->provenance), "100 W modelled");
  *shown = 250;
  const std::optional<PowerNow> after = power_when(session, is(250));
  ASSERT_TRUE(after);
  EXPECT_NEAR(after->watts, 250, 1);
  *shown = -1;  // it answers no more
  EXPECT_FALSE(power_when(session, [](const std::optional<PowerNow>& now) { return !now; }));
  EXPECT_FALSE(PowerSession(PowerOptions{}).power_now());
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

// mlpwatt attach-power: what a log adds to a finished file, and what it refuses.

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include "harness/record/reader.h"
#include "harness/record/record_file.h"
#include "harness/run/power_rows.h"
#include "meters/power/power_log.h"
#include "tests/harness/program.h"
#include "tests/meters/waveform.h"
#include "tests/support/temporary_folder.h"

namespace mlpwatt::testing {
namespace {

using ::testing::HasSubstr;

constexpr double kIdle_w = 220, kLoad_w = 360;
/// A winter noon of the study's place: 2021-12-01 19:00 UTC.
constexpr double kNoon_utc_s = 1638385200;
constexpr double kBoot_s = 5000;  ///< CLOCK_MONOTONIC at the first run's start

/// A run of `duration_s` that began `after_s` after the first.
Record run_of(const std::string& name, double first_utc_s, double after_s, double duration_s,
              double idle_s = 0) {
  Record record;
  Row& run = record.run;
  run.set("name", name);
  run.set("family", "test");
  run.set("backend", "cpu");
  run.set("host", "r1i0n3.cluster");
  record.machine.set("host", "r1i0n3.cluster");
  run.set("status", "ok");
  run.set("start_realtime_ns", std::int64_t{std::llround((first_utc_s + after_s) * 1e9)});
  run.set("start_monotonic_ns", std::int64_t{std::llround((kBoot_s + after_s) * 1e9)});
  run.set("duration_s", duration_s);
  run.set("warm_up_s", 60.0);
  if (idle_s > 0) run.set("idle_s", idle_s);
  run.set("steps", std::int64_t{1000});
  run.set("step_mean_s", duration_s / 1000);
  return record;
}

std::string civil(double utc_s) {
  const auto seconds = static_cast<time_t>(std::llround(utc_s));
  tm parts{};
  gmtime_r(&seconds, &parts);
  char text[40];
  strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

class AttachPower : public ::testing::Test {
 protected:
  std::string file() const { return folder_.path("runs.h5"); }
  std::string log() const { return folder_.path("power.csv"); }

  void write_runs(double first_utc_s, double duration_s = 1200, double idle_s = 0) {
    std::filesystem::remove(file());
    RecordFile out(file());
    out.append(run_of("a", first_utc_s, 0, duration_s, idle_s));
    out.append(run_of("b", first_utc_s, 7200, duration_s, idle_s));
  }

  /// One reading a minute of the minute before it; loaded from `load_s` to `load_s` + 1200 s and two hours
  /// later.
  /// @param stamp_s how a UTC time is written
  void write_log(double from_utc_s, double to_utc_s, double load_utc_s,
                 const std::function<std::string(double)>& stamp, const std::string& node = "r1i0n3") {
    const Waveform curve({{0, kIdle_w},
                          {load_utc_s, kLoad_w},
                          {load_utc_s + 1200, kIdle_w},
                          {load_utc_s + 7200, kLoad_w},
                          {load_utc_s + 8400, kIdle_w}});
    std::ofstream out(log());
    out << "timestamp,node,watts\n";
    for (double t = std::ceil(from_utc_s / 60) * 60; t <= to_utc_s; t += 60)
      out << stamp(t) << ',' << node << ',' << std::lround(curve.mean_w(t - 60, t)) << '\n';
  }

  Outcome attach(const std::vector<std::string>& more = {}) {
    std::vector<std::string> args{"attach-power", file(), log()};
    args.insert(args.end(), more.begin(), more.end());
    return run(args);
  }

  const TemporaryFolder folder_;
};

TEST_F(AttachPower, AddsWhatALiveMeterWouldHaveLeft) {
  write_runs(kNoon_utc_s);
  write_log(kNoon_utc_s - 3600, kNoon_utc_s + 3600 * 4, kNoon_utc_s, civil);
  const Outcome outcome = attach({"--idle-w", "220", "--accuracy", "0.01"});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("attached to 2 run(s)"));
  EXPECT_TRUE(Reader(file()).problems().empty());
  const Contents contents = read_file(file());
  for (const Row& row : contents.rows(runs_table())) {
    const double truth = 1200 * kLoad_w;
    EXPECT_NEAR(row.real("energy_j_measured"), truth, 0.01 * truth);
    EXPECT_LE(std::fabs(row.real("energy_j_measured") - truth),
              2 * row.real("energy_uncertainty_j_measured"));
    EXPECT_NEAR(row.real("power_w_measured"), kLoad_w, 4);
    EXPECT_NEAR(row.real("idle_power_w_measured"), kIdle_w, 1e-9);
    EXPECT_NEAR(row.real("step_energy_above_idle_j_measured"), 1.2 * (kLoad_w - kIdle_w), 5);
    EXPECT_EQ(row.text("energy_quality"), "ok") << row.text("energy_reason");
    EXPECT_EQ(row.text("energy_domains"), "node");
    EXPECT_EQ(row.text("energy_meters"), "csv_log");
    EXPECT_EQ(row.integer("ee_hpc_wg_level"), 1) << "a reading a minute";
    EXPECT_TRUE(std::isnan(row.real("energy_j_modelled")));
  }
  ASSERT_EQ(contents.rows(meters_table()).size(), 1u);
  const Row& meter = contents.rows(meters_table())[0];
  EXPECT_DOUBLE_EQ(meter.real("update_period_s"), 60) << "found in the stamps";
  EXPECT_EQ(meter.text("kind"), "average");
  EXPECT_EQ(meter.text("timing_source"), "assumed") << "nobody said how late the stamps are";
  ASSERT_EQ(contents.rows(energies_table()).size(), 2u);
  EXPECT_EQ(contents.rows(energies_table())[1].integer("run_row"), 1);
  EXPECT_EQ(contents.rows(energies_table())[0].integer("summed"), 1);
  EXPECT_GE(contents.rows(energies_table())[0].integer("distinct_updates"), 20);
  const std::vector<Row>& samples = contents.rows(samples_table());
  ASSERT_GE(samples.size(), 80u);
  EXPECT_NEAR(samples[0].real("monotonic_s"), kBoot_s - 720, 60) << "on the run's own clock";
}

TEST_F(AttachPower, TwiceIsOnceUnlessAskedTo) {
  write_runs(kNoon_utc_s);
  write_log(kNoon_utc_s - 3600, kNoon_utc_s + 3600 * 4, kNoon_utc_s, civil);
  ASSERT_EQ(attach().status, 0);
  const Contents once = read_file(file());
  const auto written = std::filesystem::last_write_time(file());
  const Outcome again = attach();
  EXPECT_EQ(again.status, 0);
  EXPECT_THAT(again.out, HasSubstr("attached to 0 run(s); 2 had it already"));
  EXPECT_EQ(std::filesystem::last_write_time(file()), written) << "nothing to write";
  ASSERT_EQ(attach({"--replace", "--accuracy", "0.02"}).status, 0);
  const Contents replaced = read_file(file());
  EXPECT_EQ(replaced.rows(energies_table()).size(), once.rows(energies_table()).size());
  EXPECT_EQ(replaced.rows(samples_table()).size(), once.rows(samples_table()).size());
  EXPECT_LT(replaced.rows(runs_table())[0].real("energy_uncertainty_j_measured"),
            once.rows(runs_table())[0].real("energy_uncertainty_j_measured"));
  EXPECT_TRUE(Reader(file()).problems().empty());
}

TEST_F(AttachPower, TheStudysLocalTimesWithAWrongZ) {
  if (!std::filesystem::exists("/usr/share/zoneinfo/America/Denver"))
    GTEST_SKIP() << "needs the tzdata package";
  write_runs(kNoon_utc_s);
  write_log(kNoon_utc_s - 3600, kNoon_utc_s + 3600 * 4, kNoon_utc_s,
            [](double utc_s) { return civil(utc_s - 7 * 3600); });  // MST, marked Z
  const Outcome wrong = attach();
  EXPECT_EQ(wrong.status, 2);
  EXPECT_THAT(wrong.err, HasSubstr("begins -8.00 h"));
  EXPECT_THAT(wrong.err, HasSubstr("--timezone"));
  EXPECT_EQ(wrong.error_lines(), 1u);
  ASSERT_EQ(attach({"--timezone", "America/Denver"}).status, 0);
  EXPECT_NEAR(read_file(file()).rows(runs_table())[1].real("energy_j_measured"), 1200 * kLoad_w,
              12 * kLoad_w);
}

TEST_F(AttachPower, TheNightTheClocksGoBack) {
  if (!std::filesystem::exists("/usr/share/zoneinfo/America/Denver"))
    GTEST_SKIP() << "needs the tzdata package";
  // 2021-11-07 08:00 UTC: 02:00 MDT becomes 01:00 MST. The first run is in the first half past one, the
  // second, two hours later, after the repeated one.
  const double back_utc_s = 1636272000, first_s = back_utc_s - 1800;
  write_runs(first_s);
  write_log(first_s - 3600, first_s + 4 * 3600, first_s,
            [&](double utc_s) { return civil(utc_s - (utc_s < back_utc_s ? 6 : 7) * 3600); });
  ASSERT_EQ(attach({"--timezone", "America/Denver"}).status, 0);
  const Contents contents = read_file(file());
  for (const Row& row : contents.rows(runs_table())) {
    EXPECT_NEAR(row.real("energy_j_measured"), 1200 * kLoad_w, 12 * kLoad_w) << row.text("name");
    EXPECT_EQ(row.text("energy_quality"), "ok");
  }
}

TEST_F(AttachPower, AClockThatIsOffIsPutRight) {
  write_runs(kNoon_utc_s);
  write_log(kNoon_utc_s - 3600, kNoon_utc_s + 3600 * 4, kNoon_utc_s,
            [](double utc_s) { return civil(utc_s - 600); });
  ASSERT_EQ(attach({"--offset", "600"}).status, 0);
  EXPECT_NEAR(read_file(file()).rows(runs_table())[0].real("energy_j_measured"), 1200 * kLoad_w,
              12 * kLoad_w);
}

TEST_F(AttachPower, ALoggersClockThatWasSetBackIsFlagged) {
  write_runs(kNoon_utc_s);
  const double back_utc_s = kNoon_utc_s - 300;
  write_log(kNoon_utc_s - 3600 * 2, kNoon_utc_s + 3600 * 4, kNoon_utc_s,
            [&](double utc_s) { return civil(utc_s < back_utc_s ? utc_s : utc_s - 3600); });
  const Outcome outcome = attach();
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("2 run(s) flagged, the first: a: clock_jump (csv_log: node: "));
  EXPECT_THAT(outcome.err, HasSubstr("power.csv, line 117: stamps run back by 3540 s"));
  const Contents contents = read_file(file());
  EXPECT_NEAR(contents.rows(runs_table())[0].real("energy_j_measured"), 1200 * kIdle_w, 1200)
      << "what was read an hour later";
  for (const Row& row : contents.rows(runs_table())) {
    EXPECT_THAT(row.text("energy_quality"), HasSubstr("clock_jump")) << row.text("name");
    EXPECT_THAT(row.text("energy_reason"), HasSubstr("power.csv")) << row.text("name");
  }
}

TEST_F(AttachPower, WhatWasReadAfterTheClockWasPutRightIsNotFlagged) {
  write_runs(kNoon_utc_s);
  const double back_utc_s = kNoon_utc_s - 300, right_utc_s = kNoon_utc_s + 4800;
  write_log(kNoon_utc_s - 3600 * 2, kNoon_utc_s + 3600 * 4, kNoon_utc_s, [&](double utc_s) {
    return civil(utc_s < back_utc_s || utc_s >= right_utc_s ? utc_s : utc_s - 3600);
  });
  ASSERT_EQ(attach().status, 0);
  const Contents contents = read_file(file());
  EXPECT_THAT(contents.rows(runs_table())[0].text("energy_quality"), HasSubstr("clock_jump"));
  EXPECT_EQ(contents.rows(runs_table())[1].text("energy_quality"), "ok");
  EXPECT_NEAR(contents.rows(runs_table())[1].real("energy_j_measured"), 1200 * kLoad_w, 12 * kLoad_w);
}

TEST_F(AttachPower, LocalTimesOfTheNightTheClocksGoBackWithoutTheirZoneAreFlagged) {
  const double back_utc_s = 1636272000, first_s = back_utc_s - 1800;  // as above
  write_runs(first_s);
  write_log(first_s - 3600, first_s + 4 * 3600, first_s,
            [&](double utc_s) { return civil(utc_s - (utc_s < back_utc_s ? 6 : 7) * 3600); });
  const Outcome outcome = attach({"--offset", "25200"});
  ASSERT_EQ(outcome.status, 0);
  EXPECT_THAT(outcome.err, HasSubstr("--timezone"));
  const Contents contents = read_file(file());
  for (const Row& row : contents.rows(runs_table()))
    EXPECT_THAT(row.text("energy_quality"), HasSubstr("clock_jump")) << row.text("name");
}

TEST_F(AttachPower, AStampWithTwoPowersFlagsTheRunItIsIn) {
  const auto write_twice = [&](double at_utc_s, int watts) {
    write_log(kNoon_utc_s - 3600, kNoon_utc_s + 3600 * 4, kNoon_utc_s - 0.01, [&](double utc_s) {
      const std::string stamp = civil(utc_s);
      return utc_s == at_utc_s ? fmt::format("{},r1i0n3,{}\n{}", stamp, watts, stamp) : stamp;
    });
  };
  const auto quality = [&](std::size_t run, const char* column) {
    return read_file(file()).rows(runs_table())[run].text(column);
  };
  write_runs(kNoon_utc_s, 1200, 900);
  write_twice(kNoon_utc_s + 600, 340);
  const Outcome outcome = attach();
  EXPECT_THAT(outcome.err, HasSubstr("1 run(s) flagged, the first: a: clock_jump"));
  EXPECT_THAT(outcome.err, HasSubstr("340 W and 360 W at the same time"));
  EXPECT_EQ(quality(1, "energy_quality"), "ok");
  write_twice(kNoon_utc_s + 600, 360);
  ASSERT_EQ(attach({"--replace"}).status, 0);
  EXPECT_EQ(quality(0, "energy_quality"), "ok") << "the same line twice";
  EXPECT_EQ(quality(0, "energy_above_idle_quality"), "ok");
  write_twice(kNoon_utc_s - 480, 221);
  ASSERT_EQ(attach({"--replace"}).status, 0);
  EXPECT_EQ(quality(0, "energy_quality"), "ok") << "only the idle time before it";
  EXPECT_EQ(quality(0, "energy_above_idle_quality"), "clock_jump");
}

TEST_F(AttachPower, AForgottenZoneIsNoticed) {
  const auto local = [](double utc_s) { return civil(utc_s - 7 * 3600); };
  const double day_s = 86400;
  write_runs(kNoon_utc_s);
  write_log(kNoon_utc_s - day_s, kNoon_utc_s + day_s, kNoon_utc_s, local);
  const Outcome forgotten = attach();
  ASSERT_EQ(forgotten.status, 0) << forgotten.err;
  EXPECT_THAT(forgotten.err, HasSubstr("power.csv does not show the run(s) where they were, but all of them "
                                       "7 h earlier"));
  EXPECT_THAT(forgotten.err, HasSubstr("--offset 25200"));
  EXPECT_NEAR(read_file(file()).rows(runs_table())[0].real("energy_j_measured"), 1200 * kIdle_w, 1200);
  const Outcome given = attach({"--replace", "--offset", "25200"});
  ASSERT_EQ(given.status, 0) << given.err;
  EXPECT_EQ(given.err, "");
  EXPECT_NEAR(read_file(file()).rows(runs_table())[0].real("energy_j_measured"), 1200 * kLoad_w,
              12 * kLoad_w);
}

TEST_F(AttachPower, OtherLoadsAreNoForgottenZone) {
  const double day_s = 86400;
  const auto quiet = [&](double load_utc_s, const char* what) {
    write_runs(kNoon_utc_s);
    write_log(kNoon_utc_s - day_s, kNoon_utc_s + day_s, load_utc_s, civil);
    const Outcome outcome = attach();
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    EXPECT_EQ(outcome.err.find("does not show"), std::string::npos) << what << ": " << outcome.err;
  };
  quiet(kNoon_utc_s, "where they were");
  quiet(kNoon_utc_s + 10 * day_s, "runs that no meter sees");
  quiet(kNoon_utc_s - 5 * 3600 + 600, "other edges than the runs'");
  quiet(kNoon_utc_s - 7200, "one of the two where it was");
}

TEST_F(AttachPower, IdleTimesOfTheRunAreUsed) {
  write_runs(kNoon_utc_s, 1200, 900);
  write_log(kNoon_utc_s - 3600, kNoon_utc_s + 3600 * 4, kNoon_utc_s - 0.01, civil);
  ASSERT_EQ(attach().status, 0);
  const Row row = read_file(file()).rows(runs_table())[0];
  EXPECT_NEAR(row.real("idle_power_w_measured"), kIdle_w, 1);
  EXPECT_NEAR(row.real("energy_above_idle_j_measured"), 1200 * (kLoad_w - kIdle_w), 0.03 * 1200 * kLoad_w);
}

TEST_F(AttachPower, TheNodeTakesThePlaceOfItsParts) {
  std::filesystem::remove(file());
  Record record = run_of("a", kNoon_utc_s, 0, 1200);
  WindowPower power;
  ChannelEnergy package;
  package.meter = "powercap";
  package.channel.domain = "package0";
  package.channel.parent = "node";
  package.channel.kind = ReadingKind::kEnergyCounter;
  package.gross.joules = 120000;
  package.gross.seconds = 1200;
  package.gross.sampling_j = 30;
  package.gross.distinct_updates = package.gross.readings = 1000;
  package.net = package.gross;
  package.net.joules = 100000;
  package.idle.watts = 20000 / 1200.0;
  power.channels.push_back(package);
  power.series.push_back({"powercap", package.channel, 0.1, {}, {}});
  set_power(record, power);
  RecordFile(file()).append(record);
  write_log(kNoon_utc_s - 3600, kNoon_utc_s + 3600 * 4, kNoon_utc_s, civil);
  ASSERT_EQ(attach().status, 0);
  EXPECT_TRUE(Reader(file()).problems().empty());
  const Contents contents = read_file(file());
  const Row& row = contents.rows(runs_table())[0];
  EXPECT_EQ(row.text("energy_domains"), "node");
  EXPECT_NEAR(row.real("energy_j_measured"), 1200 * kLoad_w, 12 * kLoad_w);
  EXPECT_TRUE(std::isnan(row.real("energy_above_idle_j_measured"))) << "the node's idle power is not known";
  ASSERT_EQ(contents.rows(energies_table()).size(), 3u);
  for (const Row& energy : contents.rows(energies_table())) {
    const std::string& domain = energy.text("domain");
    if (domain == "package0") {
      EXPECT_EQ(energy.integer("summed"), 0);
      EXPECT_DOUBLE_EQ(energy.real("energy_j"), 120000);
    }
    if (domain == "rest") {
      EXPECT_NEAR(energy.real("energy_j"), row.real("energy_j_measured") - 120000, 1e-6);
    }
  }
}

TEST_F(AttachPower, ShortRunsAndGapsAreFlagged) {
  write_runs(kNoon_utc_s, 300);
  write_log(kNoon_utc_s - 3600, kNoon_utc_s + 3600 * 4, kNoon_utc_s, civil);
  const Outcome outcome = attach();
  ASSERT_EQ(outcome.status, 0);
  EXPECT_THAT(outcome.err, HasSubstr("2 run(s) flagged, the first: a: under_sampled"));
  EXPECT_THAT(read_file(file()).rows(runs_table())[0].text("energy_quality"), HasSubstr("under_sampled"));
}

TEST_F(AttachPower, ErrorsNameFileAndLineAndLeaveTheFileAlone) {
  write_runs(kNoon_utc_s);
  const auto written = std::filesystem::last_write_time(file());
  std::ofstream(log()) << "timestamp,node,watts\n2021-12-01T19:00:00Z,r1i0n3,220\nyesterday,r1i0n3,220\n";
  const auto refused = [&](const std::vector<std::string>& more, const std::string& what) {
    const Outcome outcome = attach(more);
    EXPECT_EQ(outcome.status, 2) << what;
    EXPECT_THAT(outcome.err, HasSubstr(what));
    EXPECT_EQ(outcome.error_lines(), 1u) << outcome.err;
  };
  refused({}, "power.csv', line 3: 'yesterday' is no time stamp");
  refused({"--timezone", "Mars/Olympus"}, "Mars/Olympus");
  std::ofstream(log()) << "timestamp,node,watts\n2021-12-01T19:00:00Z,n7,220\n2021-12-01T19:01:00Z,n7,220\n";
  refused({}, "is of node(s) n7, the runs of");
  refused({"--node", "n8"}, "--node");
  EXPECT_EQ(attach({"--node", "n7"}).status, 0);
  std::ofstream(log()) << "";
  refused({}, "no line timestamp,node,watts");
  std::filesystem::remove(log());
  refused({}, "cannot be read");
  std::filesystem::remove(file());
  refused({}, "no results file");
  EXPECT_FALSE(std::filesystem::exists(file())) << "none was made";
  (void)written;
}

}  // namespace
}  // namespace mlpwatt::testing

// Logs that another program wrote: stamps and lines, clocks that were set back, zones whose file has only a
// rule, and a live log that is faster than its period was said to be.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fmt/format.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <initializer_list>
#include <optional>
#include <random>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "meters/energy.h"
#include "meters/power/hours_off.h"
#include "meters/power/power_log.h"
#include "meters/sampler.h"
#include "tests/meters/trees.h"

namespace mlpwatt::testing {
namespace {

using ::testing::HasSubstr;

// ---- stamps and lines -------------------------------------------------------------------------

double utc_s(const std::string& stamp, const std::string& zone = "", double offset_s = 0) {
  return PowerLogReader({.timezone = zone, .offset_s = offset_s}).take(stamp + ",n1,100")->wall_s;
}

/// 2021-11-07 02:00 MDT is 01:00 MST: half past one comes twice.
void expect_the_night_clocks_go_back(const std::string& denver) {
  PowerLogReader reader({.timezone = denver});
  double last_s = 0;
  for (const char* stamp : {"00:30", "01:00", "01:30", "01:00", "01:30", "02:00"}) {
    const double wall_s = reader.take(fmt::format("2021-11-07 {}:00,n1,220", stamp))->wall_s;
    if (last_s > 0) {
      EXPECT_DOUBLE_EQ(wall_s - last_s, 1800) << stamp;
    }
    last_s = wall_s;
  }
}

TEST(PowerLog, StampsInEveryForm) {
  EXPECT_DOUBLE_EQ(utc_s("2026-01-31T12:00:00Z"), 1769860800);
  EXPECT_DOUBLE_EQ(utc_s("2026-01-31 12:00:00.250"), 1769860800.25);
  EXPECT_DOUBLE_EQ(utc_s("2026-01-31T13:00:00+01:00"), 1769860800);
  EXPECT_DOUBLE_EQ(utc_s("1769860800"), 1769860800);
  EXPECT_DOUBLE_EQ(utc_s("1769860800500"), 1769860800.5);
  EXPECT_DOUBLE_EQ(utc_s("2026-01-31T12:00:00Z", "", -30), 1769860770);
  EXPECT_DOUBLE_EQ(utc_s("2026-01-31 12:00", "+02:00"), 1769860800 - 7200);
  for (const char* wrong : {"2026-13-01 00:00:00", "yesterday", "2026-01-31", "2026-01-31 12:00:99"})
    EXPECT_THROW(utc_s(wrong), std::invalid_argument) << wrong;
  EXPECT_THROW(Timezone("Mars/Olympus"), std::invalid_argument);
  EXPECT_THROW(Timezone("../../etc/passwd"), std::invalid_argument);
}

TEST(PowerLog, TheStudysLocalTimesMarkedZAndTheNightClocksGoBack) {
  if (!std::filesystem::exists("/usr/share/zoneinfo/America/Denver"))
    GTEST_SKIP() << "needs the tzdata package";
  EXPECT_DOUBLE_EQ(utc_s("2021-07-01T00:00:00Z", "America/Denver"), 1625119200) << "UTC-6 in summer";
  EXPECT_DOUBLE_EQ(utc_s("2021-12-01T00:00:00Z", "America/Denver"), 1638342000) << "UTC-7 in winter";
  expect_the_night_clocks_go_back("America/Denver");
}

TEST(PowerLog, NodesGapsZeroesAndWindowsLineEnds) {
  const Tree tree;
  tree.append("log.csv",
              "timestamp,node,watts\r\n1000,n1,220\r\n1120,n1,0\r\n1060,n1,221\r\n1060,n1,222\r\n1000,n2,"
              "7\r\n1180,n1,x\r\n");
  const auto log = read_power_log(tree.path("log.csv"), {.node = "n1"}).lines;
  ASSERT_EQ(log.size(), 4u);
  EXPECT_EQ(log[1].watts, 221) << "ordered, the first of equal stamps";
  EXPECT_FALSE(log[2].watts) << "0 W is missing";
  EXPECT_FALSE(log[3].watts);
  EXPECT_EQ(read_power_log(tree.path("log.csv"), {.node = "n1", .zero_is_reading = true}).lines[2].watts, 0);
  EXPECT_THROW(read_power_log(tree.path("log.csv"), {}), std::invalid_argument) << "two nodes";
  EXPECT_THROW(read_power_log(tree.path("none.csv"), {}), std::invalid_argument);
  tree.append("log.csv", "only one field\n");
  try {
    read_power_log(tree.path("log.csv"), {.node = "n1"});
    ADD_FAILURE();
  } catch (const std::invalid_argument& error) {
    EXPECT_THAT(error.what(), HasSubstr("line 8"));
  }
}

// ---- clocks that were set back ----------------------------------------------------------------

/// Lines once a minute from `from_s` to before `to_s`, stamped `off_s` late, all of different powers.
std::string minutes(double from_s, double to_s, double off_s = 0, double step_w = 1) {
  std::string text;
  for (double t = from_s; t < to_s; t += 60)
    text += fmt::format("{:.0f},n1,{:.0f}\n", t + off_s, 200 + step_w * t / 60);
  return text;
}

PowerLog log_of(const std::string& text) {
  const Tree tree;
  tree.append("log.csv", text);
  return read_power_log(tree.path("log.csv"), {.node = "n1"});
}

TEST(PowerLogClock, SetBackLeavesBothSidesInDoubt) {
  const PowerLog log = log_of(minutes(0, 7200) + minutes(7200, 14400, -3600));
  ASSERT_FALSE(log.doubtful.empty());
  EXPECT_DOUBLE_EQ(log.doubtful[0].begin_s, 0) << "the clock may have been fast all the time before";
  EXPECT_DOUBLE_EQ(log.doubtful[0].end_s, 14340 - 3600) << "or slow from then on";
  EXPECT_THAT(log.doubtful[0].reason, HasSubstr("log.csv, line 121: stamps run back by 3540 s"));
  EXPECT_THAT(log.doubtful[0].reason, HasSubstr("attach the part that is right"));
  EXPECT_DOUBLE_EQ(log.period_s, 60);
  // off the minute, no stamp is there twice
  EXPECT_FALSE(log_of(minutes(0, 7200) + minutes(7200, 14400, -3577)).doubtful.empty());
  // one power all along: nothing contradicts, and yet
  EXPECT_FALSE(log_of(minutes(0, 7200, 0, 0) + minutes(7200, 14400, -300, 0)).doubtful.empty());
  // the newest line first
  std::string reversed;
  std::istringstream lines(minutes(0, 7200) + minutes(7200, 14400, -3600));
  for (std::string line; std::getline(lines, line);) reversed.insert(0, line + "\n");
  EXPECT_DOUBLE_EQ(log_of(reversed).doubtful.at(0).end_s, 14340 - 3600);
}

TEST(PowerLogClock, PutRightAgainLeavesWhatWasBetween) {
  const PowerLog slow = log_of(minutes(0, 7200) + minutes(7200, 9000, -3600) + minutes(9000, 20000));
  ASSERT_FALSE(slow.doubtful.empty());
  EXPECT_DOUBLE_EQ(slow.doubtful[0].begin_s, 3600);
  EXPECT_DOUBLE_EQ(slow.doubtful[0].end_s, 8940 - 3600);
  const PowerLog fast = log_of(minutes(0, 7200) + minutes(7200, 9000, 3600) + minutes(9000, 20000));
  ASSERT_FALSE(fast.doubtful.empty());
  EXPECT_DOUBLE_EQ(fast.doubtful[0].begin_s, 10800);
  EXPECT_DOUBLE_EQ(fast.doubtful[0].end_s, 8940 + 3600);
  // a longer time without lines may hide it: the doubt goes no farther, and is on both sides
  const PowerLog gap = log_of(minutes(0, 7200) + minutes(7200, 9000, -3600) + minutes(14400, 20000));
  EXPECT_DOUBLE_EQ(gap.doubtful.at(0).begin_s, 0);
  EXPECT_DOUBLE_EQ(gap.doubtful.at(0).end_s, 7140);
}

TEST(PowerLogClock, WhatIsOnlyOutOfOrderOrThereTwiceIsPutRight) {
  const auto orderly = [](const std::string& text) {
    const PowerLog log = log_of(text);
    EXPECT_EQ(log.lines.size(), 300u);
    EXPECT_TRUE(log.doubtful.empty()) << log.doubtful[0].reason;
    EXPECT_DOUBLE_EQ(log.period_s, 60);
  };
  const std::string a = minutes(0, 6000), b = minutes(6000, 12000), c = minutes(12000, 18000);
  orderly(a + b + c);
  orderly(c + a + b);  // files joined in the order of their names
  orderly(a + c + b);
  orderly(c + b + a);
  orderly(a + b + b + c);
  orderly(a + minutes(3000, 12000) + c);  // files that overlap
  orderly(minutes(0, 3000) + minutes(3060, 3120) + minutes(3000, 3060) + minutes(3120, 12000) + c);
  orderly(a + minutes(5940, 6000) + b + c);
  std::string newest_first;
  std::istringstream lines(a + b + c);
  for (std::string line; std::getline(lines, line);) newest_first.insert(0, line + "\n");
  orderly(newest_first);
  orderly("0,n2,7\n" + a + "9000,n2,7\n" + b + "0,n2,8\n3000,n2,7\n" + c);  // of another node
}

TEST(PowerLogClock, OneStampWithTwoPowersIsInDoubtAround) {
  const PowerLog log = log_of(minutes(0, 6000) + "5940,n1,17\n" + minutes(6000, 12000));
  ASSERT_EQ(log.doubtful.size(), 1u);
  EXPECT_DOUBLE_EQ(log.doubtful[0].begin_s, 5880);
  EXPECT_DOUBLE_EQ(log.doubtful[0].end_s, 6000);
  EXPECT_THAT(log.doubtful[0].reason,
              HasSubstr("log.csv, lines 100 and 101: 299 W and 17 W at the same time"));
  EXPECT_EQ(log.lines[99].watts, 299) << "the first";
}

TEST(PowerLogClock, StampsCoarserThanTheLinesStandForTheirMean) {
  std::string text;  // five lines a second, stamped by the second
  for (int i = 0; i < 100; ++i) text += fmt::format("{},n1,{}\n", 1000 + i / 5, 200 + i % 5);
  const PowerLog log = log_of(text);
  EXPECT_TRUE(log.doubtful.empty()) << log.doubtful[0].reason;
  ASSERT_EQ(log.lines.size(), 20u);
  for (const LoggedPower& line : log.lines) EXPECT_DOUBLE_EQ(line.watts.value(), 202);
}

TEST(HoursOff, NoiseIsNoOtherZone) {
  int found = 0;
  constexpr int kLogs = 300;
  for (unsigned seed = 1; seed <= kLogs; ++seed) {
    std::mt19937_64 generator(seed);
    std::normal_distribution<double> noise(200, 10);
    std::vector<LoggedPower> lines;
    for (double t = 0; t < 40 * 3600; t += 60) lines.push_back({t, noise(generator), "", 0});
    for (const double minutes : {6.0, 12.0, 30.0})
      found += hours_off({{&lines, 60, 0, 72000, 72000 + 60 * minutes}}).has_value();
  }
  EXPECT_LE(found, 2) << "of " << 3 * kLogs;
}

// ---- zones ------------------------------------------------------------------------------------

/// A folder of zones of a test's own.
class ZoneFolder {
 public:
  ZoneFolder() {
    if (const char* set = std::getenv("TZDIR")) before_ = set;
    setenv("TZDIR", tree_.root().c_str(), 1);
  }
  ~ZoneFolder() { before_ ? setenv("TZDIR", before_->c_str(), 1) : unsetenv("TZDIR"); }
  ZoneFolder(const ZoneFolder&) = delete;
  ZoneFolder& operator=(const ZoneFolder&) = delete;

  struct Transition {
    std::int64_t utc_s;
    char type;  ///< 0: -7 h, 1: -6 h
  };
  /// A file as zic writes it (RFC 8536, version 2), the 32-bit block empty. @param end behind the footer
  std::string add(const std::string& name, const std::vector<Transition>& transitions,
                  const std::string& footer, const std::string& end = "\n") const {
    const auto number = [](std::int64_t value, int bytes) {
      std::string text;
      while (bytes-- > 0) text += static_cast<char>(value >> 8 * bytes & 0xff);
      return text;
    };
    const auto header = [&](std::size_t times, std::size_t types) {
      return "TZif2" + std::string(15, '\0') + number(0, 4) + number(0, 4) + number(0, 4) +
             number(static_cast<std::int64_t>(times), 4) + number(static_cast<std::int64_t>(types), 4) +
             number(4, 4);
    };
    const std::string names("AAA\0", 4);
    std::string bytes = header(0, 1) + number(0, 6) + names + header(transitions.size(), 2);
    for (const Transition& each : transitions) bytes += number(each.utc_s, 8);
    for (const Transition& each : transitions) bytes += each.type;
    bytes += number(-7 * 3600, 4) + number(0, 2) + number(-6 * 3600, 4) + number(256, 2) + names;
    return write_file(tree_.path(name), bytes + "\n" + footer + end);
  }

 private:
  const Tree tree_;
  std::optional<std::string> before_;
};

/// Hours east of UTC at a local time.
double offset_h(const std::string& stamp, const std::string& zone) {
  return (utc_s(stamp + ":00Z") - utc_s(stamp, zone)) / 3600;
}

TEST(ZoneRule, GoesOnWhereASlimFileEnds) {
  const ZoneFolder zones;
  // 2007-03-11 09:00 and 2007-11-04 08:00 UTC
  zones.add("Denver", {{1173603600, 1}, {1194163200, 0}}, "MST7MDT,M3.2.0,M11.1.0");
  EXPECT_DOUBLE_EQ(offset_h("2021-07-01 00:00", "Denver"), -6);
  EXPECT_DOUBLE_EQ(offset_h("2021-12-01 00:00", "Denver"), -7);
  EXPECT_DOUBLE_EQ(offset_h("2007-07-01 00:00", "Denver"), -6) << "of the file's own transitions";
  EXPECT_DOUBLE_EQ(offset_h("2007-12-01 00:00", "Denver"), -7);
  EXPECT_DOUBLE_EQ(offset_h("2026-03-08 01:59", "Denver"), -7);
  EXPECT_DOUBLE_EQ(offset_h("2026-03-08 03:00", "Denver"), -6);
  EXPECT_DOUBLE_EQ(offset_h("2026-12-31 23:59", "Denver"), -7);
  EXPECT_DOUBLE_EQ(offset_h("2027-01-01 00:00", "Denver"), -7);
  expect_the_night_clocks_go_back("Denver");
}

TEST(ZoneRule, OfTheSouthAndOfEveryForm) {
  const ZoneFolder zones;
  zones.add("Sydney", {}, "AEST-10AEDT,M10.1.0,M4.1.0/3");
  EXPECT_DOUBLE_EQ(offset_h("2026-01-15 12:00", "Sydney"), 11) << "summer over the turn of the year";
  EXPECT_DOUBLE_EQ(offset_h("2026-12-31 23:59", "Sydney"), 11);
  EXPECT_DOUBLE_EQ(offset_h("2026-07-15 12:00", "Sydney"), 10);
  EXPECT_DOUBLE_EQ(offset_h("2026-04-05 01:59", "Sydney"), 11);
  EXPECT_DOUBLE_EQ(offset_h("2026-04-05 03:00", "Sydney"), 10);
  EXPECT_DOUBLE_EQ(offset_h("2026-10-04 01:59", "Sydney"), 10);
  EXPECT_DOUBLE_EQ(offset_h("2026-10-04 03:00", "Sydney"), 11);
  zones.add("Nuuk", {}, "<-02>2<-01>,M3.5.0/-1,M10.5.0/0");  // the evening before the last Sunday
  EXPECT_DOUBLE_EQ(offset_h("2026-03-28 22:59", "Nuuk"), -2);
  EXPECT_DOUBLE_EQ(offset_h("2026-03-29 00:00", "Nuuk"), -1);
  zones.add("Jerusalem", {}, "IST-2IDT,M3.4.4/26,M10.5.0");  // the Friday before the last Sunday
  EXPECT_DOUBLE_EQ(offset_h("2026-03-27 01:59", "Jerusalem"), 2);
  EXPECT_DOUBLE_EQ(offset_h("2026-03-27 03:00", "Jerusalem"), 3);
  zones.add("Dublin", {}, "IST-1GMT0,M10.5.0,M3.5.0/1");  // winter is the time that is saved
  EXPECT_DOUBLE_EQ(offset_h("2026-07-01 12:00", "Dublin"), 1);
  EXPECT_DOUBLE_EQ(offset_h("2026-01-01 12:00", "Dublin"), 0);
  zones.add("J", {}, "AAA1:30BBB,J60/0,J305/0");  // 1 March, always
  EXPECT_DOUBLE_EQ(offset_h("2024-02-29 12:00", "J"), -1.5);
  EXPECT_DOUBLE_EQ(offset_h("2024-03-01 12:00", "J"), -0.5);
  EXPECT_DOUBLE_EQ(offset_h("2023-02-28 12:00", "J"), -1.5);
  EXPECT_DOUBLE_EQ(offset_h("2023-03-01 12:00", "J"), -0.5);
  zones.add("n", {}, "AAA1BBB,59/0,304/0");  // the 60th day
  EXPECT_DOUBLE_EQ(offset_h("2024-02-28 12:00", "n"), -1);
  EXPECT_DOUBLE_EQ(offset_h("2024-02-29 12:00", "n"), 0);
  EXPECT_DOUBLE_EQ(offset_h("2023-02-28 12:00", "n"), -1);
  EXPECT_DOUBLE_EQ(offset_h("2023-03-01 12:00", "n"), 0);
  zones.add("summer", {}, "EST5EDT,0/0,J365/25");  // daylight saving all year
  EXPECT_DOUBLE_EQ(offset_h("2026-01-01 00:00", "summer"), -4);
  EXPECT_DOUBLE_EQ(offset_h("2026-07-01 00:00", "summer"), -4);
  EXPECT_DOUBLE_EQ(offset_h("2026-12-31 23:59", "summer"), -4);
  zones.add("Kathmandu", {}, "<+0545>-5:45");
  EXPECT_DOUBLE_EQ(offset_h("2026-07-01 00:00", "Kathmandu"), 5.75);
  zones.add("none", {{1173603600, 1}}, "");  // nobody knows
  EXPECT_DOUBLE_EQ(offset_h("2026-12-01 00:00", "none"), -6);
}

TEST(ZoneRule, ThatIsNotUnderstoodIsAnErrorWithARemedy) {
  const ZoneFolder zones;
  const auto refusal = [](const std::string& zone) -> std::string {
    try {
      utc_s("2026-01-01 00:00", zone);
    } catch (const std::invalid_argument& error) {
      return error.what();
    }
    return "none";
  };
  for (const char* rule : {"MST7MDT,M13.2.0,M11.1.0", "MST7MDT,M3.2.0", "MST7MDT", "MST", "M7", "<-03",
                           "MST25", "MST7MDT,M3.2.0,M11.1.0,", "MST7MDT,M3.2.0/168,M11.1.0",
                           "MST7MDT,J0,J365", "MST7MDT,M3.6.0,M11.1.0", "MST7MDT,M3.-2.0,M11.1.0"}) {
    const std::string path = zones.add("wrong", {}, rule);
    EXPECT_THAT(refusal("wrong"), HasSubstr(path + ": its rule '" + rule + "'")) << rule;
    EXPECT_THAT(refusal("wrong"), HasSubstr("--offset"));
  }
  zones.add("torn", {}, "MST7MDT,M3.2.0,M11.1.0", "");
  EXPECT_THAT(refusal("torn"), HasSubstr("torn is damaged"));
}

// ---- live -------------------------------------------------------------------------------------

/// 200 W and up, in steps.
double watts_at(int second) { return 200 + 10 * (second % 7); }
std::string seconds(int from, int to, double from_wall_s) {
  std::string text;
  for (int k = from; k < to; ++k) text += fmt::format("{:.3f},n1,{}\n", from_wall_s + k, watts_at(k));
  return text;
}

TEST(CsvLogPeriod, IsThatOfTheLogsLastLines) {
  const Tree tree;
  tree.append("p.csv", "timestamp,node,watts\n" + minutes(0, 6000));
  for (int k = 0; k < 100; ++k) tree.append("p.csv", fmt::format("{:.1f},n1,220\n", 6000 + 0.1 * k));
  tree.append("p.csv", "6010.0,n1,5");  // the logger is at it
  const MeterProbe probe = open_meter("csv_log", {{"path", tree.path("p.csv")}, {"node", "n1"}});
  ASSERT_EQ(probe.meters.size(), 1u) << probe.detail;
  EXPECT_THAT(probe.detail, HasSubstr("a line every 0.1 s by its last lines"));
  Meter& meter = *probe.meters[0];
  EXPECT_NEAR(meter.channels()[0].update_period_s, 0.1, 1e-6);
  EXPECT_NEAR(meter.channels()[0].averaging_s, 0.1, 1e-6);
  EXPECT_EQ(meter.channels()[0].update_period_known, Known::kDeclared);
  EXPECT_NEAR(meter.poll_period_s(), 0.025, 1e-6) << "more often than lines come";
  tree.append("p.csv", "00\n");
  EXPECT_EQ(meter.read(1)[0].value, 500) << "the whole line";
  // lines that come in one go are handed out one by one
  tree.append("p.csv", "6010.1,n1,510\n6010.2,n1,520\n6010.3,n1,530\n");
  for (const double watts : {510, 520, 530, 530}) EXPECT_EQ(meter.read(1)[0].value, watts);
}

TEST(CsvLogPeriod, AFasterLogThanSaidIsTakenInNone) {
  for (const bool declared : {false, true}) {
    const Tree tree;
    tree.append("p.csv", "timestamp,node,watts\n");
    nlohmann::json config{{"path", tree.path("p.csv")}, {"node", "n1"}};
    if (declared) config["period_s"] = 60;
    const MeterProbe probe = open_meter("csv_log", config);
    ASSERT_EQ(probe.meters.size(), 1u) << probe.detail;
    Meter& meter = *probe.meters[0];
    EXPECT_EQ(meter.channels()[0].update_period_known, declared ? Known::kDeclared : Known::kAssumed);
    EXPECT_EQ(probe.detail.find("is assumed: \"period_s\" declares it") == std::string::npos, declared);
    ASSERT_DOUBLE_EQ(meter.poll_period_s(), 5) << "five lines a poll";
    const double from_wall_s = std::round(monotonic_now_s() + wall_offset_s());
    const double from_s = from_wall_s - wall_offset_s();
    Series series{"csv_log", meter.channels()[0], meter.poll_period_s(), {}, {}};
    for (int poll = 0; poll < 40; ++poll) {
      tree.append("p.csv", seconds(5 * poll, 5 * poll + 5, from_wall_s));
      series.readings.push_back(meter.read(1)[0]);
      ASSERT_TRUE(series.readings.back().value) << series.readings.back().reason;
      // a poll late while the first line is handed out alone, and never more
      EXPECT_GE(series.readings.back().monotonic_s, from_s + 5 * poll - 0.01) << poll;
    }
    EXPECT_EQ(meter.read(1)[0].device_stamp, series.readings.back().device_stamp) << "nothing waits";
    const Interval window{from_s + 14, from_s + 184};
    double truth_j = 0;
    for (int k = 15; k <= 184; ++k) truth_j += watts_at(k);
    const Energy energy = integrate(series, window);
    EXPECT_EQ(energy.flags, 0u) << flags_text(energy.flags) << ": " << energy.reason;
    EXPECT_NEAR(energy.joules, truth_j, 1e-4 * truth_j) << "every line's";
  }
}

TEST(CsvLogPeriod, WhatCannotBeTakenTogetherEndsWithAReason) {
  const Tree tree;
  tree.append("p.csv", "timestamp,node,watts\n");
  const MeterProbe probe = open_meter("csv_log", {{"path", tree.path("p.csv")}, {"node", "n1"}});
  ASSERT_EQ(probe.meters.size(), 1u) << probe.detail;
  std::string text;
  for (int k = 0; k < 12000; ++k) text += fmt::format("{},n1,{}\n", 1000 + k, k % 2 ? "220" : "x");
  tree.append("p.csv", text);
  EXPECT_THAT(probe.meters[0]->read(1)[0].reason, HasSubstr("faster than they are read at \"period_s\" 60"));
  tree.append("p.csv", "20000,n1,300\n");
  EXPECT_EQ(probe.meters[0]->read(1)[0].value, 300) << "and goes on with what comes";
  tree.append("p.csv", "20001,n1,-5\n20002,n1,310\n20003,n1,x\n20004,n1,y\n");
  EXPECT_EQ(probe.meters[0]->read(1)[0].value, -5) << "what is wrong is not hidden in a mean";
  EXPECT_EQ(probe.meters[0]->read(1)[0].value, 310);
  EXPECT_THAT(probe.meters[0]->read(1)[0].reason, HasSubstr("'y'"));
}

}  // namespace
}  // namespace mlpwatt::testing

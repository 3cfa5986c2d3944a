// Calibration of scripted meters on a scripted clock: period, lag, window and quantum are known and must be
// found within one tick (the time between two readings).

#include "meters/calibration.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "meters/calibration_file.h"
#include "tests/meters/waveform.h"
#include "tests/support/temporary_folder.h"

namespace mlpwatt::testing {
namespace {

using ::testing::HasSubstr;

constexpr double kIdle_w = 220, kLoad_w = 400;

/// A clock that moves when somebody sleeps, the load as a curve, and the instrument that shows it.
struct Script : CalibrationClock {
  double now = 1000;
  Waveform curve = Waveform::constant(kIdle_w);
  double now_s() override { return now; }
  void sleep_until(double t) override { now = std::max(now, t); }
  SquareLoad load() {
    return [this](const SquareWave& wave) {
      std::vector<Waveform::Piece> pieces{{0, kIdle_w}};
      for (std::size_t i = 0; i < wave.edges_s().size(); ++i)
        pieces.push_back({wave.edges_s()[i], i % 2 == 0 ? kLoad_w : kIdle_w});
      curve = Waveform(std::move(pieces));
      return std::make_shared<int>(0);
    };
  }
};

class ScriptedMeter : public Meter {
 public:
  ScriptedMeter(Script& script, Instrument instrument, double poll_s, bool stamped = false)
      : script_(script), instrument_(instrument), poll_s_(poll_s) {
    Channel channel;  // nothing is declared but what kind of reading it is, and its period for the plan
    channel.domain = "node";
    channel.kind = instrument.kind;
    channel.update_period_s = instrument.period_s;
    channel.wrap_j = instrument.wrap_j;
    channel.stamped_by_device = stamped;
    channels_.push_back(channel);
  }
  std::string name() const override { return "scripted"; }
  const std::vector<Channel>& channels() const override { return channels_; }
  std::vector<Reading> read(double) override {
    Reading reading;
    reading.monotonic_s = script_.now;
    reading.value = instrument_.shows(script_.curve, script_.now);
    if (channels_[0].stamped_by_device) {
      reading.monotonic_s = instrument_.last_update_s(script_.now);
      reading.device_stamp = std::llround(reading.monotonic_s * 1e6);
    }
    return {reading};
  }
  double poll_period_s() const override { return poll_s_; }
  bool slow() const override { return false; }

 private:
  Script& script_;
  Instrument instrument_;
  double poll_s_;
  std::vector<Channel> channels_;
};

struct Case {
  const char* label;
  Instrument instrument;
  double poll_s = 1;
  bool stamped = false;
};
void PrintTo(const Case& tested, std::ostream* out) { *out << tested.label; }

ChannelTiming calibrate(const Case& tested, std::uint64_t seed) {
  Script script;
  Instrument instrument = tested.instrument;
  instrument.seed = seed;
  instrument.phase_s = 0.37 * instrument.period_s;
  ScriptedMeter meter(script, instrument, tested.poll_s, tested.stamped);
  const CalibrationRecord record = record_under_load(meter, script.load(), {.seed = seed}, script);
  return fit_timing(record.series.front(), record.load);
}

class Calibration : public ::testing::TestWithParam<Case> {};

TEST_P(Calibration, FindsPeriodLagWindowAndQuantumWithinATick) {
  const Instrument& truth = GetParam().instrument;
  for (const std::uint64_t seed : {1, 2, 3}) {
    const ChannelTiming found = calibrate(GetParam(), seed);
    ASSERT_EQ(found.reason, "");
    const double tick_s = GetParam().stamped ? truth.period_s / 20 : found.poll_s;
    EXPECT_NEAR(found.update_period_s.value, truth.period_s, tick_s);
    EXPECT_NEAR(found.lag_s.value, truth.lag_s, tick_s);
    EXPECT_GT(found.lag_s.spread, 0);
    EXPECT_LT(found.lag_s.spread, tick_s);
    if (truth.kind != ReadingKind::kEnergyCounter) {
      EXPECT_NEAR(found.averaging_s.value, truth.averaging_s, tick_s);
      EXPECT_LT(found.averaging_s.spread, tick_s);
    }
    if (truth.quantum > 1e-2) {
      EXPECT_NEAR(found.quantum, truth.quantum, 1e-6);
    }
    EXPECT_NEAR(found.idle_w, kIdle_w, 3);
    EXPECT_NEAR(found.load_w, kLoad_w, 3);
  }
}

constexpr ReadingKind kCounter = ReadingKind::kEnergyCounter, kInstant = ReadingKind::kInstantPower,
                      kAverage = ReadingKind::kAveragePower;
INSTANTIATE_TEST_SUITE_P(
    Meters, Calibration,
    ::testing::Values(
        Case{"h100_instant",
             {.kind = kInstant,
              .period_s = 0.1,
              .averaging_s = 0.025,
              .lag_s = 0.1,
              .quantum = 0.001,
              .noise_w = 1}},
        Case{"h100_average",
             {.kind = kAverage,
              .period_s = 0.1,
              .averaging_s = 1,
              .lag_s = 0.1,
              .quantum = 0.001,
              .noise_w = 0.3}},
        Case{"dcmi",
             {.kind = kInstant, .period_s = 1, .averaging_s = 1, .lag_s = 0.5, .quantum = 1, .noise_w = 2}},
        Case{"one_minute_log",
             {.kind = kAverage, .period_s = 60, .averaging_s = 60, .lag_s = 20, .quantum = 1, .noise_w = 2},
             5,
             true},
        Case{"pm_counters", {.kind = kCounter, .period_s = 0.1, .lag_s = 0.03, .quantum = 1}},
        Case{"rapl", {.kind = kCounter, .period_s = 0.01, .quantum = 61e-6, .wrap_j = 900}}),
    [](const auto& tested) { return std::string(tested.param.label); });

TEST(CalibrationLimits, UpdatesFasterThanReadingsAreAnUpperBound) {
  const ChannelTiming found =
      calibrate({"fast", {.kind = kCounter, .period_s = 2e-4, .quantum = 61e-6}, 0.001}, 1);
  ASSERT_EQ(found.reason, "");
  EXPECT_TRUE(found.period_is_bound);
  EXPECT_NEAR(found.lag_s.value, 0, 0.002);
  Channel channel;
  channel.update_period_s = 1e-3;
  apply_timing(channel, found);
  EXPECT_DOUBLE_EQ(channel.update_period_s, 1e-3) << "a bound takes no declared period's place";
  EXPECT_EQ(channel.update_period_known, Known::kAssumed);
  EXPECT_EQ(channel.lag_known, Known::kMeasured);
}

TEST(CalibrationLimits, SaysWhyNothingCanBeFound) {
  Script script;
  ScriptedMeter steady(script, {.kind = kInstant, .period_s = 0.1}, 1);
  const SquareLoad none = [](const SquareWave&) { return std::make_shared<int>(0); };
  CalibrationRecord record = record_under_load(steady, none, {}, script);
  EXPECT_THAT(fit_timing(record.series[0], record.load).reason, HasSubstr("scripted: node: changed 0 times"));
  ScriptedMeter noise(script, {.kind = kInstant, .period_s = 0.1, .noise_w = 5}, 1);
  record = record_under_load(noise, none, {}, script);
  EXPECT_THAT(fit_timing(record.series[0], record.load).reason, HasSubstr("does not feed it"));
  for (Reading& reading : record.series[0].readings) {
    reading.value.reset();
    reading.reason = "scripted: permission denied";
  }
  EXPECT_THAT(fit_timing(record.series[0], record.load).reason, HasSubstr("permission denied"));
}

TEST(CalibrationUse, FoundTimingMakesTheEnergyRightWhereAssumedTimingIsNot) {
  // A meter that looks back one second and is half a second late, taken for an instant one.
  const Instrument late{
      .kind = kInstant, .period_s = 0.1, .averaging_s = 1, .lag_s = 0.5, .quantum = 0.1, .noise_w = 0.5};
  const ChannelTiming found = calibrate({"late", late}, 4);
  ASSERT_EQ(found.reason, "");
  const Waveform pulse = Waveform::pulse(kIdle_w, kLoad_w, 30, 36);
  Series series = late.play(pulse, 0.02, 0, 60, 0.004);
  series.channel = Channel{};
  series.channel.domain = "node";
  series.channel.update_period_s = 0.1;
  const Interval window{30, 36};
  const double truth = pulse.joules(30, 36);
  EXPECT_GT(std::fabs(integrate(series, window).joules - truth), 0.02 * truth) << "as assumed";
  apply_timing(series.channel, found);
  const Energy energy = integrate(series, window);
  EXPECT_NEAR(energy.joules, truth, 0.005 * truth);
  EXPECT_LE(std::fabs(energy.joules - truth), 2 * energy.uncertainty_j());
  EXPECT_EQ(series.channel.kind, kAverage);
}

TEST(CalibrationFile, IsKeyedByHostMeterAndDomainAndNamesWhatIsWrong) {
  const TemporaryFolder folder;
  const std::string path = folder.path("calibration.json");
  EXPECT_TRUE(read_calibrations(path).empty());
  ChannelTiming timing = calibrate(
      {"dcmi", {.kind = kInstant, .period_s = 1, .averaging_s = 1, .lag_s = 0.5, .quantum = 1, .noise_w = 2}},
      1);
  timing.host = "n1";
  timing.utc = "2026-01-31T12:00:00Z";
  std::ofstream(path) << calibration_text({}, {timing});
  ChannelTiming newer = timing, failed = timing;
  newer.lag_s.value = 0.75;
  failed.domain = "dram0";
  failed.reason = "scripted: dram0: no";
  const std::string text = calibration_text(read_calibrations(path), {newer, failed});
  std::ofstream(path) << text;
  const std::vector<ChannelTiming> known = read_calibrations(path);
  ASSERT_EQ(known.size(), 1u) << "the newer in the place of the older; what failed is not kept";
  EXPECT_DOUBLE_EQ(known[0].lag_s.value, 0.75);

  Script script;
  const auto scripted = [&] { return std::make_unique<ScriptedMeter>(script, Instrument{}, 1); };
  const auto meter = calibrated(scripted(), known, "n1");
  EXPECT_DOUBLE_EQ(meter->channels()[0].lag_s, 0.75);
  EXPECT_EQ(meter->channels()[0].lag_known, Known::kMeasured);
  EXPECT_EQ(meter->channels()[0].calibrated_utc, "2026-01-31T12:00:00Z");
  EXPECT_TRUE(meter->read(1)[0].value);
  EXPECT_EQ(calibrated(scripted(), known, "n2")->channels()[0].lag_known, Known::kAssumed);

  for (const char* wrong : {"{", "{\"calibrations\": [{\"host\": \"n1\"}]}", "[]"}) {
    std::ofstream(path) << wrong;
    try {
      read_calibrations(path);
      ADD_FAILURE() << wrong;
    } catch (const std::invalid_argument& error) {
      EXPECT_THAT(error.what(), HasSubstr(path));
    }
  }
}

TEST(CalibrationFile, LivesWhereTheUserSays) {
  ::setenv("MLPWATT_CALIBRATION", "/x/y.json", 1);
  EXPECT_EQ(default_calibration_path(), "/x/y.json");
  ::unsetenv("MLPWATT_CALIBRATION");
  const char* before = std::getenv("XDG_CONFIG_HOME");
  const std::string old = before != nullptr ? before : "";
  ::setenv("XDG_CONFIG_HOME", "/c", 1);
  EXPECT_EQ(default_calibration_path(), "/c/mlpwatt/calibration.json");
  before != nullptr ? ::setenv("XDG_CONFIG_HOME", old.c_str(), 1) : ::unsetenv("XDG_CONFIG_HOME");
}

}  // namespace
}  // namespace mlpwatt::testing

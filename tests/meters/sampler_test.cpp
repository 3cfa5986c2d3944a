// The sampler in real time: nothing a meter does holds up its caller, and what it reads is what was played.

#include "meters/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/meters/waveform.h"

namespace mlpwatt::testing {
namespace {

using ::testing::HasSubstr;

/// An instrument of a waveform on the real clock; hangs in reads while `hang` says so.
class LiveMeter : public Meter {
 public:
  LiveMeter(std::string name, Instrument instrument, Waveform curve, double poll_s, bool slow)
      : name_(std::move(name)),
        instrument_(instrument),
        curve_(std::move(curve)),
        poll_s_(poll_s),
        slow_(slow),
        channels_{instrument.channel()} {}
  std::string name() const override { return name_; }
  const std::vector<Channel>& channels() const override { return channels_; }
  std::vector<Reading> read(double) override {
    while (hang && *hang) std::this_thread::sleep_for(std::chrono::milliseconds(2));
    Reading reading;
    reading.monotonic_s = monotonic_now_s();
    reading.value = instrument_.shows(curve_, reading.monotonic_s - start_s);
    return {reading};
  }
  double poll_period_s() const override { return poll_s_; }
  bool slow() const override { return slow_; }

  double start_s = monotonic_now_s();
  std::shared_ptr<std::atomic<bool>> hang;

 private:
  std::string name_;
  Instrument instrument_;
  Waveform curve_;
  double poll_s_;
  bool slow_;
  std::vector<Channel> channels_;
};

std::vector<std::unique_ptr<Meter>> meters_of(std::unique_ptr<Meter> first,
                                              std::unique_ptr<Meter> second = {}) {
  std::vector<std::unique_ptr<Meter>> meters;
  meters.push_back(std::move(first));
  if (second) meters.push_back(std::move(second));
  return meters;
}

void sleep_s(double seconds) { std::this_thread::sleep_for(std::chrono::duration<double>(seconds)); }

TEST(Sampler, MarksPutReadingsAtBothEndsOfAWindow) {
  const Instrument rapl{.kind = ReadingKind::kEnergyCounter, .period_s = 0.001, .quantum = 61e-6};
  const Waveform curve = Waveform::random(2, 50, 300, 0.02, 10);
  auto meter = std::make_unique<LiveMeter>("live", rapl, curve, 10.0, false);
  const double start = meter->start_s;
  Sampler sampler(meters_of(std::move(meter)));
  sleep_s(0.05);
  Interval window;
  window.begin_s = monotonic_now_s();
  sampler.mark();
  sleep_s(0.2);
  sampler.mark();
  window.end_s = monotonic_now_s();
  const Energy energy = integrate(sampler.series(0).front(), window);
  const double truth = curve.joules(window.begin_s - start, window.end_s - start);
  EXPECT_EQ(sampler.series(0).front().readings.size(), 3u) << "one of its own, two marks";
  EXPECT_NEAR(energy.joules, truth, std::max(0.1 * truth, 2 * energy.uncertainty_j()));
}

TEST(Sampler, AHangingMeterIsSaidSoAndHoldsUpNobody) {
  const Instrument tenth{.kind = ReadingKind::kInstantPower, .period_s = 0.02, .noise_w = 1};
  auto hanging = std::make_unique<LiveMeter>("bmc", tenth, Waveform::constant(100), 0.02, true);
  const auto hang = std::make_shared<std::atomic<bool>>(false);
  hanging->hang = hang;
  auto fine = std::make_unique<LiveMeter>("plug", tenth, Waveform::constant(50), 0.02, true);
  SamplerOptions options;
  options.slow_timeout_s = 0.05;
  options.fast_timeout_s = 0.05;
  {
    Sampler sampler(meters_of(std::move(hanging), std::move(fine)), options);
    sleep_s(0.1);
    const Interval window{monotonic_now_s(), monotonic_now_s() + 0.4};
    *hang = true;
    sampler.mark();
    sleep_s(0.4);
    sampler.mark();
    sampler.wait_past(window.end_s, monotonic_now_s() + 0.05);
    const std::vector<Series> series = sampler.series(0);
    ASSERT_EQ(series.size(), 2u);
    EXPECT_THAT(series[0].readings.back().reason, HasSubstr("bmc: no answer for"));
    const Energy gone = integrate(series[0], window);
    EXPECT_THAT(flags_text(gone.flags), HasSubstr("lost"));
    EXPECT_THAT(gone.reason, HasSubstr("bmc"));
    EXPECT_GE(series[1].readings.size(), 5u) << "the other one goes on";
  }  // returns although the thread still hangs
  *hang = false;
}

TEST(Sampler, ForgetsCountsAndKnowsItsCost) {
  const Instrument instrument{.kind = ReadingKind::kInstantPower, .period_s = 0.005, .noise_w = 1};
  Sampler sampler(
      meters_of(std::make_unique<LiveMeter>("live", instrument, Waveform::constant(9), 0.005, false)));
  sleep_s(0.1);
  EXPECT_GT(sampler.reads(), 2);
  EXPECT_GT(sampler.cpu_s(), 0);
  sampler.forget(monotonic_now_s());
  sampler.stop();
  EXPECT_LE(sampler.series(0).front().readings.size(), 2u);
  const auto reads = sampler.reads();
  sleep_s(0.05);
  EXPECT_EQ(sampler.reads(), reads);
}

TEST(Sampler, AStepOfTheWallClockIsSeenAndItsSlewingIsNot) {
  const Instrument instrument{.kind = ReadingKind::kInstantPower, .period_s = 0.005, .noise_w = 1};
  const auto offset_s = std::make_shared<std::atomic<double>>(1.7e9);
  SamplerOptions options;
  options.wall_offset = [offset_s] { return offset_s->load(); };
  const auto meter = [&] {
    return std::make_unique<LiveMeter>("live", instrument, Waveform::constant(9), 0.005, false);
  };
  Sampler sampler(meters_of(meter()), options);
  const auto some_reads = [&] {
    for (const auto until = sampler.reads() + 5; sampler.reads() < until;) sleep_s(0.005);
  };
  const double begin_s = monotonic_now_s();
  some_reads();
  *offset_s = *offset_s + 0.1;
  some_reads();
  EXPECT_TRUE(sampler.series(0).front().wall_steps_s.empty());
  const double before_s = monotonic_now_s();
  *offset_s = *offset_s - 3600;
  some_reads();
  const Series series = sampler.series(0).front();
  ASSERT_EQ(series.wall_steps_s.size(), 1u) << "once, not at every reading";
  EXPECT_GE(series.wall_steps_s[0], before_s);
  const Energy energy = integrate(series, {begin_s, monotonic_now_s()});
  EXPECT_NE(energy.flags & kClockJump, 0u) << flags_text(energy.flags);
  EXPECT_EQ(integrate(series, {begin_s, before_s}).flags & kClockJump, 0u);
  sampler.forget(monotonic_now_s());
  EXPECT_TRUE(sampler.series(0).front().wall_steps_s.empty());
}

TEST(Sampler, AMeterThatReturnsTooFewReadingsHasReasons) {
  class Short : public LiveMeter {
   public:
    using LiveMeter::LiveMeter;
    std::vector<Reading> read(double) override { return {}; }
  };
  Sampler sampler(
      meters_of(std::make_unique<Short>("short", Instrument{}, Waveform::constant(1), 0.01, false)));
  sleep_s(0.05);
  const Series series = sampler.series(0).front();
  ASSERT_FALSE(series.readings.empty());
  EXPECT_FALSE(series.readings.front().value);
  EXPECT_THAT(series.readings.front().reason, HasSubstr("short: node"));
}

}  // namespace
}  // namespace mlpwatt::testing

// Integration of scripted instruments on a scripted clock: the energy is known, so is every fault.

#include "meters/energy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <random>

#include "tests/meters/waveform.h"

namespace mlpwatt::testing {
namespace {

using ::testing::HasSubstr;

/// Energy within three standard uncertainties, the uncertainty itself within `most` of the energy.
void expect_energy(const Energy& energy, double truth, double most, const std::string& what) {
  EXPECT_LE(std::fabs(energy.joules - truth), 3 * energy.uncertainty_j() + 1e-9 * truth)
      << what << ": " << energy.joules << " J, true " << truth << ", u " << energy.uncertainty_j();
  EXPECT_LE(energy.uncertainty_j(), most * truth) << what;
  EXPECT_EQ(flags_text(energy.flags), "ok") << what << " " << energy.reason;
}

TEST(Integration, TheQuantumOfACounterIsPartOfItsUncertainty) {
  const Instrument cray{.kind = ReadingKind::kEnergyCounter, .period_s = 0.1, .quantum = 1};
  const Energy energy = integrate(cray.play(Waveform::constant(100), 0.05, 0, 30), {5, 25});
  EXPECT_DOUBLE_EQ(energy.quantisation_j, 1 / std::sqrt(6.0));  // both ends, each rectangular
  EXPECT_GE(energy.random_j(), energy.quantisation_j);
}

// ---- no fault: every offset of the window against the updates ---------------------------------

struct Case {
  const char* label;
  Instrument instrument;
  double poll_s;
  double most;  ///< relative standard uncertainty that is still useful
};

/// What the curve's steps and the window are scaled by.
double unit_s(const Case& tested) {
  return std::max({tested.instrument.period_s, tested.instrument.averaging_s, tested.poll_s});
}

void PrintTo(const Case& tested, std::ostream* out) { *out << tested.label; }

class Integration : public ::testing::TestWithParam<Case> {};

TEST_P(Integration, HoldsForEveryOffsetOfASquarePulse) {
  const Case& tested = GetParam();
  const double period = unit_s(tested);
  const Waveform curve = Waveform::pulse(220, 400, 30 * period, 50.3 * period);
  const Interval window{30 * period, 50.3 * period};
  const double truth = curve.joules(window.begin_s, window.end_s);
  int outside = 0;
  for (int offset = 0; offset < 40; ++offset) {
    Instrument instrument = tested.instrument;
    instrument.phase_s = offset / 40.0 * instrument.period_s;
    const Series series = instrument.play(curve, tested.poll_s, 0, 80 * period, 0.2 * tested.poll_s);
    const Energy energy = integrate(series, window);
    EXPECT_LE(energy.uncertainty_j(), tested.most * truth) << offset;
    EXPECT_EQ(flags_text(energy.flags), "ok") << energy.reason;
    EXPECT_LE(std::fabs(energy.joules - truth), 0.1 * truth) << offset;
    outside += std::fabs(energy.joules - truth) > 2 * energy.uncertainty_j();
  }
  EXPECT_LE(outside, 2);
}

TEST_P(Integration, HoldsForRandomLoads) {
  const Case& tested = GetParam();
  const double period = unit_s(tested);
  int outside = 0;
  constexpr int kRuns = 60;
  for (int run = 0; run < kRuns; ++run) {
    const auto seed = static_cast<std::uint64_t>(run);
    const Waveform curve = Waveform::random(seed, 150, 450, 4.7 * period, 100 * period);
    Instrument instrument = tested.instrument;
    instrument.seed = seed;
    instrument.phase_s = run / double{kRuns} * instrument.period_s;
    const Series series = instrument.play(curve, tested.poll_s, 0, 110 * period, 0.2 * tested.poll_s);
    const Interval window{(20 + 0.37 * run / kRuns) * period, (60 + 0.81 * run / kRuns) * period};
    const Energy energy = integrate(series, window);
    const double truth = curve.joules(window.begin_s, window.end_s);
    EXPECT_EQ(flags_text(energy.flags), "ok") << energy.reason;
    EXPECT_LE(energy.uncertainty_j(), tested.most * truth) << run;
    outside += std::fabs(energy.joules - truth) > 2 * energy.uncertainty_j();
  }
  EXPECT_LE(outside, kRuns / 20);
}

constexpr ReadingKind kCounter = ReadingKind::kEnergyCounter, kInstant = ReadingKind::kInstantPower,
                      kAverage = ReadingKind::kAveragePower;
INSTANTIATE_TEST_SUITE_P(
    Kinds, Integration,
    ::testing::Values(
        Case{"rapl", {.kind = kCounter, .period_s = 0.001, .quantum = 61e-6, .wrap_j = 20}, 0.01, 0.08},
        Case{"pm_counters", {.kind = kCounter, .period_s = 0.1, .quantum = 1}, 0.02, 0.03},
        Case{"a100_instant",
             {.kind = kInstant, .period_s = 0.1, .averaging_s = 0.025, .quantum = 0.001, .noise_w = 1},
             0.02,
             0.09},
        Case{"h100_average",
             {.kind = kAverage,
              .period_s = 0.1,
              .averaging_s = 1.0,
              .lag_s = 0.1,
              .quantum = 0.001,
              .noise_w = 0.3},
             0.05,
             0.03},
        Case{"dcmi",
             {.kind = kAverage, .period_s = 1, .averaging_s = 1, .lag_s = 0.5, .quantum = 1, .noise_w = 2},
             0.5,
             0.04},
        Case{"one_minute",
             {.kind = kAverage, .period_s = 60, .averaging_s = 60, .quantum = 1, .noise_w = 2},
             30,
             0.04}),
    [](const auto& tested) { return std::string(tested.param.label); });

TEST(Energy, ACounterOfMilliJoulesIsRightToItsResolution) {
  const Waveform curve = Waveform::random(3, 80, 250, 0.4, 30);
  const Instrument rapl{.kind = kCounter, .period_s = 0.001, .quantum = 61e-6, .wrap_j = 900};
  const Energy energy = integrate(rapl.play(curve, 0.05, 0, 30, 0.01), {4.02, 24.02});
  expect_energy(energy, curve.joules(4.02, 24.02), 0.002, "20 s");
}

TEST(Energy, AccuracyClassAndQuantumEnterTheUncertainty) {
  const Instrument meter{.kind = kAverage, .period_s = 1, .averaging_s = 1, .quantum = 1};
  Series series = meter.play(Waveform::constant(200), 1, 0, 60);
  series.channel.resolution = 1;
  series.channel.accuracy_relative = 0.05;
  const Energy energy = integrate(series, {10, 50});
  EXPECT_NEAR(energy.joules, 8000, 1e-6);
  EXPECT_NEAR(energy.accuracy_j, 8000 * 0.05 / std::sqrt(3), 1e-6);
  EXPECT_NEAR(energy.quantisation_j, 40 / std::sqrt(12.0), 0.05) << "one value all the time: the same error";
  const Energy net = without_idle(energy, {.watts = 150, .random_w = 0.5}, series.channel);
  EXPECT_NEAR(net.joules, 2000, 1e-6);
  EXPECT_NEAR(net.accuracy_j, 2000 * 0.05 / std::sqrt(3), 1e-6);
  EXPECT_GE(net.random_j(), 0.5 * 40);
}

TEST(Energy, AnAverageThatIsReadMoreRarelyThanItLooksBackIsLessCertain) {
  // a plug that shows the last 0.1 s and is read once a second, while the load changes every 0.3 s
  const Instrument plug{.kind = kAverage, .period_s = 0.1, .averaging_s = 0.1};
  int inside = 0;
  constexpr int kRuns = 60;
  double stated = 0;
  for (int run = 0; run < kRuns; ++run) {
    const Waveform curve = Waveform::random(static_cast<std::uint64_t>(run + 1), 150, 450, 0.3, 30);
    const Energy energy = integrate(plug.play(curve, 1, 0.02 * run, 30), {4, 24});
    inside += std::fabs(energy.joules - curve.joules(4, 24)) <= 2 * energy.random_j();
    stated += energy.random_j() / energy.joules / kRuns;
  }
  EXPECT_GE(inside, 54);
  EXPECT_GT(stated, 0.03) << "87 W over the root of 20 looks";
  // read as often as it updates, nothing is left out
  const Waveform curve = Waveform::random(1, 150, 450, 0.3, 30);
  EXPECT_LT(integrate(plug.play(curve, 0.05, 0, 30), {4, 24}).sampling_j, 0.01 * curve.joules(4, 24));
}

TEST(Energy, IdleTimesAreAveragedAndTheirDriftIsSeen) {
  const Instrument meter{.kind = kInstant, .period_s = 0.1, .quantum = 1};
  const auto at = [&](double watts) {
    return integrate(meter.play(Waveform::constant(watts), 0.1, 0, 12), {1, 11});
  };
  EXPECT_DOUBLE_EQ(idle_power({at(200), at(200)}).watts, 200);
  EXPECT_EQ(idle_power({at(200), at(201)}).flags, 0u);
  const Idle drifted = idle_power({at(200), at(220)});
  EXPECT_DOUBLE_EQ(drifted.watts, 210);
  EXPECT_EQ(flags_text(drifted.flags), "idle_drift");
  EXPECT_GE(drifted.random_w, 20 / std::sqrt(12.0));
  EXPECT_TRUE(std::isnan(idle_power({}).watts));
}

TEST(Energy, WhatWasWrongWithTheIdleTimesFlagsTheEnergyAboveIdleOnly) {
  const Instrument meter{.kind = kInstant, .period_s = 0.1, .noise_w = 1};
  const Series series = meter.play(Waveform::constant(200), 0.1, 0, 30);
  const Energy gross = integrate(series, {15, 25});
  const auto above = [&](const Series& idle, Interval interval) {
    return without_idle(gross, idle_power({integrate(idle, interval)}), series.channel);
  };
  EXPECT_EQ(flags_text(above(series, {1, 11}).flags), "ok");
  EXPECT_EQ(flags_text(above(series, {1, 1.5}).flags), "under_sampled");
  Series gap = series;
  std::erase_if(gap.readings, [](const Reading& r) { return r.monotonic_s > 5 && r.monotonic_s < 6; });
  EXPECT_EQ(flags_text(above(gap, {1, 11}).flags), "dropout");
  Series spike = series;
  spike.readings[50].value = 1e6;
  EXPECT_THAT(flags_text(above(spike, {1, 11}).flags), HasSubstr("out_of_range"));
  EXPECT_EQ(flags_text(gross.flags), "ok");
  // of an idle time in which the meter was gone there is no power: that is no unflagged absence
  Series gone = series;
  std::erase_if(gone.readings, [](const Reading& r) { return r.monotonic_s < 13; });
  const Energy none = above(gone, {1, 11});
  EXPECT_TRUE(std::isnan(none.joules));
  EXPECT_THAT(flags_text(none.flags), HasSubstr("lost"));
}

// ---- wraps ------------------------------------------------------------------------------------

TEST(Wraps, ThreeOfThemAndTwoPackagesWithUnequalMaxima) {
  const Waveform curve = Waveform::random(5, 60, 240, 0.3, 40);
  for (const double wrap_j : {700.0, 1100.0}) {
    Instrument package{.kind = kCounter, .period_s = 0.001, .quantum = 61e-6, .wrap_j = wrap_j};
    package.origin_j = 0.9 * wrap_j;
    const Energy energy = integrate(package.play(curve, 0.05, 0, 31), {5, 25});
    EXPECT_GE(energy.wraps, 2);
    EXPECT_EQ(energy.wraps, static_cast<int>((package.origin_j + curve.joules(0, 25)) / wrap_j) -
                                static_cast<int>((package.origin_j + curve.joules(0, 5)) / wrap_j));
    expect_energy(energy, curve.joules(5, 25), 0.01, std::to_string(wrap_j));
  }
}

TEST(Wraps, AGapInWhichTwoAreFeasibleIsFlagged) {
  const Instrument package{.kind = kCounter, .period_s = 0.001, .wrap_j = 100};
  Series series = package.play(Waveform::constant(200), 0.05, 0, 20);
  std::erase_if(series.readings, [](const Reading& r) { return r.monotonic_s > 8 && r.monotonic_s < 9.5; });
  EXPECT_THAT(flags_text(integrate(series, {5, 15}).flags), HasSubstr("wrapped_twice"));
  series.channel.maximum_w = 60;  // cannot have wrapped even once: said by whoever declares it
  series.channel.wrap_j = 1000;
  EXPECT_EQ(integrate(series, {10, 15}).flags & kWrappedTwice, 0u);
}

TEST(Wraps, ACounterThatBeginsAnewIsNoWrap) {
  const Instrument gpu{.kind = kCounter, .period_s = 0.1, .origin_j = 5000};
  Series series = gpu.play(Waveform::constant(300), 0.1, 0, 20);
  for (Reading& reading : series.readings)
    if (reading.monotonic_s > 10.05) *reading.value -= 8000;
  const Energy energy = integrate(series, {5, 15});
  EXPECT_THAT(flags_text(energy.flags), HasSubstr("dropout"));
  EXPECT_THAT(energy.reason, HasSubstr("began anew"));
  EXPECT_NEAR(energy.joules, 3000, 40);
}

// ---- faults -----------------------------------------------------------------------------------

const Instrument kTenHertz{.kind = kInstant, .period_s = 0.1, .quantum = 0.001, .noise_w = 0.5};
const Interval kTenSeconds{5.02, 15.02};

Series ten_hertz() { return kTenHertz.play(Waveform::constant(300), 0.1, 0, 20); }
std::string flags_of_energy(const Series& series) { return flags_text(integrate(series, kTenSeconds).flags); }

TEST(Faults, NoneIsOk) { expect_energy(integrate(ten_hertz(), kTenSeconds), 3000, 0.01, "plain"); }

TEST(Faults, FewerThanTenUpdatesIsUnderSampled) {
  const Energy energy = integrate(ten_hertz(), {5, 5.85});
  EXPECT_EQ(flags_text(energy.flags), "under_sampled");
  EXPECT_LT(energy.distinct_updates, 10);
  // polling fast adds reads, not updates
  const Instrument slow{.kind = kAverage, .period_s = 10, .averaging_s = 10, .quantum = 1, .noise_w = 4};
  EXPECT_EQ(flags_text(integrate(slow.play(Waveform::constant(300), 0.1, 0, 120), {20, 80}).flags),
            "under_sampled");
  EXPECT_EQ(flags_text(integrate(slow.play(Waveform::constant(300), 0.1, 0, 220), {20, 140}).flags), "ok");
}

TEST(Faults, AFrozenReadingIsStuck) {
  Series series = ten_hertz();
  for (Reading& reading : series.readings)
    if (reading.monotonic_s > 9) reading.value = 300.123;
  EXPECT_EQ(flags_of_energy(series), "stuck");
  EXPECT_THAT(integrate(series, kTenSeconds).reason, HasSubstr("scripted: node has not moved"));

  const Instrument rapl{.kind = kCounter, .period_s = 0.001, .quantum = 61e-6};
  series = rapl.play(Waveform::constant(100), 0.05, 0, 20);
  for (Reading& reading : series.readings)
    if (reading.monotonic_s > 9) reading.value = 900;
  EXPECT_EQ(flags_of_energy(series), "stuck");
}

TEST(Faults, ACounterThatStoodAndCatchesUpIsStuckNotBegunAnew) {
  const Instrument rapl{.kind = kCounter, .period_s = 0.001, .quantum = 61e-6};
  Series series = rapl.play(Waveform::constant(100), 0.05, 0, 20);
  const auto stood = std::find_if(series.readings.begin(), series.readings.end(),
                                  [](const Reading& reading) { return reading.monotonic_s > 8; });
  for (auto reading = stood; reading->monotonic_s < 10; ++reading) reading->value = stood->value;
  const Energy energy = integrate(series, {5, 15});
  EXPECT_EQ(flags_text(energy.flags), "stuck");
  EXPECT_THAT(energy.reason, HasSubstr("has not moved for"));
  EXPECT_NEAR(energy.joules, 1000, 10) << "it has counted all along";
}

TEST(Faults, WholeWattsMayRepeatUnderASteadyLoadButNotFromIdleIntoIt) {
  const Instrument bmc{.kind = kInstant, .period_s = 0.1, .quantum = 1};
  const Interval idle{1, 4};
  Series series = bmc.play(Waveform::pulse(220, 351, 4.5, 17), 0.1, 0, 20);
  EXPECT_EQ(flags_of_energy(series), "ok");
  EXPECT_FALSE(stood_still(series, idle, kTenSeconds));
  for (Reading& reading : series.readings) reading.value = reading.monotonic_s < 3 ? 219 : 220;
  EXPECT_TRUE(stood_still(series, idle, kTenSeconds));
  const Interval idle_after{16, 19};
  EXPECT_TRUE(stood_still(series, idle_after, kTenSeconds));
}

TEST(Faults, WholeWattsThatMovedAndThenStandAreStuck) {
  // 300 W with a noise of 3 W: some 6 of 7 updates show another whole number
  const Instrument noisy{.kind = kInstant, .period_s = 0.1, .quantum = 1, .noise_w = 3};
  const Series moving = noisy.play(Waveform::constant(300), 0.1, 0, 20);
  EXPECT_EQ(flags_of_energy(moving), "ok");
  Series stood = moving;
  for (Reading& reading : stood.readings)
    if (reading.monotonic_s > 8 && reading.monotonic_s < 11) reading.value = 300;
  EXPECT_EQ(flags_of_energy(stood), "stuck") << "for part of the window, and it recovered";
  EXPECT_THAT(integrate(stood, kTenSeconds).reason, HasSubstr("has not moved for"));
  // to the end of the window, and from its begin
  for (const bool early : {false, true}) {
    Series half = moving;
    for (Reading& reading : half.readings)
      if (early ? reading.monotonic_s < 10 : reading.monotonic_s > 10) reading.value = 300;
    EXPECT_EQ(flags_of_energy(half), "stuck");
    // the same of a meter whose stamps go on
    for (std::size_t i = 0; i < half.readings.size(); ++i)
      half.readings[i].device_stamp = static_cast<std::int64_t>(i);
    EXPECT_EQ(flags_of_energy(half), "stuck") << early;
  }
}

TEST(Faults, WholeWattsOfAHealthyMeterMayRestForLong) {
  const auto flags = [](const std::function<double(double)>& watts, std::uint64_t seed) {
    const Instrument made{.kind = kInstant, .period_s = 1, .quantum = 1};
    Series series{"scripted", made.channel(), 1, {}, {}};
    std::mt19937_64 generator(seed);
    std::normal_distribution<double> noise(0, 0.25);
    for (double t = 0; t < 700; t += 1) {
      Reading reading;
      reading.monotonic_s = t;
      reading.value = std::round(watts(t) + noise(generator));
      series.readings.push_back(reading);
    }
    return flags_text(integrate(series, {20, 680}).flags);
  };
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    EXPECT_EQ(flags([](double) { return 351.2; }, seed), "ok") << "steady";
    EXPECT_EQ(flags([](double t) { return 220 + 131 * std::clamp((t - 20) / 30, 0.0, 1.0); }, seed), "ok")
        << "a BMC that averages over 30 s: a ramp, then nothing";
    EXPECT_EQ(flags([](double t) { return 351 - 131 * std::exp(-(t - 20) / 5); }, seed), "ok")
        << "a low pass";
    EXPECT_EQ(flags([](double t) { return 345 + 6 * (1 - std::exp(-t / 60)); }, seed), "ok") << "warming up";
    EXPECT_EQ(flags([](double t) { return 351 + 0.5 * std::sin(t / 48); }, seed), "ok") << "fans";
  }
}

TEST(Faults, AValueThatStandsUnderStampsThatGoOnIsStuck) {
  // a counter whose file stands while its scans go on: no joules is no answer
  const Instrument cray{.kind = kCounter, .period_s = 0.1, .quantum = 1};
  for (const double from_s : {0.0, 8.0}) {
    Series series = cray.play(Waveform::constant(200), 0.1, 0, 20);
    series.channel.stamped_by_device = true;
    for (std::size_t i = 0; i < series.readings.size(); ++i) {
      series.readings[i].device_stamp = static_cast<std::int64_t>(i);
      if (series.readings[i].monotonic_s >= from_s) series.readings[i].value = 200 * from_s;
    }
    EXPECT_THAT(flags_of_energy(series), HasSubstr("stuck")) << from_s;
    EXPECT_THAT(integrate(series, kTenSeconds).reason, HasSubstr("under new stamps"));
  }
  // an idle accelerator: a joule every two seconds is no stand
  Series slow = cray.play(Waveform::constant(0.5), 0.1, 0, 40);
  for (std::size_t i = 0; i < slow.readings.size(); ++i)
    slow.readings[i].device_stamp = static_cast<std::int64_t>(i);
  EXPECT_EQ(flags_text(integrate(slow, {5, 35}).flags), "ok");
  Series watts = ten_hertz();
  for (std::size_t i = 0; i < watts.readings.size(); ++i) {
    watts.readings[i].device_stamp = static_cast<std::int64_t>(i);
    if (watts.readings[i].monotonic_s > 8) watts.readings[i].value = 300.123;
  }
  EXPECT_EQ(flags_of_energy(watts), "stuck");
}

TEST(Faults, ASlowMeterOfUnknownPeriodIsNotStuck) {
  // a BMC that renews value and stamp every 15 s, read every 2 s, under a load that hardly moves it
  Series bmc{"scripted", {}, 2, {}, {}};
  bmc.channel.domain = "node";
  bmc.channel.resolution = 1;
  for (int i = 0; i < 120; ++i) {
    Reading reading;
    reading.monotonic_s = 2 * i;
    reading.value = 350 + (i / 30) % 2;
    reading.device_stamp = 2 * i / 15;
    bmc.readings.push_back(reading);
  }
  EXPECT_EQ(flags_text(integrate(bmc, {20, 220}).flags & kStuck), "ok");
  // watt-hours from a plug that declares nothing: a tick every 12 s
  Series plug{"scripted", {}, 1, {}, {}};
  plug.channel.domain = "node";
  plug.channel.kind = kCounter;
  for (int i = 0; i < 60; ++i) {
    Reading reading;
    reading.monotonic_s = i;
    reading.value = 3600.0 * std::floor(i / 12.0);
    plug.readings.push_back(reading);
  }
  EXPECT_EQ(flags_text(integrate(plug, {5, 55}).flags & kStuck), "ok");
}

TEST(Faults, AStampThatStandsStillIsStuckWhateverTheValue) {
  Series series = ten_hertz();
  for (std::size_t i = 0; i < series.readings.size(); ++i)
    series.readings[i].device_stamp = static_cast<std::int64_t>(i < 90 ? i : 90);
  EXPECT_THAT(flags_of_energy(series), HasSubstr("stuck"));
}

TEST(Faults, MissingReadingsAreADropout) {
  Series gap = ten_hertz();
  std::erase_if(gap.readings, [](const Reading& r) { return r.monotonic_s > 8 && r.monotonic_s < 9; });
  EXPECT_EQ(flags_of_energy(gap), "dropout");
  Series failing = ten_hertz();
  failing.readings[100].value.reset();
  failing.readings[100].reason = "scripted: permission denied";
  const Energy energy = integrate(failing, kTenSeconds);
  EXPECT_EQ(flags_text(energy.flags), "dropout");
  EXPECT_EQ(energy.failures, 1);
  EXPECT_EQ(energy.reason, "scripted: permission denied");
  Series garbage = ten_hertz();
  garbage.readings[100].value = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(flags_of_energy(garbage), "dropout");
  EXPECT_FALSE(std::isnan(integrate(garbage, kTenSeconds).joules));
}

TEST(Faults, AMeterThatIsGoneIsLost) {
  Series series = ten_hertz();
  for (Reading& reading : series.readings)
    if (reading.monotonic_s > 12) {
      reading.value.reset();
      reading.reason = "scripted: no such device";
    }
  const Energy energy = integrate(series, kTenSeconds);
  EXPECT_EQ(flags_text(energy.flags), "dropout lost");
  EXPECT_EQ(energy.reason, "scripted: no such device");
  EXPECT_FALSE(std::isnan(energy.joules));
  // one whose readings look back a second, gone for the last 0.6 s: what is missing is nearly covered
  const Instrument nvml{.kind = kAverage, .period_s = 0.1, .averaging_s = 1, .quantum = 0.001, .noise_w = 1};
  Series looks_back = nvml.play(Waveform::constant(300), 0.1, 0, 20);
  for (Reading& reading : looks_back.readings)
    if (reading.monotonic_s > kTenSeconds.end_s - 0.55)
      reading.value.reset(), reading.reason = "scripted: GPU is lost";
  EXPECT_THAT(flags_of_energy(looks_back), HasSubstr("lost"));
  std::erase_if(series.readings, [](const Reading& r) { return r.monotonic_s > 7; });
  EXPECT_TRUE(std::isnan(integrate(series, kTenSeconds).joules)) << "a fifth of a window is not its energy";
  series.readings.clear();
  const Energy none = integrate(series, kTenSeconds);
  EXPECT_TRUE(std::isnan(none.joules));
  EXPECT_THAT(flags_text(none.flags), HasSubstr("lost"));
  EXPECT_NE(none.reason, "");
}

TEST(Faults, NegativeAndAbsurdReadingsAreLeftOut) {
  for (const double absurd : {-5.0, 4294967.295, 1e9}) {
    Series series = ten_hertz();
    series.readings[100].value = absurd;
    const Energy energy = integrate(series, kTenSeconds);
    EXPECT_THAT(flags_text(energy.flags), HasSubstr("out_of_range")) << absurd;
    EXPECT_NEAR(energy.joules, 3000, 10);
    EXPECT_THAT(energy.reason, HasSubstr("out of range"));
  }
  const Instrument rapl{.kind = kCounter, .period_s = 0.001, .quantum = 61e-6, .wrap_j = 262143};
  Series series = rapl.play(Waveform::constant(100), 0.05, 0, 20);
  series.channel.maximum_w = 500;
  *series.readings[200].value += 100000;
  const Energy energy = integrate(series, kTenSeconds);
  EXPECT_THAT(flags_text(energy.flags), HasSubstr("out_of_range"));
  EXPECT_NEAR(energy.joules, 1000, 1);
}

TEST(Faults, DisorderedStampsAndWallStepsAreAClockJump) {
  Series back = ten_hertz();
  for (std::size_t i = 100; i < back.readings.size(); ++i) back.readings[i].monotonic_s -= 3;
  EXPECT_THAT(flags_of_energy(back), HasSubstr("clock_jump"));
  Series twice = ten_hertz();
  twice.readings[101].monotonic_s = twice.readings[100].monotonic_s;
  EXPECT_EQ(flags_of_energy(twice), "clock_jump");
  Series stepped = ten_hertz();
  stepped.wall_steps_s.push_back(10);
  EXPECT_EQ(flags_of_energy(stepped), "clock_jump");
  stepped.wall_steps_s = {18};
  EXPECT_EQ(flags_of_energy(stepped), "ok") << "not in this window";
}

TEST(Faults, FlagsSurviveTheirText) {
  for (const unsigned flags : {0u, unsigned{kStuck}, kStuck | kLost | kUnderSampled})
    EXPECT_EQ(flags_of(flags_text(flags)), flags);
  EXPECT_THROW(flags_of("stuck frozen"), std::invalid_argument);
}

}  // namespace
}  // namespace mlpwatt::testing

// Meters made of files, each opened through its own registration over a tree that a waveform plays into.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <unistd.h>
#include <map>

#include <cerrno>
#include <utility>

#include "meters/domains.h"
#include "meters/power/power_log.h"
#include "meters/power/sysfs.h"
#include "tests/meters/trees.h"

namespace mlpwatt::testing {
namespace {

using ::testing::HasSubstr;

/// Opens and looks on over [begin, end] of the waveform's time, and a little beyond.
std::vector<ChannelEnergy> measure(FileInstrument& instrument, double begin_s, double end_s) {
  MeterProbe probe = open_meter(instrument.meter, instrument.config);
  EXPECT_EQ(to_string(probe.state), "found") << probe.detail;
  if (probe.state != MeterProbe::State::kFound) return {};
  double late = 0.05;
  for (const auto& meter : probe.meters)
    for (const Channel& channel : meter->channels()) late = std::max(late, 3 * channel.update_period_s);
  Sampler sampler(std::move(probe.meters));
  const auto sleep_until = [&](double t) {
    std::this_thread::sleep_for(std::chrono::duration<double>(std::max(0.0, t - instrument.player->now_s())));
  };
  sleep_until(begin_s);
  sampler.mark();
  const Interval window{monotonic_now_s(), instrument.player->start_s() + end_s};
  sleep_until(end_s);
  sampler.mark();
  sleep_until(end_s + late);
  std::vector<ChannelEnergy> energies;
  for (const Series& series : sampler.series(0))
    energies.push_back({series.meter, series.channel, integrate(series, window), {}, {}});
  return energies;
}

const ChannelEnergy& domain(const std::vector<ChannelEnergy>& energies, const std::string& name) {
  static const ChannelEnergy none;
  for (const ChannelEnergy& each : energies)
    if (each.channel.domain == name) return each;
  ADD_FAILURE() << "no domain " << name;
  return none;
}

std::vector<FileInstrument> all_instruments(const Waveform& curve) {
  std::vector<FileInstrument> all;
  all.push_back(play_powercap(curve, 0.005, 60));
  all.push_back(play_hwmon(curve, 0.1));
  all.push_back(play_hwmon(curve, 0.1, true));
  all.push_back(play_pm_counters(curve));
  all.push_back(play_csv_log(curve));
  return all;
}

TEST(KeptFile, ShowsWhatTheFileHasNow) {
  const Tree tree;
  tree.write("watts", "1");
  KeptFile watts(tree.path("watts"));
  EXPECT_EQ(watts.read().text, "1");
  tree.append("watts", "2");  // the same file, as a driver's
  EXPECT_EQ(watts.read().text, "1\n2");
  tree.write("watts", "3");  // another file of that name
  EXPECT_EQ(watts.read().text, "3");
  tree.remove("watts");
  EXPECT_EQ(watts.read().error, ENOENT);
  tree.write("watts", "4");
  EXPECT_EQ(watts.read().text, "4");
  KeptFile moved(std::move(watts));
  EXPECT_EQ(moved.read().text, "4");
}

TEST(FileMeters, ShowTheEnergyOfAPlayedWaveform) {
  const Waveform curve = Waveform::random(11, 150, 400, 0.4, 60);
  std::vector<FileInstrument> all = all_instruments(curve);
  std::vector<std::vector<ChannelEnergy>> found(all.size());
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < all.size(); ++i)
    threads.emplace_back([&, i] { found[i] = measure(all[i], 0.6, 2.8); });
  for (std::thread& thread : threads) thread.join();
  for (std::size_t i = 0; i < all.size(); ++i) {
    const ChannelEnergy& energy = domain(found[i], all[i].domain);
    const double truth = all[i].gain * curve.joules(0.6, 2.8);
    // A loaded machine plays late; what the meters must not do is lose or double anything.
    EXPECT_NEAR(energy.gross.joules, truth, 0.15 * truth) << all[i].meter << ": " << energy.gross.reason;
    EXPECT_EQ(energy.gross.flags & ~(kDropout | kStuck), 0u)
        << all[i].meter << ": " << flags_text(energy.gross.flags);
    EXPECT_GE(energy.gross.distinct_updates, 10) << all[i].meter;
  }
  EXPECT_GE(domain(found[0], "package0").gross.wraps, 3) << "660 J in a counter of 60 J";
}

// ---- powercap ---------------------------------------------------------------------------------

TEST(Powercap, MirrorsAndPartsAreNotSummed) {
  const Tree tree;
  const auto zone = [&](const std::string& folder, const std::string& name, double joules,
                        double wrap = 262143.33) { write_zone(tree, folder, name, joules, wrap); };
  const auto set_all = [&](double j) {
    zone("intel-rapl:0", "package-0", 100 + j);
    zone("intel-rapl:0:0", "core", 40 + 0.5 * j);
    zone("intel-rapl:0:1", "dram", 10 + 0.1 * j, 65712.99);
    zone("intel-rapl:1", "package-1", 7000 + 2 * j, 65712.99);
    zone("intel-rapl-mmio:0", "package-0", 100 + j);
  };
  set_all(0);
  MeterProbe probe = open_meter("powercap", {{"root", tree.root()}});
  ASSERT_EQ(to_string(probe.state), "found") << probe.detail;
  std::vector<Series> series;
  for (const Channel& channel : probe.meters[0]->channels())
    series.push_back({"powercap", channel, 0.1, {}, {}});
  for (int k = 0; k <= 40; ++k) {
    set_all(10.0 * k);
    const std::vector<Reading> readings = probe.meters[0]->read(1);
    for (std::size_t i = 0; i < readings.size(); ++i) {
      series[i].readings.push_back(readings[i]);
      series[i].readings.back().monotonic_s = 0.1 * k;
      series[i].channel.maximum_w = 500;
    }
  }
  std::vector<ChannelEnergy> energies;
  for (const Series& each : series)
    energies.push_back({"powercap", each.channel, integrate(each, {1, 3}), {}, {}});
  const std::optional<TotalEnergy> total = total_energy(energies, Provenance::kMeasured);
  ASSERT_TRUE(total);
  EXPECT_EQ(total->domains, "package0+dram0+package1");
  EXPECT_NEAR(total->gross.joules, 3.1 * 200, 1);
  EXPECT_EQ(domain(energies, "package0-mmio").channel.duplicate_of, "package0");
  EXPECT_EQ(domain(energies, "core0").channel.parent, "package0");
  EXPECT_NEAR(domain(energies, "package1").channel.wrap_j, 65712.99, 1e-6);
  EXPECT_NEAR(domain(energies, "package0").channel.wrap_j, 262143.33, 1e-6);
}

TEST(Powercap, ThePlatformContainsThePackages) {
  const Tree tree;
  write_zone(tree, "intel-rapl:0", "package-0", 5, 1000);
  write_zone(tree, "intel-rapl:0:0", "dram", 5, 1000);
  write_zone(tree, "intel-rapl:1", "psys", 50, 1000);
  const MeterProbe probe = open_meter("powercap", {{"root", tree.root()}});
  ASSERT_EQ(probe.meters.size(), 1u);
  std::vector<ChannelEnergy> energies;
  for (const Channel& channel : probe.meters[0]->channels()) {
    ChannelEnergy energy{"powercap", channel, {}, {}, {}};
    energy.gross.joules = energy.net.joules = 10;
    energies.push_back(energy);
  }
  EXPECT_EQ(total_energy(energies, Provenance::kMeasured)->domains, "psys");
}

TEST(Powercap, WhatIsAbsurdForAPackageIsNotForThePlatform) {
  const Tree tree;
  write_zone(tree, "intel-rapl:0", "package-0", 5, 1000);
  write_zone(tree, "intel-rapl:1", "psys", 50, 1000);
  tree.write("sys/class/powercap/intel-rapl:1/constraint_0_power_limit_uw", "0");
  const auto most_w = [&] {
    std::map<std::string, double> found;
    const MeterProbe probe = open_meter("powercap", {{"root", tree.root()}});
    for (const auto& meter : probe.meters)
      for (const Channel& channel : meter->channels()) found[channel.domain] = channel.maximum_w;
    return found;
  };
  using Watts = std::map<std::string, double>;
  EXPECT_EQ(most_w(), (Watts{{"package0", 1000}, {"psys", 5000}})) << "two sockets may take 1.5 kW";
  tree.write("sys/class/powercap/intel-rapl:1/constraint_0_power_limit_uw", "800000000");
  EXPECT_EQ(most_w(), (Watts{{"package0", 1000}, {"psys", 1600}})) << "as its constraint says";
}

TEST(Powercap, DiesThatShowOneCounterCountOnce) {
  for (const bool mirrored : {true, false}) {
    const Tree tree;
    write_zone(tree, "intel-rapl:0", "package-0-die-0", 500, 1000);
    write_zone(tree, "intel-rapl:1", "package-0-die-1", mirrored ? 500 : 321, 1000);
    const MeterProbe probe = open_meter("powercap", {{"root", tree.root()}});
    ASSERT_EQ(probe.meters.size(), 1u) << probe.detail;
    EXPECT_EQ(probe.meters[0]->channels()[0].domain, "package0-die0");
    EXPECT_EQ(probe.meters[0]->channels()[1].duplicate_of, mirrored ? "package0-die0" : "");
  }
}

TEST(Powercap, SaysWhatIsMissing) {
  const Tree tree;
  EXPECT_EQ(to_string(open_meter("powercap", {{"root", tree.root()}}).state), "absent");
  EXPECT_EQ(to_string(open_meter("powercap", {{"rot", "/x"}}).state), "faulty");
  EXPECT_THAT(open_meter("powercap", {{"rot", "/x"}}).detail, HasSubstr("\"rot\""));
  write_zone(tree, "intel-rapl:0", "package-0", 5, 1000);
  MeterProbe probe = open_meter("powercap", {{"root", tree.root()}});
  tree.remove("sys/class/powercap/intel-rapl:0/energy_uj");
  Reading gone = probe.meters[0]->read(1)[0];
  EXPECT_FALSE(gone.value);
  EXPECT_THAT(gone.reason, HasSubstr("powercap: "));
  EXPECT_THAT(gone.reason, HasSubstr("No such file"));
  tree.write("sys/class/powercap/intel-rapl:0/energy_uj", "12abc");
  gone = probe.meters[0]->read(1)[0];
  EXPECT_FALSE(gone.value);
  EXPECT_THAT(gone.reason, HasSubstr("'12abc' is no number"));
  forbid(tree.path("sys/class/powercap/intel-rapl:0/energy_uj"));
  const MeterProbe refused = open_meter("powercap", {{"root", tree.root()}});
  allow();
  EXPECT_EQ(to_string(refused.state), "no permission");
  EXPECT_THAT(refused.remedy, HasSubstr("udev"));
}

// ---- hwmon ------------------------------------------------------------------------------------

TEST(Hwmon, KnowsTheSentinelZeroAndWhatTheDriverDeclares) {
  for (const std::string deep : {"", "device/"}) {
    const Tree tree;
    const std::string at = "sys/class/hwmon/hwmon0/" + deep;
    tree.write("sys/class/hwmon/hwmon0/name", "power_meter");
    tree.write(at + "power1_average", "312500000");
    tree.write(at + "power1_average_interval", "1000");
    tree.write(at + "power1_accuracy", "95.5%");
    MeterProbe probe = open_meter("hwmon", {{"root", tree.root()}});
    ASSERT_EQ(probe.meters.size(), 1u) << probe.detail;
    Meter& meter = *probe.meters[0];
    EXPECT_EQ(meter.name(), "hwmon:power_meter");
    const Channel& channel = meter.channels()[0];
    EXPECT_EQ(channel.domain, "node");
    EXPECT_EQ(channel.kind, ReadingKind::kAveragePower);
    EXPECT_DOUBLE_EQ(channel.update_period_s, 1);
    EXPECT_NEAR(channel.accuracy_relative, 0.045, 1e-12);
    EXPECT_EQ(channel.accuracy_source, "power1_accuracy");
    EXPECT_DOUBLE_EQ(meter.read(1)[0].value.value_or(-1), 312.5);
    for (const char* none : {"4294967295000", "0", "", "nan", "-"}) {
      tree.write(at + "power1_average", none);
      const Reading reading = meter.read(1)[0];
      EXPECT_FALSE(reading.value) << none;
      EXPECT_THAT(reading.reason, HasSubstr("hwmon:power_meter")) << none;
    }
    // what a read that fails in the driver looks like: an errno
    tree.remove(at + "power1_average");
    std::filesystem::create_directory(tree.path(at + "power1_average"));
    EXPECT_THAT(meter.read(1)[0].reason, HasSubstr("Is a directory"));
  }
}

TEST(Hwmon, GraceSocketsAreInsideTheirModule) {
  const Tree tree;
  int chip = 1;
  for (const char* label :
       {"Module Power Socket 0", "Grace Power Socket 0", "CPU Power Socket 0", "SysIO Power Socket 0"}) {
    const std::string at = fmt::format("sys/class/hwmon/hwmon{}/", chip++);
    tree.write(at + "name", "power_meter");
    tree.write(at + "power1_average", "100000000");
    tree.write(at + "power1_oem_info", label);
  }
  const MeterProbe probe = open_meter("hwmon", {{"root", tree.root()}});
  ASSERT_EQ(probe.meters.size(), 4u);
  EXPECT_THAT(probe.detail, HasSubstr("module0"));
  EXPECT_THAT(probe.detail, HasSubstr("sysio0"));
  // each sensor is a chip of its own: names and parents have to agree across them
  std::map<std::string, std::string> parents;
  std::vector<Channel> channels;
  for (const auto& meter : probe.meters)
    for (const Channel& channel : meter->channels()) {
      parents[channel.domain] = channel.parent;
      channels.push_back(channel);
    }
  EXPECT_EQ(parents,
            (std::map<std::string, std::string>{
                {"module0", "node"}, {"grace0", "module0"}, {"cpu0", "grace0"}, {"sysio0", "grace0"}}));
  EXPECT_EQ(included_domains(channels, "module0"), (std::vector<std::string>{"grace0", "cpu0", "sysio0"}));
}

TEST(Hwmon, ADomainThatTwoChipsShowIsNumbered) {
  const Tree tree;
  for (const int chip : {1, 2}) {
    const std::string at = fmt::format("sys/class/hwmon/hwmon{}/", chip);
    tree.write(at + "name", "amd_energy");
    tree.write(at + "energy1_input", "5000000");
    tree.write(at + "energy1_label", "Esocket0");
  }
  const MeterProbe probe = open_meter("hwmon", {{"root", tree.root()}});
  ASSERT_EQ(probe.meters.size(), 2u);
  EXPECT_EQ(probe.meters[0]->channels()[0].domain, "package0");
  EXPECT_EQ(probe.meters[1]->channels()[0].domain, "package0-1");
  EXPECT_THAT(probe.detail, HasSubstr("package0-1"));
}

TEST(Hwmon, EnergiesOfSocketsNotOfCores) {
  const Tree tree;
  tree.write("sys/class/hwmon/hwmon1/name", "amd_energy");
  tree.write("sys/class/hwmon/hwmon1/energy1_input", "5000000");
  tree.write("sys/class/hwmon/hwmon1/energy1_label", "Ecore000");
  tree.write("sys/class/hwmon/hwmon1/energy2_input", "7000000");
  tree.write("sys/class/hwmon/hwmon1/energy2_label", "Esocket0");
  const MeterProbe probe = open_meter("hwmon", {{"root", tree.root()}});
  ASSERT_EQ(probe.meters.size(), 1u);
  ASSERT_EQ(probe.meters[0]->channels().size(), 1u);
  EXPECT_EQ(probe.meters[0]->channels()[0].domain, "package0");
  EXPECT_DOUBLE_EQ(probe.meters[0]->read(1)[0].value.value_or(-1), 7);
}

TEST(Hwmon, WhatIsRefusedIsSaidBesideWhatIsFound) {
  const Tree tree;
  tree.write("sys/class/hwmon/hwmon0/name", "power_meter");
  tree.write("sys/class/hwmon/hwmon0/power1_average", "312500000");
  tree.write("sys/class/hwmon/hwmon1/name", "amd_energy");
  std::vector<std::string> sockets;
  for (const int i : {0, 1}) {
    const std::string at = fmt::format("sys/class/hwmon/hwmon1/energy{}_", 65 + i);
    tree.write(at + "label", fmt::format("Esocket{}", i));
    tree.write(at + "input", "7000000");
    sockets.push_back(tree.path(at + "input"));
  }
  EXPECT_EQ(open_meter("hwmon", {{"root", tree.root()}}).remedy, "");
  for (const std::string& socket : sockets) forbid(socket);
  const MeterProbe some = open_meter("hwmon", {{"root", tree.root()}});
  allow();
  EXPECT_EQ(to_string(some.state), "found");
  ASSERT_EQ(some.meters.size(), 1u);
  EXPECT_EQ(some.detail, "power_meter:node; but " + sockets[0] + " and 1 more are not readable");
  EXPECT_EQ(some.remedy, "sudo chmod a+r " + sockets[0] + " " + sockets[1]);
  tree.remove("sys/class/hwmon/hwmon0");
  forbid(sockets[0]);
  const MeterProbe none = open_meter("hwmon", {{"root", tree.root()}});
  allow();
  EXPECT_EQ(to_string(none.state), "no permission");
  EXPECT_EQ(none.remedy, some.remedy);
}

TEST(Hwmon, SensorsOfUnknownChipsAreNotSummed) {
  const Tree tree;
  const auto chip = [&](int number, const std::string& name, std::vector<std::string> labels) {
    const std::string at = fmt::format("sys/class/hwmon/hwmon{}/", number);
    tree.write(at + "name", name);
    for (std::size_t i = 0; i < labels.size(); ++i) {
      tree.write(at + fmt::format("power{}_input", i + 1), "100000000");
      if (!labels[i].empty()) tree.write(at + fmt::format("power{}_label", i + 1), labels[i]);
    }
  };
  chip(0, "pfe1100", {"pin", "pout1"});
  chip(1, "ina3221", {"", "", ""});
  chip(2, "power_meter", {""});
  chip(3, "power_meter", {"Grace Power Socket 0"});
  const MeterProbe probe = open_meter("hwmon", {{"root", tree.root()}});
  ASSERT_EQ(probe.meters.size(), 4u) << probe.detail;
  for (const auto& meter : probe.meters)
    for (const Channel& channel : meter->channels())
      EXPECT_EQ(channel.summable, meter->name().starts_with("hwmon:power_meter")) << channel.domain;
}

// ---- pm_counters ------------------------------------------------------------------------------

/// A Cray's counters in a tree of their own, and the meter that reads them.
class CrayNode {
 public:
  CrayNode() {
    write("energy", "12345 J");
    write("freshness", "7");
    write("startup", "100");
  }
  void write(const std::string& file, const std::string& text) const { tree_.write(kAt + file, text); }
  void remove(const std::string& file) const { tree_.remove(kAt + file); }
  std::unique_ptr<Meter> open() const {
    MeterProbe probe = open_meter("pm_counters", {{"root", tree_.root()}});
    EXPECT_EQ(probe.meters.size(), 1u) << probe.detail;
    return probe.meters.empty() ? nullptr : std::move(probe.meters[0]);
  }

 private:
  const std::string kAt = "sys/cray/pm_counters/";
  const Tree tree_;
};

TEST(PmCounters, OneScanPerReadAndAReasonWhenTheyBeginAnew) {
  const CrayNode tree;
  tree.write("raw_scan_hz", "10");
  tree.write("accel0_energy", "99 J");
  const std::unique_ptr<Meter> opened = tree.open();
  ASSERT_TRUE(opened);
  Meter& meter = *opened;
  ASSERT_EQ(meter.channels().size(), 2u);
  EXPECT_EQ(meter.channels()[1].domain, "accel0");
  EXPECT_EQ(meter.channels()[1].parent, "node");
  Reading reading = meter.read(1)[0];
  EXPECT_EQ(reading.value, 12345);
  EXPECT_EQ(reading.device_stamp, 7) << "the scan tells updates apart";
  tree.write("startup", "200");
  reading = meter.read(1)[0];
  EXPECT_FALSE(reading.value);
  EXPECT_THAT(reading.reason, HasSubstr("began anew"));
  EXPECT_TRUE(meter.read(1)[0].value) << "once";
  tree.remove("startup");
  EXPECT_TRUE(meter.read(1)[0].value) << "a startup that cannot be read is no new start";
  tree.write("startup", "200");
  EXPECT_TRUE(meter.read(1)[0].value) << "nor is the same one back again";
  tree.write("energy", "garbage");
  EXPECT_THAT(meter.read(1)[0].reason, HasSubstr("'garbage' is no number"));
}

TEST(PmCounters, AnotherPowerCapIsAReason) {
  const CrayNode tree;
  tree.write("generation", "20 1620000000000000 us");
  const std::unique_ptr<Meter> opened = tree.open();
  ASSERT_TRUE(opened);
  Meter& meter = *opened;
  EXPECT_TRUE(meter.read(1)[0].value);
  tree.write("generation", "20 1620000000100000 us");
  EXPECT_TRUE(meter.read(1)[0].value) << "a stamp that goes on is no change";
  tree.write("generation", "21 1620000000200000 us");
  const Reading reading = meter.read(1)[0];
  EXPECT_FALSE(reading.value);
  EXPECT_EQ(reading.reason, "pm_counters: the power cap was changed (generation changed)");
  EXPECT_TRUE(meter.read(1)[0].value) << "once";
  tree.write("startup", "200");
  tree.write("generation", "0");
  EXPECT_THAT(meter.read(1)[0].reason, HasSubstr("began anew")) << "the greater change";
  EXPECT_TRUE(meter.read(1)[0].value);
  tree.remove("generation");
  EXPECT_TRUE(meter.read(1)[0].value) << "older systems have none";
}

// ---- battery ----------------------------------------------------------------------------------

TEST(Battery, OnlyWhileDischarging) {
  const Tree tree;
  const std::string at = "sys/class/power_supply/BAT0/";
  EXPECT_EQ(to_string(open_meter("battery", {{"root", tree.root()}}).state), "absent");
  tree.write(at + "type", "Battery");
  tree.write(at + "status", "Charging");
  tree.write(at + "power_now", "12500000");
  MeterProbe mains = open_meter("battery", {{"root", tree.root()}});
  EXPECT_EQ(to_string(mains.state), "absent");
  EXPECT_THAT(mains.remedy, HasSubstr("unplug"));
  tree.write(at + "status", "Discharging");
  MeterProbe probe = open_meter("battery", {{"root", tree.root()}});
  ASSERT_EQ(probe.meters.size(), 1u);
  EXPECT_DOUBLE_EQ(probe.meters[0]->read(1)[0].value.value_or(-1), 12.5);
  tree.remove(at + "power_now");
  tree.write(at + "current_now", "-1500000");
  tree.write(at + "voltage_now", "12000000");
  EXPECT_DOUBLE_EQ(probe.meters[0]->read(1)[0].value.value_or(-1), 18);
  tree.write(at + "status", "Full");
  EXPECT_THAT(probe.meters[0]->read(1)[0].reason, HasSubstr("mains"));
}

// ---- estimate ---------------------------------------------------------------------------------

TEST(Estimate, IsIdlePlusUtilisationTimesTheRest) {
  const Tree tree;
  tree.write("proc/cpuinfo",
             "processor\t: 0\nmodel name\t: AMD EPYC 7763 64-Core Processor\n\nprocessor\t: 1\n");
  tree.write("proc/stat", "cpu  1000 0 500 90000 0 0 0 0 0 0");
  MeterProbe probe = open_meter("estimate", {{"root", tree.root()}, {"utilisation", "system"}});
  ASSERT_EQ(probe.meters.size(), 1u) << probe.detail;
  EXPECT_THAT(probe.detail, HasSubstr("EPYC 7763"));
  EXPECT_EQ(probe.meters[0]->channels()[0].provenance, Provenance::kModelled);
  EXPECT_TRUE(meter_entry("estimate").fallback);

  MeterProbe given = open_meter(
      "estimate", {{"root", tree.root()}, {"utilisation", "system"}, {"idle_w", 40}, {"tdp_w", 140}});
  Meter& meter = *given.meters[0];
  const Reading first = meter.read(1)[0];
  std::this_thread::sleep_for(std::chrono::milliseconds(40));
  const Reading idle = meter.read(1)[0];
  EXPECT_NEAR((*idle.value - *first.value) / (idle.monotonic_s - first.monotonic_s), 40, 1e-6);
  std::this_thread::sleep_for(std::chrono::milliseconds(40));
  tree.write("proc/stat", "cpu  1001 1 500 90002 0 0 0 0 0 0");  // 20 ms of two processors
  const Reading busy = meter.read(1)[0];
  EXPECT_NEAR(*busy.value - *idle.value, 40 * (busy.monotonic_s - idle.monotonic_s) + 0.02 / 2 * 100, 1e-6);
  tree.write("proc/stat", "intr 1");
  EXPECT_FALSE(meter.read(1)[0].value);
  EXPECT_EQ(to_string(open_meter("estimate", {{"tdp_w", 10}, {"idle_w", 20}}).state), "faulty");
}

// ---- logs -------------------------------------------------------------------------------------

TEST(CsvLog, IsNotConfiguredAbsentOrTailed) {
  EXPECT_EQ(to_string(open_meter("csv_log", nullptr).state), "not configured");
  const Tree tree;
  EXPECT_EQ(to_string(open_meter("csv_log", {{"path", tree.path("p.csv")}}).state), "absent");
  tree.append("p.csv", "1000,n1,500\n");
  MeterProbe probe = open_meter("csv_log", {{"path", tree.path("p.csv")}, {"period_s", 1}});
  ASSERT_EQ(probe.meters.size(), 1u) << probe.detail;
  Meter& meter = *probe.meters[0];
  EXPECT_FALSE(meter.read(1)[0].value) << "what was there before is old";
  tree.append("p.csv", "2000,n1,51");
  EXPECT_FALSE(meter.read(1)[0].value) << "half a line";
  tree.append("p.csv", "0\n2001,n1,520\n");
  Reading reading = meter.read(1)[0];
  EXPECT_EQ(reading.value, 510);
  EXPECT_EQ(reading.device_stamp, 2000000000);
  EXPECT_NEAR(reading.monotonic_s, 2000 - wall_offset_s(), 0.01);
  EXPECT_EQ(meter.read(1)[0].value, 520);
  EXPECT_EQ(meter.read(1)[0].device_stamp, 2001000000) << "the same again until there is a new one";
  tree.append("p.csv", "nonsense\n");
  EXPECT_THAT(meter.read(1)[0].reason, HasSubstr("nonsense"));
  tree.remove("p.csv");
  EXPECT_THAT(meter.read(1)[0].reason, HasSubstr("csv_log: "));
}

}  // namespace
}  // namespace mlpwatt::testing

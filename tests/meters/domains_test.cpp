// What energies of several domains say together: their sum, the node's rest, and the level of methodology.

#include "meters/domains.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

namespace mlpwatt::testing {
namespace {

using ::testing::HasSubstr;

ChannelEnergy energy_of(const std::string& domain, double joules, double uncertainty_j = 1) {
  ChannelEnergy energy;
  energy.meter = domain == "node" ? "bmc" : "powercap";
  energy.channel.domain = domain;
  energy.channel.parent = domain == "node" ? "" : "node";
  energy.gross.joules = energy.net.joules = joules;
  energy.gross.sampling_j = energy.net.sampling_j = uncertainty_j;
  energy.gross.seconds = energy.net.seconds = 10;
  energy.gross.distinct_updates = 100;
  return energy;
}

// ---- sums -------------------------------------------------------------------------------------

TEST(Domains, SensorsOfUnknownPlaceAreNeitherSummedNorTakenFromTheNode) {
  std::vector<ChannelEnergy> energies{energy_of("package0", 300), energy_of("pfe1100_pin", 900),
                                      energy_of("pfe1100_pout1", 800)};
  energies[1].channel.summable = energies[2].channel.summable = false;
  const auto total = total_energy(energies, Provenance::kMeasured);
  ASSERT_TRUE(total);
  EXPECT_EQ(total->domains, "package0");
  EXPECT_DOUBLE_EQ(total->gross.joules, 300);
  energies.push_back(energy_of("node", 1000));
  const auto rest = rest_of_node(energies);
  ASSERT_TRUE(rest);
  EXPECT_DOUBLE_EQ(rest->gross.joules, 700);
  EXPECT_FALSE(total_energy({energies[1], energies[2]}, Provenance::kMeasured)) << "nothing to sum";
}

TEST(Domains, WhatLiesInsideIsListed) {
  const auto channel = [](const std::string& domain, const std::string& parent,
                          const std::string& duplicate_of = "") {
    Channel made;
    made.domain = domain, made.parent = parent, made.duplicate_of = duplicate_of;
    return made;
  };
  const std::vector<Channel> all{channel("node", ""),
                                 channel("psys", "node"),
                                 channel("package0", "psys"),
                                 channel("core0", "package0"),
                                 channel("package0", "psys"),
                                 channel("dram0", "package0"),
                                 channel("mmio", "", "package0"),
                                 channel("loop", "loop")};
  using ::testing::ElementsAre;
  using ::testing::IsEmpty;
  EXPECT_THAT(included_domains(all, "psys"), ElementsAre("package0", "core0", "dram0"));
  EXPECT_THAT(included_domains(all, "package0"), ElementsAre("core0", "dram0"));
  EXPECT_THAT(included_domains(all, "node"), ElementsAre("psys", "package0", "core0", "dram0", "loop"));
  EXPECT_THAT(included_domains(all, "core0"), IsEmpty());
  EXPECT_THAT(included_domains(all, "loop"), IsEmpty());
  Channel model = channel("processor", "node");
  model.provenance = Provenance::kModelled;
  EXPECT_THAT(included_domains({channel("node", ""), model}, "node"), IsEmpty())
      << "a model is no part of it";
}

/// `count` domains of these joules each, numbered from 0.
void add(std::vector<ChannelEnergy>& energies, const std::string& name, int count, double joules,
         double uncertainty_j = 1) {
  for (int i = 0; i < count; ++i)
    energies.push_back(energy_of(name + std::to_string(i), joules, uncertainty_j));
}

TEST(Domains, AGraceModuleContainsItsGpuWhoeverShowsIt) {
  std::vector<ChannelEnergy> energies;
  add(energies, "gpu:GPU-", 4, 450);
  add(energies, "grace", 4, 200);
  for (int i = 0; i < 4; ++i) energies[4 + i].channel.parent = "module" + std::to_string(i);
  ASSERT_TRUE(total_energy(energies, Provenance::kMeasured));
  EXPECT_DOUBLE_EQ(total_energy(energies, Provenance::kMeasured)->gross.joules, 4 * (450 + 200))
      << "without a sensor of the modules";
  add(energies, "module", 4, 700);
  const auto total = total_energy(energies, Provenance::kMeasured);
  ASSERT_TRUE(total);
  EXPECT_EQ(total->domains, "module0+module1+module2+module3");
  EXPECT_DOUBLE_EQ(total->gross.joules, 4 * 700);
  energies.push_back(energy_of("node", 3200));
  auto rest = rest_of_node(energies);
  ASSERT_TRUE(rest);
  EXPECT_DOUBLE_EQ(rest->gross.joules, 400);
  EXPECT_EQ(flags_text(rest->gross.flags), "ok");
  // the same machine's BMC and a Cray's counters
  add(energies, "accel", 4, 460);
  for (const char* domain : {"cpu", "memory", "processors", "accelerators"})
    energies.push_back(energy_of(domain, 300));
  rest = rest_of_node(energies);
  ASSERT_TRUE(rest);
  EXPECT_DOUBLE_EQ(rest->gross.joules, 400);
}

TEST(Domains, ThePlatformContainsItsProcessorsUnderOtherNames) {
  std::vector<ChannelEnergy> energies{energy_of("psys", 250), energy_of("processors", 200),
                                      energy_of("memory", 30), energy_of("gpu:GPU-1", 88)};
  EXPECT_EQ(total_energy(energies, Provenance::kMeasured)->domains, "psys+gpu:GPU-1");
  energies.push_back(energy_of("node", 400));
  EXPECT_DOUBLE_EQ(rest_of_node(energies)->gross.joules, 400 - 250 - 88);
}

TEST(Domains, OneGpuOfFourDoesNotStandForAll) {
  std::vector<ChannelEnergy> energies;
  add(energies, "accel", 4, 90, 2);
  energies.push_back(energy_of("gpu:GPU-1", 88, 0.1));  // nvml with "gpus": one
  EXPECT_EQ(total_energy(energies, Provenance::kMeasured)->domains, "accel0+accel1+accel2+accel3");
  energies[2].gross.flags |= kStuck;
  EXPECT_DOUBLE_EQ(total_energy(energies, Provenance::kMeasured)->gross.joules, 360)
      << "nor when one of the four is flagged";
  energies[2].gross.joules = std::nan("");
  EXPECT_TRUE(std::isnan(total_energy(energies, Provenance::kMeasured)->gross.joules))
      << "no answer rather than a quarter of it";
  for (const int gpu : {2, 3, 4}) energies.push_back(energy_of("gpu:GPU-" + std::to_string(gpu), 88, 0.1));
  EXPECT_DOUBLE_EQ(total_energy(energies, Provenance::kMeasured)->gross.joules, 4 * 88);
}

// ---- the node's rest --------------------------------------------------------------------------

TEST(RestOfNode, IsTheNodeWithoutTheDomainsInside) {
  const auto rest = rest_of_node(
      {energy_of("node", 1000, 4), energy_of("package0", 300, 2), energy_of("package1", 200, 2)});
  ASSERT_TRUE(rest);
  EXPECT_EQ(rest->channel.domain, "rest");
  EXPECT_EQ(rest->channel.parent, "node");
  EXPECT_DOUBLE_EQ(rest->gross.joules, 500);
  EXPECT_DOUBLE_EQ(rest->gross.sampling_j, std::sqrt(16 + 4 + 4.0));
  EXPECT_EQ(flags_text(rest->gross.flags), "ok");
}

TEST(RestOfNode, MayBeNegativeWithinItsErrorOnly) {
  // the standard uncertainty of the rest is sqrt(3 * 3^2) J = 5.2 J
  const auto rest = [](double node_j) {
    return *rest_of_node(
        {energy_of("node", node_j, 3), energy_of("package0", 300, 3), energy_of("package1", 200, 3)});
  };
  EXPECT_DOUBLE_EQ(rest(490).gross.joules, -10);
  EXPECT_EQ(flags_text(rest(490).gross.flags), "ok");
  const ChannelEnergy wrong = rest(489);
  EXPECT_EQ(flags_text(wrong.gross.flags), "exceeds_node");
  EXPECT_EQ(flags_text(wrong.net.flags), "exceeds_node");
  EXPECT_THAT(wrong.gross.reason, HasSubstr("bmc: the domains inside the node add up to more"));
}

TEST(RestOfNode, APartThatTwoMetersShowIsTakenOffOnce) {
  // a Cray node of 400 J, RAPL readable beside its own counters
  std::vector<ChannelEnergy> energies{energy_of("node", 400, 2),    energy_of("cpu", 200, 3),
                                      energy_of("memory", 50, 2),   energy_of("accel0", 90, 2),
                                      energy_of("package0", 99, 1), energy_of("package1", 98, 1),
                                      energy_of("dram0", 49, 1),    energy_of("gpu:GPU-1", 88, 1)};
  for (std::size_t i = 0; i < energies.size(); ++i)
    energies[i].meter = i < 4 ? "pm_counters" : i < 7 ? "powercap" : "nvml";
  auto rest = rest_of_node(energies);
  ASSERT_TRUE(rest);
  EXPECT_DOUBLE_EQ(rest->gross.joules, 400 - 99 - 98 - 49 - 88) << "the more certain meters";
  EXPECT_EQ(flags_text(rest->gross.flags), "ok");
  energies[5].gross.flags |= kStuck;
  rest = rest_of_node(energies);
  EXPECT_DOUBLE_EQ(rest->gross.joules, 400 - 200 - 49 - 88) << "the processors' other meter";
  energies.erase(energies.begin());
  const auto total = total_energy(energies, Provenance::kMeasured);
  ASSERT_TRUE(total);
  EXPECT_EQ(total->domains, "cpu+dram0+gpu:GPU-1") << "without a node";
}

TEST(RestOfNode, ProcessorsOfABmcAreThePackagesOfRapl) {
  const auto rest = [](const std::string& bmc_domain, double bmc_j, const std::vector<std::string>& others,
                       double each_j) {
    std::vector<ChannelEnergy> energies{energy_of("node", 400), energy_of(bmc_domain, bmc_j, 20)};
    energies[1].meter = "redfish:bmc";
    for (const std::string& domain : others) energies.push_back(energy_of(domain, each_j));
    return rest_of_node(energies)->gross.joules;
  };
  EXPECT_DOUBLE_EQ(rest("processors", 200, {"package0", "package1"}, 98.5), 203);
  EXPECT_DOUBLE_EQ(rest("processors", 200, {"package0", "package0-1"}, 98.5), 203)
      << "a second chip's package 0";
  EXPECT_DOUBLE_EQ(
      rest("processors", 200, {"package0-die0", "package0-die1", "package1-die0", "package1-die1"}, 49), 204);
  EXPECT_DOUBLE_EQ(rest("cpu", 200, {"package0-die0", "package1-die0"}, 98.5), 203);
  EXPECT_DOUBLE_EQ(rest("chassis:1:processors", 200, {"package0", "package1"}, 98.5), 203);
  EXPECT_DOUBLE_EQ(rest("chassis:1:memory", 60, {"dram0-die0", "dram1-die0"}, 25), 350);
  EXPECT_DOUBLE_EQ(rest("accelerators", 200, {"gpu:GPU-1", "gpu:GPU-2"}, 95), 210);
  EXPECT_DOUBLE_EQ(rest("accelerators", 200, {"accel0", "accel1"}, 95), 210);
  EXPECT_DOUBLE_EQ(rest("processors0", 99, {"package0", "package1"}, 98.5), 203);
  // what only looks like one of those names
  EXPECT_DOUBLE_EQ(rest("cpu0_fan", 10, {"package0", "package1"}, 98.5), 193);
  EXPECT_DOUBLE_EQ(rest("chassis:cpu0", 10, {"package0", "package1"}, 98.5), 193);
}

TEST(RestOfNode, APartMayBeOfSeveralMeters) {
  std::vector<ChannelEnergy> energies{energy_of("package0", 300), energy_of("package1", 200)};
  energies[0].meter = "powercap";
  energies[1].meter = "hwmon:amd_energy";
  EXPECT_DOUBLE_EQ(total_energy(energies, Provenance::kMeasured)->gross.joules, 500);
}

TEST(RestOfNode, NeedsANodeAndSomethingInsideIt) {
  EXPECT_FALSE(rest_of_node({energy_of("node", 1000)}));
  EXPECT_FALSE(rest_of_node({energy_of("package0", 300), energy_of("package1", 200)}));
  EXPECT_FALSE(rest_of_node({}));
}

// ---- EE HPC WG levels -------------------------------------------------------------------------

struct Instrument {
  ReadingKind kind = ReadingKind::kEnergyCounter;
  double accuracy = 0.01, seconds = 60, interval_s = 0.1;
  std::string source = "data sheet", domain = "node";
  Provenance provenance = Provenance::kMeasured;
  unsigned flags = 0;
};

int level_of(const Instrument& instrument) {
  ChannelEnergy energy = energy_of(instrument.domain, 1000);
  energy.channel.kind = instrument.kind;
  energy.channel.provenance = instrument.provenance;
  energy.channel.accuracy_relative = instrument.accuracy;
  energy.channel.accuracy_source = instrument.source;
  energy.gross.seconds = instrument.seconds;
  energy.gross.distinct_updates = std::llround(instrument.seconds / instrument.interval_s);
  energy.gross.flags = instrument.flags;
  return ee_hpc_wg_level(energy);
}

TEST(EeHpcWgLevel, FollowsKindAccuracyAndInterval) {
  constexpr ReadingKind kInstant = ReadingKind::kInstantPower, kAverage = ReadingKind::kAveragePower;
  EXPECT_EQ(level_of({}), 3);
  EXPECT_EQ(level_of({.accuracy = 0.015}), 2);
  EXPECT_EQ(level_of({.kind = kInstant}), 2) << "watts are no energy counter";
  EXPECT_EQ(level_of({.kind = kAverage, .accuracy = 0.02, .interval_s = 1}), 2);
  EXPECT_EQ(level_of({.accuracy = 0.03}), 1);
  EXPECT_EQ(level_of({.seconds = 600, .interval_s = 2}), 1);
  EXPECT_EQ(level_of({.accuracy = 0.05, .seconds = 600, .interval_s = 60}), 1);
}

TEST(EeHpcWgLevel, IsNoneWithoutEnoughOfEverything) {
  EXPECT_EQ(level_of({.accuracy = 0.06}), 0);
  EXPECT_EQ(level_of({.seconds = 59}), 0);
  EXPECT_EQ(level_of({.seconds = 60, .interval_s = 7}), 0) << "9 updates";
  EXPECT_EQ(level_of({.seconds = 1000, .interval_s = 70}), 0);
  EXPECT_EQ(level_of({.domain = "package0"}), 0) << "not the whole node";
  EXPECT_EQ(level_of({.provenance = Provenance::kModelled}), 0);
  EXPECT_EQ(level_of({.flags = kDropout}), 0);
}

TEST(EeHpcWgLevel, AnAccuracyThatNobodyStatesSatisfiesNone) {
  EXPECT_EQ(level_of({.accuracy = 0}), 0);
  for (const char* source : {"assumed", "assumed: DCMI states none", "assumed: Redfish states none here",
                             "assumed: that of the BMC or RAPL behind it is not known here"})
    EXPECT_EQ(level_of({.source = source}), 0) << source;
}

}  // namespace
}  // namespace mlpwatt::testing

// NVIDIA GPUs, over a stand-in of the driver's library.

#include <gtest/gtest.h>

#include <map>
#include <vector>

#include "meters/gpu_state.h"
#include "meters/power_session.h"
#include "tests/support/meter_case.h"
#include "tests/support/nvml_fixture.h"

namespace mlpwatt {
namespace {

using namespace mlpwatt::testing;
using Json = nlohmann::json;
using State = MeterProbe::State;

MeterProbe open_with(const NvmlFixture& nvml, Json section = Json::object()) {
  section["library"] = nvml.path;
  return open_meter("nvml", section);
}

std::map<std::string, double> values(Meter& meter) {
  std::map<std::string, double> result;
  const auto readings = checked_read(meter, 5);
  for (std::size_t i = 0; i < readings.size(); ++i)
    if (readings[i].value) result[meter.channels()[i].domain] = *readings[i].value;
  return result;
}
std::map<std::string, std::string> reasons(Meter& meter) {
  std::map<std::string, std::string> result;
  const auto readings = checked_read(meter, 5);
  for (std::size_t i = 0; i < readings.size(); ++i)
    if (!readings[i].value) result[meter.channels()[i].domain] = readings[i].reason;
  return result;
}
using Values = std::map<std::string, double>;

TEST(NvmlMeter, AverageInstantAndCounterByUuid) {
  NvmlFixture nvml;
  FakeGpu& gpu = nvml.add("GPU-aa", 300);
  gpu.instant_w = 320.5;
  MeterProbe probe = open_with(nvml);
  ASSERT_EQ(probe.meters.size(), 2u) << probe.detail;
  EXPECT_EQ(probe.meters[0]->name(), "nvml");
  EXPECT_EQ(probe.meters[1]->name(), "nvml:energy");
  EXPECT_EQ(values(*probe.meters[0]), (Values{{"gpu:GPU-aa", 300}, {"gpu:GPU-aa:instant", 320.5}}));
  EXPECT_EQ(values(*probe.meters[1]), (Values{{"gpu:GPU-aa:energy", 1000}}));
  const Channel &average = probe.meters[0]->channels()[0], &instant = probe.meters[0]->channels()[1];
  EXPECT_EQ(average.kind, ReadingKind::kAveragePower);
  EXPECT_EQ(average.averaging_s, 1);
  EXPECT_EQ(average.maximum_w, 1400);
  EXPECT_EQ(instant.kind, ReadingKind::kInstantPower);
  EXPECT_EQ(instant.averaging_s, 0.025);
  EXPECT_EQ(instant.duplicate_of, "gpu:GPU-aa");
  EXPECT_EQ(probe.meters[1]->channels()[0].kind, ReadingKind::kEnergyCounter);
}

TEST(NvmlMeter, TheCounterIsReadOnceASecondAtMost) {
  NvmlFixture nvml;
  nvml.add("GPU-aa", 300);
  MeterProbe probe = open_with(nvml);
  ASSERT_EQ(probe.meters.size(), 2u);
  EXPECT_GE(probe.meters[1]->poll_period_s(), 1);
  EXPECT_EQ(open_with(nvml, {{"counter_poll_s", 0.1}}).state, State::kFaulty);
  const int before = nvml.script->counter_reads;
  for (int i = 0; i < 50; ++i) checked_read(*probe.meters[0], 5);
  EXPECT_EQ(nvml.script->counter_reads, before) << "reading power does not touch the counter";
  checked_read(*probe.meters[1], 5);
  EXPECT_FALSE(checked_read(*probe.meters[1], 0.05)[0].reason.empty()) << "too soon";
  EXPECT_EQ(nvml.script->counter_reads, before + 1);
}

TEST(NvmlMeter, OneGpuThatCannotDoesNotTakeTheOthersAlong) {
  NvmlFixture nvml;
  FakeGpu& old = nvml.add("GPU-old", 0, "GeForce GT 710");
  old.status = 3;
  nvml.add("GPU-new", 250);
  MeterProbe probe = open_with(nvml);
  ASSERT_EQ(probe.meters.size(), 2u) << probe.detail;
  EXPECT_EQ(values(*probe.meters[0]), (Values{{"gpu:GPU-new", 250}, {"gpu:GPU-new:instant", 250}}));
  EXPECT_NE(probe.detail.find("GPU-old: Not Supported"), std::string::npos) << probe.detail;
}

TEST(NvmlMeter, IndexOrderDoesNotMatterAndLossIsOfOneGpu) {
  NvmlFixture nvml;
  nvml.add("GPU-aa", 100);
  nvml.add("GPU-bb", 200);
  MeterProbe probe = open_with(nvml);
  ASSERT_EQ(probe.meters.size(), 2u);
  // the driver comes back with its GPUs in another order
  std::swap(nvml.script->gpus[0].uuid, nvml.script->gpus[1].uuid);
  nvml.script->gpus[0].average_w = 200;
  nvml.script->gpus[1].average_w = 100;
  auto now = values(*probe.meters[0]);
  EXPECT_EQ(now["gpu:GPU-aa"], 100);
  EXPECT_EQ(now["gpu:GPU-bb"], 200);
  nvml.script->gpus[1].status = 15;
  EXPECT_EQ(values(*probe.meters[0])["gpu:GPU-bb"], 200);
  EXPECT_EQ(reasons(*probe.meters[0])["gpu:GPU-aa"], "nvml: gpu:GPU-aa: GPU is lost (15)");
  nvml.script->gpus[1].uuid = "GPU-gone";
  EXPECT_EQ(reasons(*probe.meters[0])["gpu:GPU-aa"], "nvml: gpu:GPU-aa: Not Found (6)");
}

TEST(NvmlMeter, EveryValueTypeAndNoUnknownOne) {
  NvmlFixture nvml;
  FakeGpu& gpu = nvml.add("GPU-aa", 60);
  MeterProbe probe = open_with(nvml);
  ASSERT_EQ(probe.meters.size(), 2u);
  for (unsigned type = 0; type <= 6; ++type) {
    gpu.value_type = type;
    EXPECT_EQ(values(*probe.meters[0])["gpu:GPU-aa"], 60) << type;
  }
  gpu.value_type = 7;
  EXPECT_NE(reasons(*probe.meters[0])["gpu:GPU-aa"].find("unknown value type 7"), std::string::npos);
}

TEST(NvmlMeter, OlderDriversAndMig) {
  NvmlFixture nvml;
  FakeGpu& gpu = nvml.add("GPU-aa", 60, "NVIDIA A100");
  gpu.has_average = gpu.has_instant = gpu.has_energy = false;
  gpu.mig = true;
  MeterProbe probe = open_with(nvml);
  ASSERT_EQ(probe.meters.size(), 1u) << probe.detail;
  EXPECT_EQ(values(*probe.meters[0]), (Values{{"gpu:GPU-aa", 60}}));
  EXPECT_NE(probe.meters[0]->channels()[0].place.find("shared by its MIG slices"), std::string::npos);
  gpu.has_instant = true;
  probe = open_with(nvml);
  ASSERT_EQ(probe.meters.size(), 1u);
  EXPECT_EQ(probe.meters[0]->channels()[0].domain, "gpu:GPU-aa");
  EXPECT_EQ(probe.meters[0]->channels()[0].kind, ReadingKind::kInstantPower);
}

TEST(NvmlMeter, WhatAReadingLooksAtGoesByTheSilicon) {
  struct Case {
    const char* name;
    int capability;
    double look_s;        ///< of a reading of the moment
    bool usage_averages;  ///< of drivers that have no other reading
  };
  const std::vector<Case> cases{{"NVIDIA H100 80GB HBM3", 90, 0.025, true},
                                {"NVIDIA H200", 90, 0.025, true},
                                {"NVIDIA H20", 0, 0.025, true},
                                {"NVIDIA H800", 0, 0.025, true},
                                {"NVIDIA GH200 480GB", 90, 0.020, true},
                                {"NVIDIA A100-SXM4-40GB", 80, 0.025, false},
                                {"NVIDIA A800-SXM4-80GB", 0, 0.025, false},
                                {"NVIDIA A30", 0, 0.025, false},
                                {"Graphics Device", 80, 0.025, false},
                                {"NVIDIA RTX A1000", 86, 0, true},
                                {"NVIDIA RTX A1000", 0, 0, false},
                                {"NVIDIA GeForce RTX 3090", 86, 0, true},
                                {"NVIDIA L4", 89, 0, true},
                                {"NVIDIA B200", 100, 0, true},
                                {"Tesla T4", 75, 0, false},
                                {"Tesla V100-SXM2-16GB", 70, 0, false}};
  for (const Case& each : cases) {
    NvmlFixture nvml;
    FakeGpu& gpu = nvml.add("GPU-aa", 60, each.name);
    gpu.capability = each.capability;
    MeterProbe probe = open_with(nvml);
    ASSERT_EQ(probe.meters.size(), 2u) << probe.detail;
    EXPECT_EQ(probe.meters[0]->channels()[0].averaging_s, 1) << each.name;
    EXPECT_EQ(probe.meters[0]->channels()[1].averaging_s, each.look_s) << each.name << each.capability;
    gpu.has_average = gpu.has_instant = false;
    probe = open_with(nvml);
    ASSERT_EQ(probe.meters.size(), 2u) << probe.detail;
    ASSERT_EQ(probe.meters[0]->channels().size(), 1u);
    const Channel& usage = probe.meters[0]->channels()[0];
    EXPECT_EQ(usage.kind, each.usage_averages ? ReadingKind::kAveragePower : ReadingKind::kInstantPower)
        << each.name << each.capability;
    EXPECT_EQ(usage.averaging_s, each.usage_averages ? 1 : each.look_s) << each.name << each.capability;
  }
}

TEST(NvmlMeter, WhoMayNotIsToldWhatToType) {
  const std::string remedy = "sudo chmod a+rw /dev/nvidiactl";
  NvmlFixture nvml;
  FakeGpu &first = nvml.add("GPU-aa", 100), &second = nvml.add("GPU-bb", 200);
  first.status = second.status = 4;
  MeterProbe probe = open_with(nvml);
  EXPECT_EQ(probe.state, State::kNotPermitted);
  EXPECT_NE(probe.detail.find("GPU-bb: Insufficient Permissions (4)"), std::string::npos) << probe.detail;
  EXPECT_EQ(probe.remedy.find(remedy), 0u) << probe.remedy;
  EXPECT_EQ(probe.remedy.find('\n'), std::string::npos);
  first.status = second.status = 0;
  first.handle_status = second.handle_status = 4;
  probe = open_with(nvml);
  EXPECT_EQ(probe.state, State::kNotPermitted) << probe.detail;
  EXPECT_EQ(probe.remedy.find(remedy), 0u) << probe.remedy;
  second.handle_status = 0;
  probe = open_with(nvml);
  EXPECT_EQ(probe.state, State::kFound);
  EXPECT_NE(probe.detail.find("GPU number 0: Insufficient Permissions (4)"), std::string::npos)
      << probe.detail;
  EXPECT_EQ(probe.remedy.find(remedy), 0u) << "also beside one that may be read";
  probe.meters.clear();
  first.handle_status = 0;
  EXPECT_EQ(open_with(nvml).remedy, "");
  first.status = second.status = 3;
  probe = open_with(nvml);
  EXPECT_EQ(probe.state, State::kAbsent) << "what no right would help";
  EXPECT_EQ(probe.remedy, "");
  nvml.script->init_status = 4;
  probe = open_with(nvml);
  EXPECT_EQ(probe.state, State::kNotPermitted) << probe.detail;
  EXPECT_EQ(probe.remedy.find(remedy), 0u) << probe.remedy;
}

TEST(NvmlMeter, ChosenGpusOnly) {
  NvmlFixture nvml;
  nvml.add("GPU-aa", 100);
  nvml.add("GPU-bb", 200);
  MeterProbe probe = open_with(nvml, {{"gpus", {"GPU-bb"}}});
  ASSERT_EQ(probe.meters.size(), 2u);
  EXPECT_EQ(values(*probe.meters[1]), (Values{{"gpu:GPU-bb:energy", 1000}}));
}

TEST(GpuStates, ClocksTemperatureAndReasonsOfEachGpu) {
  NvmlFixture nvml;
  nvml.add("GPU-aa", 100);
  FakeGpu& hot = nvml.add("GPU-bb", 700);
  hot.temperature_c = 88;
  hot.clock_mhz = 1200;
  hot.reasons = 0x4 | 0x40;
  FakeGpu& lost = nvml.add("GPU-cc", 0);
  lost.status = 15;
  {
    const GpuStates states(nvml.path);
    const auto read = states.read();
    ASSERT_EQ(read.size(), 3u);
    EXPECT_EQ(read[0].clock_hz, 1980e6);
    EXPECT_EQ(read[0].memory_clock_hz, 2619e6);
    EXPECT_EQ(read[0].temperature_c, 45);
    EXPECT_EQ(read[0].reasons, 0u);
    EXPECT_EQ(read[1].uuid, "GPU-bb");
    EXPECT_EQ(read[1].clock_hz, 1200e6);
    EXPECT_EQ(read[1].temperature_c, 88);
    EXPECT_EQ(reasons_text(read[1].reasons.value_or(0)), "sw_power_cap hw_thermal");
    EXPECT_FALSE(read[2].clock_hz || read[2].temperature_c || read[2].reasons) << "absent, not 0";
    EXPECT_FALSE(held_back_between_s(read[2], read[2]).has_value()) << "absent, not 0";
    hot.held_back_s[0] = 2.0;  // power
    hot.held_back_s[1] = 2.5;  // heat
    hot.held_back_s[4] = 60;   // low utilisation holds nobody back
    const auto later = states.read();
    EXPECT_DOUBLE_EQ(held_back_between_s(read[1], later[1]).value_or(-1), 2.5);
    EXPECT_DOUBLE_EQ(held_back_between_s(read[0], later[0]).value_or(-1), 0);
  }
  EXPECT_EQ(nvml.script->running, 0);
  EXPECT_TRUE(GpuStates("libno-such-thing.so.1").read().empty());
}

TEST(GpuStates, IdlenessAndClocksThatSomebodySetAreNoThrottling) {
  EXPECT_EQ(slowing_reasons(0x1 | 0x2 | 0x10 | 0x100), 0u);
  EXPECT_EQ(slowing_reasons(0x1 | 0x20), 0x20u);
  EXPECT_EQ(reasons_text(0), "none");
  EXPECT_EQ(reasons_text(0x1), "idle");
  EXPECT_EQ(reasons_text(std::uint64_t{1} << 40), "unknown");
}

TEST(GpuStates, AWindowIsLongEnoughForWhatItsMetersSee) {
  NvmlFixture nvml;
  nvml.add("GPU-aa", 300);
  MeterProbe probe = open_with(nvml);
  ASSERT_EQ(probe.meters.size(), 2u);
  EXPECT_DOUBLE_EQ(least_window_s(probe.meters[0]->channels()[0]), 10) << "averages over a second";
  EXPECT_DOUBLE_EQ(least_window_s(probe.meters[0]->channels()[1]), 5) << "sees 25 ms of 100";
  EXPECT_DOUBLE_EQ(least_window_s(probe.meters[1]->channels()[0]), 5) << "steps every 100 ms";
  Channel plain;
  plain.kind = ReadingKind::kInstantPower;
  plain.update_period_s = 1;
  EXPECT_DOUBLE_EQ(least_window_s(plain), 10);
}

TEST(NvmlMeter, NoLibraryNoDriverNoGpu) {
  const MeterProbe none = open_meter("nvml", {{"library", "libno-such-thing.so.1"}});
  EXPECT_EQ(none.state, State::kAbsent);
  EXPECT_NE(none.detail.find("libno-such-thing.so.1"), std::string::npos);
  const MeterProbe foreign = open_meter("nvml", {{"library", "libm.so.6"}});
  EXPECT_NE(foreign.detail.find("has no nvmlInit_v2"), std::string::npos) << foreign.detail;
  NvmlFixture nvml;
  EXPECT_NE(open_with(nvml).detail.find("none of 0 GPUs"), std::string::npos);
  nvml.script->init_status = 9;
  EXPECT_NE(open_with(nvml).detail.find("Driver Not Loaded"), std::string::npos);
  EXPECT_EQ(nvml.script->running, 0);
}

TEST(NvmlMeter, ADriverThatHoldsItsLockIsLeftWaiting) {
  NvmlFixture nvml;
  nvml.add("GPU-aa", 100);
  MeterProbe probe = open_with(nvml);
  ASSERT_EQ(probe.meters.size(), 2u);
  nvml.script->hang_s = 0.4;
  EXPECT_NE(checked_read(*probe.meters[0], 0.05)[0].reason.find("no answer within"), std::string::npos);
  nvml.script->hang_s = 0;
  EXPECT_EQ(checked_read(*probe.meters[0], 10)[0].value, 100);
  probe.meters.clear();
  EXPECT_EQ(nvml.script->running, 0) << "shut down with the last meter";
}

}  // namespace
}  // namespace mlpwatt

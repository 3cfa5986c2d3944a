// What a row says of the GPU that ran it, and what commands say where there is none.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <optional>

#include "harness/model/training_runs.h"
#include "harness/record/record_file.h"
#include "harness/run/power_rows.h"
#include "harness/run/run_one.h"
#include "kernels/backend.h"
#include "tests/harness/program.h"
#include "tests/support/temporary_folder.h"

namespace mlpwatt {
namespace {

using namespace mlpwatt::testing;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

GpuState state_of(const std::string& uuid, double celsius, std::uint64_t reasons) {
  GpuState state;
  state.uuid = uuid;
  state.clock_hz = 1.98e9;
  state.memory_clock_hz = 2.6e9;
  state.temperature_c = celsius;
  state.reasons = reasons;
  return state;
}

Row row_of(const std::string& uuid) {
  Row row(runs_table());
  row.set("device_uuid", uuid);
  row.set("quality", "ok");
  return row;
}

TEST(GpuRows, TheStateIsThatOfTheGpuThatRan) {
  Row row = row_of("GPU-bb");
  set_gpu_state(row, {state_of("GPU-aa", 90, 0x40), state_of("GPU-bb", 40, 0x1)},
                {state_of("GPU-bb", 55, 0), state_of("GPU-aa", 90, 0x40)});
  EXPECT_EQ(row.real("gpu_temperature_before_c"), 40);
  EXPECT_EQ(row.real("gpu_temperature_after_c"), 55);
  EXPECT_EQ(row.real("gpu_clock_after_hz"), 1.98e9);
  EXPECT_EQ(row.real("gpu_memory_clock_before_hz"), 2.6e9);
  EXPECT_EQ(row.text("gpu_throttle_before"), "idle");
  EXPECT_EQ(row.text("gpu_throttle_after"), "none");
  EXPECT_EQ(row.text("quality"), "ok");
}

const BackendRegistration pretended{
    {"pretended_device",
     [] { return std::string(); },
     [] {
       Hierarchy device;
       device.cores = 132;
       device.memory_bytes = std::int64_t{80} << 30;
       device.levels = {{"L1", 256 << 10, 128, 0, 1}, {"L2", 50 << 20, 128, 0, 132}};
       return device;
     },
     {},
     {}}};

TEST(GpuRows, TheDevicesHierarchyIsTheRows) {
  Row row(runs_table());
  row.set("backend", "pretended_device");
  set_facts(row, {{"device", "Pretend GPU"}});
  EXPECT_EQ(row.integer("device_multiprocessors"), 132);
  EXPECT_EQ(row.integer("device_l1_bytes"), 256 << 10);
  EXPECT_EQ(row.integer("device_l2_bytes"), 50 << 20);
  EXPECT_EQ(row.integer("device_memory_bytes"), std::int64_t{80} << 30);
  const Hierarchy read = model::hierarchy_of(Row(machine_table()), row);
  EXPECT_EQ(read.cores, 132);
  EXPECT_EQ(read.find("L2")->capacity_bytes, 50 << 20);
  EXPECT_EQ(read.find("L2")->shared_by_cores, 132);
  EXPECT_EQ(read.find("L3"), nullptr);
  Row of_the_processor(runs_table());
  of_the_processor.set("backend", "cpu");
  set_facts(of_the_processor, {{"isa", "generic"}});
  EXPECT_FALSE(model::describes_device(of_the_processor));
}

TEST(GpuRows, AnotherGpusJoulesAreNotOfTheRun) {
  // Two GPUs, no meter of the node: the second may work for somebody else.
  std::vector<ChannelEnergy> channels;
  for (const auto& [uuid, joules] : {std::pair{"GPU-aa", 500.0}, std::pair{"GPU-bb", 300.0}}) {
    ChannelEnergy one;
    one.meter = "nvml";
    one.channel.domain = std::string("gpu:") + uuid;
    one.channel.kind = ReadingKind::kEnergyCounter;
    one.gross.joules = joules;
    one.gross.seconds = 2;
    one.gross.distinct_updates = one.gross.readings = 20;
    one.net = one.gross;
    channels.push_back(one);
  }
  Row row = row_of("GPU-bb");
  EXPECT_EQ(set_totals(row, channels, std::nullopt), (std::vector<std::size_t>{1}));
  EXPECT_EQ(row.real("energy_j_measured"), 300);
  EXPECT_EQ(row.text("energy_domains"), "gpu:GPU-bb");
  Row of_the_processor(runs_table());
  EXPECT_TRUE(set_totals(of_the_processor, channels, std::nullopt).empty());
  EXPECT_TRUE(std::isnan(of_the_processor.real("energy_j_measured")));
}

TEST(GpuRows, OneHeldBackAtEitherEndIsFlagged) {
  Row row = row_of("GPU-aa");
  set_gpu_state(row, {state_of("GPU-aa", 60, 0)}, {state_of("GPU-aa", 88, 0x20)});
  EXPECT_EQ(row.text("quality"), "gpu_throttled");
  EXPECT_EQ(row.text("gpu_throttle_after"), "sw_thermal");
  row.set("quality", "few_blocks");
  set_gpu_state(row, {state_of("GPU-aa", 60, 0x4)}, {});
  EXPECT_EQ(row.text("quality"), "few_blocks gpu_throttled");
}

TEST(GpuRows, OneHeldBackBetweenTheEndsIsFlagged) {
  for (const auto& [held_back_s, quality] : {std::pair{0.004, "ok"}, std::pair{0.5, "gpu_throttled"}}) {
    Row row = row_of("GPU-aa");
    row.set("duration_s", 2.0);
    GpuState before = state_of("GPU-aa", 60, 0), after = before, other = state_of("GPU-bb", 60, 0);
    before.held_back_s[1] = 7;
    after.held_back_s[1] = 7 + held_back_s;
    set_gpu_state(row, {other, before}, {other, after});
    EXPECT_NEAR(row.real("gpu_held_back_s"), held_back_s, 1e-12);
    EXPECT_EQ(row.text("quality"), quality);
    EXPECT_EQ(row.text("gpu_throttle_after"), "none");
  }
  Row silent = row_of("GPU-aa");
  set_gpu_state(silent, {state_of("GPU-aa", 60, 0)}, {state_of("GPU-aa", 60, 0)});
  EXPECT_TRUE(std::isnan(silent.real("gpu_held_back_s"))) << "not counted is not 0";
}

TEST(GpuRows, ARowOfTheProcessorHasNone) {
  Row row = row_of("");
  set_gpu_state(row, {state_of("GPU-aa", 60, 0x4)}, {state_of("GPU-aa", 60, 0x4)});
  EXPECT_EQ(row.text("quality"), "ok");
  EXPECT_EQ(row.text("gpu_throttle_before"), "");
}

TEST(GpuCommands, WithoutADeviceTrainSaysWhyInOneLineAndLeavesNothing) {
  TemporaryFolder folder;
  const std::string out = folder.path("gpu.h5");
  const Outcome outcome = run({"train", "--dataset", "wine_quality_white", "--shape", "rectangle", "--size",
                               "64", "--depth", "2", "--epochs", "1", "--backend", "gpu", "--out", out});
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.err, HasSubstr("backend gpu"));
  EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
  EXPECT_FALSE(std::filesystem::exists(out));
}

TEST(GpuCommands, PeersOnADeviceThatIsNotThere) {
  const Outcome none = run({"compare-peers", "--device", "gpu", "--quick", "--only", "training"});
  EXPECT_EQ(none.status, 1);
  EXPECT_THAT(none.err, HasSubstr("backend gpu"));
  const Outcome unknown = run({"compare-peers", "--device", "tpu"});
  EXPECT_EQ(unknown.status, 2);
  EXPECT_THAT(unknown.err, AllOf(HasSubstr("tpu"), HasSubstr("gpu")));
}

}  // namespace
}  // namespace mlpwatt

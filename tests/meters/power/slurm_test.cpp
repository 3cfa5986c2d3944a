// Slurm's node power, with answers as scontrol prints them.

#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/support/meter_case.h"

namespace mlpwatt {
namespace {

using namespace mlpwatt::testing;
using Json = nlohmann::json;
using State = MeterProbe::State;

struct Scontrol {
  ScratchFolder folder;
  void says(const std::string& watts) const {
    write_file(folder.path() + "/says",
               "NodeName=n1 Arch=x86_64 CoresPerSocket=1 CPUAlloc=2 CPULoad=1.02 State=ALLOCATED\n   "
               "CapWatts=n/a\n   " +
                   watts + "\n   ExtSensorsJoules=n/s ExtSensorsWatts=0 ExtSensorsTemp=n/s\n");
  }
  Json section() const { return {{"command", {"cat", folder.path() + "/says"}}, {"poll_s", 0.05}}; }
};

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST(SlurmMeter, ReadsCurrentWatts) {
  const Scontrol scontrol;
  scontrol.says("CurrentWatts=231 AveWatts=198");
  const auto meter = only_meter(open_meter("slurm", scontrol.section()));
  ASSERT_TRUE(meter);
  EXPECT_EQ(meter->name(), "slurm");
  EXPECT_EQ(checked_read(*meter, 5)[0].value, 231);
}

TEST(SlurmMeter, SentinelsAreNone) {
  const Scontrol scontrol;
  scontrol.says("CurrentWatts=231 AveWatts=198");
  const auto meter = only_meter(open_meter("slurm", scontrol.section()));
  ASSERT_TRUE(meter);
  for (const char* none :
       {"CurrentWatts=n/s", "CurrentWatts=4294967294", "CurrentWatts=NO_VAL", "CurrentWatts=0",
        "CurrentWatts=18446744073709551614", "CurrentWatts=", "AveWatts=198", "CurrentWatts=2x"}) {
    scontrol.says(none);
    EXPECT_FALSE(checked_read(*meter, 5)[0].reason.empty()) << none;
  }
}

TEST(SlurmMeter, OutsideAJobItIsAbsent) {
  unsetenv("SLURM_JOB_ID");
  const MeterProbe outside = open_meter("slurm", nullptr);
  EXPECT_EQ(outside.state, State::kAbsent);
  EXPECT_TRUE(has(outside.detail, "not inside a Slurm job"));
  const MeterProbe none = open_meter("slurm", {{"command", "no-such-scontrol"}});
  EXPECT_EQ(none.state, State::kAbsent);
  EXPECT_TRUE(has(none.detail, "no-such-scontrol"));
}

TEST(SlurmMeter, ACommandThatFailsOrHangs) {
  const MeterProbe fails =
      open_meter("slurm", {{"command", {"/bin/sh", "-c", "echo slurmctld is down; exit 1"}}});
  EXPECT_EQ(fails.state, State::kFaulty);
  EXPECT_TRUE(has(fails.detail, "slurmctld is down")) << fails.detail;
  const MeterProbe hangs = open_meter("slurm", {{"command", {"/bin/sleep", "60"}}, {"timeout_s", 0.3}});
  EXPECT_EQ(hangs.state, State::kFaulty);
  EXPECT_TRUE(has(hangs.detail, "within")) << hangs.detail;
}

}  // namespace
}  // namespace mlpwatt

// DCMI over LAN, asked of a simulated BMC.

#include <gtest/gtest.h>

#include "tests/support/bmc_fixture.h"

#ifdef MLPWATT_HAVE_FREEIPMI

namespace mlpwatt {
namespace {

using namespace mlpwatt::testing;
using Json = nlohmann::json;
using State = MeterProbe::State;

class IpmiMeter : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!BmcFixture::available()) GTEST_SKIP() << "ipmi_sim is not installed: apt-get install openipmi";
  }
};

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST_F(IpmiMeter, CurrentPowerNotTheAverage) {
  BmcFixture bmc;
  const auto meter = only_meter(open_meter("ipmi", bmc.section()));
  ASSERT_TRUE(meter);
  EXPECT_EQ(meter->name().rfind("ipmi:127.0.0.1:", 0), 0u) << meter->name();
  EXPECT_GE(meter->poll_period_s(), 2);
  bmc.answer({.watts = 333, .average = 99, .stamp = 1700000005});
  const Reading reading = checked_read(*meter, 10)[0];
  EXPECT_EQ(reading.value, 333) << reading.reason;
  EXPECT_EQ(reading.device_stamp, 1700000005);
}

TEST_F(IpmiMeter, Lan15) {
  BmcFixture bmc;
  Json section = bmc.section();
  section["lan"] = "1.5";
  section.erase("workarounds");
  const auto meter = only_meter(open_meter("ipmi", section));
  ASSERT_TRUE(meter);
  EXPECT_EQ(checked_read(*meter, 10)[0].value, 217);
}

TEST_F(IpmiMeter, NotMeasuringZeroAndClockOf1970) {
  BmcFixture bmc;
  const auto meter = only_meter(open_meter("ipmi", bmc.fast_section()));
  ASSERT_TRUE(meter);
  bmc.answer({.state = 0});
  EXPECT_TRUE(has(checked_read(*meter, 10)[0].reason, "does not measure")) << "bit 6 clear";
  bmc.answer({.watts = 0});
  EXPECT_TRUE(has(checked_read(*meter, 10)[0].reason, "0 W"));
  bmc.answer({.watts = 218, .stamp = 12345});
  const Reading reading = checked_read(*meter, 10)[0];
  EXPECT_EQ(reading.value, 218);
  EXPECT_FALSE(reading.device_stamp) << "a clock that was never set stamps nothing";
}

TEST_F(IpmiMeter, WrongPasswordIsNoPermission) {
  BmcFixture bmc;
  Json section = bmc.section();
  const ScratchFolder folder;
  section["credentials_file"] =
      write_file(folder.path() + "/c", R"({"user": "meter", "password": "no"})", 0600);
  const MeterProbe probe = open_meter("ipmi", section);
  EXPECT_EQ(probe.state, State::kNotPermitted) << probe.detail;
  EXPECT_FALSE(has(probe.detail, "\"no\""));
  EXPECT_TRUE(has(probe.remedy, "credentials_file")) << probe.remedy;
}

TEST_F(IpmiMeter, ABmcWithoutDcmiIsAbsent) {
  BmcFixture bmc(false);
  const MeterProbe probe = open_meter("ipmi", bmc.section());
  EXPECT_EQ(probe.state, State::kAbsent) << probe.detail;
  EXPECT_TRUE(has(probe.detail, "no DCMI")) << probe.detail;
}

TEST_F(IpmiMeter, HangsErrorsAndANewStart) {
  BmcFixture bmc;
  const auto meter = only_meter(open_meter("ipmi", bmc.fast_section()));
  ASSERT_TRUE(meter);
  bmc.answer({.completion = 0xc0});
  EXPECT_TRUE(has(checked_read(*meter, 3)[0].reason, "DCMI Get Power Reading")) << "node busy";
  bmc.answer({});
  EXPECT_EQ(checked_read(*meter, 15)[0].value, 217) << "a session is opened anew";
  bmc.daemon().freeze();
  EXPECT_FALSE(checked_read(*meter, 3)[0].reason.empty());
  bmc.daemon().stop();
  EXPECT_FALSE(checked_read(*meter, 1)[0].reason.empty());
  bmc.start();
  Reading reading;
  for (int i = 0; i < 5 && !reading.value; ++i) reading = checked_read(*meter, 10)[0];
  EXPECT_EQ(reading.value, 217) << reading.reason;
}

TEST(IpmiMeterInBand, SaysWhatIsMissing) {
  const MeterProbe none = open_meter("ipmi", {{"device", "/dev/no-ipmi-here"}});
  EXPECT_EQ(none.state, State::kAbsent);
  EXPECT_TRUE(has(none.detail, "/dev/no-ipmi-here: No such file")) << none.detail;
  EXPECT_TRUE(has(none.remedy, "ipmi_devintf"));
  const ScratchFolder folder;
  const std::string device = write_file(folder.path() + "/ipmi0", "", 0);
  // root is refused nothing
  const bool root = geteuid() == 0;
  ASSERT_TRUE(!root || seteuid(65534) == 0);
  const MeterProbe locked = open_meter("ipmi", {{"device", device}});
  ASSERT_TRUE(!root || seteuid(0) == 0);
  EXPECT_EQ(locked.state, State::kNotPermitted) << locked.detail;
  EXPECT_TRUE(has(locked.remedy, "udev"));
}

TEST(IpmiMeterInBand, NotFasterThanTwoSeconds) {
  const MeterProbe probe = open_meter("ipmi", {{"host", "127.0.0.1:1"}, {"poll_s", 0.5}});
  EXPECT_EQ(probe.state, State::kFaulty);
  EXPECT_TRUE(has(probe.detail, "from 2")) << probe.detail;
}

}  // namespace
}  // namespace mlpwatt
#endif

// Configuration, secrets, units and numbers that the meters of devices share; the thread that bounds their
// reads.

#include "meters/power/settings.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <cstdlib>
#include <thread>

#include "meters/power/bounded_meter.h"
#include "tests/support/meter_case.h"

namespace mlpwatt {
namespace {

using testing::checked_read;
using testing::write_file;
using Json = nlohmann::json;
using State = MeterProbe::State;

OpenError error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const OpenError& error) {
    return error;
  }
  ADD_FAILURE() << "no OpenError";
  return {State::kFound, ""};
}

TEST(MeterSettings, ErrorsNameMeterKeyAndValue) {
  Settings settings("snmp", {{"port", 70000}, {"host", 5}, {"colour", "red"}});
  EXPECT_STREQ(error_of([&] { settings.integer("port", 161, 1, 65535); }).what(),
               "snmp: configuration key \"port\" is 70000: give a whole number from 1 to 65535");
  EXPECT_NE(std::string(error_of([&] { settings.text("host"); }).what()).find("\"host\" is 5"),
            std::string::npos);
  EXPECT_STREQ(error_of([&] { settings.finish(); }).what(),
               "snmp: unknown configuration key \"colour\"; known: host, port");
  EXPECT_NE(std::string(error_of([] { Settings("snmp", 7); }).what()).find("number"), std::string::npos);
}

TEST(MeterSettings, SecretsAreRefusedInTheConfiguration) {
  Settings settings("redfish", {{"password", "hunter2"}});
  const OpenError error = error_of([&] { settings.finish(); });
  EXPECT_EQ(std::string(error.what()).find("hunter2"), std::string::npos) << "the secret itself is printed";
  EXPECT_NE(error.remedy.find("credentials_file"), std::string::npos);
}

TEST(MeterCredentials, OnlyFilesNobodyElseCanRead) {
  const ScratchFolder folder;
  for (const int mode : {0644, 0640, 0604, 0660, 0620, 0602}) {
    const std::string path = write_file(folder.path() + "/secret", R"({"user": "a", "password": "b"})", mode);
    Settings settings("redfish", {{"credentials_file", path}});
    const OpenError error = error_of([&] { Credentials{settings}; });
    EXPECT_EQ(error.state, State::kNotPermitted) << mode;
    EXPECT_EQ(error.remedy, "chmod 600 " + path);
  }
  for (const int mode : {0600, 0400}) {
    const std::string path = write_file(folder.path() + "/secret", R"({"user": "a", "password": "b"})", mode);
    Settings settings("redfish", {{"credentials_file", path}});
    const Credentials credentials(settings);
    EXPECT_EQ(credentials.get("user") + credentials.get("password") + credentials.get("token"), "ab");
    std::filesystem::remove(path);
  }
}

TEST(MeterCredentials, MissingGarbledAndUnknownAreNamed) {
  const ScratchFolder folder;
  const auto try_file = [&](const std::string& path) {
    Settings settings("snmp", {{"credentials_file", path}});
    return std::string(error_of([&] { Credentials{settings}; }).what());
  };
  EXPECT_NE(try_file(folder.path() + "/none").find("No such file"), std::string::npos);
  EXPECT_NE(try_file(folder.path()).find("is no file"), std::string::npos);
  EXPECT_NE(try_file(write_file(folder.path() + "/a", "user:pw", 0600)).find("no JSON object"),
            std::string::npos);
  EXPECT_NE(try_file(write_file(folder.path() + "/b", R"({"pasword": "x"})", 0600)).find("\"pasword\""),
            std::string::npos);
}

TEST(MeterCredentials, EnvironmentIsAskedWhenThereIsNoFile) {
  setenv("MLPWATT_REDFISH_USER", "from environment", 1);
  setenv("BMC17_USER", "from its own", 1);
  Settings plain("redfish", Json::object());
  EXPECT_EQ(Credentials(plain).get("user"), "from environment");
  Settings own("redfish", {{"credentials_environment", "BMC17"}});
  EXPECT_EQ(Credentials(own).get("user"), "from its own");
  unsetenv("MLPWATT_REDFISH_USER");
  unsetenv("BMC17_USER");
  EXPECT_EQ(Credentials(plain).get("user"), "");
}

TEST(MeterUnits, CountsBecomeWattsAndJoules) {
  const auto factor = [](const Json& section, Channel& channel) {
    Settings settings("snmp", section);
    return read_unit(settings, channel);
  };
  Channel channel;
  EXPECT_EQ(factor({{"unit", "W"}, {"scale", 10}}, channel), 10);  // APC: hundredths of kW
  EXPECT_EQ(channel.kind, ReadingKind::kInstantPower);
  EXPECT_DOUBLE_EQ(factor({{"unit", "kWh"}, {"scale", 0.1}, {"wrap", 65536}}, channel), 3.6e5);
  EXPECT_EQ(channel.kind, ReadingKind::kEnergyCounter);
  EXPECT_DOUBLE_EQ(channel.wrap_j, 65536 * 3.6e5);
  EXPECT_NE(std::string(error_of([&] {
                          factor({{"unit", "BTU"}}, channel);
                        }).what())
                .find("\"BTU\""),
            std::string::npos);
  EXPECT_NE(std::string(error_of([&] {
                          factor({{"scale", 0}}, channel);
                        }).what())
                .find("scale"),
            std::string::npos);
}

TEST(MeterNumbers, ANumberAndNothingElse) {
  EXPECT_EQ(parse_number(" 217.5\n"), 217.5);
  EXPECT_EQ(parse_number("-3e2"), -300);
  for (const char* bad : {"", " ", "nan", "NaN", "inf", "217 W", "0x10", "1,5", "--3", "n/s", "1e999"})
    EXPECT_FALSE(parse_number(bad)) << bad;
}

TEST(MeterNumbers, TimesWithZone) {
  EXPECT_EQ(parse_time_ms("1970-01-02T00:00:00Z"), 86400000);
  EXPECT_EQ(parse_time_ms("1970-01-01T01:00:00.25+01:00"), 250);
  EXPECT_EQ(parse_time_ms("1969-12-31T19:00:01-05:00"), 1000);
  for (const char* bad : {"", "yesterday", "1970-01-01T00:00:00", "1970-01-01T00:00:00."})
    EXPECT_FALSE(parse_time_ms(bad)) << bad;
}

TEST(MeterReadings, ZeroWattAndNanAreNone) {
  Channel power;
  power.domain = "node";
  EXPECT_FALSE(checked_reading(power, 0).value);
  EXPECT_TRUE(checked_reading(power, 0, true).value);
  EXPECT_FALSE(checked_reading(power, std::nan("")).value);
  EXPECT_EQ(checked_reading(power, 217).value, 217);
  Channel energy = power;
  energy.kind = ReadingKind::kEnergyCounter;
  EXPECT_EQ(checked_reading(energy, 0).value, 0);
}

struct ScriptedDevice : Device {
  std::function<std::vector<Reading>(double)> script;
  std::atomic<int> calls = 0;  // the meter's thread counts, the test looks
  std::vector<Reading> read(double timeout_s) override {
    ++calls;
    return script(timeout_s);
  }
};

std::vector<Reading> one(double value) {
  Reading reading;
  reading.value = value;
  return {reading};
}

TEST(BoundedMeter, AHangIsAReasonInTimeAndTheNextReadSaysSo) {
  const auto device = std::make_shared<ScriptedDevice>();
  std::atomic<bool> hang{true};
  device->script = [&](double) {
    while (hang) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return one(217);
  };
  BoundedMeter meter("ipmi", {Channel{.domain = "node"}}, device, {});
  EXPECT_NE(checked_read(meter, 0.05)[0].reason.find("no answer within 0.05 s"), std::string::npos);
  EXPECT_NE(checked_read(meter, 0.05)[0].reason.find("still no answer"), std::string::npos);
  EXPECT_EQ(device->calls, 1) << "a hanging device is not called again";
  hang = false;
  EXPECT_EQ(checked_read(meter, 5)[0].value, 217) << "it is asked anew, the late answer is not used";
  EXPECT_EQ(device->calls, 2);
}

TEST(BoundedMeter, AMeterThatHangsForEverCanBeDestroyed) {
  auto device = std::make_shared<ScriptedDevice>();
  const auto release = std::make_shared<std::atomic<bool>>(false);
  device->script = [release](double) {
    while (!*release) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return one(1);
  };
  const std::weak_ptr<Device> alive = device;
  {
    BoundedMeter meter("ipmi", {Channel{.domain = "node"}}, device, {});
    checked_read(meter, 0.02);
    device.reset();
  }
  EXPECT_FALSE(alive.expired()) << "its thread still uses it";
  *release = true;
  for (int i = 0; i < 5000 && !alive.expired(); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_TRUE(alive.expired()) << "the thread ends when the device comes back";
}

TEST(BoundedMeter, TriesAgainWithBackOffButNotAfterARefusal) {
  const auto device = std::make_shared<ScriptedDevice>();
  device->script = [&](double) -> std::vector<Reading> {
    if (device->calls < 3) throw std::runtime_error("busy");
    return one(5);
  };
  BoundedMeter meter("ipmi", {Channel{.domain = "node"}}, device, {.attempts = 3, .back_off_s = 0.001});
  EXPECT_EQ(checked_read(meter, 10)[0].value, 5);
  device->calls = 0;
  device->script = [](double) -> std::vector<Reading> { throw DeviceRefusal("wrong password"); };
  EXPECT_EQ(checked_read(meter, 10)[0].reason, "ipmi: wrong password");
  EXPECT_EQ(device->calls, 1);
}

TEST(BoundedMeter, KeepsTheLeastSpacing) {
  const auto device = std::make_shared<ScriptedDevice>();
  std::vector<double> begins;
  device->script = [&](double) {
    begins.push_back(
        std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count());
    return one(217);
  };
  BoundedMeter meter("ipmi", {Channel{.domain = "node"}}, device, {.least_spacing_s = 0.2});
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(checked_read(meter, 10)[0].value);
  ASSERT_EQ(begins.size(), 3u);
  EXPECT_GE(begins[1] - begins[0], 0.199);
  EXPECT_GE(begins[2] - begins[1], 0.199);
}

TEST(BoundedMeter, AskedTooSoonItSaysSoAndLeavesTheDeviceAlone) {
  const auto device = std::make_shared<ScriptedDevice>();
  device->script = [](double) { return one(217); };
  BoundedMeter meter("ipmi", {Channel{.domain = "node"}}, device, {.least_spacing_s = 3600});
  EXPECT_TRUE(checked_read(meter, 10)[0].value);
  EXPECT_NE(checked_read(meter, 1)[0].reason.find("too soon"), std::string::npos);
  EXPECT_EQ(device->calls, 1);
}

TEST(MeterProbes, OneGoodDeviceIsEnoughAndTheOthersAreNamed) {
  const auto open_one = [](Settings& settings) -> std::unique_ptr<Meter> {
    const std::string name = settings.required_text("name");
    settings.finish();
    if (name == "bad") throw OpenError(State::kNotPermitted, "plug:bad: no", "ask nicely");
    return std::make_unique<BoundedMeter>("plug:" + name, std::vector<Channel>{Channel{.domain = "node"}},
                                          std::make_shared<ScriptedDevice>(), BoundedOptions{});
  };
  MeterProbe probe = open_devices("plug", Json::parse(R"([{"name": "good"}, {"name": "bad"}])"), open_one);
  EXPECT_EQ(probe.state, State::kFound);
  EXPECT_EQ(probe.meters.size(), 1u);
  EXPECT_EQ(probe.detail, "plug:good: node; but plug:bad: no");
  probe = open_devices("plug", Json::parse(R"({"name": "bad"})"), open_one);
  EXPECT_EQ(probe.state, State::kNotPermitted);
  EXPECT_EQ(probe.remedy, "ask nicely");
}

}  // namespace
}  // namespace mlpwatt

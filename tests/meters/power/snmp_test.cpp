// SNMP, asked of a real agent.

#include <gtest/gtest.h>

#include "tests/support/snmp_fixture.h"

#ifdef MLPWATT_HAVE_NETSNMP

namespace mlpwatt {
namespace {

using namespace mlpwatt::testing;
using Json = nlohmann::json;
using State = MeterProbe::State;

class SnmpMeter : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!SnmpFixture::available()) GTEST_SKIP() << "snmpd is not installed: apt-get install snmpd";
  }
};

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST_F(SnmpMeter, WattsCountersAndSumsByV2c) {
  SnmpFixture agent;
  agent.set(1, "integer", "22");
  agent.set(2, "gauge", "150");
  agent.set(3, "gauge", "75");
  agent.set(4, "counter", "4000000000");
  agent.set(5, "string", "12.5");
  const auto meter = only_meter(open_meter(
      "snmp", agent.section({{"name", "pdu"},
                             {"channels",
                              {{{"oid", agent.oid(1)}, {"scale", 10}, {"domain", "a"}},
                               {{"oid", {agent.oid(2), agent.oid(3)}}, {"domain", "b"}},
                               {{"oid", agent.oid(4)}, {"unit", "Wh"}, {"wrap", 4294967296}, {"domain", "c"}},
                               {{"oid", "." + agent.oid(5)}, {"unit", "kWh"}, {"domain", "d"}}}}})));
  ASSERT_TRUE(meter);
  EXPECT_EQ(meter->name(), "snmp:pdu");
  const auto readings = checked_read(*meter, 5);
  EXPECT_EQ(readings[0].value, 220);
  EXPECT_EQ(readings[1].value, 225);
  EXPECT_EQ(readings[2].value, 4e9 * 3600);
  EXPECT_DOUBLE_EQ(meter->channels()[2].wrap_j, 4294967296.0 * 3600);
  EXPECT_EQ(readings[3].value, 12.5 * 3.6e6);
}

TEST_F(SnmpMeter, V3WithPrivacy) {
  SnmpFixture agent;
  agent.set(1, "gauge", "217");
  const Json section = agent.section(
      {{"oid", agent.oid(1)}, {"version", "3"}, {"auth", "SHA-256"}, {"credentials_file", agent.user}});
  const auto meter = only_meter(open_meter("snmp", section));
  ASSERT_TRUE(meter);
  EXPECT_EQ(checked_read(*meter, 5)[0].value, 217);
}

TEST_F(SnmpMeter, V3WithAWrongPassword) {
  SnmpFixture agent;
  agent.set(1, "gauge", "217");
  Json section =
      agent.section({{"oid", agent.oid(1)}, {"version", "3"}, {"auth", "SHA-256"}, {"timeout_s", 1}});
  const ScratchFolder folder;
  section["credentials_file"] = write_file(
      folder.path() + "/c",
      R"({"user": "meter", "auth_password": "wrong secret", "privacy_password": "privsecret"})", 0600);
  const MeterProbe wrong = open_meter("snmp", section);
  EXPECT_NE(wrong.state, State::kFound);
  EXPECT_FALSE(has(wrong.detail, "wrong secret")) << wrong.detail;
}

TEST_F(SnmpMeter, NoObjectNoNumberAndMinusOneAreReasons) {
  SnmpFixture agent;
  agent.set(1, "integer", "217");
  const auto meter = only_meter(open_meter("snmp", agent.section({{"oid", agent.oid(1)}})));
  ASSERT_TRUE(meter);
  agent.set(1, "integer", "-1");
  EXPECT_TRUE(has(checked_read(*meter, 5)[0].reason, "no reading"));
  agent.set(1, "string", "nan");
  EXPECT_TRUE(has(checked_read(*meter, 5)[0].reason, "\"nan\""));
  agent.set(1, "ipaddress", "1.2.3.4");
  EXPECT_TRUE(has(checked_read(*meter, 5)[0].reason, "no number"));
  agent.remove(1);
  EXPECT_TRUE(has(checked_read(*meter, 5)[0].reason, "is not there"));
  agent.set(1, "integer", "0");
  EXPECT_TRUE(has(checked_read(*meter, 5)[0].reason, "0 W"));
  agent.set(1, "integer", "218");
  EXPECT_EQ(checked_read(*meter, 5)[0].value, 218);
}

TEST_F(SnmpMeter, WrongCommunityAndNoneAtAll) {
  SnmpFixture agent;
  agent.set(1, "integer", "217");
  const ScratchFolder folder;
  const MeterProbe wrong = open_meter(
      "snmp", agent.section({{"oid", agent.oid(1)},
                             {"timeout_s", 0.5},
                             {"credentials_file",
                              write_file(folder.path() + "/c", R"({"community": "open"})", 0600)}}));
  EXPECT_EQ(wrong.state, State::kFaulty);
  EXPECT_TRUE(has(wrong.detail, "refuses the community")) << wrong.detail;
  const MeterProbe none = open_meter("snmp", {{"host", "127.0.0.1"}, {"oid", "1.3.6.1"}});
  EXPECT_EQ(none.state, State::kNotPermitted);
  EXPECT_TRUE(has(none.remedy, "MLPWATT_SNMP_COMMUNITY")) << none.remedy;
}

TEST_F(SnmpMeter, FrozenGoneAndBack) {
  SnmpFixture agent;
  agent.set(1, "integer", "217");
  const auto meter = only_meter(open_meter("snmp", agent.section({{"oid", agent.oid(1)}})));
  ASSERT_TRUE(meter);
  agent.daemon().freeze();
  EXPECT_TRUE(has(checked_read(*meter, 0.5)[0].reason, "no answer"));
  agent.daemon().thaw();
  const Reading thawed = checked_read(*meter, 5)[0];
  EXPECT_EQ(thawed.value, 217) << thawed.reason;
  agent.daemon().stop();
  EXPECT_FALSE(checked_read(*meter, 0.5)[0].reason.empty());
  agent.start();
  Reading back = checked_read(*meter, 5)[0];
  // on a busy machine the agent itself takes its time to come back
  for (int more = 0; more < 5 && !back.value; ++more) back = checked_read(*meter, 5)[0];
  EXPECT_EQ(back.value, 217) << back.reason;
}

TEST(SnmpMeterConfiguration, IsNamed) {
  EXPECT_EQ(open_meter("snmp", nullptr).state, State::kNotConfigured);
  for (const char* bad : {"PowerNet-MIB::watts", "", "1.3", "1..3.6", "1.3.6."})
    EXPECT_TRUE(has(open_meter("snmp", {{"host", "127.0.0.1"}, {"oid", bad}}).detail, "\"oid\"")) << bad;
  EXPECT_TRUE(
      has(open_meter("snmp", {{"host", "a"}, {"oid", "1.3.6"}, {"version", "1"}}).detail, "\"version\""));
  EXPECT_TRUE(
      has(open_meter("snmp", {{"host", "a"}, {"oid", "1.3.6"}, {"community", "x"}}).detail, "not secret"));
}

}  // namespace
}  // namespace mlpwatt
#endif

// Modbus meters, over TCP and over a serial line.

#include <gtest/gtest.h>

#include "tests/support/meter_case.h"
#include "tests/support/modbus_server.h"

#ifdef MLPWATT_HAVE_MODBUS

namespace mlpwatt {
namespace {

using namespace mlpwatt::testing;
using Json = nlohmann::json;
using State = MeterProbe::State;

Json tcp(const ModbusServer& server, const Json& registers) {
  return {{"host", "127.0.0.1"}, {"port", server.port()}, {"registers", registers}};
}
bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST(ModbusMeter, EastronOverTcp) {
  ModbusServer server;
  server.set_float(0x0c, 231.5f);
  server.set_float(0x48, 12.25f);
  const auto meter = only_meter(open_meter(
      "modbus",
      tcp(server,
          {{{"address", 0x0c}, {"unit", "W"}},
           {{"address", 0x48}, {"unit", "kWh"}, {"domain", "node:energy"}, {"duplicate_of", "node"}}})));
  ASSERT_TRUE(meter);
  EXPECT_EQ(meter->name(), "modbus:127.0.0.1");
  const auto readings = checked_read(*meter, 5);
  EXPECT_EQ(readings[0].value, 231.5);
  EXPECT_DOUBLE_EQ(readings[1].value.value(), 12.25 * 3.6e6);
  EXPECT_EQ(meter->channels()[1].kind, ReadingKind::kEnergyCounter);
}

TEST(ModbusMeter, EveryTypeAndOrder) {
  ModbusServer server;
  struct Case {
    const char *type, *words, *bytes;
    std::initializer_list<std::uint16_t> registers;
    double value;
  };
  for (const Case& each :
       std::initializer_list<Case>{{"uint16", "big", "big", {65000}, 65000},
                                   {"int16", "big", "big", {0xff9c}, -100},
                                   {"uint16", "big", "little", {0x0201}, 0x0102},
                                   {"uint32", "big", "big", {1, 2}, 65538},
                                   {"uint32", "little", "big", {2, 1}, 65538},
                                   {"int32", "big", "big", {0xffff, 0xfffe}, -2},
                                   {"float32", "big", "big", {0x4367, 0x8000}, 231.5},
                                   {"float32", "little", "big", {0x8000, 0x4367}, 231.5},
                                   {"float32", "big", "little", {0x6743, 0x0080}, 231.5},
                                   {"float32", "little", "little", {0x0080, 0x6743}, 231.5},
                                   {"uint64", "big", "big", {0, 1, 0, 0}, 4294967296.0},
                                   {"int64", "little", "big", {0xfffd, 0xffff, 0xffff, 0xffff}, -3},
                                   {"float64", "big", "big", {0x406c, 0xf000, 0, 0}, 231.5}}) {
    server.set(20, each.registers);
    for (const int function : {3, 4}) {
      const auto meter = only_meter(open_meter("modbus", tcp(server, {{{"address", 20},
                                                                       {"function", function},
                                                                       {"type", each.type},
                                                                       {"word_order", each.words},
                                                                       {"byte_order", each.bytes}}})));
      ASSERT_TRUE(meter) << each.type;
      EXPECT_EQ(checked_read(*meter, 5)[0].value, each.value)
          << each.type << ' ' << each.words << ' ' << each.bytes;
    }
  }
}

TEST(ModbusMeter, ThreePhasesMakeASum) {
  ModbusServer server;
  server.set(10, {1000, 1100, 1200});
  const auto meter = only_meter(open_meter(
      "modbus",
      tcp(server, {{{"address", {10, 11, 12}}, {"type", "uint16"}, {"scale", 0.1}, {"function", 3}}})));
  ASSERT_TRUE(meter);
  EXPECT_NEAR(checked_read(*meter, 5)[0].value.value(), 330, 1e-9);
  EXPECT_EQ(meter->channels()[0].resolution, 0.1);
}

TEST(ModbusMeter, OverASerialLine) {
  if (const std::string why = ModbusServer::no_serial_line(); !why.empty()) GTEST_SKIP() << why;
  ModbusServer server(true);
  server.set_float(0x0c, 231.5f);
  const Json section = {{"device", server.device()}, {"unit_id", 1}, {"registers", {{{"address", 0x0c}}}}};
  const auto meter = only_meter(open_meter("modbus", section));
  ASSERT_TRUE(meter);
  EXPECT_EQ(checked_read(*meter, 5)[0].value, 231.5);
  server.silent = true;
  EXPECT_TRUE(has(checked_read(*meter, 0.3)[0].reason, "timed out"));
  server.silent = false;
  EXPECT_EQ(checked_read(*meter, 5)[0].value, 231.5);
}

TEST(ModbusMeter, ExceptionsAreOfOneRegister) {
  ModbusServer server;
  server.set_float(0x0c, 231.5f);
  const auto meter = only_meter(open_meter(
      "modbus", tcp(server, {{{"address", 5000}, {"domain", "a"}}, {{"address", 0x0c}, {"domain", "b"}}})));
  ASSERT_TRUE(meter);
  const auto readings = checked_read(*meter, 5);
  EXPECT_TRUE(has(readings[0].reason, "register 5000: Illegal data address")) << readings[0].reason;
  EXPECT_EQ(readings[1].value, 231.5);
}

TEST(ModbusMeter, FaultsAreReasonsAndItComesBack) {
  ModbusServer server;
  server.set_float(0x0c, 231.5f);
  const auto meter = only_meter(open_meter("modbus", tcp(server, {{{"address", 0x0c}}})));
  ASSERT_TRUE(meter);
  server.exception = MODBUS_EXCEPTION_SLAVE_OR_SERVER_BUSY;
  EXPECT_TRUE(has(checked_read(*meter, 5)[0].reason, "busy"));
  server.exception = 0;
  server.silent = true;
  EXPECT_TRUE(has(checked_read(*meter, 0.3)[0].reason, "timed out"));
  server.silent = false;
  for (const float none : {std::nanf(""), INFINITY, 0.0f}) {
    server.set_float(0x0c, none);
    EXPECT_FALSE(checked_read(*meter, 5)[0].value) << none;
  }
  server.set_float(0x0c, 99);
  EXPECT_EQ(checked_read(*meter, 5)[0].value, 99);
  server.stop();
  EXPECT_FALSE(checked_read(*meter, 1)[0].reason.empty());
}

TEST(ModbusMeter, BadConfigurationIsNamed) {
  EXPECT_EQ(open_meter("modbus", nullptr).state, State::kNotConfigured);
  const auto detail = [](const char* text) { return open_meter("modbus", Json::parse(text)).detail; };
  EXPECT_TRUE(has(detail(R"({"registers": [{"address": 1}]})"), "\"host\""));
  EXPECT_TRUE(has(detail(R"({"host": "a", "device": "b", "registers": [{"address": 1}]})"), "\"device\""));
  EXPECT_TRUE(has(detail(R"({"host": "127.0.0.1"})"), "\"registers\""));
  EXPECT_TRUE(has(detail(R"({"host": "127.0.0.1", "registers": [{"address": 70000}]})"), "70000"));
  EXPECT_TRUE(
      has(detail(R"({"host": "127.0.0.1", "registers": [{"address": 1, "type": "bcd"}]})"), "\"bcd\""));
  EXPECT_TRUE(has(detail(R"({"host": "127.0.0.1", "port": 1, "registers": [{"address": 1}]})"), "refused"));
  EXPECT_TRUE(has(detail(R"({"device": "/dev/no-line", "registers": [{"address": 1}]})"), "/dev/no-line"));
}

}  // namespace
}  // namespace mlpwatt
#endif

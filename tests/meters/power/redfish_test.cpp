// Redfish services laid out as the vendors do.

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>

#include "tests/support/http_server.h"
#include "tests/support/meter_case.h"

#ifdef MLPWATT_HAVE_CURL

namespace mlpwatt {
namespace {

using namespace mlpwatt::testing;
using Json = nlohmann::json;
using State = MeterProbe::State;

/// Pages by path; everything else is 404.
struct Service {
  explicit Service(std::map<std::string, Json> the_pages)
      : pages(std::move(the_pages)), server([this](const HttpRequest& request) {
          const std::lock_guard lock(mutex);
          asked.push_back(request.path);
          if (status != 200) return HttpReply{.status = status, .body = "{}"};
          const auto page = pages.find(request.path);
          if (page == pages.end()) return HttpReply{.status = 404, .body = "{}"};
          return HttpReply{.body = page->second.dump()};
        }) {}
  Json& page(const std::string& path) { return pages.at(path); }
  /// As a person would, with the pace that a BMC bears.
  MeterProbe open_slow(Json section = Json::object()) {
    section["url"] = server.url();
    return open_meter("redfish", section);
  }
  MeterProbe open(Json section = Json::object()) {
    section["poll_s"] = 0.02;
    return open_slow(std::move(section));
  }
  std::mutex mutex;
  std::map<std::string, Json> pages;
  std::vector<std::string> asked;
  int status = 200;
  HttpServer server;
};

Json link(const std::string& path) { return {{"@odata.id", path}}; }
Json collection(std::initializer_list<std::string> paths) {
  Json members = Json::array();
  for (const std::string& path : paths) members.push_back(link(path));
  return {{"Members", members}};
}
const std::string kChassis = "/redfish/v1/Chassis";

std::map<std::string, Json> hpe() {
  return {{kChassis, collection({kChassis + "/1"})},
          {kChassis + "/1", {{"Id", "1"}, {"Power", link(kChassis + "/1/Power")}}},
          {kChassis + "/1/Power",
           {{"PowerControl",
             {{{"MemberId", "0"},
               {"PowerCapacityWatts", 800},
               {"PowerConsumedWatts", 231},
               {"PowerMetrics", {{"IntervalInMin", 20}, {"AverageConsumedWatts", 190}}}}}}}}};
}

std::map<std::string, Json> dell() {
  const std::string one = kChassis + "/System.Embedded.1";
  return {{kChassis, collection({one, kChassis + "/Enclosure.Internal.0-1"})},
          {one, {{"Power", link(one + "/Power")}}},
          {kChassis + "/Enclosure.Internal.0-1", Json::object()},
          {one + "/Power",
           {{"PowerControl",
             {{{"Name", "System Power Control"}, {"PowerConsumedWatts", 310}, {"PowerCapacityWatts", 1050}}}},
            {"PowerSupplies", {{{"PowerInputWatts", 155}}, {{"PowerInputWatts", 160}}}}}}};
}

std::map<std::string, Json> openbmc() {
  const std::string chassis = kChassis + "/chassis";
  return {{kChassis, collection({chassis})},
          {chassis, {{"EnvironmentMetrics", link(chassis + "/EnvironmentMetrics")}}},
          {chassis + "/EnvironmentMetrics",
           {{"PowerWatts", {{"Reading", 402.5}, {"DataSourceUri", chassis + "/Sensors/total_power"}}},
            {"EnergykWh", {{"Reading", 12.5}}}}},
          {chassis + "/Sensors/total_power",
           {{"Reading", 402.25},
            {"ReadingUnits", "W"},
            {"ReadingTime", "2026-01-02T03:04:05.500Z"},
            {"Accuracy", 2},
            {"Precision", 2},
            {"SensingInterval", "PT0.25S"}}}};
}

std::map<std::string, Json> supplies_only() {
  const std::string tray = kChassis + "/Tray_1", list = tray + "/PowerSubsystem/PowerSupplies";
  return {{kChassis, collection({tray})},
          {tray, {{"PowerSubsystem", link(tray + "/PowerSubsystem")}}},
          {tray + "/PowerSubsystem", {{"PowerSupplies", link(list)}}},
          {list, collection({list + "/PSU0", list + "/PSU1", list + "/PSU2"})},
          {list + "/PSU0", {{"Metrics", link(list + "/PSU0/Metrics")}}},
          {list + "/PSU1", {{"Metrics", link(list + "/PSU1/Metrics")}}},
          {list + "/PSU2", {{"Status", {{"State", "Absent"}}}}},
          {list + "/PSU0/Metrics", {{"InputPowerWatts", {{"Reading", 120.5}}}}},
          {list + "/PSU1/Metrics", {{"InputPowerWatts", {{"Reading", 130}}}}}};
}

TEST(RedfishMeter, Hpe) {
  Service service(hpe());
  const auto meter = only_meter(service.open({{"name", "ilo"}}));
  ASSERT_TRUE(meter);
  EXPECT_EQ(meter->name(), "redfish:ilo");
  ASSERT_EQ(meter->channels().size(), 1u);
  EXPECT_EQ(meter->channels()[0].domain, "node");
  EXPECT_EQ(meter->channels()[0].maximum_w, 1600);
  EXPECT_EQ(checked_read(*meter, 5)[0].value, 231) << "what it draws now, not the average of 20 minutes";
}

TEST(RedfishMeter, Dell) {
  Service service(dell());
  const auto meter = only_meter(service.open());
  ASSERT_TRUE(meter);
  EXPECT_EQ(checked_read(*meter, 5)[0].value, 310);
}

TEST(RedfishMeter, OpenBmcReadsTheSensorAndTheCounter) {
  Service service(openbmc());
  const auto meter = only_meter(service.open());
  ASSERT_TRUE(meter);
  ASSERT_EQ(meter->channels().size(), 2u);
  const Channel &power = meter->channels()[0], &energy = meter->channels()[1];
  EXPECT_EQ(power.update_period_s, 0.25);
  EXPECT_EQ(power.update_period_known, Known::kDeclared);
  EXPECT_EQ(power.accuracy_relative, 0.02);
  EXPECT_EQ(power.resolution, 0.01);
  EXPECT_EQ(energy.kind, ReadingKind::kEnergyCounter);
  EXPECT_EQ(energy.duplicate_of, "node");
  auto readings = checked_read(*meter, 5);
  EXPECT_EQ(readings[0].value, 402.25);
  EXPECT_DOUBLE_EQ(readings[1].value.value(), 12.5 * 3.6e6);
  const auto stamp = readings[0].device_stamp;
  ASSERT_TRUE(stamp);
  {
    const std::lock_guard lock(service.mutex);
    service.page(kChassis + "/chassis/Sensors/total_power")["ReadingTime"] = "2026-01-02T03:04:06Z";
  }
  EXPECT_EQ(*checked_read(*meter, 5)[0].device_stamp - *stamp, 500);
}

TEST(RedfishMeter, SumOfSupplies) {
  Service service(supplies_only());
  const auto meter = only_meter(service.open());
  ASSERT_TRUE(meter);
  EXPECT_EQ(checked_read(*meter, 5)[0].value, 250.5);
  EXPECT_EQ(meter->channels()[0].place, "power supply input");
  {
    const std::lock_guard lock(service.mutex);
    service.page(kChassis +
                 "/Tray_1/PowerSubsystem/PowerSupplies/PSU1/Metrics")["InputPowerWatts"]["Reading"] = nullptr;
  }
  EXPECT_NE(checked_read(*meter, 5)[0].reason.find("is null"), std::string::npos)
      << "half a sum is no reading";
}

TEST(RedfishMeter, NewWayBeforeOldAndOldWhereTheNewOneIsNull) {
  auto pages = hpe();
  pages[kChassis + "/1/EnvironmentMetrics"] = {{"PowerWatts", {{"Reading", 233}}}};
  Service both(pages);
  EXPECT_EQ(checked_read(*only_meter(both.open()), 5)[0].value, 233);
  pages[kChassis + "/1/EnvironmentMetrics"] = {{"PowerWatts", {{"Reading", nullptr}}}};
  Service null(pages);
  EXPECT_EQ(checked_read(*only_meter(null.open()), 5)[0].value, 231);
}

TEST(RedfishMeter, PartsOfTheMachineAreChildrenOfTheNode) {
  auto pages = hpe();
  pages[kChassis + "/1/Power"] = {{"PowerControl",
                                   {{{"Name", "CPU Sub-system Power"}, {"PowerConsumedWatts", 120}},
                                    {{"Name", "Server Power Control"}, {"PowerConsumedWatts", 300}},
                                    {{"Name", "Memory Sub-system Power"}, {"PowerConsumedWatts", 30}}}}};
  Service service(pages);
  const auto meter = only_meter(service.open());
  ASSERT_TRUE(meter);
  const auto readings = checked_read(*meter, 5);
  std::map<std::string, double> by_domain;
  for (std::size_t i = 0; i < readings.size(); ++i) {
    by_domain[meter->channels()[i].domain] = readings[i].value.value();
    EXPECT_EQ(meter->channels()[i].parent, meter->channels()[i].domain == "node" ? "" : "node");
  }
  EXPECT_EQ(by_domain, (std::map<std::string, double>{{"memory", 30}, {"node", 300}, {"processors", 120}}));
}

TEST(RedfishMeter, SeveralOfOnePartAreNumbered) {
  auto pages = hpe();
  pages[kChassis + "/1/Power"] = {{"PowerControl",
                                   {{{"Name", "Server Power Control"}, {"PowerConsumedWatts", 300}},
                                    {{"Name", "CPU1 Power"}, {"PowerConsumedWatts", 70}},
                                    {{"Name", "CPU2 Power"}, {"PowerConsumedWatts", 60}},
                                    {{"Name", "GPU Power"}, {"PowerConsumedWatts", 90}}}}};
  Service service(pages);
  const auto meter = only_meter(service.open());
  ASSERT_TRUE(meter);
  std::vector<std::string> domains;
  for (const Channel& channel : meter->channels()) domains.push_back(channel.domain);
  EXPECT_EQ(domains, (std::vector<std::string>{"node", "processors0", "processors1", "accelerators"}));
}

TEST(RedfishMeter, IsNotAskedAgainSoonerThanItBears) {
  Service service(hpe());
  const auto begin = std::chrono::steady_clock::now();
  const auto meter = only_meter(service.open_slow());
  ASSERT_TRUE(meter);
  EXPECT_EQ(meter->poll_period_s(), 2);
  {
    const std::lock_guard lock(service.mutex);
    service.asked.clear();
    service.status = 500;
  }
  const Reading reading = checked_read(*meter, 3)[0];
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  EXPECT_NE(reading.reason.find("500"), std::string::npos) << reading.reason;
  EXPECT_GE(took.count(), 1.5) << "2 s after it was opened";
  const std::lock_guard lock(service.mutex);
  EXPECT_EQ(service.asked.size(), 1u) << "a second try would come too soon";
}

TEST(RedfishMeter, ContainedChassisIsNoSecondNode) {
  auto pages = hpe();
  pages[kChassis] = collection({kChassis + "/GPU_Board/", kChassis + "/1"});
  pages[kChassis + "/GPU_Board"] = {{"Links", {{"ContainedBy", link(kChassis + "/1")}}}};
  pages[kChassis + "/GPU_Board/EnvironmentMetrics"] = {{"PowerWatts", {{"Reading", 90}}}};
  Service nested(pages);
  const auto meter = only_meter(nested.open());
  ASSERT_TRUE(meter);
  std::map<std::string, std::string> parents;
  for (const Channel& channel : meter->channels()) parents[channel.domain] = channel.parent;
  EXPECT_EQ(parents, (std::map<std::string, std::string>{{"chassis:GPU_Board", "node"}, {"node", ""}}));

  pages[kChassis + "/GPU_Board"] = Json::object();
  Service side_by_side(pages);
  const auto both = only_meter(side_by_side.open());
  ASSERT_TRUE(both);
  std::set<std::string> domains;
  for (const Channel& channel : both->channels()) domains.insert(channel.domain);
  EXPECT_EQ(domains, (std::set<std::string>{"chassis:1", "chassis:GPU_Board"}));
  const auto chosen = only_meter(side_by_side.open({{"chassis", "1"}, {"domain", "blade7"}}));
  ASSERT_TRUE(chosen);
  ASSERT_EQ(chosen->channels().size(), 1u);
  EXPECT_EQ(chosen->channels()[0].domain, "blade7");
}

TEST(RedfishMeter, NullZeroAndErrorsAreReasons) {
  Service service(hpe());
  const auto meter = only_meter(service.open());
  ASSERT_TRUE(meter);
  const auto set = [&](const Json& value) {
    const std::lock_guard lock(service.mutex);
    service.page(kChassis + "/1/Power")["PowerControl"][0]["PowerConsumedWatts"] = value;
  };
  for (const Json& none : {Json(nullptr), Json(0), Json("231"), Json::object()}) {
    set(none);
    EXPECT_FALSE(checked_read(*meter, 5)[0].reason.empty()) << none;
  }
  set(231);
  for (const int status : {500, 503, 401, 404}) {
    service.status = status;
    EXPECT_NE(checked_read(*meter, 5)[0].reason.find(std::to_string(status)), std::string::npos);
  }
  service.status = 200;
  EXPECT_EQ(checked_read(*meter, 5)[0].value, 231);
  service.server.stop();
  EXPECT_FALSE(checked_read(*meter, 1)[0].reason.empty());
}

TEST(RedfishMeter, WhatCannotBeOpenedSaysWhy) {
  Service empty({{kChassis, collection({kChassis + "/1"})}, {kChassis + "/1", Json::object()}});
  const MeterProbe none = empty.open();
  EXPECT_EQ(none.state, State::kAbsent);
  EXPECT_NE(none.detail.find("reports power"), std::string::npos) << none.detail;
  Service locked(hpe());
  locked.status = 401;
  const MeterProbe refused = locked.open();
  EXPECT_EQ(refused.state, State::kNotPermitted);
  EXPECT_NE(refused.remedy.find("MLPWATT_REDFISH_PASSWORD"), std::string::npos) << refused.remedy;
  Service wrong(hpe());
  EXPECT_NE(wrong.open({{"chassis", "Self"}}).detail.find("there are: 1"), std::string::npos);
}

TEST(RedfishMeter, LinksCannotSendTheRequestElsewhere) {
  auto pages = hpe();
  Service stranger(hpe());
  pages[kChassis + "/1"]["Power"] =
      link("@127.0.0.1:" + std::to_string(stranger.server.port()) + kChassis + "/1/Power");
  Service service(pages);
  EXPECT_EQ(service.open().state, State::kAbsent);
  EXPECT_EQ(stranger.server.requests(), 0);
}

}  // namespace
}  // namespace mlpwatt
#endif

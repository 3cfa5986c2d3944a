// Rigs of the meters behind protocols and libraries, for the table of meters and faults; and that there is
// one for each of them.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "tests/meters/power/fault_rigs.h"
#include "tests/support/bmc_fixture.h"
#include "tests/support/http_server.h"
#include "tests/support/modbus_server.h"
#include "tests/support/nvml_fixture.h"
#include "tests/support/snmp_fixture.h"

namespace mlpwatt::testing {
namespace {

using Json = nlohmann::json;

/// Whole watts that never repeat at once.
int watts(int n) { return 200 + 7 * n % 40; }
/// Of instruments of milliwatts: they cannot repeat by chance.
int milliwatts(int n) { return 1000 * watts(n) + 137; }

constexpr const char* kWatts = "it reads watts, nothing that adds up";
constexpr const char* kNoStamps = "it has no stamps of its own";

struct OwnedRig : FaultRig {
  std::unique_ptr<Meter> owned;
  Meter& meter() override { return *owned; }
  /// The rig itself, or nothing when the meter could not be opened.
  static std::unique_ptr<FaultRig> checked(std::unique_ptr<OwnedRig> rig) {
    return rig->owned ? std::move(rig) : nullptr;
  }
};

MeterProbe::State state_of(MeterProbe probe, std::unique_ptr<Meter>& meter, std::size_t which = 0) {
  EXPECT_EQ(probe.state, MeterProbe::State::kFound) << probe.detail;
  if (probe.meters.size() > which) meter = std::move(probe.meters[which]);
  return probe.state;
}

#ifdef MLPWATT_HAVE_CURL

/// A JSON page with one number in it.
class HttpRig final : public OwnedRig {
 public:
  enum class Kind { kPlug, kCounter, kRedfish };

  HttpRig(Kind kind, Fault fault)
      : kind_(kind),
        origin_(fault == Fault::kWrap ? 999800 : 100),
        server_([this](const HttpRequest& r) { return answer(r); }) {
    // 50 J pass in a gap: a counter of 22 J wraps twice in it
    wrap_ = fault == Fault::kDoubleWrap ? 22 : 1000000;
    show(0);
    Json section = {{"name", "rig"}, {"url", server_.url()}};
    if (kind == Kind::kPlug) section["stamp_pointer"] = "/stamp";
    if (kind == Kind::kRedfish)
      section["poll_s"] = 0.01;  // bears more than a BMC
    else
      section["pointer"] = "/value";
    if (kind == Kind::kCounter) section["unit"] = "J", section["wrap"] = wrap_, section["maximum_w"] = 1000;
    stamps = kind != Kind::kCounter;
    state_of(open_meter(kind == Kind::kRedfish ? "redfish" : "http_json", section), owned);
  }
  ~HttpRig() override { owned.reset(); }

  void show(int n) override {
    const std::lock_guard lock(mutex_);
    number_ = std::to_string(kind_ == Kind::kCounter ? (origin_ + 10 * n) % wrap_ : watts(n));
    stamp_ms_ = 1000 * n;
    reply_ = {};
  }
  void heal() override {}
  void spoil(Fault fault, int n) override {
    if (fault == Fault::kGone) return server_.stop();
    if (fault != Fault::kFrozen) show(n);
    const std::lock_guard lock(mutex_);
    if (fault == Fault::kDropout || fault == Fault::kDoubleWrap) number_ = "null";
    if (fault == Fault::kGarbage) number_ = "NaN";
    if (fault == Fault::kNegative) number_ = "-250";
    if (fault == Fault::kSpike) number_ = "987654321";
    if (fault == Fault::kPermission) reply_.status = 403;
    if (fault == Fault::kServerError) reply_.status = 500;
    if (fault == Fault::kHang) reply_.delay_s = 1;
    if (fault == Fault::kTruncated) reply_.truncate = true;
    if (fault == Fault::kClockStep) stamp_ms_ -= 3600 * 1000;
    if (fault == Fault::kDuplicateStamp) stamp_ms_ = 5000;
  }

 private:
  HttpReply answer(const HttpRequest& request) {
    const std::lock_guard lock(mutex_);
    HttpReply reply = reply_;
    const std::string chassis = "/redfish/v1/Chassis";
    if (kind_ != Kind::kRedfish)
      reply.body = fmt::format(R"({{"value": {}, "stamp": {}}})", number_, stamp_ms_);
    else if (request.path == chassis)
      reply.body = fmt::format(R"({{"Members": [{{"@odata.id": "{}/1"}}]}})", chassis);
    else if (request.path == chassis + "/1")
      reply.body = "{}";
    else if (request.path == chassis + "/1/EnvironmentMetrics")
      reply.body =
          fmt::format(R"({{"PowerWatts": {{"Reading": 1, "DataSourceUri": "{}/1/Sensors/p"}}}})", chassis);
    else if (request.path == chassis + "/1/Sensors/p")
      reply.body = fmt::format(R"({{"Reading": {}, "ReadingTime": "2026-01-01T{:02}:{:02}:{:02}Z"}})",
                               number_, 12 + (stamp_ms_ < 0 ? -1 : 0), std::abs(stamp_ms_) / 60000 % 60,
                               std::abs(stamp_ms_) / 1000 % 60);
    else
      reply.status = 404;
    return reply;
  }

  Kind kind_;
  int origin_, wrap_ = 0;
  std::mutex mutex_;
  std::string number_ = "1";
  long stamp_ms_ = 0;
  HttpReply reply_;
  HttpServer server_;
};

std::function<std::unique_ptr<FaultRig>(Fault)> http_rig(HttpRig::Kind kind) {
  return [kind](Fault fault) { return OwnedRig::checked(std::make_unique<HttpRig>(kind, fault)); };
}
const RigRegistration plug{{.meter = "http_json, power",
                            .unavailable = {},
                            .make = http_rig(HttpRig::Kind::kPlug),
                            .cannot = {{Fault::kWrap, kWatts}, {Fault::kDoubleWrap, kWatts}}}};
const RigRegistration plug_counter{{.meter = "http_json, counter",
                                    .unavailable = {},
                                    .make = http_rig(HttpRig::Kind::kCounter),
                                    .cannot = {{Fault::kDuplicateStamp, kNoStamps}}}};
const RigRegistration redfish{{.meter = "redfish",
                               .unavailable = {},
                               .make = http_rig(HttpRig::Kind::kRedfish),
                               .cannot = {{Fault::kWrap, kWatts}, {Fault::kDoubleWrap, kWatts}}}};
#endif

#ifdef MLPWATT_HAVE_FREEIPMI
class IpmiRig final : public OwnedRig {
 public:
  IpmiRig() {
    read_timeout_s = 0.5;
    stamps = true;
    state_of(open_meter("ipmi", bmc_.fast_section()), owned);
  }
  void show(int n) override { bmc_.answer(answer_of(n)); }
  void heal() override { bmc_.daemon().thaw(); }
  void spoil(Fault fault, int n) override {
    if (fault == Fault::kGone) return bmc_.daemon().stop();
    if (fault == Fault::kHang) return bmc_.daemon().freeze();
    DcmiAnswer answer = answer_of(n);
    if (fault == Fault::kFrozen) answer = answer_of(5);
    if (fault == Fault::kDropout) answer.state = 0;
    if (fault == Fault::kSpike) answer.watts = 65000;
    if (fault == Fault::kPermission) answer.completion = 0xd4;
    if (fault == Fault::kServerError) answer.completion = 0xc0;
    if (fault == Fault::kTruncated) answer.length = 9;
    if (fault == Fault::kClockStep) answer.stamp -= 3600;
    if (fault == Fault::kDuplicateStamp) answer.stamp = answer_of(5).stamp;
    bmc_.answer(answer);
  }

 private:
  static DcmiAnswer answer_of(int n) {
    DcmiAnswer answer;
    answer.watts = static_cast<unsigned>(watts(n));
    answer.stamp = 1700000000u + static_cast<unsigned>(n);
    return answer;
  }
  BmcFixture bmc_;
};

const RigRegistration ipmi{
    {.meter = "ipmi",
     .unavailable = [] { return std::string(BmcFixture::available() ? "" : "ipmi_sim is not installed"); },
     .make = [](Fault) { return OwnedRig::checked(std::make_unique<IpmiRig>()); },
     .cannot = {{Fault::kWrap, kWatts},
                {Fault::kDoubleWrap, kWatts},
                {Fault::kGarbage, "DCMI's watts are whole numbers; every bit pattern is one"},
                {Fault::kNegative, "DCMI's watts have no sign"}}}};
#endif

#ifdef MLPWATT_HAVE_MODBUS
class ModbusRig final : public OwnedRig {
 public:
  ModbusRig(bool counter, Fault fault) : counter_(counter), origin_(fault == Fault::kWrap ? 65300 : 1000) {
    wrap_ = fault == Fault::kDoubleWrap ? 22 : 65536;
    show(0);
    Json entry = {{"address", 12}, {"type", counter ? "uint16" : "float32"}, {"unit", counter ? "J" : "W"}};
    if (counter) entry["wrap"] = wrap_, entry["maximum_w"] = 1000;
    state_of(open_meter("modbus", {{"host", "127.0.0.1"}, {"port", server_.port()}, {"registers", entry}}),
             owned);
  }
  void show(int n) override {
    if (counter_)
      server_.set(12, {static_cast<std::uint16_t>((origin_ + 10 * n) % wrap_)});
    else
      server_.set_float(12, static_cast<float>(1e-3 * milliwatts(n)));
  }
  void heal() override {
    server_.exception = 0;
    server_.silent = server_.truncate = false;
  }
  void spoil(Fault fault, int n) override {
    if (fault == Fault::kGone) return server_.stop();
    if (fault != Fault::kFrozen) show(n);
    if (fault == Fault::kDropout || fault == Fault::kDoubleWrap)
      server_.exception = MODBUS_EXCEPTION_GATEWAY_TARGET;
    if (fault == Fault::kServerError) server_.exception = MODBUS_EXCEPTION_SLAVE_OR_SERVER_FAILURE;
    if (fault == Fault::kGarbage) server_.set_float(12, std::nanf(""));
    if (fault == Fault::kNegative) server_.set_float(12, -250);
    if (fault == Fault::kSpike) counter_ ? server_.set(12, {40000}) : server_.set_float(12, 1e9f);
    if (fault == Fault::kHang) server_.silent = true;
    if (fault == Fault::kTruncated) server_.truncate = true;
  }

 private:
  bool counter_;
  int origin_, wrap_ = 65536;
  ModbusServer server_;
};

std::function<std::unique_ptr<FaultRig>(Fault)> modbus_rig(bool counter) {
  return [counter](Fault fault) { return OwnedRig::checked(std::make_unique<ModbusRig>(counter, fault)); };
}
constexpr const char* kNoUsers =
    "Modbus knows no users; a serial device that may not be opened is seen at the start";
const RigRegistration modbus{{.meter = "modbus, power",
                              .unavailable = {},
                              .make = modbus_rig(false),
                              .cannot = {{Fault::kWrap, kWatts},
                                         {Fault::kDoubleWrap, kWatts},
                                         {Fault::kPermission, kNoUsers},
                                         {Fault::kDuplicateStamp, kNoStamps}}}};
const RigRegistration modbus_counter{
    {.meter = "modbus, counter",
     .unavailable = {},
     .make = modbus_rig(true),
     .cannot = {{Fault::kPermission, kNoUsers},
                {Fault::kGarbage, "every content of a whole-number register is a number"},
                {Fault::kNegative, "a counter that falls is a wrap, or a spike"},
                {Fault::kDuplicateStamp, kNoStamps}}}};
#endif

#ifdef MLPWATT_HAVE_NETSNMP
class SnmpRig final : public OwnedRig {
 public:
  explicit SnmpRig(Fault fault) : fault_(fault) {
    show(0);
    state_of(open_meter("snmp", agent_.section({{"oid", SnmpFixture::oid(1)}, {"scale", 0.001}})), owned);
  }
  void show(int n) override { agent_.set(1, "integer", std::to_string(milliwatts(n))); }
  void heal() override {
    agent_.daemon().thaw();
    if (fault_ == Fault::kPermission) agent_.start();
  }
  void spoil(Fault fault, int n) override {
    if (fault == Fault::kGone) return agent_.daemon().stop();
    if (fault == Fault::kHang) return agent_.daemon().freeze();
    if (fault != Fault::kFrozen) show(n);
    if (fault == Fault::kDropout) agent_.remove(1);
    if (fault == Fault::kGarbage) agent_.set(1, "string", "NaN");
    if (fault == Fault::kNegative) agent_.set(1, "integer", "-250000");
    if (fault == Fault::kSpike) agent_.set(1, "integer", "2000000000");
    if (fault == Fault::kServerError) agent_.set(1, "ipaddress", "1.2.3.4");
    if (fault == Fault::kPermission && !locked_) agent_.start("another");
    locked_ = fault == Fault::kPermission;
  }

 private:
  Fault fault_;
  bool locked_ = false;
  SnmpFixture agent_;
};
const RigRegistration snmp{
    {.meter = "snmp",
     .unavailable = [] { return std::string(SnmpFixture::available() ? "" : "snmpd is not installed"); },
     .make = [](Fault fault) { return OwnedRig::checked(std::make_unique<SnmpRig>(fault)); },
     .cannot = {{Fault::kWrap, kWatts},
                {Fault::kDoubleWrap, kWatts},
                {Fault::kTruncated, "a datagram comes whole or not at all"},
                {Fault::kDuplicateStamp, kNoStamps}}}};
#endif

class NvmlRig final : public OwnedRig {
 public:
  explicit NvmlRig(bool counter) : gpu_(nvml_.add("GPU-aa", 200)) {
    state_of(open_meter("nvml", {{"library", nvml_.path}, {"counter_least_spacing_s", 0.01}}), owned,
             counter ? 1 : 0);
  }
  ~NvmlRig() override { owned.reset(); }
  void show(int n) override {
    gpu_.average_w = 1e-3 * milliwatts(n);
    gpu_.energy_j = 1000 + 10 * n;
  }
  void heal() override {
    gpu_.status = 0;
    gpu_.value_type = 1;
    gpu_.has_average = gpu_.has_energy = true;
    nvml_.script->hang_s = 0;
  }
  void spoil(Fault fault, int n) override {
    if (fault != Fault::kFrozen) show(n);
    if (fault == Fault::kDropout) gpu_.has_average = gpu_.has_energy = false;
    if (fault == Fault::kPermission) gpu_.status = 4;
    if (fault == Fault::kGone) gpu_.status = 15;
    if (fault == Fault::kServerError) gpu_.status = 999;
    if (fault == Fault::kGarbage) gpu_.value_type = 9;
    if (fault == Fault::kNegative) gpu_.average_w = -250, gpu_.value_type = 5, gpu_.energy_j = 0;
    if (fault == Fault::kSpike) gpu_.average_w = 1e6, gpu_.energy_j = 1e9;
    if (fault == Fault::kHang) nvml_.script->hang_s = 0.6;
  }

 private:
  NvmlFixture nvml_;
  FakeGpu& gpu_;
};
constexpr const char* kNoText = "the driver hands over numbers, not text";
constexpr const char* k64Bits = "64 bits of millijoules last for ages; a counter that falls began anew";
const RigRegistration nvml{{.meter = "nvml, power",
                            .unavailable = {},
                            .make = [](Fault) { return OwnedRig::checked(std::make_unique<NvmlRig>(false)); },
                            .cannot = {{Fault::kWrap, kWatts},
                                       {Fault::kDoubleWrap, kWatts},
                                       {Fault::kTruncated, kNoText},
                                       {Fault::kDuplicateStamp, kNoStamps}}}};
const RigRegistration nvml_counter{
    {.meter = "nvml, counter",
     .unavailable = {},
     .make = [](Fault) { return OwnedRig::checked(std::make_unique<NvmlRig>(true)); },
     .cannot = {{Fault::kWrap, k64Bits},
                {Fault::kDoubleWrap, k64Bits},
                {Fault::kGarbage, kNoText},
                {Fault::kTruncated, kNoText},
                {Fault::kDuplicateStamp, kNoStamps}}}};

class SlurmRig final : public OwnedRig {
 public:
  SlurmRig() {
    show(0);
    read_timeout_s = 0.4;
    poll_s = 30;  // of the scripted clock: slurm.conf's example of AcctGatherNodeFreq
    state_of(open_meter("slurm", {{"command", {"/bin/sh", script()}}, {"poll_s", 0.01}}), owned);
  }
  void show(int n) override { does(fmt::format("echo NodeName=n1 CurrentWatts={} AveWatts=1", watts(n))); }
  void heal() override {}
  void spoil(Fault fault, int n) override {
    if (fault != Fault::kFrozen) show(n);
    if (fault == Fault::kDropout) does("echo CurrentWatts=n/s");
    if (fault == Fault::kPermission) does("echo Access/permission denied; exit 1");
    if (fault == Fault::kGone) does("echo Unable to contact slurm controller; exit 1");
    if (fault == Fault::kGarbage) does("echo CurrentWatts=nan");
    if (fault == Fault::kNegative) does("echo CurrentWatts=-250");
    if (fault == Fault::kSpike) does("echo CurrentWatts=4000000000");
    if (fault == Fault::kServerError) does("kill -9 $$");
    if (fault == Fault::kHang) does("exec sleep 5");
    if (fault == Fault::kTruncated) does("echo NodeName=n1 CurrentWa");
  }

 private:
  std::string script() const { return folder_.path() + "/scontrol"; }
  void does(const std::string& line) const { write_file(script(), line + "\n"); }
  ScratchFolder folder_;
};
const RigRegistration slurm{
    {.meter = "slurm",
     .unavailable = {},
     .make = [](Fault) { return OwnedRig::checked(std::make_unique<SlurmRig>()); },
     .cannot = {{Fault::kWrap, kWatts}, {Fault::kDoubleWrap, kWatts}, {Fault::kDuplicateStamp, kNoStamps}}}};

TEST(MeterFaults, EveryMeterHasARig) {
  for (const MeterEntry& entry : meter_entries()) {
    if (entry.open(nullptr).state == MeterProbe::State::kNotCompiledIn) continue;
    EXPECT_TRUE(std::any_of(
        rig_entries().begin(), rig_entries().end(),
        [&](const RigEntry& rig) { return rig.meter.substr(0, rig.meter.find(',')) == entry.name; }))
        << entry.name << " is missing in the table of meters and faults";
  }
}

}  // namespace
}  // namespace mlpwatt::testing

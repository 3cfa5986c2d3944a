// Plugs that answer JSON over HTTP(S), and what servers can do wrong.

#include <gtest/gtest.h>

#include "tests/support/http_server.h"
#include "tests/support/meter_case.h"

#ifdef MLPWATT_HAVE_CURL

namespace mlpwatt {
namespace {

using namespace mlpwatt::testing;
using Json = nlohmann::json;
using State = MeterProbe::State;

/// A plug whose next answers the test sets.
struct Plug {
  explicit Plug(bool tls = false)
      : server([this](const HttpRequest& request) { return answer(request); }, tls) {}
  HttpReply answer(const HttpRequest& request) {
    const std::lock_guard lock(mutex);
    last = request;
    return reply;
  }
  void next(HttpReply value) {
    const std::lock_guard lock(mutex);
    reply = std::move(value);
  }
  std::mutex mutex;
  HttpReply reply{.body = R"({"apower": 217.5, "aenergy": {"total": 100.25, "minute_ts": 1700000000}})"};
  HttpRequest last;
  HttpServer server;
};

Json at(const Plug& plug, Json more = Json::object()) {
  more["url"] = plug.server.url() + "/rpc/Switch.GetStatus?id=0&key=sesame";
  if (!more.contains("pointer") && !more.contains("channels")) more["pointer"] = "/apower";
  return more;
}

std::string reason_of(Meter& meter, double timeout_s = 5) {
  return checked_read(meter, timeout_s).at(0).reason;
}
bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST(HttpJsonMeter, ReadsWattsAndCounters) {
  Plug plug;
  const auto meter = only_meter(
      open_meter("http_json",
                 at(plug, {{"name", "shelly"},
                           {"channels",
                            {{{"pointer", "/apower"}, {"unit", "W"}, {"stamp_pointer", "/aenergy/minute_ts"}},
                             {{"pointer", "/aenergy/total"},
                              {"unit", "Wh"},
                              {"domain", "node:energy"},
                              {"duplicate_of", "node"}}}}})));
  ASSERT_TRUE(meter);
  EXPECT_EQ(meter->name(), "http_json:shelly");
  EXPECT_TRUE(meter->slow());
  const auto readings = checked_read(*meter, 5);
  EXPECT_EQ(readings[0].value, 217.5);
  EXPECT_EQ(readings[0].device_stamp, 1700000000);
  EXPECT_DOUBLE_EQ(readings[1].value.value(), 100.25 * 3600);
  EXPECT_EQ(meter->channels()[1].kind, ReadingKind::kEnergyCounter);
  EXPECT_EQ(plug.last.path, "/rpc/Switch.GetStatus?id=0&key=sesame");
}

TEST(HttpJsonMeter, SumsPointersAndReadsNumbersInQuotesAndChunks) {
  Plug plug;
  plug.next({.body = R"({"meters": [{"power": "100.5"}, {"power": 50}]})", .chunked = true});
  const auto meter = only_meter(open_meter(
      "http_json",
      at(plug, {{"pointer", {"/meters/0/power", "/meters/1/power"}}, {"scale", 2}, {"unit", "W"}})));
  ASSERT_TRUE(meter);
  EXPECT_EQ(checked_read(*meter, 5)[0].value, 301);
  plug.next({.body = R"({"meters": [{"power": 100}]})"});
  EXPECT_TRUE(has(reason_of(*meter), "/meters/1/power is not in the answer")) << "a part of a sum is no sum";
}

TEST(HttpJsonMeter, WhatIsNoNumberIsAReason) {
  Plug plug;
  const auto meter = only_meter(open_meter("http_json", at(plug)));
  ASSERT_TRUE(meter);
  for (const char* body : {R"({"apower": null})", R"({"apower": "nan"})", R"({"apower": "217 W"})",
                           R"({"apower": {}})", R"({"apower": true})", R"({})", R"({"apower": NaN})", R"([])",
                           "<html>", "", R"({"apower": 2)", R"({"apower": 0})"}) {
    plug.next({.body = body});
    EXPECT_FALSE(reason_of(*meter).empty()) << body;
  }
  plug.next({.body = R"({"apower": 1})"});
  EXPECT_EQ(checked_read(*meter, 5)[0].value, 1) << "it recovers";
}

TEST(HttpJsonMeter, ServersThatFail) {
  Plug plug;
  const auto meter = only_meter(open_meter("http_json", at(plug)));
  ASSERT_TRUE(meter);
  plug.next({.status = 500, .body = "{}"});
  EXPECT_TRUE(has(reason_of(*meter), "HTTP 500"));
  plug.next({.status = 404, .body = "{}"});
  EXPECT_TRUE(has(reason_of(*meter), "no such page"));
  plug.next({.body = R"({"apower": 217.5, "more": "than fits"})", .truncate = true});
  EXPECT_TRUE(has(reason_of(*meter), "closed with"));
  plug.next({.hang = true});
  EXPECT_TRUE(has(reason_of(*meter, 0.3), "timed out"));
  plug.next({.body = std::string(9u << 20, ' ')});
  EXPECT_TRUE(has(reason_of(*meter), "more than 8 MiB"));
  plug.server.stop();
  EXPECT_TRUE(has(reason_of(*meter, 1), "onnect"));
}

TEST(HttpJsonMeter, ReasonsDoNotTellTheQuery) {
  Plug plug;
  const auto meter = only_meter(open_meter("http_json", at(plug)));
  ASSERT_TRUE(meter);
  for (const HttpReply& reply :
       {HttpReply{.status = 500}, HttpReply{.status = 403}, HttpReply{.body = "?"}}) {
    plug.next(reply);
    const std::string reason = reason_of(*meter);
    EXPECT_TRUE(has(reason, "/rpc/Switch.GetStatus")) << reason;
    EXPECT_FALSE(has(reason, "sesame")) << reason;
  }
}

TEST(HttpJsonMeter, CertificatesAreVerifiedUnlessToldOtherwise) {
  Plug plug(true);
  const ScratchFolder folder;
  const MeterProbe refused = open_meter("http_json", at(plug));
  EXPECT_EQ(refused.state, State::kFaulty);
  EXPECT_TRUE(has(refused.detail, "certificate")) << refused.detail;
  EXPECT_TRUE(has(refused.remedy, "ca_file")) << refused.remedy;
  EXPECT_EQ(plug.server.requests(), 0) << "nothing is sent to a server that cannot be verified";

  const std::string ca = write_file(folder.path() + "/ca.pem", plug.server.certificate_pem());
  EXPECT_EQ(checked_read(*only_meter(open_meter("http_json", at(plug, {{"ca_file", ca}}))), 5)[0].value,
            217.5);
  EXPECT_EQ(checked_read(*only_meter(open_meter("http_json", at(plug, {{"insecure", true}}))), 5)[0].value,
            217.5);

  HttpServer other([](const HttpRequest&) { return HttpReply{.body = R"({"apower": 1})"}; }, true);
  const MeterProbe stranger =
      open_meter("http_json", {{"url", other.url()}, {"pointer", "/apower"}, {"ca_file", ca}});
  EXPECT_EQ(stranger.state, State::kFaulty) << "another server's certificate is not this one's";
}

TEST(HttpJsonMeter, CredentialsAreSentOverTlsOnly) {
  const ScratchFolder folder;
  const std::string file = write_file(folder.path() + "/c", R"({"user": "reader", "password": "pw"})", 0600);
  Plug tls(true), clear;
  const auto meter =
      only_meter(open_meter("http_json", at(tls, {{"insecure", true}, {"credentials_file", file}})));
  ASSERT_TRUE(meter);
  EXPECT_TRUE(has(tls.last.headers, "Authorization: Basic cmVhZGVyOnB3")) << tls.last.headers;
  const MeterProbe probe = open_meter("http_json", at(clear, {{"credentials_file", file}}));
  EXPECT_EQ(probe.state, State::kFaulty);
  EXPECT_TRUE(has(probe.detail, "in the clear")) << probe.detail;
  EXPECT_EQ(clear.server.requests(), 0);
  const MeterProbe in_url =
      open_meter("http_json", {{"url", "http://reader:pw@127.0.0.1/"}, {"pointer", "/apower"}});
  EXPECT_EQ(in_url.state, State::kFaulty);
  EXPECT_FALSE(has(in_url.detail, "pw")) << in_url.detail;
}

TEST(HttpJsonMeter, OwnHeaderLinesDoNotFollowToAnotherHost) {
  const ScratchFolder folder;
  const std::string file = write_file(folder.path() + "/c", R"({"token": "secret-token"})", 0600);
  Plug stranger, plug(true);
  plug.next({.status = 302, .headers = {"Location: " + stranger.server.url() + "/"}});
  const MeterProbe probe =
      open_meter("http_json", at(plug, {{"insecure", true}, {"credentials_file", file}}));
  EXPECT_EQ(probe.state, State::kFaulty);
  EXPECT_TRUE(has(plug.last.headers, "X-Auth-Token: secret-token"));
  EXPECT_EQ(stranger.server.requests(), 0);
}

TEST(HttpJsonMeter, RefusalsSayWhatToGive) {
  Plug plug;
  plug.next({.status = 401});
  const MeterProbe probe = open_meter("http_json", at(plug));
  EXPECT_EQ(probe.state, State::kNotPermitted);
  EXPECT_TRUE(has(probe.remedy, "MLPWATT_HTTP_JSON_USER")) << probe.remedy;
}

TEST(HttpJsonMeter, BadConfigurationIsNamed) {
  EXPECT_EQ(open_meter("http_json", nullptr).state, State::kNotConfigured);
  for (const auto& [section, word] : std::vector<std::pair<Json, std::string>>{
           {{{"url", "ftp://x/"}, {"pointer", "/a"}}, "ftp"},
           {{{"pointer", "/a"}}, "\"url\""},
           {{{"url", "http://127.0.0.1:1/"}}, "\"pointer\""},
           {{{"url", "http://127.0.0.1:1/"}, {"pointer", "apower"}}, "\"pointer\""},
           {{{"url", "http://127.0.0.1:1/"}, {"pointer", "/a"}, {"unit", "VA"}}, "\"VA\""},
           {{{"url", "http://127.0.0.1:1/"}, {"pointer", "/a"}, {"password", "x"}}, "\"password\""}}) {
    const MeterProbe probe = open_meter("http_json", section);
    EXPECT_EQ(probe.state, State::kFaulty) << section;
    EXPECT_TRUE(has(probe.detail, word)) << probe.detail;
  }
}

}  // namespace
}  // namespace mlpwatt
#endif

// Any plug, power strip or gateway that answers JSON over HTTP(S): address + JSON pointer + unit + scale.
#include "meters/power/settings.h"

#ifdef MLPWATT_HAVE_CURL
#include <fmt/format.h>

#include "meters/power/http.h"
#endif

namespace mlpwatt {
namespace {

constexpr const char* kExample =
    R"({"url": "http://plug/rpc/Switch.GetStatus?id=0", "pointer": "/apower", "unit": "W"})";

#ifdef MLPWATT_HAVE_CURL

using Pointer = nlohmann::json::json_pointer;

struct JsonChannel {
  Channel channel;
  std::vector<Pointer> terms;  ///< summed
  double factor = 1;           ///< W or J per unit of the terms
  bool zero_is_valid = false;
  std::optional<Pointer> stamp;  ///< number or ISO 8601 text that changes with each update
};

Pointer as_pointer(Settings& settings, const std::string& key, const nlohmann::json& value) {
  try {
    if (value.is_string()) return Pointer(value.get<std::string>());
  } catch (const nlohmann::json::exception&) {
  }
  settings.refuse(key, "a JSON pointer such as \"/meters/0/power\"");
}

JsonChannel json_channel(Settings& settings) {
  JsonChannel result;
  result.channel.domain = "node";
  result.channel.place = "AC inlet";
  result.factor = read_unit(settings, result.channel);
  declare_channel(settings, result.channel);
  for (const nlohmann::json& term : settings.list("pointer"))
    result.terms.push_back(as_pointer(settings, "pointer", term));
  if (result.terms.empty()) settings.refuse("pointer", "a JSON pointer such as \"/meters/0/power\"");
  if (settings.has("stamp_pointer"))
    result.stamp = as_pointer(settings, "stamp_pointer", settings.text("stamp_pointer"));
  result.zero_is_valid = settings.flag("zero_is_valid", false);
  return result;
}

std::optional<double> number_at(const nlohmann::json& page, const Pointer& pointer, std::string& problem) {
  if (!page.contains(pointer)) {
    problem = pointer.to_string() + " is not in the answer";
    return std::nullopt;
  }
  const nlohmann::json& value = page[pointer];
  std::optional<double> number;
  if (value.is_number()) number = value.get<double>();
  // plugs that put their numbers into quotes
  if (value.is_string()) number = parse_number(value.get<std::string>());
  if (!number) problem = fmt::format("{} is {}, no number", pointer.to_string(), value.dump().substr(0, 60));
  return number;
}

class JsonDevice final : public Device {
 public:
  JsonDevice(Settings& settings, std::string url) : url_(std::move(url)), http_(settings, url_) {
    if (!settings.has("channels")) {
      channels_.push_back(json_channel(settings));
      return;
    }
    for (const nlohmann::json& entry : settings.list("channels")) {
      Settings one(settings.meter(), entry);
      channels_.push_back(json_channel(one));
      one.finish();
    }
  }

  std::vector<Channel> channels() const {
    std::vector<Channel> result;
    for (const JsonChannel& each : channels_) result.push_back(each.channel);
    return result;
  }
  const std::string& host() const { return http_.host(); }

  std::vector<Reading> read(double timeout_s) override {
    const nlohmann::json page = http_.json(url_, timeout_s);
    std::vector<Reading> readings;
    for (const JsonChannel& each : channels_) readings.push_back(reading_of(page, each));
    return readings;
  }

 private:
  static Reading reading_of(const nlohmann::json& page, const JsonChannel& channel) {
    double sum = 0;
    std::string problem;
    for (const Pointer& term : channel.terms) {
      const std::optional<double> number = number_at(page, term, problem);
      if (!number) return failed_reading(problem);
      sum += *number;
    }
    Reading reading = checked_reading(channel.channel, sum * channel.factor, channel.zero_is_valid);
    if (channel.stamp && page.contains(*channel.stamp)) {
      const nlohmann::json& stamp = page[*channel.stamp];
      if (stamp.is_number()) reading.device_stamp = stamp.get<std::int64_t>();
      if (stamp.is_string()) reading.device_stamp = parse_time_ms(stamp.get<std::string>());
    }
    return reading;
  }

  std::string url_;
  HttpClient http_;
  std::vector<JsonChannel> channels_;
};

std::unique_ptr<Meter> open_one(Settings& settings) {
  const std::string url = settings.required_text("url");
  auto device = std::make_shared<JsonDevice>(settings, url);
  const double poll_s = settings.number("poll_s", 1, 0.05, 3600);
  const double timeout_s = settings.number("timeout_s", 5, 0.05, 600);
  const std::string name = "http_json:" + settings.text("name", device->host());
  settings.finish();
  return BoundedMeter::answering(name, device->channels(), device, BoundedOptions{poll_s}, timeout_s);
}

MeterProbe open(const nlohmann::json& config) {
  return config.is_null() ? not_configured("http_json", kExample)
                          : open_devices("http_json", config, open_one);
}
#else
MeterProbe open(const nlohmann::json&) { return not_compiled_in("libcurl", "libcurl4-openssl-dev"); }
#endif

const MeterRegistration registration{{.name = "http_json",
                                      .summary = "plugs and strips that answer JSON over HTTP(S)",
                                      .rank = 60,
                                      .open = open}};

}  // namespace
}  // namespace mlpwatt

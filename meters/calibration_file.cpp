#include "meters/calibration_file.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <stdexcept>

namespace mlpwatt {
namespace {

using Json = nlohmann::ordered_json;

/// JSON has no NaN.
Json number_json(double value) { return std::isfinite(value) ? Json(value) : Json(); }
double number_of(const Json& object, const char* key) {
  return object.contains(key) && object[key].is_number() ? object[key].get<double>() : std::nan("");
}

Estimated estimated_of(const Json& object, const char* name) {
  return {number_of(object, fmt::format("{}_s", name).c_str()),
          number_of(object, fmt::format("{}_spread_s", name).c_str())};
}

ChannelTiming timing_of(const Json& object) {
  ChannelTiming timing;
  timing.host = object.at("host").get<std::string>();
  timing.meter = object.at("meter").get<std::string>();
  timing.domain = object.at("domain").get<std::string>();
  timing.utc = object.at("utc").get<std::string>();
  timing.update_period_s = estimated_of(object, "update_period");
  timing.period_is_bound = object.value("update_period_is_upper_bound", false);
  timing.lag_s = estimated_of(object, "lag");
  timing.averaging_s = estimated_of(object, "averaging");
  timing.quantum = object.value("quantum", 0.0);
  timing.idle_w = number_of(object, "idle_w");
  timing.load_w = number_of(object, "load_w");
  timing.unexplained = number_of(object, "unexplained");
  timing.updates = object.value("updates", std::int64_t{0});
  timing.poll_s = object.value("poll_s", 0.0);
  timing.length_s = object.value("length_s", 0.0);
  if (!std::isfinite(timing.update_period_s.value) || !std::isfinite(timing.lag_s.value))
    throw std::invalid_argument("an entry has no update_period_s or no lag_s");
  return timing;
}

bool same_channel(const ChannelTiming& a, const ChannelTiming& b) {
  return a.host == b.host && a.meter == b.meter && a.domain == b.domain;
}

class CalibratedMeter : public Meter {
 public:
  CalibratedMeter(std::unique_ptr<Meter> meter, std::vector<Channel> channels)
      : meter_(std::move(meter)), channels_(std::move(channels)) {}
  std::string name() const override { return meter_->name(); }
  const std::vector<Channel>& channels() const override { return channels_; }
  std::vector<Reading> read(double timeout_s) override { return meter_->read(timeout_s); }
  double poll_period_s() const override { return meter_->poll_period_s(); }
  bool slow() const override { return meter_->slow(); }
  double cpu_s() const override { return meter_->cpu_s(); }

 private:
  std::unique_ptr<Meter> meter_;
  std::vector<Channel> channels_;
};

}  // namespace

std::string default_calibration_path() {
  if (const char* path = std::getenv("MLPWATT_CALIBRATION"); path != nullptr) return path;
  const char *folder = std::getenv("XDG_CONFIG_HOME"), *home = std::getenv("HOME");
  const bool xdg = folder != nullptr && *folder != 0;
  return (xdg ? std::string(folder) : std::string(home != nullptr ? home : "") + "/.config") +
         "/mlpwatt/calibration.json";
}

std::string calibration_host() {
  std::array<char, 256> name{};
  gethostname(name.data(), name.size() - 1);
  return name.data();
}

std::vector<ChannelTiming> read_calibrations(const std::string& path) {
  std::ifstream in(path);
  if (!in) return {};
  try {
    std::vector<ChannelTiming> timings;
    const Json file = Json::parse(in);
    for (const Json& each : file.at("calibrations")) timings.push_back(timing_of(each));
    return timings;
  } catch (const std::exception& error) {
    throw std::invalid_argument(fmt::format(
        "calibration file '{}': {}; correct it, or remove it and calibrate again", path, error.what()));
  }
}

Json timing_json(const ChannelTiming& timing) {
  Json object{{"host", timing.host}, {"meter", timing.meter}, {"domain", timing.domain}, {"utc", timing.utc}};
  if (!timing.reason.empty()) object["reason"] = timing.reason;
  const auto add = [&](const char* name, const Estimated& value) {
    object[fmt::format("{}_s", name)] = number_json(value.value);
    object[fmt::format("{}_spread_s", name)] = number_json(value.spread);
  };
  add("update_period", timing.update_period_s);
  object["update_period_is_upper_bound"] = timing.period_is_bound;
  add("lag", timing.lag_s);
  add("averaging", timing.averaging_s);
  object["quantum"] = timing.quantum;
  object["idle_w"] = number_json(timing.idle_w);
  object["load_w"] = number_json(timing.load_w);
  object["unexplained"] = number_json(timing.unexplained);
  object["updates"] = timing.updates;
  object["poll_s"] = timing.poll_s;
  object["length_s"] = timing.length_s;
  return object;
}

std::string calibration_text(std::vector<ChannelTiming> known, const std::vector<ChannelTiming>& found) {
  for (const ChannelTiming& each : found) {
    if (!each.reason.empty()) continue;
    std::erase_if(known, [&](const ChannelTiming& old) { return same_channel(old, each); });
    known.push_back(each);
  }
  Json list = Json::array();
  for (const ChannelTiming& each : known) list.push_back(timing_json(each));
  return Json{{"calibrations", list}}.dump(2) + "\n";
}

std::unique_ptr<Meter> calibrated(std::unique_ptr<Meter> meter, const std::vector<ChannelTiming>& known,
                                  const std::string& host) {
  std::vector<Channel> channels = meter->channels();
  bool any = false;
  for (Channel& channel : channels)
    for (const ChannelTiming& timing : known)
      if (timing.host == host && timing.meter == meter->name() && timing.domain == channel.domain) {
        apply_timing(channel, timing);
        any = true;
      }
  if (!any) return meter;
  return std::make_unique<CalibratedMeter>(std::move(meter), std::move(channels));
}

}  // namespace mlpwatt

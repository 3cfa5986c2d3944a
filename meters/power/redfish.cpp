// Power of a node by its BMC's Redfish service (HPE iLO, Dell iDRAC, OpenBMC, Lenovo XCC ...).
#include "meters/power/settings.h"

#ifdef MLPWATT_HAVE_CURL
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <map>

#include "meters/power/redfish_discovery.h"
#endif

namespace mlpwatt {
namespace {

constexpr const char* kExample = R"({"url": "https://bmc", "credentials_file": "FILE", "ca_file": "FILE"})";

#ifdef MLPWATT_HAVE_CURL

using Json = nlohmann::json;
using State = MeterProbe::State;

/// BMCs hang when they are asked again sooner, after a failed read most of all.
constexpr double kLeastSpacing_s = 2;

class RedfishDevice final : public Device {
 public:
  RedfishDevice(Settings& settings, std::string root) : root_(std::move(root)), http_(settings, root_) {}

  HttpClient& http() { return http_; }
  std::vector<RedfishSource>& sources() { return sources_; }

  std::vector<Reading> read(double timeout_s) override {
    const auto end =
        Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(timeout_s));
    std::map<std::string, Json> pages;
    for (const RedfishSource& source : sources_)
      for (const RedfishTerm& term : source.terms)
        if (pages.count(term.path) == 0)
          pages[term.path] =
              http_.json(root_ + term.path, std::chrono::duration<double>(end - Clock::now()).count());
    std::vector<Reading> readings;
    for (const RedfishSource& source : sources_) readings.push_back(reading_of(source, pages));
    return readings;
  }

 private:
  using Clock = std::chrono::steady_clock;

  static Reading reading_of(const RedfishSource& source, const std::map<std::string, Json>& pages) {
    double sum = 0;
    std::optional<std::int64_t> stamp;
    for (const RedfishTerm& term : source.terms) {
      const Json& page = pages.at(term.path);
      const bool there = page.contains(term.value);
      if (!there || !page[term.value].is_number())
        return failed_reading(fmt::format("{}: {} {} is {}", source.channel.domain, term.path,
                                          term.value.to_string(),
                                          there ? page[term.value].dump().substr(0, 60) : "missing"));
      sum += page[term.value].get<double>();
      if (term.stamp && page.contains(*term.stamp) && page[*term.stamp].is_string())
        stamp = parse_time_ms(page[*term.stamp].get<std::string>());
    }
    const bool part = !source.channel.parent.empty();
    Reading reading = checked_reading(source.channel, sum * source.factor, part);
    reading.device_stamp = stamp;
    return reading;
  }

  std::string root_;
  HttpClient http_;
  std::vector<RedfishSource> sources_;
};

std::unique_ptr<Meter> open_one(Settings& settings) {
  std::string root = settings.required_text("url");
  while (!root.empty() && root.back() == '/') root.pop_back();
  auto device = std::make_shared<RedfishDevice>(settings, root);
  const double poll_s = settings.number("poll_s", kLeastSpacing_s, 0.01, 3600);
  // who gives a shorter period knows what his BMC bears
  const double spacing_s = std::min(poll_s, kLeastSpacing_s);
  const double timeout_s = settings.number("timeout_s", 10, 0.05, 600);
  const std::string chassis = settings.text("chassis");
  const std::string name = "redfish:" + settings.text("name", device->http().host());
  Channel declared;  // keys are checked before anything is asked over the network
  declare_channel(settings, declared);
  settings.finish();
  try {
    device->sources() = discover_redfish(device->http(), root, timeout_s, chassis);
  } catch (const DeviceRefusal& refusal) {
    throw OpenError(refusal.state, name + ": " + refusal.what(), refusal.remedy);
  } catch (const OpenError& error) {
    throw OpenError(error.state, name + ": " + error.what(), error.remedy);
  } catch (const std::exception& error) {
    throw OpenError(State::kFaulty, name + ": " + error.what());
  }
  std::vector<Channel> channels;
  for (RedfishSource& source : device->sources()) {
    Channel& channel = source.channel;
    // what is declared is meant for the channel of the whole
    if (channel.domain == "node") declare_channel(settings, channel);
    if (channel.parent == "node" && !declared.domain.empty()) channel.parent = declared.domain;
    if (channel.duplicate_of == "node" && !declared.domain.empty()) channel.duplicate_of = declared.domain;
    channels.push_back(channel);
  }
  return BoundedMeter::answering(name, channels, device,
                                 BoundedOptions{.poll_period_s = poll_s,
                                                .least_spacing_s = 0.95 * spacing_s,
                                                .attempts = 3,
                                                .back_off_s = spacing_s},
                                 timeout_s);
}

MeterProbe open(const Json& config) {
  return config.is_null() ? not_configured("redfish", kExample) : open_devices("redfish", config, open_one);
}
#else
MeterProbe open(const nlohmann::json&) { return not_compiled_in("libcurl", "libcurl4-openssl-dev"); }
#endif

const MeterRegistration registration{
    {.name = "redfish", .summary = "node power by the BMC's Redfish service", .rank = 42, .open = open}};

}  // namespace
}  // namespace mlpwatt

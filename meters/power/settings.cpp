#include "meters/power/settings.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace mlpwatt {
namespace {

using State = MeterProbe::State;

const std::set<std::string> kSecrets = {
    "user",          "password",         "token",         "community", "header",
    "auth_password", "privacy_password", "security_name", "k_g"};

std::string upper(std::string text) {
  for (char& c : text) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  return text;
}

std::string read_private_file(const std::string& meter, const std::string& path) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
  if (file < 0)
    throw OpenError(errno == EACCES ? State::kNotPermitted : State::kFaulty,
                    fmt::format("{}: credentials_file {}: {}", meter, path, std::strerror(errno)));
  struct stat facts {};
  std::string text;
  const bool regular = fstat(file, &facts) == 0 && S_ISREG(facts.st_mode);
  const bool is_private = (facts.st_mode & 077) == 0;
  if (regular && is_private)
    for (char buffer[4096];;) {
      const ssize_t got = ::read(file, buffer, sizeof buffer);
      if (got <= 0 || text.size() > 65536) break;
      text.append(buffer, static_cast<std::size_t>(got));
    }
  close(file);
  if (!regular)
    throw OpenError(State::kFaulty, fmt::format("{}: credentials_file {} is no file", meter, path));
  if (!is_private)
    throw OpenError(State::kNotPermitted,
                    fmt::format("{}: credentials_file {} has mode {:04o}: others can read it", meter, path,
                                facts.st_mode & 07777),
                    "chmod 600 " + path);
  return text;
}

}  // namespace

Settings::Settings(std::string meter, nlohmann::json object)
    : meter_(std::move(meter)), object_(std::move(object)) {
  if (object_.is_null()) object_ = nlohmann::json::object();
  if (!object_.is_object())
    throw OpenError(State::kFaulty, fmt::format("{}: its configuration is to be a JSON object, not {}",
                                                meter_, object_.type_name()));
}

const nlohmann::json* Settings::find(const std::string& key) {
  asked_.insert(key);
  const auto found = object_.find(key);
  return found == object_.end() ? nullptr : &*found;
}

void Settings::refuse(const std::string& key, const std::string& wanted) const {
  const auto found = object_.find(key);
  const std::string is = found == object_.end() ? "missing" : found->dump().substr(0, 100);
  throw OpenError(State::kFaulty,
                  fmt::format("{}: configuration key \"{}\" is {}: give {}", meter_, key, is, wanted));
}

std::string Settings::text(const std::string& key, const std::string& fallback) {
  const nlohmann::json* value = find(key);
  if (value == nullptr) return fallback;
  if (!value->is_string()) refuse(key, "a text");
  return value->get<std::string>();
}

std::string Settings::required_text(const std::string& key) {
  std::string value = text(key);
  if (value.empty()) refuse(key, "a text");
  return value;
}

double Settings::number(const std::string& key, double fallback, double least, double most) {
  const nlohmann::json* value = find(key);
  if (value == nullptr) return fallback;
  if (!value->is_number() || !(value->get<double>() >= least && value->get<double>() <= most))
    refuse(key, least > -1e308 || most < 1e308 ? fmt::format("a number from {:g} to {:g}", least, most)
                                               : "a number");
  return value->get<double>();
}

std::int64_t Settings::integer(const std::string& key, std::int64_t fallback, std::int64_t least,
                               std::int64_t most) {
  const nlohmann::json* value = find(key);
  if (value == nullptr) return fallback;
  if (!value->is_number_integer() || value->get<std::int64_t>() < least || value->get<std::int64_t>() > most)
    refuse(key, fmt::format("a whole number from {} to {}", least, most));
  return value->get<std::int64_t>();
}

bool Settings::flag(const std::string& key, bool fallback) {
  const nlohmann::json* value = find(key);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) refuse(key, "true or false");
  return value->get<bool>();
}

std::vector<nlohmann::json> Settings::list(const std::string& key) {
  const nlohmann::json* value = find(key);
  if (value == nullptr) return {};
  if (!value->is_array()) return {*value};
  if (value->empty()) refuse(key, "at least one entry");
  std::vector<nlohmann::json> entries;
  for (const nlohmann::json& entry : *value) entries.push_back(entry);
  return entries;
}

void Settings::finish() const {
  for (const auto& [key, value] : object_.items()) {
    if (asked_.count(key) != 0) continue;
    if (kSecrets.count(key) != 0)
      throw OpenError(
          State::kFaulty,
          fmt::format("{}: \"{}\" does not belong into the configuration, which is not secret", meter_, key),
          fmt::format("put {{\"{}\": ...}} into a file, chmod 600 it, and give its path as "
                      "\"credentials_file\"",
                      key));
    std::string known;
    for (const std::string& each : asked_) known += (known.empty() ? "" : ", ") + each;
    throw OpenError(State::kFaulty,
                    fmt::format("{}: unknown configuration key \"{}\"; known: {}", meter_, key, known));
  }
}

Credentials::Credentials(Settings& settings) {
  prefix_ = settings.text("credentials_environment", "MLPWATT_" + upper(settings.meter()));
  const std::string path = settings.text("credentials_file");
  if (path.empty()) return;
  const nlohmann::json object =
      nlohmann::json::parse(read_private_file(settings.meter(), path), nullptr, false);
  if (!object.is_object())
    throw OpenError(State::kFaulty, fmt::format("{}: credentials_file {} holds no JSON object such as "
                                                "{{\"user\": \"...\", \"password\": \"...\"}}",
                                                settings.meter(), path));
  for (const auto& [key, value] : object.items()) {
    if (kSecrets.count(key) == 0 || !value.is_string())
      throw OpenError(State::kFaulty,
                      fmt::format("{}: credentials_file {}: \"{}\" is {}", settings.meter(), path, key,
                                  kSecrets.count(key) == 0 ? "no known secret" : "to be a text"));
    secrets_[key] = value.get<std::string>();
  }
}

std::string Credentials::variable(const std::string& key) const { return prefix_ + "_" + upper(key); }

std::string Credentials::get(const std::string& key) const {
  if (const auto found = secrets_.find(key); found != secrets_.end()) return found->second;
  const char* value = secrets_.empty() ? std::getenv(variable(key).c_str()) : nullptr;
  return value != nullptr ? value : "";
}

void declare_channel(Settings& settings, Channel& channel) {
  channel.domain = settings.text("domain", channel.domain);
  channel.parent = settings.text("parent", channel.parent);
  channel.duplicate_of = settings.text("duplicate_of", channel.duplicate_of);
  channel.place = settings.text("place", channel.place);
  if (settings.has("update_period_s")) channel.update_period_known = Known::kDeclared;
  channel.update_period_s = settings.number("update_period_s", channel.update_period_s, 0);
  channel.averaging_s = settings.number("averaging_s", channel.averaging_s, 0);
  if (channel.averaging_s > 0 && channel.kind == ReadingKind::kInstantPower)
    channel.kind = ReadingKind::kAveragePower;
  if (settings.has("lag_s")) channel.lag_known = Known::kDeclared;
  channel.lag_s = settings.number("lag_s", channel.lag_s, 0);
  channel.resolution = settings.number("resolution", channel.resolution, 0);
  if (settings.has("accuracy_relative") || settings.has("accuracy_absolute_w"))
    channel.accuracy_source = "meter configuration";
  channel.accuracy_relative = settings.number("accuracy_relative", channel.accuracy_relative, 0, 1);
  channel.accuracy_absolute_w = settings.number("accuracy_absolute_w", channel.accuracy_absolute_w, 0);
  channel.maximum_w = settings.number("maximum_w", channel.maximum_w, 0);
}

double read_unit(Settings& settings, Channel& channel) {
  static const std::map<std::string, double> kPower = {{"W", 1}, {"kW", 1e3}, {"mW", 1e-3}};
  static const std::map<std::string, double> kEnergy = {
      {"J", 1}, {"kJ", 1e3}, {"mJ", 1e-3}, {"uJ", 1e-6}, {"Wh", 3600}, {"kWh", 3.6e6}, {"mWh", 3.6}};
  const std::string unit = settings.text("unit", "W");
  const auto power = kPower.find(unit), energy = kEnergy.find(unit);
  if (power == kPower.end() && energy == kEnergy.end())
    settings.refuse("unit", "W kW mW or J kJ mJ uJ Wh kWh mWh");
  const bool counts = energy != kEnergy.end();
  channel.kind = counts ? ReadingKind::kEnergyCounter : ReadingKind::kInstantPower;
  const double factor = settings.number("scale", 1) * (counts ? energy->second : power->second);
  if (factor == 0) settings.refuse("scale", "what to multiply by, not 0");
  channel.wrap_j = counts ? settings.number("wrap", 0, 0) * std::fabs(factor) : 0;
  return factor;
}

Reading failed_reading(const std::string& reason) {
  Reading reading;
  reading.reason = reason;
  return reading;
}

Reading checked_reading(const Channel& channel, double value, bool zero_is_valid) {
  if (!std::isfinite(value))
    return failed_reading(fmt::format("{}: {} is no reading", channel.domain, value));
  if (value == 0 && channel.kind != ReadingKind::kEnergyCounter && !zero_is_valid)
    return failed_reading(
        fmt::format("{}: 0 W, which is how devices say that they have no reading", channel.domain));
  Reading reading;
  reading.value = value;
  return reading;
}

std::optional<double> parse_number(const std::string& text) {
  const auto begin = text.find_first_not_of(" \t\r\n+"), end = text.find_last_not_of(" \t\r\n");
  if (begin == std::string::npos) return std::nullopt;
  double value = 0;
  const char* last = text.data() + end + 1;
  const auto [stop, error] = std::from_chars(text.data() + begin, last, value);
  if (error != std::errc() || stop != last || !std::isfinite(value)) return std::nullopt;
  return value;
}

std::optional<std::int64_t> parse_time_ms(const std::string& text) {
  tm parts{};
  int used = 0;
  if (std::sscanf(text.c_str(), "%4d-%2d-%2dT%2d:%2d:%2d%n", &parts.tm_year, &parts.tm_mon, &parts.tm_mday,
                  &parts.tm_hour, &parts.tm_min, &parts.tm_sec, &used) != 6)
    return std::nullopt;
  std::string rest = text.substr(static_cast<std::size_t>(used));
  double fraction = 0;
  if (!rest.empty() && rest[0] == '.') {
    const std::size_t digits = rest.find_first_not_of("0123456789", 1);
    if (digits == std::string::npos) return std::nullopt;
    fraction = parse_number("0" + rest.substr(0, digits)).value_or(0);
    rest = rest.substr(digits);
  }
  int hours = 0, minutes = 0;
  char sign = '+';
  if (rest != "Z" && std::sscanf(rest.c_str(), "%c%2d:%2d", &sign, &hours, &minutes) != 3)
    return std::nullopt;
  parts.tm_year -= 1900;
  parts.tm_mon -= 1;
  const std::int64_t offset_s = (hours * 3600 + minutes * 60) * (sign == '-' ? -1 : 1);
  return (timegm(&parts) - offset_s) * 1000 + std::llround(fraction * 1000);
}

MeterProbe open_devices(const std::string& meter, const nlohmann::json& config,
                        const std::function<std::unique_ptr<Meter>(Settings&)>& open_one) {
  std::vector<nlohmann::json> sections;
  if (config.is_array())
    for (const nlohmann::json& section : config) sections.push_back(section);
  else
    sections.push_back(config);
  MeterProbe probe;
  std::string found, failed;
  for (const nlohmann::json& section : sections) {
    try {
      Settings settings(meter, section);
      std::unique_ptr<Meter> opened = open_one(settings);
      found += (found.empty() ? "" : "; ") + opened->name() + ":";
      for (const Channel& channel : opened->channels()) found += " " + channel.domain;
      probe.meters.push_back(std::move(opened));
    } catch (const OpenError& error) {
      if (failed.empty()) probe.state = error.state, probe.remedy = error.remedy;
      failed += (failed.empty() ? "" : "; ") + std::string(error.what());
    } catch (const std::exception& error) {
      if (failed.empty()) probe.state = State::kFaulty;
      failed += (failed.empty() ? "" : "; ") + meter + ": " + error.what();
    }
  }
  probe.detail = found + (found.empty() || failed.empty() ? "" : "; but ") + failed;
  if (!probe.meters.empty()) probe.state = State::kFound;
  return probe;
}

MeterProbe not_compiled_in(const std::string& library, const std::string& package) {
  MeterProbe probe;
  probe.state = State::kNotCompiledIn;
  probe.detail = library + " was not there when this program was built";
  probe.remedy = "apt-get install " + package + " && make clean build";
  return probe;
}

MeterProbe not_configured(const std::string& meter, const std::string& example) {
  MeterProbe probe;
  probe.state = State::kNotConfigured;
  probe.detail = "its address is to be given";
  probe.remedy = fmt::format("--meter-config FILE with {{\"{}\": {}}} (meters/README.md)", meter, example);
  return probe;
}

}  // namespace mlpwatt

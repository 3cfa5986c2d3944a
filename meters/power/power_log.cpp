#include "meters/power/power_log.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <stdexcept>

#include "meters/power/sysfs.h"

namespace mlpwatt {
namespace {

std::int64_t big_endian(const std::string& bytes, std::size_t at, int width) {
  std::uint64_t value = 0;
  for (int i = 0; i < width; ++i)
    value = value << 8 | static_cast<unsigned char>(bytes.at(at + static_cast<std::size_t>(i)));
  return width == 4 ? static_cast<std::int32_t>(value) : static_cast<std::int64_t>(value);
}

/// "+01:00", "-0700" -> seconds east of UTC
std::optional<int> fixed_offset(const std::string& text) {
  int hours = 0, minutes = 0, used = 0;
  if (text.size() < 5 || (text[0] != '+' && text[0] != '-')) return std::nullopt;
  const char* form = text.size() == 6 ? "%2d:%2d%n" : "%2d%2d%n";
  if (sscanf(text.c_str() + 1, form, &hours, &minutes, &used) != 2 ||
      used + 1 != static_cast<int>(text.size()))
    return std::nullopt;
  return (text[0] == '-' ? -1 : 1) * (hours * 3600 + minutes * 60);
}

/// Days since 1970-01-01 of a date of the Gregorian calendar (Howard Hinnant's days_from_civil).
std::int64_t days_since_1970(std::int64_t year, int month, int day) {
  year -= month <= 2;
  const std::int64_t era = (year >= 0 ? year : year - 399) / 400;
  const std::int64_t year_of_era = year - era * 400;
  const std::int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
  return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719468;
}

std::string stripped(const std::string& text) {
  const auto first = text.find_first_not_of(" \t\r\""), last = text.find_last_not_of(" \t\r\"");
  return first == std::string::npos ? "" : text.substr(first, last - first + 1);
}

}  // namespace

Timezone::Timezone(const std::string& name) {
  if (name == "UTC" || name == "Z") {
    offsets_ = {0};
    return;
  }
  if (const auto fixed = fixed_offset(name)) {
    offsets_ = {*fixed};
    return;
  }
  const char* folder = std::getenv("TZDIR");
  const std::string path = std::string(folder != nullptr ? folder : "/usr/share/zoneinfo") + "/" + name;
  std::ifstream in(name.empty() || name.find("..") != std::string::npos ? "" : path, std::ios::binary);
  std::stringstream buffer;
  buffer << in.rdbuf();
  const std::string bytes = buffer.str();
  if (!in || bytes.size() < 44 || bytes.substr(0, 4) != "TZif")
    throw std::invalid_argument(
        fmt::format("timezone '{}' is not in {}; names look like America/Denver, UTC or +01:00 (Debian: apt "
                    "install tzdata)",
                    name, path.substr(0, path.size() - name.size())));
  try {
    // Version 2 files carry 64-bit transitions in a second block behind the 32-bit one (RFC 8536).
    std::size_t at = 0;
    const bool wide = bytes[4] >= '2';
    const auto count = [&](int i) {
      return static_cast<std::size_t>(big_endian(bytes, at + 20 + 4 * static_cast<std::size_t>(i), 4));
    };
    if (wide) at = 44 + count(3) * 5 + count(4) * 6 + count(5) + count(2) * 8 + count(1) + count(0);
    const std::size_t transitions = count(3), types = count(4), width = wide ? 8 : 4;
    const std::size_t first = at + 44, kinds = first + transitions * width, type_table = kinds + transitions;
    if (types == 0) throw std::out_of_range("no types");
    const auto offset_of = [&](std::size_t type) {
      return static_cast<int>(big_endian(bytes, type_table + 6 * type, 4));
    };
    offsets_.push_back(offset_of(0));
    for (std::size_t i = 0; i < transitions; ++i) {
      transitions_.push_back(big_endian(bytes, first + i * width, static_cast<int>(width)));
      offsets_.push_back(offset_of(static_cast<unsigned char>(bytes.at(kinds + i))));
    }
  } catch (const std::out_of_range&) {
    throw std::invalid_argument(fmt::format("timezone file {} is damaged", path));
  }
}

double Timezone::offset_at(double utc_s) const {
  const auto after = std::upper_bound(transitions_.begin(), transitions_.end(),
                                      static_cast<std::int64_t>(std::floor(utc_s)));
  return offsets_[static_cast<std::size_t>(after - transitions_.begin())];
}

double Timezone::to_utc(double local_s, double after_s) const {
  // Both offsets around the moment are tried: on the night clocks go back both fit.
  const double early = local_s - std::max(offset_at(local_s - 86400), offset_at(local_s + 86400));
  const double late = local_s - std::min(offset_at(local_s - 86400), offset_at(local_s + 86400));
  const auto fits = [&](double utc_s) { return utc_s + offset_at(utc_s) == local_s; };
  if (fits(early) && (early >= after_s || !fits(late))) return early;
  return fits(late) ? late : early;
}

PowerLogReader::PowerLogReader(PowerLogFormat format) : format_(std::move(format)), node_(format_.node) {
  if (!format_.timezone.empty()) zone_.emplace(format_.timezone);
}

/// Seconds or milliseconds since 1970, or ISO 8601 with or without a zone.
double PowerLogReader::stamp(const std::string& text) {
  if (const auto number = as_number(text)) return *number > 1e11 ? *number * 1e-3 : *number;
  int year = 0, month = 0, day = 0, hour = 0, minute = 0, used = 0;
  double second = 0;
  char between = 0;
  if (sscanf(text.c_str(), "%4d-%2d-%2d%c%2d:%2d%n", &year, &month, &day, &between, &hour, &minute, &used) !=
          6 ||
      (between != 'T' && between != ' ') || month < 1 || month > 12 || day < 1 || day > 31 || hour > 24 ||
      minute > 59)
    throw std::invalid_argument(fmt::format("'{}' is no time stamp", text));
  std::string rest = text.substr(static_cast<std::size_t>(used));
  if (rest.starts_with(":")) {
    const auto digits = rest.find_first_not_of("0123456789.", 1);
    const auto seconds = as_number(rest.substr(1, digits == std::string::npos ? digits : digits - 1));
    if (!seconds || *seconds >= 61) throw std::invalid_argument(fmt::format("'{}' is no time stamp", text));
    second = *seconds;
    rest = digits == std::string::npos ? "" : stripped(rest.substr(digits));
  }
  const double local =
      static_cast<double>(days_since_1970(year, month, day) * 86400 + hour * 3600 + minute * 60) + second;
  if (zone_) return zone_->to_utc(local, last_wall_s_ - format_.offset_s);
  if (rest.empty() || rest == "Z" || rest == "UTC") return local;
  if (const auto offset = fixed_offset(rest)) return local - *offset;
  throw std::invalid_argument(fmt::format("'{}' is no time stamp", text));
}

std::optional<LoggedPower> PowerLogReader::take(std::string line) {
  line = stripped(line);
  if (line.empty() || line.front() == '#' || line.starts_with("timestamp")) return std::nullopt;
  std::array<std::string, 3> fields;
  std::istringstream stream(line);
  int n = 0;
  for (std::string field; std::getline(stream, field, ',');) {
    if (n == 3) throw std::invalid_argument(fmt::format("'{}' has more than timestamp,node,watts", line));
    fields[static_cast<std::size_t>(n++)] = stripped(field);
  }
  if (n < 2) throw std::invalid_argument(fmt::format("'{}' is not timestamp,node,watts", line));
  if (node_.empty()) node_ = fields[1];
  if (fields[1] != node_) {
    if (!format_.node.empty()) return std::nullopt;
    throw std::invalid_argument(fmt::format("holds nodes {} and {}: choose one", node_, fields[1]));
  }
  LoggedPower reading;
  reading.wall_s = stamp(fields[0]) + format_.offset_s;
  last_wall_s_ = std::max(last_wall_s_, reading.wall_s);
  const auto watts = as_number(fields[2]);
  if (!watts)
    reading.reason = fmt::format("csv_log: '{}' is no power", fields[2]);
  else if (*watts == 0 && !format_.zero_is_reading)
    reading.reason = "csv_log: 0 W is no reading of a running machine";
  else
    reading.watts = *watts;
  return reading;
}

std::vector<std::string> nodes_of_power_log(const std::string& path) {
  std::ifstream in(path);
  if (!in)
    throw std::invalid_argument(fmt::format("power log '{}' cannot be read: {}", path, strerror(errno)));
  std::vector<std::string> nodes;
  for (std::string line; std::getline(in, line);) {
    line = stripped(line);
    const auto first = line.find(','), second = line.find(',', first + 1);
    if (first == std::string::npos || line.front() == '#' || line.starts_with("timestamp")) continue;
    const std::string node = stripped(line.substr(first + 1, second - first - 1));
    if (std::find(nodes.begin(), nodes.end(), node) == nodes.end()) nodes.push_back(node);
  }
  return nodes;
}

std::vector<LoggedPower> read_power_log(const std::string& path, const PowerLogFormat& format) {
  std::ifstream in(path);
  if (!in)
    throw std::invalid_argument(fmt::format("power log '{}' cannot be read: {}", path, strerror(errno)));
  PowerLogReader reader(format);
  std::vector<LoggedPower> log;
  std::int64_t number = 0;
  for (std::string line; std::getline(in, line);) {
    ++number;
    try {
      if (auto reading = reader.take(line)) log.push_back(std::move(*reading));
    } catch (const std::invalid_argument& error) {
      throw std::invalid_argument(fmt::format("power log '{}', line {}: {}", path, number, error.what()));
    }
  }
  std::stable_sort(log.begin(), log.end(),
                   [](const LoggedPower& a, const LoggedPower& b) { return a.wall_s < b.wall_s; });
  const auto last = std::unique(log.begin(), log.end(), [](const LoggedPower& a, const LoggedPower& b) {
    return a.wall_s == b.wall_s;
  });
  log.erase(last, log.end());
  return log;
}

}  // namespace mlpwatt

#include "meters/power/timezone.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string_view>

namespace mlpwatt {
namespace {

std::int64_t big_endian(const std::string& bytes, std::size_t at, int width) {
  std::uint64_t value = 0;
  for (int i = 0; i < width; ++i)
    value = value << 8 | static_cast<unsigned char>(bytes.at(at + static_cast<std::size_t>(i)));
  return width == 4 ? static_cast<std::int32_t>(value) : static_cast<std::int64_t>(value);
}

/// Takes the parts of a TZ string from its front. Errors: std::invalid_argument.
class ZoneText {
 public:
  explicit ZoneText(std::string_view text) : rest_(text) {}
  bool empty() const { return rest_.empty(); }
  bool next_is(char c) const { return rest_.starts_with(c); }
  bool take(char c) {
    if (!next_is(c)) return false;
    rest_.remove_prefix(1);
    return true;
  }
  void need(char c) {
    if (!take(c)) refuse();
  }
  /// "MST" or "<-03>"
  void skip_name() {
    std::size_t length = 0;
    if (next_is('<'))
      length = rest_.find('>') + 1;  // 0 when there is none
    else
      while (length < rest_.size() && std::isalpha(static_cast<unsigned char>(rest_[length]))) ++length;
    if (length < 3) refuse();
    rest_.remove_prefix(length);
  }
  int number(int least, int most) {
    int value = 0;
    const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), value);
    if (error != std::errc{} || next_is('-') || value < least || value > most) refuse();
    rest_.remove_prefix(static_cast<std::size_t>(end - rest_.data()));
    return value;
  }
  /// "[+-]hh[:mm[:ss]]" in seconds
  int time_s(int most_hours) {
    const int sign = take('-') ? -1 : 1;
    if (sign > 0) take('+');
    int seconds = 3600 * number(0, most_hours);
    if (take(':')) seconds += 60 * number(0, 59);
    if (take(':')) seconds += number(0, 59);
    return sign * seconds;
  }
  [[noreturn]] static void refuse() { throw std::invalid_argument("no TZ string"); }

 private:
  std::string_view rest_;
};

}  // namespace

std::optional<int> fixed_offset(const std::string& text) {
  int hours = 0, minutes = 0, used = 0;
  if (text.size() < 5 || (text[0] != '+' && text[0] != '-')) return std::nullopt;
  const char* form = text.size() == 6 ? "%2d:%2d%n" : "%2d%2d%n";
  if (sscanf(text.c_str() + 1, form, &hours, &minutes, &used) != 2 ||
      used + 1 != static_cast<int>(text.size()))
    return std::nullopt;
  return (text[0] == '-' ? -1 : 1) * (hours * 3600 + minutes * 60);
}

std::int64_t days_since_1970(std::int64_t year, int month, int day) {
  year -= month <= 2;
  const std::int64_t era = (year >= 0 ? year : year - 399) / 400;
  const std::int64_t year_of_era = year - era * 400;
  const std::int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
  return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719468;
}

/// How offsets, in seconds east of UTC, go on behind a file's last transition: the TZ string in its footer,
/// such as "MST7MDT,M3.2.0,M11.1.0" (RFC 8536, 3.3). zic writes files that have nothing else for the years
/// from 2007.
struct Timezone::Rule {
  /// A day of each year and a local time on it, by the clock that ends there.
  struct Change {
    char form = 'n';  ///< 'M': month.week.day; 'J': day from 1 that never counts 29 February; 'n': from 0
    int month = 1, week = 1, day = 0, time_s = 7200;

    explicit Change(ZoneText& text) {
      constexpr int kMostHours = 167;  // a week: "the Friday before the last Sunday"
      text.need(',');
      if (text.take('M')) {
        form = 'M';
        month = text.number(1, 12);
        text.need('.');
        week = text.number(1, 5);
        text.need('.');
        day = text.number(0, 6);
      } else {
        form = text.take('J') ? 'J' : 'n';
        day = form == 'J' ? text.number(1, 365) : text.number(0, 365);
      }
      if (text.take('/')) time_s = text.time_s(kMostHours);
    }

    std::int64_t local_s(std::int64_t year) const {
      const std::int64_t new_year = days_since_1970(year, 1, 1);
      const bool leap = days_since_1970(year, 3, 1) - new_year == 60;
      std::int64_t date = new_year + day;
      if (form == 'J' && !(leap && day >= 60)) --date;
      if (form == 'M') {
        const std::int64_t first = days_since_1970(year, month, 1);
        const std::int64_t next =
            month == 12 ? days_since_1970(year + 1, 1, 1) : days_since_1970(year, month + 1, 1);
        const std::int64_t weekday = ((first + 4) % 7 + 7) % 7;  // 1970 began on a Thursday
        date = first + (day - weekday + 7) % 7 + 7 * (week - 1);
        if (date >= next) date -= 7;  // week 5 is the last one
      }
      return date * 86400 + time_s;
    }
  };

  int standard_s = 0, daylight_s = 0;
  std::vector<Change> changes;  ///< none, or to daylight saving and back

  explicit Rule(ZoneText text) {
    constexpr int kMostHours = 24;
    text.skip_name();
    standard_s = daylight_s = -text.time_s(kMostHours);  // POSIX counts to the west
    if (text.empty()) return;
    text.skip_name();
    daylight_s = text.next_is(',') ? standard_s + 3600 : -text.time_s(kMostHours);
    changes.emplace_back(text);
    changes.emplace_back(text);
    if (!text.empty()) ZoneText::refuse();
  }

  int offset_at(double utc_s) const {
    constexpr double kYear_s = 31556952;
    if (changes.empty()) return standard_s;
    const std::int64_t about = 1970 + static_cast<std::int64_t>(std::floor(utc_s / kYear_s));
    double latest_s = -1e300;
    int offset = standard_s;
    for (std::int64_t year = about - 1; year <= about + 1; ++year) {
      const double back_s = static_cast<double>(changes[1].local_s(year) - daylight_s);
      const double forth_s = static_cast<double>(changes[0].local_s(year) - standard_s);
      if (back_s <= utc_s && back_s >= latest_s) latest_s = back_s, offset = standard_s;
      // Of two at once this one is the later: daylight saving all year is written so.
      if (forth_s <= utc_s && forth_s >= latest_s) latest_s = forth_s, offset = daylight_s;
    }
    return offset;
  }
};

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
  std::string footer;
  try {
    footer = take_file(bytes);
  } catch (const std::out_of_range&) {
    throw std::invalid_argument(fmt::format("timezone file {} is damaged", path));
  }
  if (footer.empty()) return;
  try {
    rule_ = std::make_shared<const Rule>(ZoneText(footer));
  } catch (const std::invalid_argument&) {
    throw std::invalid_argument(
        fmt::format("timezone file {}: its rule '{}' is not understood; give the seconds to UTC themselves "
                    "(--offset, of the meter csv_log \"offset_s\") in the place of the zone",
                    path, footer));
  }
}

std::string Timezone::take_file(const std::string& bytes) {
  // RFC 8536: version 2 files carry 64-bit transitions in a second block behind the 32-bit one, and a footer.
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
  if (!wide) return "";
  const std::size_t footer = type_table + 6 * types + count(5) + count(2) * 12 + count(1) + count(0);
  if (bytes.at(footer) != '\n') throw std::out_of_range("no footer");
  const std::size_t end = bytes.find('\n', footer + 1);
  if (end == std::string::npos) throw std::out_of_range("no end of the footer");
  return bytes.substr(footer + 1, end - footer - 1);
}

double Timezone::offset_at(double utc_s) const {
  const auto moment = static_cast<std::int64_t>(std::floor(utc_s));
  if (rule_ && (transitions_.empty() || moment >= transitions_.back())) return rule_->offset_at(utc_s);
  const auto after = std::upper_bound(transitions_.begin(), transitions_.end(), moment);
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

}  // namespace mlpwatt

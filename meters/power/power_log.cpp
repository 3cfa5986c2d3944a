#include "meters/power/power_log.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string_view>
#include <utility>

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

double median_step_s(const std::vector<LoggedPower>& lines) {
  std::vector<double> steps;
  for (std::size_t i = 1; i < lines.size(); ++i)
    if (const double step = lines[i].wall_s - lines[i - 1].wall_s; step > 0) steps.push_back(step);
  if (steps.empty()) return 0;
  const auto middle = steps.begin() + static_cast<std::ptrdiff_t>(steps.size() / 2);
  std::nth_element(steps.begin(), middle, steps.end());
  return *middle;
}

namespace {

/// Lines of a log in the order of its file, and where they tell of a clock that was set back.
class FileOrder {
 public:
  FileOrder(const std::string& path, const std::vector<LoggedPower>& lines)
      : path_(path), lines_(lines), most_step_s_(kFewPeriods * median_step_s(lines)) {}

  std::vector<DoubtfulTime> doubtful() const {
    std::vector<DoubtfulTime> all;
    for (const std::size_t line : set_back()) all.push_back(around(line));
    return all;
  }

 private:
  static constexpr double kFewPeriods = 3;

  /// Lines, both ends included, whose stamps neither run back nor leave a gap.
  struct Piece {
    std::size_t first, last;
    double begin_s, end_s;
  };

  double step_s(std::size_t line) const { return lines_[line].wall_s - lines_[line - 1].wall_s; }

  std::vector<Piece> pieces() const {
    std::vector<Piece> all;
    for (std::size_t i = 0; i < lines_.size(); ++i) {
      const double wall_s = lines_[i].wall_s;
      if (i == 0 || std::fabs(step_s(i)) > most_step_s_) {
        all.push_back({i, i, wall_s, wall_s});
        continue;
      }
      all.back().last = i;
      all.back().begin_s = std::min(all.back().begin_s, wall_s);
      all.back().end_s = std::max(all.back().end_s, wall_s);
    }
    return all;
  }

  /// First lines behind a step back into stamps that were there before. Files joined in the wrong order step
  /// back, too, but into stamps of their own.
  std::set<std::size_t> set_back() const {
    std::vector<Piece> by_time = pieces();
    std::stable_sort(by_time.begin(), by_time.end(),
                     [](const Piece& a, const Piece& b) { return a.begin_s < b.begin_s; });
    std::set<std::size_t> found;
    const Piece* reaching = nullptr;  // farthest of those so far
    for (const Piece& piece : by_time) {
      if (reaching != nullptr && piece.begin_s <= reaching->end_s) {
        const bool in_order = reaching->first < piece.first;
        const Piece &before = in_order ? *reaching : piece, &after = in_order ? piece : *reaching;
        std::size_t least = after.first;
        for (std::size_t i = before.last + 1; i < after.first; ++i)
          if (step_s(i) < step_s(least)) least = i;
        if (-step_s(least) > most_step_s_ && !repeats(before, after)) found.insert(least);
      }
      if (reaching == nullptr || piece.end_s > reaching->end_s) reaching = &piece;
    }
    return found;
  }

  /// Whether what both have is the same line for line, as in files that overlap. One power again and again
  /// says nothing: an idle node has it whatever its clock does.
  bool repeats(const Piece& before, const Piece& after) const {
    const auto power = [&](std::size_t i) { return lines_[i].watts.value_or(-1); };
    std::set<std::pair<double, double>> known;
    for (std::size_t i = before.first; i <= before.last; ++i) known.emplace(lines_[i].wall_s, power(i));
    std::set<double> powers;
    for (std::size_t i = after.first; i <= after.last; ++i) {
      if (lines_[i].wall_s < before.begin_s || lines_[i].wall_s > before.end_s) continue;
      if (!known.contains({lines_[i].wall_s, power(i)})) return false;
      powers.insert(power(i));
    }
    return powers.size() > 1 || after.end_s <= before.end_s;
  }

  /// What a step back before `line` leaves in doubt: all on both sides, as far as there is no gap that could
  /// be the clock's way forward. Where one is just as long, only what lies between was off.
  DoubtfulTime around(std::size_t line) const {
    const double back_s = -step_s(line);
    const auto goes_on = [&](std::size_t i) { return step_s(i) >= -most_step_s_ && step_s(i) < back_s; };
    const auto undoes = [&](std::size_t i) { return std::fabs(step_s(i) - back_s) <= most_step_s_; };
    std::size_t first = line - 1, last = line;
    while (first > 0 && goes_on(first)) --first;
    while (last + 1 < lines_.size() && goes_on(last + 1)) ++last;
    const bool undone_before = first > 0 && undoes(first);
    const bool undone_after = last + 1 < lines_.size() && undoes(last + 1);
    if (undone_after && !undone_before) first = line;
    if (undone_before && !undone_after) last = line - 1;
    const auto from = lines_.begin() + static_cast<std::ptrdiff_t>(first),
               to = lines_.begin() + static_cast<std::ptrdiff_t>(last) + 1;
    const auto [earliest, latest] = std::minmax_element(
        from, to, [](const LoggedPower& a, const LoggedPower& b) { return a.wall_s < b.wall_s; });
    return {earliest->wall_s, latest->wall_s,
            fmt::format("{}, line {}: stamps run back by {:.0f} s (a clock set back, or local times without "
                        "--timezone): cut the log there and attach the part that is right",
                        path_, lines_[line].line, back_s)};
  }

  const std::string& path_;
  const std::vector<LoggedPower>& lines_;
  const double most_step_s_;
};

/// Of lines ordered by time: stamps with two powers.
std::vector<DoubtfulTime> contradictions(const std::string& path, const PowerLog& log) {
  std::vector<DoubtfulTime> all;
  for (std::size_t i = 1; i < log.lines.size(); ++i) {
    const LoggedPower &one = log.lines[i - 1], &other = log.lines[i];
    if (one.wall_s != other.wall_s || !one.watts || !other.watts || *one.watts == *other.watts) continue;
    all.push_back({one.wall_s - log.period_s, one.wall_s + log.period_s,
                   fmt::format("{}, lines {} and {}: {:g} W and {:g} W at the same time: leave one out", path,
                               one.line, other.line, *one.watts, *other.watts)});
  }
  return all;
}

}  // namespace

PowerLog read_power_log(const std::string& path, const PowerLogFormat& format) {
  std::ifstream in(path);
  if (!in)
    throw std::invalid_argument(fmt::format("power log '{}' cannot be read: {}", path, strerror(errno)));
  PowerLogReader reader(format);
  PowerLog log;
  std::vector<LoggedPower>& lines = log.lines;
  std::int64_t number = 0, steps_back = 0, steps_forth = 0;
  for (std::string line; std::getline(in, line);) {
    ++number;
    try {
      auto reading = reader.take(line);
      if (!reading) continue;
      reading->line = number;
      if (!lines.empty()) {
        steps_back += reading->wall_s < lines.back().wall_s;
        steps_forth += reading->wall_s > lines.back().wall_s;
      }
      lines.push_back(std::move(*reading));
    } catch (const std::invalid_argument& error) {
      throw std::invalid_argument(fmt::format("power log '{}', line {}: {}", path, number, error.what()));
    }
  }
  if (steps_back > steps_forth) std::reverse(lines.begin(), lines.end());  // the newest line is the first
  log.doubtful = FileOrder(path, lines).doubtful();
  std::stable_sort(lines.begin(), lines.end(),
                   [](const LoggedPower& a, const LoggedPower& b) { return a.wall_s < b.wall_s; });
  log.period_s = median_step_s(lines);
  std::vector<DoubtfulTime> doubled = contradictions(path, log);
  std::move(doubled.begin(), doubled.end(), std::back_inserter(log.doubtful));
  lines.erase(std::unique(lines.begin(), lines.end(),
                          [](const LoggedPower& a, const LoggedPower& b) { return a.wall_s == b.wall_s; }),
              lines.end());
  return log;
}

}  // namespace mlpwatt

#include "meters/power/power_log.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <set>
#include <sstream>
#include <stdexcept>
#include <utility>

#include "meters/power/sysfs.h"

namespace mlpwatt {
namespace {

std::string stripped(const std::string& text) {
  const auto first = text.find_first_not_of(" \t\r\""), last = text.find_last_not_of(" \t\r\"");
  return first == std::string::npos ? "" : text.substr(first, last - first + 1);
}

}  // namespace

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

/// The first line of each stamp gets the mean power of all that have it.
void average_equal_stamps(std::vector<LoggedPower>& lines) {
  for (std::size_t first = 0, next = 0; first < lines.size(); first = next) {
    double sum_w = 0;
    int readings = 0;
    for (next = first; next < lines.size() && lines[next].wall_s == lines[first].wall_s; ++next)
      if (lines[next].watts) sum_w += *lines[next].watts, ++readings;
    if (readings > 0) lines[first].watts = sum_w / readings;
  }
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
  // Where it is the rule, stamps are coarser than the lines come: each then stands for the mean of its lines.
  constexpr std::size_t kRare = 20, kFew = 10;
  if (doubled.size() > kFew && doubled.size() * kRare > lines.size())
    average_equal_stamps(lines);
  else
    std::move(doubled.begin(), doubled.end(), std::back_inserter(log.doubtful));
  lines.erase(std::unique(lines.begin(), lines.end(),
                          [](const LoggedPower& a, const LoggedPower& b) { return a.wall_s == b.wall_s; }),
              lines.end());
  return log;
}

}  // namespace mlpwatt

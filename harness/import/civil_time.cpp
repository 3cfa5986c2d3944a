#include "harness/import/civil_time.h"

#include <cmath>
#include <cstdio>

#include "meters/power/timezone.h"

namespace mlpwatt {

namespace {

struct Civil {
  int year = 0;
  double local_s = 0;   ///< seconds since 1970 as if the letters were UTC
  double offset_s = 0;  ///< of the zone they name
};

std::optional<Civil> parse(const std::string& text) {
  int year = 0, month = 0, day = 0, hour = 0, minute = 0, used = 0;
  double second = 0;
  if (std::sscanf(text.c_str(), "%4d-%2d-%2d%*[ T]%2d:%2d:%lf%n", &year, &month, &day, &hour, &minute,
                  &second, &used) < 6)
    return {};
  if (month < 1 || month > 12 || day < 1 || day > 31 || hour > 23 || minute > 59 || !(second < 61)) return {};
  Civil civil;
  civil.year = year;
  civil.local_s =
      86400.0 * static_cast<double>(days_since_1970(year, month, day)) + 3600 * hour + 60 * minute + second;
  const std::string zone = text.substr(static_cast<std::size_t>(used));
  int zone_hours = 0, zone_minutes = 0;
  if (zone.empty() || zone == "Z" || zone == "z") return civil;
  if (std::sscanf(zone.c_str(), "%3d:%2d", &zone_hours, &zone_minutes) < 1) return {};
  civil.offset_s = 3600.0 * zone_hours + 60.0 * (zone[0] == '-' ? -zone_minutes : zone_minutes);
  return civil;
}

/// The n-th Sunday of a month, in days since 1970.
long sunday(int year, int month, int n) {
  const long first = days_since_1970(year, month, 1);
  const long weekday = (first + 4) % 7;  // 1970-01-01 was a Thursday; 0 = Sunday
  return first + (7 - weekday) % 7 + 7 * (n - 1);
}

}  // namespace

std::optional<double> parse_utc_s(const std::string& text) {
  const std::optional<Civil> civil = parse(text);
  if (!civil) return {};
  return civil->local_s - civil->offset_s;
}

std::optional<double> parse_denver_s(const std::string& text, double after_s) {
  const std::optional<Civil> civil = parse(text);
  if (!civil) return {};
  // The rule of the United States since 2007: from the second Sunday of March to the first of November, 2:00.
  constexpr double kStandard = 7 * 3600.0, kSummer = 6 * 3600.0;
  const double begins = 86400.0 * static_cast<double>(sunday(civil->year, 3, 2)) + 7200;
  const double ends = 86400.0 * static_cast<double>(sunday(civil->year, 11, 1)) + 7200;
  const bool summer = civil->local_s >= begins && civil->local_s < ends;
  double utc = civil->local_s + (summer ? kSummer : kStandard);
  const bool repeated = civil->local_s >= ends - 3600 && civil->local_s < ends;
  if (repeated && utc < after_s - 60) utc = civil->local_s + kStandard;
  return utc;
}

}  // namespace mlpwatt

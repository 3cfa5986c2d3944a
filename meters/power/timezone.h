#pragma once
// Local times of the tz database as moments: TZif files (RFC 8536), the rule in their footer included.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace mlpwatt {

/// "+01:00", "-0700" -> seconds east of UTC; nothing for any other text.
std::optional<int> fixed_offset(const std::string& text);
/// Days since 1970-01-01 of a date of the Gregorian calendar (Howard Hinnant's days_from_civil).
std::int64_t days_since_1970(std::int64_t year, int month, int day);

/// A zone of the tz database ("America/Denver"), "UTC", or a fixed offset ("+01:00").
class Timezone {
 public:
  /// Errors: std::invalid_argument naming the zone and what would be right, or the file that is no good.
  explicit Timezone(const std::string& name);
  /// Seconds since 1970 UTC of a local time given as seconds since 1970 on the wall. Of the two moments of a
  /// repeated hour the first that is not before `after_s`.
  double to_utc(double local_s, double after_s) const;

 private:
  struct Rule;
  /// @return the footer: the rule of later years, or ""
  std::string take_file(const std::string& bytes);
  double offset_at(double utc_s) const;
  std::vector<std::int64_t> transitions_;  ///< UTC
  std::vector<int> offsets_;               ///< in force from the transition on; one more in front
  std::shared_ptr<const Rule> rule_;       ///< from the last transition on; none = the last offset stays
};

}  // namespace mlpwatt

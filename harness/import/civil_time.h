#pragma once
// The two kinds of time stamp in the study's published files.

#include <optional>
#include <string>

namespace mlpwatt {

/// Seconds since 1970 UTC of "2021-10-03 12:34:56[.789][Z|+00:00]" (also with T); without a zone it is UTC.
std::optional<double> parse_utc_s(const std::string& text);

/// The same letters, but meant as wall-clock time of Denver, whatever zone they claim. In the hour that
/// autumn repeats, the first one, unless it would lie more than a minute before `after_s`.
std::optional<double> parse_denver_s(const std::string& text, double after_s = -1e300);

}  // namespace mlpwatt

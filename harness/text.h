#pragma once
// Numbers as people read them, text as files take it.

#include <cstdint>
#include <string>
#include <vector>

namespace mlpwatt {

std::string human_bytes(double bytes);      ///< "32 KiB", "1.5 MiB"
std::string human_seconds(double seconds);  ///< "1.23 ms"
/// Three significant digits with an SI prefix: "85.3 G", "220 m"; "-" for NaN.
std::string human_si(double value);

/// A left-aligned text table; the first row is the header.
std::string text_table(const std::vector<std::vector<std::string>>& rows);

/// Each byte that is not part of a well-formed UTF-8 character, or is NUL, replaced by '?'.
std::string valid_utf8(std::string text);

}  // namespace mlpwatt

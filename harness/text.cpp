#include "harness/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace mlpwatt {

std::string human_bytes(double bytes) {
  static const char* const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  std::size_t unit = 0;
  while (std::fabs(bytes) >= 1024 && unit + 1 < std::size(units)) {
    bytes /= 1024;
    ++unit;
  }
  return fmt::format("{:.4g} {}", bytes, units[unit]);
}

std::string human_si(double value) {
  if (std::isnan(value)) return "-";
  struct Prefix {
    double scale;
    const char* name;
  };
  static const Prefix prefixes[] = {{1e12, " T"}, {1e9, " G"},  {1e6, " M"},  {1e3, " k"},
                                    {1, " "},     {1e-3, " m"}, {1e-6, " u"}, {1e-9, " n"}};
  if (value == 0) return "0 ";
  for (const Prefix& prefix : prefixes)
    // 0.9995 would be printed as 1.00e3 of the smaller prefix
    if (std::fabs(value) >= 0.9995 * prefix.scale)
      return fmt::format("{:.3g}{}", value / prefix.scale, prefix.name);
  return fmt::format("{:.3g} ", value);
}

std::string human_seconds(double seconds) { return std::isnan(seconds) ? "-" : human_si(seconds) + "s"; }

std::string text_table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::size_t> widths;
  for (const auto& row : rows)
    for (std::size_t i = 0; i < row.size(); ++i) {
      if (widths.size() <= i) widths.push_back(0);
      widths[i] = std::max(widths[i], row[i].size());
    }
  std::string text;
  for (const auto& row : rows) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) line += fmt::format("{:<{}}  ", row[i], widths[i]);
    while (!line.empty() && line.back() == ' ') line.pop_back();
    text += line + '\n';
  }
  return text;
}

std::string valid_utf8(std::string text) {
  // Lowest and highest second byte by first byte: table 3-7 of the Unicode standard.
  const auto byte = [&](std::size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : static_cast<unsigned char>(0);
  };
  const auto length_at = [&](std::size_t i) -> std::size_t {
    const unsigned char first = byte(i), second = byte(i + 1);
    if (first < 0x80) return first == 0 ? 0 : 1;
    if (first < 0xC2 || first > 0xF4) return 0;
    const unsigned char low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
    const unsigned char high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
    const std::size_t length = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
    bool good = second >= low && second <= high;
    for (std::size_t j = 2; good && j < length; ++j) good = (byte(i + j) & 0xC0) == 0x80;
    return good ? length : 0;
  };
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t length = length_at(i);
    if (length == 0) text[i] = '?';
    i += std::max<std::size_t>(1, length);
  }
  return text;
}

}  // namespace mlpwatt

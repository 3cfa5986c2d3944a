#include "harness/campaign/export.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <ostream>

#include "harness/program.h"
#include "kernels/nearest.h"

namespace mlpwatt {
namespace {

constexpr std::int64_t kChunkRows = 4096;

bool absent(const Value& value) {
  if (const auto* number = std::get_if<double>(&value)) return std::isnan(*number);
  if (const auto* whole = std::get_if<std::int64_t>(&value)) return *whole == kAbsentInteger;
  return std::get<std::string>(value).empty();
}

std::string csv_text(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + '"';
}

std::string csv_value(const Value& value) {
  if (absent(value)) return "";
  if (const auto* number = std::get_if<double>(&value)) return fmt::format("{}", *number);
  if (const auto* whole = std::get_if<std::int64_t>(&value)) return std::to_string(*whole);
  return csv_text(std::get<std::string>(value));
}

nlohmann::ordered_json json_value(const Value& value) {
  return std::visit([](const auto& held) { return nlohmann::ordered_json(held); }, value);
}

}  // namespace

void export_table(const Reader& reader, const Table& table, const std::vector<std::string>& columns,
                  TextFormat format, std::ostream& out) {
  std::vector<std::string> names;
  for (const Column& column : table.columns()) names.push_back(column.name);
  for (const std::string& name : columns)
    if (!table.has(name)) throw UsageError(unknown_name("column of /" + table.group(), name, names));
  if (!columns.empty()) names = columns;
  if (format == TextFormat::kCsv) out << fmt::format("{}\r\n", fmt::join(names, ","));
  const std::int64_t rows = reader.count(table);
  if (format == TextFormat::kJson) out << '[';
  for (std::int64_t first = 0; first < rows; first += kChunkRows) {
    const std::int64_t count = std::min(kChunkRows, rows - first);
    std::vector<std::vector<Value>> values;
    values.reserve(names.size());
    for (const std::string& name : names) values.push_back(reader.column(table, name, first, count));
    for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i) {
      if (format == TextFormat::kCsv) {
        for (std::size_t c = 0; c < names.size(); ++c) out << (c > 0 ? "," : "") << csv_value(values[c][i]);
        out << "\r\n";
        continue;
      }
      nlohmann::ordered_json object = nlohmann::ordered_json::object();
      for (std::size_t c = 0; c < names.size(); ++c)
        if (!absent(values[c][i])) object[names[c]] = json_value(values[c][i]);
      out << (first + static_cast<std::int64_t>(i) > 0 ? ",\n " : "\n ")
          << object.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
    }
  }
  if (format == TextFormat::kJson) out << "\n]\n";
}

}  // namespace mlpwatt

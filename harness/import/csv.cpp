#include "harness/import/csv.h"

#include <fmt/format.h>

#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstring>

namespace mlpwatt {

CsvReader::CsvReader(const std::string& path, const std::vector<std::string>& required)
    : path_(path), file_(path) {
  if (!file_) throw CsvError(path + ": cannot be read: " + std::strerror(errno));
  std::vector<std::string> header;
  if (!read_record(header)) throw CsvError(path + ":1: empty; a header row is needed");
  if (header[0].starts_with("\xEF\xBB\xBF")) header[0].erase(0, 3);
  for (std::size_t i = 0; i < header.size(); ++i)
    if (!columns_.emplace(header[i], i).second) throw CsvError(path + ":1: column '" + header[i] + "' twice");
  for (const std::string& column : required)
    if (!columns_.contains(column)) throw CsvError(path + ":1: no column '" + column + "'");
}

std::vector<std::string> CsvReader::columns() const {
  std::vector<std::string> names;
  for (const auto& [name, index] : columns_) names.push_back(name);
  return names;
}

bool CsvReader::read_record(std::vector<std::string>& fields) {
  fields.assign(1, "");
  bool quoted = false, any = false;
  line_ = lines_read_ + 1;
  for (std::string line; std::getline(file_, line);) {
    ++lines_read_;
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (line.empty() && !quoted && !any) {
      line_ = lines_read_ + 1;
      continue;
    }
    any = true;
    for (std::size_t i = 0; i < line.size(); ++i) {
      if (quoted && line[i] == '"' && i + 1 < line.size() && line[i + 1] == '"')
        fields.back() += line[i++];
      else if (line[i] == '"')
        quoted = !quoted;
      else if (line[i] == ',' && !quoted)
        fields.emplace_back();
      else
        fields.back() += line[i];
    }
    if (!quoted) return true;
    fields.back() += '\n';
  }
  if (quoted) fail("a quote is never closed");
  return false;
}

bool CsvReader::next() {
  if (!read_record(fields_)) return false;
  if (fields_.size() != columns_.size())
    fail(fmt::format("{} fields where the header has {}", fields_.size(), columns_.size()));
  return true;
}

void CsvReader::fail(const std::string& what) const {
  throw CsvError(fmt::format("{}:{}: {}", path_, line_, what));
}

const std::string& CsvReader::text(const std::string& column) const {
  const auto found = columns_.find(column);
  if (found == columns_.end()) fail("no column '" + column + "'");
  return fields_.at(found->second);
}

double CsvReader::number(const std::string& column) const {
  const std::string& field = text(column);
  if (field.empty()) return std::nan("");
  double value = 0;
  const auto [end, error] = std::from_chars(field.data(), field.data() + field.size(), value);
  if (error != std::errc() || end != field.data() + field.size())
    fail(fmt::format("{} is '{}', not a number", column, field));
  return value;
}

std::int64_t CsvReader::whole(const std::string& column) const {
  const double value = number(column);
  if (!(std::abs(value) < 9e15) || value != std::floor(value))
    fail(fmt::format("{} is '{}', not a whole number", column, text(column)));
  return static_cast<std::int64_t>(value);
}

bool CsvReader::truth(const std::string& column) const {
  const std::string& field = text(column);
  if (field == "True" || field == "true" || field == "1" || field == "1.0") return true;
  if (field == "False" || field == "false" || field == "0" || field == "0.0" || field.empty()) return false;
  fail(fmt::format("{} is '{}', neither True nor False", column, field));
}

}  // namespace mlpwatt

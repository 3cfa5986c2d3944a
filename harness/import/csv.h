#pragma once
// Comma-separated files with a header row, quoting as in RFC 4180; errors name the file and the line.

#include <cstdint>
#include <fstream>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <vector>

namespace mlpwatt {

/// what() is "FILE:LINE: what is wrong".
struct CsvError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

class CsvReader {
 public:
  /// Reads the header. Errors: CsvError when the file cannot be read or lacks one of `required`.
  CsvReader(const std::string& path, const std::vector<std::string>& required);

  /// The next record; false at the end. Empty lines are passed over.
  /// Errors: CsvError for an open quote, or a record with another number of fields than the header.
  bool next();
  std::int64_t line() const { return line_; }
  const std::string& path() const { return path_; }
  bool has(const std::string& column) const { return columns_.contains(column); }
  std::vector<std::string> columns() const;

  /// Of the current record. Errors: CsvError.
  const std::string& text(const std::string& column) const;
  double number(const std::string& column) const;  ///< NaN for an empty field
  std::int64_t whole(const std::string& column) const;
  bool truth(const std::string& column) const;  ///< True, true, 1, 1.0; False, false, 0, 0.0, empty
  [[noreturn]] void fail(const std::string& what) const;

 private:
  bool read_record(std::vector<std::string>& fields);
  std::string path_;
  std::ifstream file_;
  std::int64_t line_ = 0, lines_read_ = 0;
  std::unordered_map<std::string, std::size_t> columns_;
  std::vector<std::string> fields_;
};

}  // namespace mlpwatt

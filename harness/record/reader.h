#pragma once
// Reads files of the schema, whole or in parts.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "harness/record/table.h"

namespace mlpwatt {

class Reader {
 public:
  /// Errors: RecordError when the file cannot be opened, is none of ours, or of another schema version.
  explicit Reader(const std::string& path);
  ~Reader();
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  std::int64_t count(const Table& table) const;
  /// Rows first .. first+count-1; columns the file does not have stay absent.
  /// Errors: RecordError naming the column.
  std::vector<Row> rows(const Table& table, std::int64_t first, std::int64_t count) const;
  std::vector<Row> rows(const Table& table) const { return rows(table, 0, count(table)); }

  /// One column of these rows: what a pass over a large file reads. Absent where the file has no such column.
  std::vector<Value> column(const Table& table, std::string_view name, std::int64_t first,
                            std::int64_t count) const;

  /// What breaks the schema, one line each; empty = valid. Columns the program does not know are named by
  /// unknown_columns(), they break nothing.
  std::vector<std::string> problems() const;
  std::vector<std::string> unknown_columns() const;

 private:
  /// The first value of a referring column that names no row.
  std::optional<std::int64_t> wrong_reference(const Table& table, const Column& column,
                                              std::int64_t rows) const;
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace mlpwatt

#pragma once
// Writes one whole file of the schema: into a temporary name beside the target, and only when complete
// and on disk renamed over it. A killed process leaves the old file, or none, never half of one.

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "harness/record/table.h"

namespace mlpwatt {

struct WriterOptions {
  /// Built in memory and written in one go: right for files of a sitting's runs. Otherwise streamed to disk
  /// in chunks: right for merging, where memory must stay flat.
  bool in_memory = true;
  /// Rows expected per table (by group), to size chunks; a wrong guess costs only space.
  std::map<std::string, std::int64_t> expected_rows;
};

class Writer {
 public:
  /// Errors: RecordError naming the folder or file.
  Writer(const std::string& path, WriterOptions options);
  /// Drops the temporary file unless commit() has been called.
  ~Writer();
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  /// Appends rows to their table. Errors: RecordError.
  void append(const Table& table, const std::vector<Row>& rows);
  /// Rows appended so far.
  std::int64_t rows(const Table& table) const;
  /// Closes, fsync, rename, fsync of the folder. Errors: RecordError; the target is then as it was.
  void commit();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace mlpwatt

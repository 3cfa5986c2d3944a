#pragma once
// The file a sitting's runs go to. Each appended record is on disk, in a complete file, when append returns:
// the whole file is rewritten beside itself and renamed into place (results/SCHEMA.md says why).

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "harness/record/durable.h"
#include "harness/record/table.h"

namespace mlpwatt {

/// Everything one run leaves behind. References between tables are completed by the store:
/// the run's machine_row, every run_row, and meter_row, which counts in `meters` until then.
struct Record {
  Row run{runs_table()};
  Row machine{machine_table()};
  std::vector<Row> meters;    ///< of meters_table
  std::vector<Row> samples;   ///< of samples_table
  std::vector<Row> energies;  ///< of energies_table
  std::vector<Row> curve;     ///< of curves_table
};

/// Several tables in memory, with the references between them.
class Contents {
 public:
  const std::vector<Row>& rows(const Table& table) const;
  std::vector<Row>& rows(const Table& table);
  /// Adds a record; equal machines and meters are stored once.
  void add(Record record);
  /// Takes the last run and its curve and samples out again.
  void drop_last_run();

 private:
  std::map<std::string, std::vector<Row>> tables_;
};

/// Errors: RecordError.
Contents read_file(const std::string& path);
/// Replaces `path` in one step. Errors: RecordError; the old file is then untouched.
void write_file(const std::string& path, const Contents& contents);

class RecordFile {
 public:
  /// Creates, or opens for appending, and locks against a second process.
  /// Errors: RecordError when the file is not ours, of another schema version, holds columns this
  /// program does not know (it would drop them), or is being written by another process.
  explicit RecordFile(std::string path);
  RecordFile(const RecordFile&) = delete;
  RecordFile& operator=(const RecordFile&) = delete;

  /// On disk when it returns. Errors: RecordError; the file is then as it was before.
  void append(Record record);
  /// Replaces the record appended last: a training that is still going on. Errors: as append.
  void replace_last(Record record);
  /// Replaces whole tables. On disk when it returns. Errors: RecordError; the file is then as it was before.
  void replace(const std::map<const Table*, std::vector<Row>>& tables);
  const Contents& contents() const { return contents_; }
  const std::string& path() const { return path_; }
  std::int64_t runs() const;

 private:
  std::string path_;
  FileLock lock_;
  Contents contents_;
};

}  // namespace mlpwatt

#include "harness/record/record_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>

#include "harness/record/hdf5.h"
#include "harness/record/reader.h"
#include "harness/record/writer.h"

namespace mlpwatt {
namespace {

std::int64_t find_or_add(std::vector<Row>& rows, const Row& row) {
  const auto found =
      std::find_if(rows.begin(), rows.end(), [&](const Row& known) { return known.same_values(row); });
  if (found != rows.end()) return found - rows.begin();
  rows.push_back(row);
  return static_cast<std::int64_t>(rows.size()) - 1;
}

std::string lock_path(const std::string& path) {
  const std::filesystem::path target(path);
  return (target.parent_path() / ("." + target.filename().string() + ".lock")).string();
}

/// A descriptor that holds the lock until it is closed.
int take_lock(const std::string& path, const std::string& lock_name) {
  for (;;) {
    const int lock = open(lock_name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (lock < 0) throw RecordError(file_error(path, "cannot write in its folder", errno));
    if (flock(lock, LOCK_EX | LOCK_NB) != 0) {
      const int error = errno;
      close(lock);
      if (error == EWOULDBLOCK)
        throw RecordError(path +
                          ": another mlpwatt is writing this file; wait for it or choose another --out");
      throw RecordError(file_error(path, "cannot lock", error));
    }
    // The one before us may have unlinked the file between our open and our lock.
    struct stat mine {
    }, named{};
    if (fstat(lock, &mine) == 0 && stat(lock_name.c_str(), &named) == 0 && mine.st_ino == named.st_ino)
      return lock;
    close(lock);
  }
}

}  // namespace

const std::vector<Row>& Contents::rows(const Table& table) const {
  static const std::vector<Row> none;
  const auto found = tables_.find(table.group());
  return found == tables_.end() ? none : found->second;
}

std::vector<Row>& Contents::rows(const Table& table) { return tables_[table.group()]; }

void Contents::add(Record record) {
  std::vector<Row>& runs = rows(runs_table());
  const std::int64_t run = static_cast<std::int64_t>(runs.size());
  record.run.set("machine_row", find_or_add(rows(machine_table()), record.machine));
  std::vector<std::int64_t> meter_rows;
  for (const Row& meter : record.meters) meter_rows.push_back(find_or_add(rows(meters_table()), meter));
  for (Row& sample : record.samples) {
    sample.set("run_row", run);
    sample.set("meter_row", meter_rows.at(static_cast<std::size_t>(sample.integer("meter_row"))));
    rows(samples_table()).push_back(std::move(sample));
  }
  for (Row& point : record.curve) {
    point.set("run_row", run);
    rows(curves_table()).push_back(std::move(point));
  }
  runs.push_back(std::move(record.run));
}

void Contents::drop_last_run() {
  std::vector<Row>& runs = rows(runs_table());
  if (runs.empty()) return;
  runs.pop_back();
  const std::int64_t dropped = static_cast<std::int64_t>(runs.size());
  for (const Table* table : {&samples_table(), &curves_table()})
    std::erase_if(rows(*table), [&](const Row& row) { return row.integer("run_row") == dropped; });
}

Contents read_file(const std::string& path) {
  const Reader reader(path);
  Contents contents;
  for (const Table* table : all_tables()) contents.rows(*table) = reader.rows(*table);
  return contents;
}

void write_file(const std::string& path, const Contents& contents) {
  WriterOptions options;
  for (const Table* table : all_tables())
    options.expected_rows[table->group()] = static_cast<std::int64_t>(contents.rows(*table).size());
  Writer writer(path, options);
  for (const Table* table : all_tables()) writer.append(*table, contents.rows(*table));
  writer.commit();
}

RecordFile::RecordFile(std::string path) : path_(std::move(path)) {
  const std::string lock_name = lock_path(path_);
  lock_ = take_lock(path_, lock_name);
  try {
    if (std::filesystem::exists(path_)) {
      const Reader reader(path_);
      if (const auto unknown = reader.unknown_columns(); !unknown.empty())
        throw RecordError(
            fmt::format("{}: holds {}, which this program does not know and would drop; choose another --out",
                        path_, unknown.front()));
      contents_ = read_file(path_);
    }
  } catch (...) {
    unlink(lock_name.c_str());
    close(lock_);
    throw;
  }
}

RecordFile::~RecordFile() {
  // Unlinked while still locked: nobody can hold the lock of a file that is about to vanish.
  unlink(lock_path(path_).c_str());
  close(lock_);
}

std::int64_t RecordFile::runs() const {
  return static_cast<std::int64_t>(contents_.rows(runs_table()).size());
}

void RecordFile::append(Record record) {
  contents_.add(std::move(record));
  try {
    write_file(path_, contents_);
  } catch (...) {
    contents_.drop_last_run();
    throw;
  }
}

void RecordFile::replace_last(Record record) {
  contents_.drop_last_run();
  append(std::move(record));
}

}  // namespace mlpwatt

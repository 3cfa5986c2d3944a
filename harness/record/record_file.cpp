#include "harness/record/record_file.h"

#include <fmt/format.h>

#include <algorithm>
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
  for (std::vector<Row>* part : {&record.energies, &record.samples})
    for (Row& row : *part) {
      row.set("run_row", run);
      row.set("meter_row", meter_rows.at(static_cast<std::size_t>(row.integer("meter_row"))));
      rows(row.table()).push_back(std::move(row));
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
  for (const Table* table :
       {&energies_table(), &samples_table(), &curves_table(), &model_predictions_table()})
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

RecordFile::RecordFile(std::string path)
    : path_(std::move(path)),
      lock_(lock_path(path_), path_,
            "another mlpwatt is writing this file; wait for it or choose another --out") {
  if (!std::filesystem::exists(path_)) return;
  const Reader reader(path_);
  if (const auto unknown = reader.unknown_columns(); !unknown.empty())
    throw RecordError(
        fmt::format("{}: holds {}, which this program does not know and would drop; choose another --out",
                    path_, unknown.front()));
  contents_ = read_file(path_);
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

void RecordFile::replace(const std::map<const Table*, std::vector<Row>>& tables) {
  Contents changed = contents_;
  for (const auto& [table, rows] : tables) changed.rows(*table) = rows;
  write_file(path_, changed);
  contents_ = std::move(changed);
}

void RecordFile::replace_last(Record record) {
  Contents before = contents_;
  contents_.drop_last_run();
  try {
    append(std::move(record));
  } catch (...) {
    contents_ = std::move(before);
    throw;
  }
}

}  // namespace mlpwatt

#include "harness/campaign/store.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "harness/campaign/merge.h"
#include "harness/campaign/record_json.h"
#include "harness/program.h"
#include "harness/record/energy_quality.h"
#include "harness/record/error.h"
#include "harness/record/reader.h"

namespace mlpwatt {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kChunkRows = 4096;

std::string prepared(const std::string& folder) {
  make_folder_durably(folder + "/records");
  return folder;
}

std::vector<std::string> files_with(const fs::path& folder, const std::string& start,
                                    const std::string& end) {
  std::vector<std::string> found;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(start) && name.ends_with(end)) found.push_back(entry.path().string());
  }
  std::sort(found.begin(), found.end());
  return found;
}

/// "FOLDER/segment-0012.h5" -> 12
int segment_number(const std::string& path) {
  const std::string name = fs::path(path).stem().string();
  int number = 0;
  const std::size_t dash = name.find('-');
  if (dash != std::string::npos) std::from_chars(name.data() + dash + 1, name.data() + name.size(), number);
  return number;
}

void remove_files(const std::vector<std::string>& paths) {
  std::error_code ignored;  // what stays is a copy, and the next opening drops it
  for (const std::string& path : paths) fs::remove(path, ignored);
}

}  // namespace

StoreFiles store_files(const std::string& folder) {
  StoreFiles files;
  files.hdf5 = files_with(folder, "campaign", ".h5");
  for (std::string& segment : files_with(folder, "segment-", ".h5")) files.hdf5.push_back(std::move(segment));
  files.records = files_with(fs::path(folder) / "records", "", ".json");
  return files;
}

std::string store_lock_path(const std::string& folder) { return folder + "/.lock"; }

std::string store_busy_text() {
  return "another mlpwatt is working on this campaign; wait for it or choose another --out";
}

bool is_flagged(const Row& run) {
  if (run.text("status") != "ok") return false;
  return run.text("quality") != "ok" || energy_is_flagged(run);
}

Record read_record(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw RecordError(path + ": cannot be read");
  std::ostringstream text;
  text << file.rdbuf();
  return parse_record(text.str(), path);
}

Store::Store(const std::string& folder, const Plan& plan, int compact_every)
    : folder_(prepared(folder)),
      campaign_(plan.campaign()),
      compact_every_(compact_every),
      lock_(store_lock_path(folder_), folder_, store_busy_text()) {
  const std::string kept = path("campaign.plan");
  if (!fs::exists(kept))
    write_durably(kept, plan_text(plan));
  else if (read_plan(kept).campaign() != campaign_)
    throw UsageError(fmt::format(
        "{} belongs to another plan, kept there as campaign.plan; choose another --out", folder_));
  recover();
}

void Store::note(const Row& row) {
  Done& done = done_[row.integer("order_index")];
  // a run that succeeded is not forgotten for one that did not
  if (done.status == "ok" && row.text("status") != "ok") return;
  done = {row.text("status"), is_flagged(row), row.integer("start_realtime_ns")};
}

void Store::recover() {
  for (const fs::path& place : {fs::path(folder_), fs::path(folder_) / "records"})
    remove_files(files_with(place, ".", ".tmp"));
  const StoreFiles files = store_files(folder_);
  for (const std::string& file : files.hdf5) {
    segments_ = std::max(segments_, segment_number(file));
    const Reader reader(file);
    const std::int64_t rows = reader.count(runs_table());
    for (std::int64_t first = 0; first < rows; first += kChunkRows)
      for (const Row& row : reader.rows(runs_table(), first, std::min(kChunkRows, rows - first)))
        if (row.text("campaign") == campaign_) note(row);
  }
  for (const std::string& file : files.records) {
    const Row row = read_record(file).run;
    const auto known = done_.find(row.integer("order_index"));
    if (known != done_.end() && known->second.start_realtime_ns == row.integer("start_realtime_ns")) {
      remove_files({file});
      continue;
    }
    note(row);
    ++pending_;
  }
}

void Store::append(const Record& record) {
  write_durably(path(fmt::format("records/{:08}.json", record.run.integer("order_index"))),
                record_json(record));
  note(record.run);
  if (++pending_ >= compact_every_) compact();
}

void Store::compact() {
  const std::vector<std::string> files = store_files(folder_).records;
  if (files.empty()) return;
  std::vector<Record> records;
  records.reserve(files.size());
  for (const std::string& file : files) records.push_back(read_record(file));
  std::sort(records.begin(), records.end(), [](const Record& a, const Record& b) {
    return a.run.integer("start_realtime_ns") < b.run.integer("start_realtime_ns");
  });
  Contents contents;
  for (Record& record : records) contents.add(std::move(record));
  write_file(path(fmt::format("segment-{:04}.h5", segments_ + 1)), contents);
  ++segments_;
  remove_files(files);
  pending_ = 0;
}

std::string Store::finish() {
  compact();
  std::string target = path("campaign.h5");
  const std::vector<std::string> parts = store_files(folder_).hdf5;
  if (parts.size() == 1 && parts[0] == target) return target;
  merge_files(target, parts, {.replace = true});
  std::vector<std::string> segments = parts;
  std::erase(segments, target);
  remove_files(segments);
  return target;
}

std::int64_t Store::bytes() const {
  const StoreFiles files = store_files(folder_);
  std::int64_t sum = 0;
  std::error_code error;
  for (const auto* part : {&files.hdf5, &files.records})
    for (const std::string& file : *part)
      if (const auto size = fs::file_size(file, error); !error) sum += static_cast<std::int64_t>(size);
  return sum;
}

void Store::copy_to(const std::string& target) const {
  const StoreFiles files = store_files(folder_);
  std::vector<std::string> parts = files.hdf5;
  parts.insert(parts.end(), files.records.begin(), files.records.end());
  if (!parts.empty()) merge_files(target, parts, {.replace = true});
}

}  // namespace mlpwatt

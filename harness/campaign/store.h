#pragma once
// Where a campaign's rows live while it runs, so that whenever the process is killed or the disk fills, every
// completed row is in a whole file:
//
//   FOLDER/campaign.plan       the plan, so that a folder cannot be resumed with another
//   FOLDER/records/00000017.json   one file a run, written aside, synced, renamed
//   FOLDER/segment-0001.h5     runs compacted, some hundreds at a time; their records are removed afterwards
//   FOLDER/campaign.h5         everything, once the campaign is complete; segments are removed afterwards
//
// A kill between a rename and the removals leaves copies; opening drops them. results/SCHEMA.md has the
// evidence that chose this.

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "harness/campaign/plan.h"
#include "harness/record/durable.h"
#include "harness/record/record_file.h"

namespace mlpwatt {

/// The parts of a store, in the order in which they came to be.
struct StoreFiles {
  std::vector<std::string> hdf5;     ///< campaign.h5, then segments
  std::vector<std::string> records;  ///< by name
};
StoreFiles store_files(const std::string& folder);
/// The lock that writers and readers of a store take. Errors: RecordError when another process has it.
std::string store_lock_path(const std::string& folder);
std::string store_busy_text();
/// A run that ended in ok but warns of its time or its energy.
bool is_flagged(const Row& run);
/// Errors: RecordError.
Record read_record(const std::string& path);

class Store {
 public:
  struct Done {
    std::string status;
    bool flagged = false;
    std::int64_t start_realtime_ns = 0;
  };

  /// Makes or opens the folder, locks it, removes what an interrupted process left behind.
  /// @param compact_every records that make a segment
  /// Errors: UsageError when it belongs to another plan; RecordError when another process has it or a file
  /// cannot be read.
  Store(const std::string& folder, const Plan& plan, int compact_every);

  /// By order_index, of every run that is on disk; a rerun replaces what it repeats.
  const std::map<std::int64_t, Done>& done() const { return done_; }

  /// On disk when it returns. Errors: DiskFull, RecordError; all earlier rows are then still there.
  void append(const Record& record);
  /// Makes a segment of the records, if there are any.
  void compact();
  /// Everything into campaign.h5. @return its path
  std::string finish();
  /// On disk, of everything so far.
  std::int64_t bytes() const;
  /// A whole file of all rows so far, elsewhere.
  void copy_to(const std::string& path) const;

 private:
  void note(const Row& row);
  std::string path(const std::string& name) const { return folder_ + "/" + name; }
  void recover();

  std::string folder_;
  std::string campaign_;
  int compact_every_;
  FileLock lock_;
  std::map<std::int64_t, Done> done_;
  int pending_ = 0, segments_ = 0;
};

}  // namespace mlpwatt

// A loss of power. What is not synced may be gone, and what is not in a synced folder may have another name
// or none, in any combination. The order of the program's own system calls shows that nothing it announced
// can be.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>
#include <sstream>

#include "tests/harness/campaign/child.h"
#include "tests/harness/campaign/records.h"

namespace mlpwatt::testing {
namespace {

std::string folder_of(const std::string& path) { return path.substr(0, path.rfind('/')); }
std::string name_of(const std::string& path) { return path.substr(path.rfind('/') + 1); }

/// What notes of tests/plugins/disk_log.cpp contradict; empty = a loss of power at any instant is survived:
/// a rename brings only synced bytes (1); when a run is announced, its file's name is in a synced folder, and
/// so are the folders (2); a file is removed only when what replaces it is (3).
class DiskNotes {
 public:
  void read(std::istream& notes) {
    for (std::string line; std::getline(notes, line);) {
      std::istringstream words(line);
      std::string what, path, to;
      words >> what >> path >> to;
      ++seen_[what];
      if (what == "write") dirty_.insert(path);
      if (what == "sync") {
        dirty_.erase(path);
        loose_.erase(path);
      }
      if (what == "mkdir") loose_.insert(folder_of(path));
      if (what == "rename") {
        if (dirty_.contains(path)) faults_.push_back("not synced before it was renamed: " + to);
        loose_.insert(folder_of(to));
      }
      if (what == "unlink" && !name_of(path).starts_with(".") && !loose_.empty())
        faults_.push_back("removed before " + *loose_.begin() + " was synced: " + path);
      if (what == "say" && path.starts_with("[") && !loose_.empty())
        faults_.push_back("announced before " + *loose_.begin() + " was synced: " + line);
    }
  }
  const std::vector<std::string>& faults() const { return faults_; }
  int seen(const std::string& what) const { return seen_.contains(what) ? seen_.at(what) : 0; }

 private:
  std::set<std::string> dirty_;  ///< files with bytes that are not synced
  std::set<std::string> loose_;  ///< folders with names that are not synced
  std::map<std::string, int> seen_;
  std::vector<std::string> faults_;
};

TEST(PowerLoss, FilesAndFoldersAreSyncedBeforeARunIsAnnounced) {
  const char* build = std::getenv("MLPWATT_BUILD");
  const std::string plugin = std::filesystem::absolute(std::string(build == nullptr ? "build" : build) +
                                                       "/tests/plugins/disk_log.so");
  if (program_path().empty() || !std::filesystem::exists(plugin))
    GTEST_SKIP() << "no build/mlpwatt beside the tests (MLPWATT_BUILD)";
  if (std::getenv("MLPWATT_SANITIZED") != nullptr) GTEST_SKIP() << "sanitizers want to be loaded first";
  TemporaryFolder folder;
  write_text(folder.path("a.plan"),
             "mlpwatt plan 1\nwindow_s 0.002\nmax_window_s 0.004\nmax_warm_up_s 0.002\nrepetitions 20\n"
             "run cpu/gemm/nn/32x32x32 threads=1 isa=generic\n");
  // through env, which takes the library along
  Child child({"/usr/bin/env",
               "LD_PRELOAD=" + plugin,
               "MLPWATT_DISK_ROOT=" + folder.path(),
               "MLPWATT_DISK_LOG=" + folder.path("notes"),
               program_path(),
               "campaign",
               folder.path("a.plan"),
               "--out",
               folder.path("new/store"),
               "--counters",
               "none",
               "--peaks-s",
               "0",
               "--meters",
               "none",
               "--progress-s",
               "0",
               "--compact-every",
               "8",
               "--copy-to",
               folder.path("new/copy.h5"),
               "--copy-every-s",
               "0"},
              folder.path("log"));
  ASSERT_EQ(child.wait(), 0) << read_text(folder.path("log"));
  DiskNotes notes;
  std::ifstream file(folder.path("notes"));
  notes.read(file);
  EXPECT_THAT(notes.faults(), ::testing::IsEmpty());
  // the notes are those of a whole campaign: 20 records, 3 segments, the file, copies of it, the plan
  EXPECT_GE(notes.seen("rename"), 20 + 3 + 1 + 20 + 1);
  EXPECT_GE(notes.seen("unlink"), 20 + 3);
  EXPECT_GE(notes.seen("say"), 20);
  EXPECT_EQ(notes.seen("mkdir"), 3);
}

TEST(PowerLoss, TheCheckFindsWhatItIsFor) {
  const auto faults = [](const char* text) {
    std::istringstream in(text);
    DiskNotes notes;
    notes.read(in);
    return notes.faults().size();
  };
  EXPECT_EQ(faults("write /s/.a.tmp\nsync /s/.a.tmp\nrename /s/.a.tmp /s/a\nsync /s\nsay [1/2] x\n"), 0u);
  EXPECT_EQ(faults("write /s/.a.tmp\nrename /s/.a.tmp /s/a\nsync /s\nsay [1/2] x\n"), 1u);
  EXPECT_EQ(faults("write /s/.a.tmp\nsync /s/.a.tmp\nrename /s/.a.tmp /s/a\nsay [1/2] x\n"), 1u);
  EXPECT_EQ(faults("sync /s/.b.tmp\nrename /s/.b.tmp /s/b\nunlink /s/a\nsync /s\n"), 1u);
  EXPECT_EQ(faults("mkdir /t/s\nsay [1/2] x\n"), 1u);
  EXPECT_EQ(faults("mkdir /t/s\nsync /t\nsay [1/2] x\n"), 0u);
}

}  // namespace
}  // namespace mlpwatt::testing

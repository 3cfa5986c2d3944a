// The store of a campaign: what is in it after every kind of interruption, and who may use it.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>

#include <cstring>

#include "harness/campaign/store.h"
#include "harness/program.h"
#include "harness/record/reader.h"
#include "tests/harness/campaign/records.h"

namespace mlpwatt::testing {
namespace {

using ::testing::HasSubstr;

Plan a_plan() {
  Plan plan;
  for (int i = 0; i < 1000; ++i) plan.entries.push_back({.benchmark = "cpu/fma/generic", .batch = i + 1});
  return plan;
}

class StoreTest : public ::testing::Test {
 protected:
  Record record(std::int64_t index) const { return synthetic_record(index, plan_.campaign(), "h", 2); }
  std::string folder() const { return folder_.path("store"); }
  const Plan plan_ = a_plan();
  TemporaryFolder folder_;
};

TEST_F(StoreTest, KeepsRowsOverReopening) {
  for (int sitting = 0; sitting < 5; ++sitting) {
    Store store(folder(), plan_, 16);
    EXPECT_EQ(store.done().size(), static_cast<std::size_t>(10 * sitting));
    for (int i = 0; i < 10; ++i) store.append(record(10 * sitting + i));
  }
  Store store(folder(), plan_, 16);
  EXPECT_EQ(store.done().size(), 50u);
  EXPECT_EQ(store_files(folder()).hdf5.size(), 3u);
  EXPECT_EQ(store_files(folder()).records.size(), 2u);
  const Contents contents = read_file(store.finish());
  ASSERT_EQ(contents.rows(runs_table()).size(), 50u);
  EXPECT_EQ(contents.rows(samples_table()).size(), 100u);
  for (std::size_t i = 0; i < 50; ++i)
    EXPECT_EQ(contents.rows(runs_table())[i].integer("order_index"), static_cast<std::int64_t>(i));
  EXPECT_EQ(store_files(folder()).hdf5.size(), 1u);
  EXPECT_TRUE(store_files(folder()).records.empty());
}

TEST_F(StoreTest, DropsCopiesAndHalvesThatAKillLeftBehind) {
  std::string json;
  {
    Store store(folder(), plan_, 100);
    store.append(record(1));
    store.append(record(2));
    json = read_text(folder() + "/records/00000001.json");
    store.compact();
  }
  write_text(folder() + "/records/00000001.json", json);  // killed before it was removed
  write_text(folder() + "/records/.00000003.json.tmp", "{\"half\":");
  write_text(folder() + "/.segment-0002.h5.tmp", "half");
  Store store(folder(), plan_, 100);
  EXPECT_EQ(store.done().size(), 2u);
  EXPECT_TRUE(store_files(folder()).records.empty());
  EXPECT_FALSE(std::filesystem::exists(folder() + "/records/.00000003.json.tmp"));
  EXPECT_FALSE(std::filesystem::exists(folder() + "/.segment-0002.h5.tmp"));
  EXPECT_EQ(read_file(store.finish()).rows(runs_table()).size(), 2u);
}

TEST_F(StoreTest, ARerunReplacesWhatItRepeats) {
  Record failed = record(1);
  failed.run.set("status", "error");
  failed.run.set("reason", "no dataset");
  {
    Store store(folder(), plan_, 1);
    store.append(failed);
  }
  Record good = record(1);
  good.run.set("start_realtime_ns", good.run.integer("start_realtime_ns") + 5);
  Store store(folder(), plan_, 100);
  EXPECT_EQ(store.done().at(1).status, "error");
  store.append(good);
  EXPECT_EQ(store.done().at(1).status, "ok");
  const Contents contents = read_file(store.finish());
  ASSERT_EQ(contents.rows(runs_table()).size(), 1u);
  EXPECT_EQ(contents.rows(runs_table())[0].text("status"), "ok");
}

TEST_F(StoreTest, ASecondProcessAndAnotherPlanAreRefused) {
  const Store store(folder(), plan_, 16);
  try {
    const Store second(folder(), plan_, 16);
    FAIL() << "two on one store";
  } catch (const RecordError& error) {
    EXPECT_THAT(error.what(), HasSubstr("another mlpwatt"));
  }
  Plan other = plan_;
  other.order_seed = 2;
  { const Store elsewhere(folder_.path("other"), plan_, 16); }
  EXPECT_THROW(Store(folder_.path("other"), other, 16), UsageError);
}

/// A file system of its own, if this process may mount one.
class SmallDisk {
 public:
  explicit SmallDisk(const std::string& where) : where_(where) {
    std::filesystem::create_directories(where);
    mounted_ = mount("tmpfs", where.c_str(), "tmpfs", 0, "size=2m") == 0;
  }
  ~SmallDisk() {
    if (mounted_) umount2(where_.c_str(), MNT_DETACH);
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;
  bool mounted() const { return mounted_; }
  bool grow() const { return mount("tmpfs", where_.c_str(), "tmpfs", MS_REMOUNT, "size=16m") == 0; }

 private:
  std::string where_;
  bool mounted_ = false;
};

TEST_F(StoreTest, AFullDiskLosesNothingAndWorkGoesOnAfterwards) {
  const std::string where = folder_.path("disk");
  const SmallDisk disk(where);
  if (!disk.mounted()) GTEST_SKIP() << "cannot mount a 2 MiB tmpfs: " << std::strerror(errno);
  const std::string store_folder = where + "/store";
  std::int64_t kept = 0;
  {
    Store store(store_folder, plan_, 64);
    try {
      for (; kept < 1000; ++kept) store.append(record(kept));
      FAIL() << "2 MiB held everything";
    } catch (const DiskFull& full) {
      EXPECT_THAT(full.what(), HasSubstr("No space left"));
    }
    // the record may be on disk and only its compaction have failed
    EXPECT_GE(store.done().size(), static_cast<std::size_t>(kept));
  }
  EXPECT_GT(kept, 64);
  {
    const Store store(store_folder, plan_, 64);  // can be opened while the disk is full
    for (std::int64_t i = 0; i < kept; ++i) EXPECT_TRUE(store.done().contains(i)) << i;
  }
  for (const std::string& file : store_files(store_folder).hdf5) EXPECT_TRUE(Reader(file).problems().empty());
  ASSERT_TRUE(disk.grow());
  Store store(store_folder, plan_, 64);
  for (std::int64_t i = 0; i < 1000; ++i)
    if (!store.done().contains(i)) store.append(record(i));
  EXPECT_EQ(read_file(store.finish()).rows(runs_table()).size(), 1000u);
}

TEST_F(StoreTest, ADiskThatFillsWhenTheyBecomeOneFileLosesNothing) {
  const std::string where = folder_.path("disk");
  const SmallDisk disk(where);
  if (!disk.mounted()) GTEST_SKIP() << "cannot mount a 2 MiB tmpfs: " << std::strerror(errno);
  const std::string store_folder = where + "/store";
  Store store(store_folder, plan_, 128);
  for (int i = 0; i < 256; ++i) store.append(record(i));
  ASSERT_EQ(store_files(store_folder).hdf5.size(), 2u);
  // all but 64 KiB are somebody else's
  const auto free = std::filesystem::space(where).available;
  write_text(where + "/other", std::string(free - (64 << 10), 'x'));
  try {
    store.finish();
    FAIL() << "64 KiB held everything";
  } catch (const DiskFull& full) {
    EXPECT_THAT(full.what(), HasSubstr("No space left"));
    EXPECT_GT(full.needed_bytes, 64 << 10);
  }
  EXPECT_EQ(store_files(store_folder).hdf5.size(), 2u);
  EXPECT_FALSE(std::filesystem::exists(store_folder + "/.campaign.h5.tmp"));
  std::filesystem::remove(where + "/other");
  ASSERT_TRUE(disk.grow());
  EXPECT_EQ(read_file(store.finish()).rows(runs_table()).size(), 256u);
}

}  // namespace
}  // namespace mlpwatt::testing

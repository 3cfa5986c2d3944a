// Whole campaigns in a process that is signalled, killed, starved of disk and split over shards.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <fstream>
#include <map>
#include <set>
#include <thread>

#include "harness/campaign/campaign.h"
#include "harness/campaign/store.h"
#include "harness/record/reader.h"
#include "kernels/random.h"
#include "tests/harness/campaign/child.h"
#include "tests/harness/campaign/records.h"
#include "tests/harness/program.h"

namespace mlpwatt::testing {
namespace {

using ::testing::HasSubstr;

void pause_s(double seconds) { std::this_thread::sleep_for(std::chrono::duration<double>(seconds)); }

/// Small networks, short windows: some 10 to 20 ms a run.
std::string small_plan(int repetitions) {
  std::string text =
      "mlpwatt plan 1\nwindow_s 0.002\nmax_window_s 0.004\nmax_warm_up_s 0.002\nprecision 0.5\n"
      "dataset_source synthetic\nrepetitions " +
      std::to_string(repetitions) + "\n";
  for (const char* network : {"rectangle/128/2", "rectangle/256/3", "trapezoid/512/4", "exponential/256/3"})
    text += std::string("run cpu/mlp_train/505_tecator/") + network + " threads=1 isa=generic\n";
  return text;
}

class CampaignTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (program_path().empty()) GTEST_SKIP() << "no build/mlpwatt beside the tests (MLPWATT_BUILD)";
  }
  std::vector<std::string> command(const std::string& out, const std::vector<std::string>& more = {}) const {
    std::vector<std::string> words{program_path(),
                                   "campaign",
                                   folder_.path("a.plan"),
                                   "--out",
                                   folder_.path(out),
                                   "--counters",
                                   "none",
                                   "--progress-s",
                                   "0",
                                   "--peaks-s",
                                   "0",
                                   "--idle-s",
                                   "0.001"};
    if (std::find(more.begin(), more.end(), "--compact-every") == more.end())
      words.insert(words.end(), {"--compact-every", "16"});
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  int finish(const std::string& out, const std::vector<std::string>& more = {}) const {
    return Child(command(out, more), folder_.path("log")).wait();
  }
  std::string log() const { return read_text(folder_.path("log")); }
  /// The largest k of the whole lines "[k/N] ..." that the process wrote: runs it said were complete.
  std::int64_t announced() const {
    std::int64_t most = 0;
    std::ifstream file(folder_.path("log"));
    for (std::string line; std::getline(file, line) && !file.eof();)
      if (line.starts_with("[")) most = std::max<std::int64_t>(most, std::atoll(line.c_str() + 1));
    return most;
  }
  /// Every run on disk; fails the test for any file that cannot be read.
  std::set<std::int64_t> stored(const std::string& out) const {
    std::set<std::int64_t> found;
    const StoreFiles files = store_files(folder_.path(out));
    for (const std::string& file : files.hdf5) {
      const Reader reader(file);
      EXPECT_THAT(reader.problems(), ::testing::IsEmpty()) << file;
      for (const Value& value : reader.column(runs_table(), "order_index", 0, reader.count(runs_table())))
        found.insert(std::get<std::int64_t>(value));
    }
    for (const std::string& file : files.records) found.insert(read_record(file).run.integer("order_index"));
    return found;
  }
  /// What a run is, without what was measured or when.
  static std::map<std::int64_t, std::string> identities(const std::string& path) {
    static const std::set<std::string> of_the_moment{"command",
                                                     "started_utc",
                                                     "quality",
                                                     "counter_details",
                                                     "energy_quality",
                                                     "energy_reason",
                                                     "energy_above_idle_quality"};
    std::map<std::int64_t, std::string> rows;
    const Contents contents = read_file(path);
    for (const Row& row : contents.rows(runs_table())) {
      std::string text;
      for (std::size_t i = 0; i < runs_table().columns().size(); ++i) {
        const Column& column = runs_table().columns()[i];
        if (column.provenance == "measured" || column.provenance == "modelled" ||
            of_the_moment.contains(column.name))
          continue;
        text += column.name + "=";
        std::visit(
            [&](const auto& held) {
              std::ostringstream out;
              out << held;
              text += out.str() + "\n";
            },
            row.value(i));
      }
      EXPECT_TRUE(rows.emplace(row.integer("order_index"), text).second) << "row twice";
    }
    return rows;
  }

  /// By order_index: meter and domain of each row of /energies. A campaign measures as a single run does.
  std::multimap<std::int64_t, std::string> energies(const std::string& out) const {
    std::multimap<std::int64_t, std::string> found;
    const Contents contents = read_file(folder_.path(out + "/campaign.h5"));
    for (const Row& row : contents.rows(energies_table()))
      found.emplace(contents.rows(runs_table())[static_cast<std::size_t>(row.integer("run_row"))].integer(
                        "order_index"),
                    row.text("meter") + " " + row.text("domain"));
    std::set<std::int64_t> runs;
    for (const auto& [run, meter] : found) runs.insert(run);
    EXPECT_EQ(runs.size(), contents.rows(runs_table()).size()) << "a run without a meter";
    return found;
  }

  void kill_and_resume(int kills, int repetitions, std::uint64_t seed);
  TemporaryFolder folder_;
};

/// Kills one campaign at random instants; after each kill everything it announced must be in whole files.
void CampaignTest::kill_and_resume(int kills, int repetitions, std::uint64_t seed) {
  write_text(folder_.path("a.plan"), small_plan(repetitions));
  RandomStream random(seed);
  std::size_t before = 0;
  int in_midst = 0;
  for (int kill = 0; kill < kills; ++kill) {
    {
      std::filesystem::remove(folder_.path("log"));  // what the one before said is not this one's
      Child child(command("killed", {"--resume"}), folder_.path("log"));
      // Most kills are to meet work, however slowly it starts: from just before the first run to many runs
      // on, compactions included; each tenth comes at any time of the start.
      while (kill % 10 != 0 && child.running() && log().find(" runs to do") == std::string::npos)
        pause_s(0.002);
      pause_s(0.02 + 0.38 * uniform_unit(random));
      in_midst += child.running();
      child.send(SIGKILL);
      child.wait();
    }
    const std::set<std::int64_t> there = stored("killed");
    ASSERT_GE(static_cast<std::int64_t>(there.size()), announced()) << "kill " << kill;
    ASSERT_GE(there.size(), before) << "kill " << kill;
    before = there.size();
  }
  std::cout << in_midst << " of " << kills << " kills met a running campaign; " << before
            << " runs by then\n";
  EXPECT_GT(in_midst, kills / 2);
  ASSERT_EQ(finish("killed", {"--resume"}), 0) << log();
  ASSERT_EQ(finish("undisturbed"), 0) << log();
  const auto killed = identities(folder_.path("killed/campaign.h5")),
             undisturbed = identities(folder_.path("undisturbed/campaign.h5"));
  EXPECT_EQ(killed.size(), static_cast<std::size_t>(4 * repetitions));
  EXPECT_EQ(killed, undisturbed);
  EXPECT_EQ(energies("killed"), energies("undisturbed"));
  EXPECT_EQ(run({"check", folder_.path("killed/campaign.h5"), "--plan", folder_.path("a.plan")}).status, 0);
}

TEST_F(CampaignTest, KilledAtRandomInstantsLosesNothing) { kill_and_resume(15, 30, 1); }

using SoakCampaign = CampaignTest;
TEST_F(SoakCampaign, FiveHundredKillsLoseNothing) { kill_and_resume(500, 600, 2); }

TEST_F(CampaignTest, SignalsFinishTheWindowAndSayHowToGoOn) {
  write_text(folder_.path("a.plan"), small_plan(25));
  std::size_t before = 0;
  for (const int signal : {SIGINT, SIGTERM}) {
    Child child(command("store", {"--resume"}), folder_.path("log"));
    while (announced() <= static_cast<std::int64_t>(before) + 3 && child.running()) pause_s(0.01);
    child.send(signal);
    EXPECT_EQ(child.wait(), 128 + signal);
    const std::string said = log();
    EXPECT_THAT(said, HasSubstr(signal == SIGINT ? "stopped by SIGINT" : "stopped by SIGTERM"));
    EXPECT_THAT(said, HasSubstr("--resume"));
    EXPECT_TRUE(store_files(folder_.path("store")).records.empty()) << "not flushed";
    const std::size_t now = stored("store").size();
    EXPECT_EQ(static_cast<std::int64_t>(now), announced());
    EXPECT_GT(now, before);
    before = now;
  }
  EXPECT_EQ(finish("store"), 2) << "a used folder needs --resume";
  EXPECT_THAT(log(), HasSubstr("--resume"));
  EXPECT_EQ(finish("store", {"--resume"}), 0);
  EXPECT_EQ(stored("store").size(), 100u);
}

TEST_F(CampaignTest, ASecondProcessIsRefusedAndTheFirstGoesOn) {
  write_text(folder_.path("a.plan"), small_plan(25));
  Child first(command("store"), folder_.path("log"));
  while (announced() < 2 && first.running()) pause_s(0.01);
  ASSERT_TRUE(first.running()) << log();
  const std::string other = folder_.path("other log");
  EXPECT_EQ(Child(command("store", {"--resume"}), other).wait(), 1);
  const std::string said = read_text(other);
  EXPECT_THAT(said, HasSubstr("another mlpwatt is working on this campaign"));
  EXPECT_THAT(said, ::testing::EndsWith("\n"));
  EXPECT_EQ(std::count(said.begin(), said.end(), '\n'), 1);
  EXPECT_EQ(first.wait(), 0) << log();
  EXPECT_EQ(stored("store").size(), 100u);
}

TEST_F(CampaignTest, ShardsTogetherAreTheWhole) {
  write_text(folder_.path("a.plan"), small_plan(3));
  std::vector<std::string> merge{"merge", folder_.path("all.h5")};
  for (const char* shard : {"1/3", "2/3", "3/3"}) {
    const std::string out = std::string("shard") + shard[0];
    ASSERT_EQ(finish(out, {"--shard", shard}), 0) << log();
    merge.push_back(folder_.path(out));
  }
  const Outcome outcome = run(merge);
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_EQ(identities(folder_.path("all.h5")).size(), 12u);
  EXPECT_EQ(run({"check", folder_.path("all.h5"), "--plan", folder_.path("a.plan")}).status, 0);
}

TEST_F(CampaignTest, RunsAreThoseOfThePlanInItsOrder) {
  std::istringstream text(small_plan(5));
  Plan plan = parse_plan(text, "x");
  std::set<std::int64_t> seen;
  for (int i = 0; i < 4; ++i) {
    std::int64_t last = -1;
    std::set<std::size_t> entries;
    for (const PlannedRun& run : runs_of_shard(plan, {i, 4})) {
      EXPECT_GT(run.order_index, last);
      last = run.order_index;
      EXPECT_TRUE(seen.insert(run.order_index).second);
      entries.insert(run.entry);
    }
    EXPECT_EQ(entries.size(), 1u);  // repetitions of a configuration stay together
  }
  EXPECT_EQ(seen.size(), 20u);
  const auto order = runs_of_shard(plan, {});
  plan.order_seed = 2;
  const auto other = runs_of_shard(plan, {});
  EXPECT_FALSE(std::equal(order.begin(), order.end(), other.begin(),
                          [](const PlannedRun& a, const PlannedRun& b) { return a.entry == b.entry; }));
}

TEST_F(CampaignTest, FailedRunsAreSaidAndRetriedOnDemand) {
  write_text(folder_.path("a.plan"),
             "mlpwatt plan 1\nwindow_s 0.002\nmax_window_s 0.004\nrun cpu/gemm/nn/32x32x32\n"
             "run cpu/mlp_train/mnist/rectangle/65536/3 threads=1\n");
  setenv("XDG_CACHE_HOME", folder_.path("empty").c_str(), 1);
  EXPECT_EQ(finish("store"), 1);
  EXPECT_THAT(log(), HasSubstr("make datasets"));
  EXPECT_THAT(log(), HasSubstr("--retry"));
  EXPECT_EQ(finish("store", {"--resume"}), 1) << "still one failed";
  EXPECT_THAT(log(), HasSubstr("0 of 2 runs to do"));
  EXPECT_EQ(finish("store", {"--resume", "--retry"}), 1);
  EXPECT_THAT(log(), HasSubstr("1 of 2 runs to do"));
  unsetenv("XDG_CACHE_HOME");
  EXPECT_EQ(stored("store").size(), 2u);
}

TEST_F(CampaignTest, AFullDiskStopsItCleanlyAndItGoesOnAfterwards) {
  const std::string disk = folder_.path("disk");
  std::filesystem::create_directories(disk);
  if (mount("tmpfs", disk.c_str(), "tmpfs", 0, "size=2m") != 0)
    GTEST_SKIP() << "cannot mount a 2 MiB tmpfs: " << std::strerror(errno);
  write_text(folder_.path("a.plan"), small_plan(60));
  // 1.5 MiB are somebody else's
  write_text(disk + "/other", std::string(3 << 19, 'x'));
  EXPECT_EQ(finish("disk/store", {"--compact-every", "1000"}), 1);
  const std::string said = log();
  EXPECT_THAT(said, HasSubstr("No space left on device"));
  EXPECT_THAT(said, HasSubstr(" needed for this file"));
  EXPECT_THAT(said, HasSubstr(" to finish"));
  EXPECT_THAT(said, HasSubstr("--resume"));
  const std::set<std::int64_t> kept = stored("disk/store");
  EXPECT_GT(kept.size(), 20u);
  EXPECT_GE(static_cast<std::int64_t>(kept.size()), announced());
  EXPECT_EQ(mount("tmpfs", disk.c_str(), "tmpfs", MS_REMOUNT, "size=16m"), 0);
  EXPECT_EQ(finish("disk/store", {"--resume"}), 0) << log();
  EXPECT_EQ(stored("disk/store").size(), 240u);
  EXPECT_THAT(log(), HasSubstr(std::to_string(240 - kept.size()) + " of 240 runs to do"));
  umount2(disk.c_str(), MNT_DETACH);
}

TEST_F(CampaignTest, OffATerminalItIsQuiet) {
  write_text(folder_.path("a.plan"), small_plan(10));
  const Outcome outcome =
      run({"campaign", folder_.path("a.plan"), "--out", folder_.path("store"), "--counters", "none"});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_LE(outcome.error_lines(), 3u) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("[40/40]"));
  EXPECT_EQ(outcome.err.find('\r'), std::string::npos);
  EXPECT_THAT(outcome.out, HasSubstr("40 runs"));
}

TEST_F(CampaignTest, ACopyElsewhereFollows) {
  write_text(folder_.path("a.plan"), small_plan(1));
  ASSERT_EQ(finish("store", {"--copy-to", folder_.path("copy.h5"), "--copy-every-s", "0"}), 0) << log();
  EXPECT_EQ(identities(folder_.path("copy.h5")), identities(folder_.path("store/campaign.h5")));
}

TEST_F(CampaignTest, ACopyThatCannotBeWrittenStopsNothingAndIsSaid) {
  write_text(folder_.path("a.plan"), small_plan(1));
  EXPECT_EQ(finish("store", {"--copy-to", folder_.path("nowhere/copy.h5"), "--copy-every-s", "0"}), 1);
  EXPECT_EQ(stored("store").size(), 4u);
  const std::string said = log();
  EXPECT_THAT(said, HasSubstr("nowhere/copy.h5"));
  EXPECT_EQ(said.find("the copy is behind"), said.rfind("the copy is behind")) << "said once";
  EXPECT_THAT(said, HasSubstr("--resume"));
  std::filesystem::create_directories(folder_.path("nowhere"));
  EXPECT_EQ(finish("store", {"--copy-to", folder_.path("nowhere/copy.h5"), "--resume"}), 0) << log();
  EXPECT_EQ(identities(folder_.path("nowhere/copy.h5")).size(), 4u);
}

TEST_F(CampaignTest, SaysPowerAndMeasuresItAsASingleRunDoes) {
  write_text(folder_.path("a.plan"), small_plan(1));
  ASSERT_EQ(finish("store", {"--meters", "estimate"}), 0) << log();
  EXPECT_THAT(log(), HasSubstr(" W modelled"));
  const Contents contents = read_file(folder_.path("store/campaign.h5"));
  for (const Row& row : contents.rows(runs_table())) {
    EXPECT_GT(row.real("energy_j_modelled"), 0);
    EXPECT_TRUE(std::isnan(row.real("energy_j_measured")));
    EXPECT_EQ(row.text("energy_meters"), "estimate");
  }
  EXPECT_EQ(energies("store").size(), 4u);
  EXPECT_FALSE(contents.rows(samples_table()).empty());
  ASSERT_EQ(finish("none", {"--meters", "none"}), 0) << log();
  EXPECT_TRUE(read_file(folder_.path("none/campaign.h5")).rows(energies_table()).empty());
  EXPECT_EQ(finish("unknown", {"--meters", "watmeter"}), 2);
  EXPECT_FALSE(std::filesystem::exists(folder_.path("unknown")));
}

}  // namespace
}  // namespace mlpwatt::testing

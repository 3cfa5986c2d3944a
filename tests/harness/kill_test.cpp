// SIGKILL at any instant: the file opens and holds every row whose progress line was seen.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <regex>

#include "cpu/isa.h"
#include "harness/record/reader.h"
#include "meters/counters/child_process.h"
#include "tests/harness/program.h"
#include "tests/harness/records.h"
#include "tests/support/temporary_folder.h"

namespace mlpwatt::testing {
namespace {

using ::testing::IsEmpty;

/// Rows that the child said were finished.
std::int64_t finished_rows(const std::string& log) {
  static const std::regex finished(R"(\[ *\d+/\d+\] .* left\))");
  std::int64_t count = 0;
  std::ifstream in(log);
  for (std::string line; std::getline(in, line);)
    if (!in.eof() && std::regex_match(line, finished)) ++count;  // at the end: cut in the middle
  return count;
}

struct Tally {
  int kills = 0, in_writing = 0, before_the_first = 0;
  std::int64_t rows = 0;
};

/// Kills a sitting that appends to `path` after `delay_s`.
void kill_once(const std::string& path, const std::string& log, double delay_s, std::uint64_t order_seed,
               Tally& tally) {
  const Contents before = std::filesystem::exists(path) ? read_file(path) : Contents();
  const std::size_t old_rows = before.rows(runs_table()).size();
  bool ended = false;
  {
    ChildProcess child({program_path(), "run", "--filter", "^cpu/fma/", "--threads", "1", "--window-s",
                        "0.001", "--repetitions", "100", "--counters", "none", "--order-seed",
                        std::to_string(order_seed), "--out", path},
                       {}, log);
    ended = child.wait_until(std::chrono::steady_clock::now() +
                             std::chrono::duration_cast<std::chrono::steady_clock::duration>(
                                 std::chrono::duration<double>(delay_s)));
  }
  ASSERT_FALSE(ended) << "the sitting ended before it was killed: " << std::ifstream(log).rdbuf();
  ++tally.kills;
  const std::filesystem::path target(path);
  tally.in_writing +=
      std::filesystem::exists(target.parent_path() / ("." + target.filename().string() + ".tmp"));
  const std::size_t said = static_cast<std::size_t>(finished_rows(log));
  tally.rows += static_cast<std::int64_t>(said);
  tally.before_the_first += said == 0;
  if (!std::filesystem::exists(path)) {
    ASSERT_EQ(old_rows + said, 0u) << "no file after " << delay_s << " s";
    return;
  }
  ASSERT_THAT(Reader(path).problems(), IsEmpty()) << "after " << delay_s << " s";
  const std::vector<Row> rows = read_file(path).rows(runs_table());
  // on disk first, said then: at most one more than was said
  ASSERT_GE(rows.size(), old_rows + said);
  ASSERT_LE(rows.size(), old_rows + said + 1);
  for (std::size_t i = 0; i < old_rows; ++i)
    ASSERT_TRUE(same_bits(rows[i], before.rows(runs_table())[i])) << "row " << i << " of an earlier sitting";
  for (std::size_t i = old_rows; i < rows.size(); ++i) {
    EXPECT_EQ(rows[i].text("status"), "ok");
    EXPECT_EQ(rows[i].integer("order_index"), static_cast<std::int64_t>(i - old_rows));
    EXPECT_EQ(rows[i].integer("order_seed"), static_cast<std::int64_t>(order_seed));
    EXPECT_GT(rows[i].real("step_s"), 0);
  }
}

/// Of a sitting: well below what its 300 runs take, a multiple of what starting it takes.
constexpr double kLongest_s = 1.2;

Tally kill_many(int kills, std::uint64_t seed) {
  RandomStream stream(seed);
  Tally tally;
  const TemporaryFolder folder;
  for (int i = 0; i < kills && !::testing::Test::HasFatalFailure(); ++i) {
    // ten sittings into each file: the later ones append to what killed ones left
    const std::string path = folder.path("x" + std::to_string(i / 10) + ".h5");
    kill_once(path, folder.path("log"), 0.03 + kLongest_s * uniform_unit(stream),
              static_cast<std::uint64_t>(i), tally);
    if (i % 10 == 9) {
      RecordFile(path).append(random_record(seed));
      EXPECT_THAT(Reader(path).problems(), IsEmpty());
      std::filesystem::remove(path);
    }
  }
  // what killed writers left is gone with the next write
  for (const auto& entry : std::filesystem::directory_iterator(folder.path()))
    EXPECT_EQ(entry.path().filename(), "log") << "stays";
  std::printf(
      "%d kills: %lld finished rows, all there; %d before the first row, %d in the middle of writing\n",
      tally.kills, static_cast<long long>(tally.rows), tally.before_the_first, tally.in_writing);
  return tally;
}

TEST(Kill, NoFinishedRowIsLost) { EXPECT_EQ(kill_many(10, 20260131).kills, 10); }

TEST(SoakKill, NoFinishedRowIsLost) {
  const Tally tally = kill_many(300, 1);
  EXPECT_EQ(tally.kills, 300);
  EXPECT_GT(tally.in_writing, 0) << "no kill fell into a write: the test proves nothing about them";
  EXPECT_GT(tally.rows, 300);
}

}  // namespace
}  // namespace mlpwatt::testing

// A million rows: rates, bytes, memory and reading times, reported and not judged (except that nothing is
// lost).

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <chrono>
#include <cstdio>
#include <iostream>

#include "harness/campaign/store.h"
#include "harness/record/reader.h"
#include "harness/record/writer.h"
#include "tests/harness/campaign/child.h"
#include "tests/harness/campaign/records.h"

namespace mlpwatt::testing {
namespace {

class Stopwatch {
 public:
  double s() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

/// Rows first .. first+count-1 into one file, streamed.
void write_rows(const std::string& path, std::int64_t first, std::int64_t count) {
  Writer writer(path, {.in_memory = false, .expected_rows = {{"runs", count}}});
  std::vector<Row> rows;
  for (std::int64_t i = first; i < first + count; ++i) {
    rows.push_back(synthetic_record(i, "campaign").run);
    if (rows.size() < 4096 && i + 1 < first + count) continue;
    writer.append(runs_table(), rows);
    rows.clear();
  }
  writer.append(machine_table(), {synthetic_record(0).machine});
  writer.commit();
}

struct Usage {
  int status = -1;
  double seconds = 0, peak_mib = 0;
};

/// Runs a command and says what it took.
Usage run_measured(std::vector<std::string> command) {
  std::vector<char*> argv;
  for (std::string& word : command) argv.push_back(word.data());
  argv.push_back(nullptr);
  const Stopwatch watch;
  const pid_t pid = fork();
  if (pid == 0) {
    execv(argv[0], argv.data());
    _exit(127);
  }
  Usage usage;
  rusage resources{};
  wait4(pid, &usage.status, 0, &resources);
  usage.seconds = watch.s();
  usage.peak_mib = static_cast<double>(resources.ru_maxrss) / 1024;
  return usage;
}

/// @return peak memory of the merge
double merge_of(std::int64_t rows, int files) {
  TemporaryFolder folder;
  std::vector<std::string> command{program_path(), "merge", folder.path("all.h5")};
  const std::int64_t each = rows / files;
  const Stopwatch writing;
  for (int i = 0; i < files; ++i) {
    command.push_back(folder.path(std::to_string(i) + ".h5"));
    // a tenth of each file stands in the one before it, too
    const std::int64_t overlap = i == 0 ? 0 : each / 10;
    write_rows(command.back(), i * each - overlap, each + overlap);
  }
  const double written_s = writing.s();
  const Usage merge = run_measured(command);
  EXPECT_EQ(merge.status, 0);
  EXPECT_EQ(Reader(folder.path("all.h5")).count(runs_table()), rows);
  const auto bytes = static_cast<double>(std::filesystem::file_size(folder.path("all.h5")));
  const Usage check = run_measured({program_path(), "check", folder.path("all.h5")});
  EXPECT_EQ(check.status, 0);
  std::printf(
      "%lld rows in %d files: written %.0f rows/s, merged %.0f rows/s, %.0f bytes/row, merge peak %.0f MiB, "
      "check %.1f s and %.0f MiB\n",
      static_cast<long long>(rows), files,
      static_cast<double>(rows) * (1 + 0.1 * (files - 1) / files) / written_s,
      static_cast<double>(rows) / merge.seconds, bytes / static_cast<double>(rows), merge.peak_mib,
      check.seconds, check.peak_mib);
  const std::string script = folder.path("read.py");
  write_text(script,
             "import sys, time, h5py\n"
             "t = time.perf_counter()\n"
             "runs = h5py.File(sys.argv[1])['runs']\n"
             "step, size = runs['step_s'][:], runs['size'][:]\n"
             "found = ((size == 1024) & (step < 5e-4)).sum()\n"
             "t1 = time.perf_counter()\n"
             "text = (runs['shape'][:] == b'rectangle').sum()\n"
             "t2 = time.perf_counter()\n"
             "print(f'h5py: open and filter two numeric columns {t1 - t:.3f} s ({found} rows); '\n"
             "      f'filter a text column {t2 - t1:.3f} s ({text} rows)')\n");
  EXPECT_EQ(run_measured({"/usr/bin/python3", script, folder.path("all.h5")}).status, 0);
  return merge.peak_mib;
}

TEST(SoakCampaignRows, AMillionRows) {
  if (program_path().empty()) GTEST_SKIP() << "no build/mlpwatt beside the tests (MLPWATT_BUILD)";
  {
    TemporaryFolder folder;
    Plan plan;
    plan.entries.push_back({.benchmark = "cpu/fma/generic"});
    Store store(folder.path("store"), plan, 256);
    constexpr int kRecords = 5000;
    const Stopwatch watch;
    for (int i = 0; i < kRecords; ++i) store.append(synthetic_record(i, plan.campaign()));
    std::printf("store: %.0f durable records/s, compactions of 256 included\n", kRecords / watch.s());
  }
  const double small = merge_of(100'000, 10), large = merge_of(1'000'000, 10);
  // ten times the rows; what may grow is a bit a row
  EXPECT_LT(large, 1.5 * small + 16);
}

}  // namespace
}  // namespace mlpwatt::testing

// make record-gpu on machines of several speeds: stand-ins of the programs move a stand-in of the clock.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
#include <sstream>

#include "tests/harness/program.h"
#include "tests/support/shell.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/text_of.h"

namespace mlpwatt::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr int kLimit_s = 530;

std::vector<std::string> run_lines(const fs::path& plan) {
  std::istringstream lines(text_of(plan));
  std::vector<std::string> found;
  for (std::string line; std::getline(lines, line);)
    if (line.starts_with("run ")) found.push_back(line);
  return found;
}

struct MachineSpeed {
  int tests_s = 20, probes_s = 60, products_s = 30, cublas_s = 20;
  double start_s = 4, network_s = 2.9;  ///< of a campaign, of each of its networks
  bool nvml = true;
};

struct Recorded {
  int status = -1, end_s = 0;
  std::string said;
  std::vector<std::string> networks;  ///< of all rounds
  std::string longest_window;
};

/// Runs the script; the clock stands still but for what the stand-ins take.
Recorded record(const MachineSpeed& speed) {
  const TemporaryFolder folder;
  const auto script = [&](const std::string& name, const std::string& body) {
    fs::create_directories(fs::path(folder.path(name)).parent_path());
    std::ofstream(folder.path(name)) << "#!/bin/sh\nclock=" << folder.path("clock") << "\nnow=$(cat $clock)\n"
                                     << body << '\n';
    fs::permissions(folder.path(name), fs::perms::owner_all);
  };
  std::ofstream(folder.path("clock")) << "0\n";
  script("bin/date", "echo $now");
  // as the real one: no longer than asked for, and 124 then
  script(
      "bin/timeout",
      "most=$3; shift 3; \"$@\"; code=$?\n"
      "if [ $(( $(cat $clock) - now )) -gt \"$most\" ]; then echo $(( now + most )) > $clock; exit 124; fi\n"
      "exit $code");
  const auto takes = [](int seconds) { return "echo $(( now + " + std::to_string(seconds) + " )) > $clock"; };
  script("build/bundle/mlpwatt_gpu_tests", takes(speed.tests_s));
  std::ostringstream program;
  program << "case \"$*\" in\n"
          << "list) echo 'gpu/gemm_cublas: 9'; echo 'gpu/mlp_train: 9' ;;\n"
          << "info) echo '  nvml            " << (speed.nvml ? "found " : "absent") << "  x' ;;\n"
          << "run*stream*--meters\\ none*) " << takes(speed.probes_s) << "; touch "
          << folder.path("out/gpu.h5") << " ;;\n"
          << "run*gemm*--meters\\ none*) " << takes(speed.products_s) << " ;;\n"
          << "compare-cublas*) " << takes(speed.cublas_s) << " ;;\n"
          << "plan*) for out; do :; done  # the last argument\n"
          << "  { echo max_window_s \"$7\"; seq -f 'run network_%g' \"$5\"; } > \"$out\" ;;\n"
          << "campaign*) mkdir -p \"$4\"; networks=$(grep -c '^run ' \"$2\")\n"
          << "  echo $(( now + " << speed.start_s << " + networks * "
          << static_cast<int>(1000 * speed.network_s) << " / 1000 )) > $clock ;;\n"
          << "merge*) echo \"$*\" > " << folder.path("merged") << "; touch \"$3\" ;;\n"
          << "export*) printf 'name,batch,step_energy_j_measured,energy_quality\\r\\n"
          << "gpu/a,256,0.512,ok\\r\\ngpu/b,256,0.0256,under_sampled\\r\\ngpu/c,256,,ok\\r\\n"
          << "gpu/d,256,0.256,ok\\r\\n' ;;\n"
          << "fit*recording.h5*) ;;\n"
          << "report*recording.h5*) ;;\n"
          << "*) echo \"unexpected: $*\"; exit 9 ;;\nesac";
  script("build/bundle/mlpwatt", program.str());
  const Shell run = shell("PATH=" + folder.path("bin") + ":$PATH BUILD=" + folder.path("build") +
                          " harness/setup/record_gpu.sh " + folder.path("out"));
  Recorded recorded;
  recorded.status = run.status;
  recorded.said = run.out;
  recorded.end_s = std::stoi(text_of(folder.path("clock")));
  for (int round = 1; fs::is_directory(folder.path("out/grid-" + std::to_string(round) + ".campaign"));
       ++round) {
    const std::string plan = folder.path("out/grid-" + std::to_string(round) + ".plan");
    const std::vector<std::string> lines = run_lines(plan);
    recorded.networks.insert(recorded.networks.end(), lines.begin(), lines.end());
    EXPECT_THAT(text_of(folder.path("merged")),
                AllOf(HasSubstr("out/gpu.h5"), HasSubstr("grid-" + std::to_string(round) + ".campaign")))
        << "the model needs the device's probes beside its runs";
    std::smatch window;
    const std::string text = text_of(plan);
    if (std::regex_search(text, window, std::regex("max_window_s ([0-9.]+)")))
      recorded.longest_window = window[1];
  }
  return recorded;
}

void expect_whole(const Recorded& recorded) {
  EXPECT_EQ(recorded.status, 0) << recorded.said;
  EXPECT_LE(recorded.end_s, kLimit_s);
  EXPECT_THAT(recorded.said, AllOf(Not(HasSubstr("stopped after")), Not(HasSubstr("no time left"))));
  std::set<std::string> first;
  for (std::size_t i = 1; i <= recorded.networks.size(); ++i)
    first.insert("run network_" + std::to_string(i));
  EXPECT_EQ(std::set<std::string>(recorded.networks.begin(), recorded.networks.end()), first)
      << "a network was run in two rounds, or is not of the beginning of the sequence";
}

/// What the script's rounds rest on.
TEST(RecordGpu, APlanOfFewerNetworksIsPartOfOneOfMore) {
  const TemporaryFolder folder;
  const auto planned = [&](const char* count) {
    const std::string plan = folder.path("x.plan");
    EXPECT_EQ(
        run({"plan", "--backends", "gpu", "--sample", count, "--window-s", "1.25", "--max-window-s", "1.25",
             "--no-calibration", "--dataset-source", "synthetic", "--any-machine", "--out", plan})
            .status,
        0);
    const std::vector<std::string> lines = run_lines(plan);
    return std::set<std::string>(lines.begin(), lines.end());
  };
  const std::set<std::string> few = planned("20"), many = planned("150");
  EXPECT_EQ(few.size(), 20u);
  EXPECT_EQ(many.size(), 150u);
  EXPECT_TRUE(std::includes(many.begin(), many.end(), few.begin(), few.end()));
}

TEST(RecordGpu, AQuickMachineTrainsAll300InShortWindows) {
  MachineSpeed speed;
  speed.nvml = false;
  speed.network_s = 0.9;
  const Recorded recorded = record(speed);
  expect_whole(recorded);
  EXPECT_EQ(recorded.networks.size(), 300u) << recorded.said;
  EXPECT_EQ(recorded.longest_window, "0.25");
}

TEST(RecordGpu, WhatDoesNotFitIsLeftOutByThePlanAndTheTimeIsUsed) {
  for (const double network_s : {2.9, 6.0}) {
    SCOPED_TRACE(network_s);
    MachineSpeed speed;
    speed.network_s = network_s;
    const Recorded recorded = record(speed);
    expect_whole(recorded);
    EXPECT_LT(recorded.networks.size(), 300u);
    EXPECT_GT(recorded.end_s, kLimit_s - 55 - 15 - 10 * network_s) << recorded.said;
  }
}

TEST(RecordGpu, StepsThatTakeAllTheyMayLeaveTheGridItsShare) {
  MachineSpeed speed;
  speed.tests_s = 70, speed.probes_s = 80, speed.products_s = 40, speed.cublas_s = 30;
  const Recorded recorded = record(speed);
  expect_whole(recorded);
  EXPECT_GE(recorded.networks.size(), 65u);
}

TEST(RecordGpu, ACampaignThatOutlastsItsTimeIsStoppedAndTheRestStillMade) {
  MachineSpeed speed;
  speed.network_s = 60;
  const Recorded recorded = record(speed);
  EXPECT_EQ(recorded.status, 1);
  EXPECT_LE(recorded.end_s, kLimit_s);
  EXPECT_THAT(recorded.said, AllOf(HasSubstr("grid-1: stopped after"), HasSubstr("merge: done")));
}

TEST(RecordGpu, ARecordingIsNotMixedWithAnother) {
  const TemporaryFolder folder;
  std::ofstream(folder.path("grid-1.plan")) << "run x\n";
  const Shell run = shell("harness/setup/record_gpu.sh " + folder.path());
  EXPECT_EQ(run.status, 2);
  EXPECT_THAT(run.out, HasSubstr("holds a recording already; choose another folder"));
  EXPECT_FALSE(fs::exists(folder.path("record.log")));
}

TEST(RecordGpu, JoulesPerDatumAreOfUnflaggedEnergiesOnly) {
  const Recorded recorded = record({});
  EXPECT_THAT(recorded.said, HasSubstr("joules: 2 networks with unflagged energies; J/datum from 0.001 to "
                                       "0.002, median 0.001"));
  EXPECT_EQ(recorded.longest_window, "1.25");
}

}  // namespace
}  // namespace mlpwatt::testing

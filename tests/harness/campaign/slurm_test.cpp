// Campaigns under Slurm: the scripts, and a real controller with two nodes on loopback.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <chrono>
#include <cstdio>
#include <functional>
#include <memory>
#include <set>
#include <thread>

#include "harness/campaign/merge.h"
#include "harness/record/reader.h"
#include "tests/harness/campaign/child.h"
#include "tests/harness/campaign/records.h"
#include "tests/harness/program.h"

namespace mlpwatt::testing {
namespace {

using ::testing::HasSubstr;

std::string shell(const std::string& command) {
  FILE* pipe = popen((command + " 2>&1").c_str(), "r");
  std::string text;
  for (int c; (c = std::fgetc(pipe)) != EOF;) text += static_cast<char>(c);
  pclose(pipe);
  return text;
}

bool within_s(double limit_s, const std::function<bool()>& condition) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(limit_s);
  while (std::chrono::steady_clock::now() < end) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  return false;
}

/// munged, slurmctld and two slurmds in a folder, on ports nobody else has; ended with the object.
class Cluster {
 public:
  explicit Cluster(const TemporaryFolder& folder) : folder_(folder.path("cluster")) {
    for (const char* tool : {"munged", "slurmctld", "slurmd", "sbatch", "scontrol"})
      if (shell(std::string("command -v ") + tool).empty()) {
        reason_ = std::string(tool) + " is not installed";
        return;
      }
    if (geteuid() != 0) {
      reason_ = "slurmctld and slurmd run as root here, and this is not root";
      return;
    }
    // the temporary folder is private to us, which munged insists on; its parents are not ours to change
    std::filesystem::create_directories(folder_ + "/spool");
    chmod(folder_.c_str(), 0755);
    chmod(folder.path().c_str(), 0755);
    shell("head -c 128 /dev/urandom > " + folder_ + "/key && chmod 600 " + folder_ + "/key");
    start({"/usr/sbin/munged", "--foreground", "--force", "--socket=" + folder_ + "/munge.sock",
           "--key-file=" + folder_ + "/key", "--log-file=" + folder_ + "/munged.log",
           "--pid-file=" + folder_ + "/munged.pid", "--seed-file=" + folder_ + "/seed"});
    write_configuration();
    setenv("SLURM_CONF", (folder_ + "/slurm.conf").c_str(), 1);
    if (!within_s(10, [&] { return std::filesystem::exists(folder_ + "/munge.sock"); })) {
      reason_ = "munged did not start: " + read_text(folder_ + "/munged.log");
      return;
    }
    start({"/usr/sbin/slurmctld", "-D", "-c", "-f", folder_ + "/slurm.conf"});
    for (const char* node : {"n1", "n2"})
      start({"/usr/sbin/slurmd", "-D", "-N", node, "-f", folder_ + "/slurm.conf"});
    if (!within_s(60, [] { return shell("sinfo -h -t idle -o %D").starts_with("2"); }))
      reason_ = "no two idle nodes: " + shell("sinfo -N -l; tail -n 3 " + folder_ + "/*.log");
  }
  ~Cluster() {
    for (auto daemon = daemons_.rbegin(); daemon != daemons_.rend(); ++daemon) {
      (*daemon)->send(SIGTERM);
      if (!within_s(5, [&] { return !(*daemon)->running(); })) (*daemon)->send(SIGKILL);
      (*daemon)->wait();
    }
    unsetenv("SLURM_CONF");
  }
  Cluster(const Cluster&) = delete;
  Cluster& operator=(const Cluster&) = delete;
  /// Why there is none; "" = there is.
  const std::string& reason() const { return reason_; }

 private:
  void start(const std::vector<std::string>& command) {
    daemons_.push_back(
        std::make_unique<Child>(command, folder_ + "/daemon" + std::to_string(daemons_.size()) + ".log"));
  }
  void write_configuration() const {
    const int base = 20000 + getpid() % 20000;
    std::string text =
        "ClusterName=mlpwatt\nSlurmctldHost=localhost(127.0.0.1)\nSlurmUser=root\nSlurmdUser=root\n"
        "AuthType=auth/munge\nAuthInfo=socket=" +
        folder_ +
        "/munge.sock\nCredType=cred/munge\n"
        "ProctrackType=proctrack/linuxproc\nTaskPlugin=task/none\nMpiDefault=none\nSwitchType=switch/none\n"
        "ReturnToService=2\nSelectType=select/cons_tres\nSelectTypeParameters=CR_Core\n"
        "JobAcctGatherType=jobacct_gather/none\nSlurmdParameters=config_overrides\n"
        "SchedulerParameters=sched_interval=1,batch_sched_delay=0\n"
        "PartitionName=main Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP\n";
    text += "SlurmctldPort=" + std::to_string(base) + "\nStateSaveLocation=" + folder_ + "/spool\n";
    text += "SlurmctldPidFile=" + folder_ + "/ctld.pid\nSlurmdPidFile=" + folder_ + "/slurmd.%n.pid\n";
    text += "SlurmdSpoolDir=" + folder_ + "/spool.%n\nSlurmctldLogFile=" + folder_ +
            "/ctld.log\nSlurmdLogFile=" + folder_ + "/slurmd.%n.log\n";
    for (const int node : {1, 2})
      text += "NodeName=n" + std::to_string(node) +
              " NodeHostname=localhost NodeAddr=127.0.0.1 Port=" + std::to_string(base + node) +
              " CPUs=2 RealMemory=1000 State=UNKNOWN\n";
    write_text(folder_ + "/slurm.conf", text);
  }
  std::string folder_, reason_;
  std::vector<std::unique_ptr<Child>> daemons_;
};

std::string twelve_configurations() {
  std::string text =
      "mlpwatt plan 1\nwindow_s 0.3\nmax_window_s 0.4\nmax_warm_up_s 0.1\ndataset_source synthetic\n";
  for (const char* shape : {"rectangle", "trapezoid", "exponential"})
    for (const int size : {256, 512, 1024, 2048})
      text += "run cpu/mlp_train/505_tecator/" + std::string(shape) + "/" + std::to_string(size) +
              "/3 threads=1 isa=generic predicted_s=1\n";
  return text;
}

TEST(Slurm, DryRunPrintsScriptsThatAShellAccepts) {
  TemporaryFolder folder;
  write_text(folder.path("a plan"), twelve_configurations());
  const Outcome outcome = run({"campaign", folder.path("a plan"), "--out", folder.path("out"), "--slurm",
                               "--nodes", "4", "--sbatch-args=--partition=long --time=1:00:00", "--dry-run"});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  for (const char* part : {"--array=1-4", "--exclusive", "--requeue", "--partition=long", "--time=1:00:00",
                           "--dependency=afterany:ARRAY_JOB", "scontrol requeue", "--resume", "--copy-to"})
    EXPECT_THAT(outcome.out, HasSubstr(part));
  EXPECT_FALSE(std::filesystem::exists(folder.path("out")));
  const std::size_t first = outcome.out.find("#!/bin/sh"), second = outcome.out.find("#!/bin/sh", first + 1);
  write_text(folder.path("task.sh"), outcome.out.substr(first, outcome.out.find("\n# /", first) - first));
  write_text(folder.path("merge.sh"),
             outcome.out.substr(second, outcome.out.find("\nsbatch", second) - second));
  EXPECT_EQ(shell("sh -n " + folder.path("task.sh") + " && sh -n " + folder.path("merge.sh")), "");
}

TEST(Slurm, WrongCallsEndInStatusTwo) {
  TemporaryFolder folder;
  write_text(folder.path("a.plan"), twelve_configurations());
  const std::vector<std::string> base{"campaign", folder.path("a.plan"), "--out", folder.path("out")};
  for (const std::vector<std::string>& more : std::vector<std::vector<std::string>>{
           {"--slurm", "--shard", "1/2"}, {"--slurm", "--nodes", "13"}, {"--nodes", "2"}, {"--dry-run"}}) {
    std::vector<std::string> args = base;
    args.insert(args.end(), more.begin(), more.end());
    EXPECT_EQ(run(args).status, 2) << more.back();
  }
  EXPECT_FALSE(std::filesystem::exists(folder.path("out")));
}

TEST(Slurm, TwoNodesATaskKilledAndOneCompleteFile) {
  if (program_path().empty()) GTEST_SKIP() << "no build/mlpwatt beside the tests (MLPWATT_BUILD)";
  TemporaryFolder folder;
  const Cluster cluster(folder);
  if (!cluster.reason().empty()) GTEST_SKIP() << cluster.reason();
  write_text(folder.path("a.plan"), twelve_configurations());
  const std::string submitted =
      shell(program_path() + " campaign " + folder.path("a.plan") + " --out " + folder.path("out") +
            " --slurm --nodes 2 --counters none --copy-every-s 0 --scratch " + folder.path("scratch"));
  ASSERT_THAT(submitted, HasSubstr("array job"));
  const std::string array = submitted.substr(10, submitted.find(' ', 10) - 10);
  const auto runs_of = [&](int shard) -> std::int64_t {
    const std::string file = folder.path("out/shards/shard-" + std::to_string(shard) + ".h5");
    try {
      return std::filesystem::exists(file) ? Reader(file).count(runs_table()) : 0;
    } catch (const std::exception&) {
      ADD_FAILURE() << file << " cannot be read";
      return 0;
    }
  };
  // in the middle of shard 1: SIGKILL to the process that measures
  ASSERT_TRUE(within_s(60, [&] { return runs_of(1) >= 2; }))
      << shell("squeue; cat " + folder.path("out/slurm/*.log"));
  const std::string victim =
      shell("pgrep -f -- '--out " + folder.path("scratch") + "/mlpwatt-" + array + "-1 '");
  ASSERT_FALSE(victim.empty());
  kill(std::stoi(victim), SIGKILL);
  EXPECT_TRUE(within_s(30, [&] {
    return read_text(folder.path("out/slurm/task-1.log")).find("signal 9, requeued") != std::string::npos;
  })) << read_text(folder.path("out/slurm/task-1.log"));
  // Slurm holds a requeued job back for two minutes; that is not what is under test
  const auto finished = [&] {
    shell("scontrol update JobId=" + array + "_1 StartTime=now");
    return shell("squeue -h").empty();
  };
  ASSERT_TRUE(within_s(120, finished)) << shell("squeue; tail -n 5 " + folder.path("out/slurm/*.log"));
  EXPECT_THAT(read_text(folder.path("out/slurm/merge.log")), HasSubstr("valid, 12 runs, 12 ok"));
  const Outcome outcome = run({"check", folder.path("out/campaign.h5"), "--plan", folder.path("a.plan")});
  EXPECT_EQ(outcome.status, 0) << outcome.out;
  // on two hosts, and nothing that was completed before the kill was run again
  const Contents contents = read_file(folder.path("out/campaign.h5"));
  std::set<std::string> hosts;
  for (const Row& row : contents.rows(runs_table())) hosts.insert(row.text("host"));
  EXPECT_EQ(hosts, (std::set<std::string>{"n1", "n2"}));
  EXPECT_EQ(contents.rows(runs_table()).size(), 12u);
  const std::string log = read_text(folder.path("out/slurm/task-1.log"));
  EXPECT_THAT(log, HasSubstr("6 of 6 runs to do"));
  EXPECT_EQ(log.find("6 of 6 runs to do"), log.rfind("6 of 6 runs to do")) << "the requeued task began anew";
}

}  // namespace
}  // namespace mlpwatt::testing

// Campaigns under Slurm: the scripts, and a real controller with two nodes on loopback.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <chrono>
#include <cstdio>
#include <functional>
#include <map>
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
    if (!within_s(120, [] { return shell("sinfo -h -t idle -o %D").starts_with("2"); }))
      reason_ = "no two idle nodes: " + shell("sinfo -N -l; tail -n 3 " + folder_ + "/*.log");
  }
  ~Cluster() {
    // what a failed test left running would outlive the daemons
    if (reason_.empty()) {
      shell("scancel -p main");
      within_s(30, [] { return shell("squeue -h").empty(); });
    }
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
    const int base = 20000 + getpid() % 10000;  // below the ports that the system gives away
    std::string text =
        "ClusterName=mlpwatt\nSlurmctldHost=localhost(127.0.0.1)\nSlurmUser=root\nSlurmdUser=root\n"
        "AuthType=auth/munge\nAuthInfo=socket=" +
        folder_ +
        // Slurm holds a requeued job back until the credential of its first start has expired, by default for
        // two minutes. The hold must not be lifted by hand: credentials are told apart by the second, and a
        // node that gets the new one in the second in which it revoked the old refuses the job.
        "/munge.sock,cred_expire=10\nCredType=cred/munge\n"
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

/// Each three times: some 18 runs of half a second a node.
std::string twelve_configurations() {
  std::string text =
      "mlpwatt plan 1\nwindow_s 0.3\nmax_window_s 0.4\nmax_warm_up_s 0.1\ndataset_source synthetic\n"
      "repetitions 3\n";
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
  // twelve configurations: three a node
  for (const char* part : {"--array=1-12%4", "shards=12", "--shard \"$shard/4x3\"", "--exclusive",
                           "--requeue", "--partition=long", "--time=1:00:00",
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
  for (const std::vector<std::string>& more :
       std::vector<std::vector<std::string>>{{"--slurm", "--shard", "1/2"},
                                             {"--slurm", "--nodes", "13"},
                                             {"--slurm", "--nodes", "4", "--shards-per-node", "4"},
                                             {"--shards-per-node", "2"},
                                             {"--nodes", "2"},
                                             {"--dry-run"}}) {
    std::vector<std::string> args = base;
    args.insert(args.end(), more.begin(), more.end());
    EXPECT_EQ(run(args).status, 2) << more.back();
  }
  EXPECT_FALSE(std::filesystem::exists(folder.path("out")));
}

TEST(Slurm, AFolderOfAnotherCampaignOrOtherShardsIsRefused) {
  TemporaryFolder folder;
  write_text(folder.path("a.plan"), twelve_configurations());
  write_text(folder.path("b.plan"), twelve_configurations() + "run cpu/fma/generic\n");
  std::filesystem::create_directories(folder.path("out/slurm"));
  write_text(folder.path("out/slurm/campaign.plan"), twelve_configurations());
  write_text(folder.path("out/slurm/nodes"), "2 3\n");
  const auto submit = [&](const char* plan, const char* nodes, const char* per_node) {
    return run({"campaign", folder.path(plan), "--out", folder.path("out"), "--slurm", "--nodes", nodes,
                "--shards-per-node", per_node});
  };
  const Outcome other = submit("b.plan", "2", "3");
  EXPECT_EQ(other.status, 2);
  EXPECT_THAT(other.err, HasSubstr("another campaign"));
  for (const Outcome& cut : {submit("a.plan", "3", "3"), submit("a.plan", "2", "4")}) {
    EXPECT_EQ(cut.status, 2);
    EXPECT_THAT(cut.err, HasSubstr("--nodes 2 --shards-per-node 3"));
  }
  write_text(folder.path("out/slurm/nodes"), "2\n");  // of the time when there was one shard a node
  EXPECT_THAT(submit("a.plan", "2", "3").err, HasSubstr("--nodes 2 --shards-per-node 1"));
}

/// The process that was started with these two words next to each other; 0 = there is none.
pid_t process_with(const std::string& option, const std::string& value) {
  const std::string wanted = '\0' + option + '\0' + value + '\0';
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const std::string name = entry.path().filename().string();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    if (read_text(entry.path().string() + "/cmdline").find(wanted) != std::string::npos)
      return std::stoi(name);
  }
  return 0;
}

pid_t parent_of(pid_t process) {
  const std::string text = read_text("/proc/" + std::to_string(process) + "/stat");
  int parent = 0;
  std::sscanf(text.c_str() + text.rfind(')') + 1, " %*c %d", &parent);
  return parent;
}

/// A campaign that was submitted: for the two nodes two shards of twelve runs and two of six.
class Submitted {
 public:
  explicit Submitted(const TemporaryFolder& folder) : folder_(folder) {
    write_text(folder.path("a.plan"), twelve_configurations());
    said_ = shell(
        program_path() + " campaign " + folder.path("a.plan") + " --out " + folder.path("out") +
        " --slurm --nodes 2 --shards-per-node 2 --counters none --peaks-s 0 --copy-every-s 0 --scratch " +
        folder.path("scratch"));
    if (said_.starts_with("array job ")) array_ = said_.substr(10, said_.find(' ', 10) - 10);
  }
  const std::string& said() const { return said_; }
  const std::string& array() const { return array_; }
  std::string task(int shard) const { return array_ + "_" + std::to_string(shard); }
  std::string log(const std::string& name) const {
    return read_text(folder_.path("out/slurm/" + name + ".log"));
  }
  /// Runs that were copied back.
  std::int64_t runs_of(int shard) const {
    const std::string file = folder_.path("out/shards/shard-" + std::to_string(shard) + ".h5");
    try {
      return std::filesystem::exists(file) ? Reader(file).count(runs_table()) : 0;
    } catch (const std::exception& error) {
      ADD_FAILURE() << file << " cannot be read: " << error.what();
      return 0;
    }
  }
  pid_t measuring(int shard) const {
    return process_with("--out",
                        folder_.path("scratch") + "/mlpwatt-" + array_ + "-" + std::to_string(shard));
  }
  /// For a failure's message.
  std::string state() const {
    return shell("squeue; tail -n 6 " + folder_.path("out/slurm/") + "*.log " + folder_.path("cluster/") +
                 "*.log");
  }

 private:
  const TemporaryFolder& folder_;
  std::string said_, array_;
};

/// How often a task said that all its runs are still to do.
int began_anew(const std::string& log, const std::string& all) {
  int times = 0;
  for (std::size_t at = 0; (at = log.find(all + " of " + all + " runs to do", at)) != std::string::npos; ++at)
    ++times;
  return times;
}

TEST(Slurm, TwoNodesTasksKilledAndRequeuedAndOneCompleteFile) {
  if (program_path().empty()) GTEST_SKIP() << "no build/mlpwatt beside the tests (MLPWATT_BUILD)";
  TemporaryFolder folder;
  const Cluster cluster(folder);
  if (!cluster.reason().empty()) GTEST_SKIP() << cluster.reason();
  const Submitted jobs(folder);
  ASSERT_FALSE(jobs.array().empty()) << jobs.said();

  // Task 1: SIGKILL to everything, in its middle. For Slurm the task has failed.
  ASSERT_TRUE(within_s(180, [&] { return jobs.runs_of(1) >= 2; })) << jobs.state();
  const pid_t victim = jobs.measuring(1), script = parent_of(victim);
  ASSERT_GT(victim, 0) << jobs.state();
  ASSERT_GT(script, 1);
  kill(script, SIGKILL);
  kill(victim, SIGKILL);
  // Task 2: first SIGKILL to the process that measures, which the task starts again at once; ...
  ASSERT_TRUE(within_s(180, [&] { return jobs.runs_of(2) >= 2; })) << jobs.state();
  const pid_t second = jobs.measuring(2);
  ASSERT_GT(second, 0) << jobs.state();
  kill(second, SIGKILL);
  ASSERT_TRUE(within_s(60, [&] {
    return jobs.log("task-2").find("ended by signal 9, going on") != std::string::npos;
  })) << jobs.state();
  // ... then the signal that Slurm sends before the time limit, upon which it requeues itself.
  const std::int64_t before = jobs.runs_of(2);
  ASSERT_TRUE(within_s(60, [&] { return jobs.runs_of(2) > before; })) << jobs.state();
  shell("scancel --batch --signal=USR1 " + jobs.task(2));
  ASSERT_TRUE(within_s(60, [&] {
    return jobs.log("task-2").find("at the time limit, requeued") != std::string::npos;
  })) << jobs.state();

  // The merging job waits for the requeued task, not for the failed one, and says what is missing.
  ASSERT_TRUE(within_s(180, [&] { return jobs.log("merge").find("runs are missing") != std::string::npos; }))
      << jobs.state();
  EXPECT_EQ(jobs.runs_of(2), 12);
  for (const int shard : {3, 4}) EXPECT_EQ(jobs.runs_of(shard), 6) << shard << jobs.state();
  // Requeued by hand: goes on where it was, ends last, and completes the file.
  EXPECT_EQ(shell("scontrol requeue " + jobs.task(1)), "");
  ASSERT_TRUE(within_s(180, [&] { return shell("squeue -h").empty(); })) << jobs.state();
  EXPECT_THAT(jobs.log("merge"), HasSubstr("valid, 36 runs, 36 ok")) << jobs.state();
  const Outcome outcome = run({"check", folder.path("out/campaign.h5"), "--plan", folder.path("a.plan")});
  EXPECT_EQ(outcome.status, 0) << outcome.out;
  const Contents contents = read_file(folder.path("out/campaign.h5"));
  EXPECT_EQ(contents.rows(runs_table()).size(), 36u);
  EXPECT_GE(contents.rows(energies_table()).size(), 36u);
  std::set<std::string> hosts;
  for (const Row& row : contents.rows(runs_table())) hosts.insert(row.text("host"));
  EXPECT_EQ(hosts, (std::set<std::string>{"n1", "n2"}));
  for (const auto& [log, all] : std::map<std::string, std::string>{
           {"task-1", "12"}, {"task-2", "12"}, {"task-3", "6"}, {"task-4", "6"}})
    EXPECT_EQ(began_anew(jobs.log(log), all), 1) << jobs.log(log);
  EXPECT_FALSE(std::filesystem::exists(folder.path("scratch/mlpwatt-" + jobs.array() + "-1")));
}

}  // namespace
}  // namespace mlpwatt::testing

#include "harness/campaign/slurm.h"

#include <fmt/format.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <stdexcept>

#include "harness/record/durable.h"

namespace mlpwatt {
namespace {

/// Seconds before the time limit at which a task is told to finish its window, copy back and requeue itself.
constexpr int kWarning_s = 120;
/// A task that dies again and again is left dead.
constexpr int kMostRestarts = 20;

std::string shell_word(const std::string& word) {
  std::string quoted = "'";
  for (const char c : word) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

std::string shell_words(const std::vector<std::string>& words) {
  std::string line;
  for (const std::string& word : words) line += (line.empty() ? "" : " ") + shell_word(word);
  return line;
}

std::string folder(const SlurmCampaign& campaign) { return campaign.out + "/slurm"; }

/// Output and status of a command; standard error is among the output.
std::pair<std::string, int> output_of(const std::vector<std::string>& command) {
  FILE* pipe = popen((shell_words(command) + " 2>&1").c_str(), "r");
  if (pipe == nullptr) throw std::runtime_error("cannot start " + command[0]);
  std::string text;
  std::array<char, 4096> buffer;
  for (std::size_t n; (n = fread(buffer.data(), 1, buffer.size(), pipe)) > 0;) text.append(buffer.data(), n);
  const int status = pclose(pipe);
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return {text, status};
}

/// Submits and returns the job's number. With --parsable sbatch prints "JOB" or "JOB;CLUSTER", after
/// warnings.
std::string job_of(const std::vector<std::string>& command) {
  const auto [text, status] = output_of(command);
  const std::string last = text.substr(text.rfind('\n') + 1);
  if (status != 0 || last.find_first_not_of("0123456789") == 0)
    throw std::runtime_error(
        fmt::format("sbatch failed: {} (the scripts stay; --dry-run prints the commands)",
                    text.empty() ? "no output" : text));
  return last.substr(0, last.find(';'));
}

}  // namespace

std::string task_script(const SlurmCampaign& campaign, const SlurmOptions& options) {
  std::string args = shell_words(campaign.campaign_args);
  if (!args.empty()) args = " " + args;
  return fmt::format(
      R"(#!/bin/sh
# One shard of a campaign on one node. Written by mlpwatt campaign --slurm.
set -eu
mlpwatt={program}
plan={plan}
home={out}/shards
shards={shards}
shard=$SLURM_ARRAY_TASK_ID

# Work on the node's own disk. The folder is found again when the task is requeued to this node; on another
# node what was copied back is the start.
scratch={scratch}/mlpwatt-$SLURM_ARRAY_JOB_ID-$shard
mkdir -p "$home" "$scratch"
if [ -s "$home/shard-$shard.h5" ]; then
  cp "$home/shard-$shard.h5" "$scratch/.restored.tmp"
  mv "$scratch/.restored.tmp" "$scratch/campaign-restored.h5"
fi

"$mlpwatt" campaign "$plan" --out "$scratch" --shard "$shard/$shards" --resume --copy-to "$home/shard-$shard.h5"{args} &
child=$!
# Slurm warns before the time limit: the window is finished, copied back, and the task goes on later.
trap 'kill -TERM $child 2>/dev/null || true' TERM INT
status=0
wait $child || status=$?
while kill -0 $child 2>/dev/null; do status=0; wait $child || status=$?; done

if [ $status -ge 128 ]; then
  if [ "${{SLURM_RESTART_COUNT:-0}}" -lt {restarts} ]; then
    echo "shard $shard: ended by signal $((status - 128)), requeued"
    scontrol requeue "${{SLURM_ARRAY_JOB_ID}}_$shard"
    sleep 60 # until the requeue ends this script
  fi
  exit $status
fi
rm -rf "$scratch"
exit $status
)",
      fmt::arg("program", shell_word(campaign.program)), fmt::arg("plan", shell_word(campaign.plan)),
      fmt::arg("out", shell_word(campaign.out)), fmt::arg("shards", options.nodes),
      fmt::arg("scratch",
               options.scratch.empty() ? "${SLURM_TMPDIR:-${TMPDIR:-/tmp}}" : shell_word(options.scratch)),
      fmt::arg("args", args), fmt::arg("restarts", kMostRestarts));
}

std::string merge_script(const SlurmCampaign& campaign) {
  return fmt::format(
      R"(#!/bin/sh
# All shards into one file, and whether every run of the plan is there. Written by mlpwatt campaign --slurm.
set -eu
mlpwatt={}
out={}
"$mlpwatt" merge "$out/campaign.h5" "$out"/shards/shard-*.h5 --replace
"$mlpwatt" check "$out/campaign.h5" --plan {}
)",
      shell_word(campaign.program), shell_word(campaign.out), shell_word(campaign.plan));
}

std::vector<std::string> array_command(const SlurmCampaign& campaign, const SlurmOptions& options) {
  std::vector<std::string> command{"sbatch",
                                   "--parsable",
                                   "--job-name=mlpwatt",
                                   fmt::format("--array=1-{}", options.nodes),
                                   "--nodes=1",
                                   "--exclusive",
                                   "--requeue",
                                   "--open-mode=append",
                                   fmt::format("--signal=B:TERM@{}", kWarning_s),
                                   "--output=" + folder(campaign) + "/task-%a.log"};
  command.insert(command.end(), options.sbatch_args.begin(), options.sbatch_args.end());
  command.push_back(folder(campaign) + "/task.sh");
  return command;
}

std::vector<std::string> merge_command(const SlurmCampaign& campaign, const SlurmOptions& options,
                                       const std::string& array_job) {
  // afterany: shards that are there are merged even when one failed; check then says what is missing
  std::vector<std::string> command{"sbatch",
                                   "--parsable",
                                   "--job-name=mlpwatt-merge",
                                   "--nodes=1",
                                   "--ntasks=1",
                                   "--dependency=afterany:" + array_job,
                                   "--open-mode=append",
                                   "--output=" + folder(campaign) + "/merge.log"};
  command.insert(command.end(), options.sbatch_args.begin(), options.sbatch_args.end());
  command.push_back(folder(campaign) + "/merge.sh");
  return command;
}

Submitted submit(const SlurmCampaign& campaign, const SlurmOptions& options) {
  if (output_of({"sbatch", "--version"}).second != 0)
    throw std::runtime_error(
        "--slurm: no sbatch on this machine's PATH; submit from a login node, or run shards by hand with "
        "--shard I/N");
  std::filesystem::create_directories(folder(campaign));
  write_durably(folder(campaign) + "/task.sh", task_script(campaign, options));
  write_durably(folder(campaign) + "/merge.sh", merge_script(campaign));
  Submitted jobs;
  jobs.array_job = job_of(array_command(campaign, options));
  jobs.merge_job = job_of(merge_command(campaign, options, jobs.array_job));
  return jobs;
}

}  // namespace mlpwatt

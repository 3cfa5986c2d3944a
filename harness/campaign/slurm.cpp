#include "harness/campaign/slurm.h"

#include <fmt/format.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <stdexcept>

#include "harness/program.h"
#include "harness/record/durable.h"

namespace mlpwatt {
namespace {

/// Seconds before the time limit at which a task is told to finish its window, copy back and requeue itself.
constexpr int kWarning_s = 120;
/// A program that is killed again and again is left dead.
constexpr int kMostKills = 20;
/// A task that is requeued at its time limit goes on; one that never gets anywhere must end.
constexpr int kMostRequeues = 1000;

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
/// What the tasks read: the plan as submitted, whatever becomes of the file it came from.
std::string plan_path(const SlurmCampaign& campaign) { return folder(campaign) + "/campaign.plan"; }
std::string nodes_path(const SlurmCampaign& campaign) { return folder(campaign) + "/nodes"; }

/// Shards of another plan, or cut otherwise, must not be taken for those of this one.
void refuse_other_campaign(const SlurmCampaign& campaign, const SlurmOptions& options) {
  if (std::filesystem::exists(plan_path(campaign)) &&
      read_plan(plan_path(campaign)).campaign() != campaign.plan.campaign())
    throw UsageError(fmt::format("{} holds another campaign, of {}; choose another --out", campaign.out,
                                 plan_path(campaign)));
  std::ifstream file(nodes_path(campaign));
  int nodes = 0, per_node = 1;
  if (!(file >> nodes)) return;
  if (!(file >> per_node)) per_node = 1;  // begun when there was a shard a node
  if (nodes != options.nodes || per_node != options.shards_per_node)
    throw UsageError(
        fmt::format("{} was begun with --nodes {} --shards-per-node {}; go on with as many, or choose "
                    "another --out",
                    campaign.out, nodes, per_node));
}

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
        fmt::format("sbatch failed: {} (the scripts stay; --dry-run prints the commands{})",
                    text.empty() ? "no output" : text,
                    text.find("array") == std::string::npos
                        ? ""
                        : "; fewer --shards-per-node, in another --out, where MaxArraySize is the limit"));
  return last.substr(0, last.find(';'));
}

}  // namespace

std::string task_script(const SlurmCampaign& campaign, const SlurmOptions& options) {
  std::string args = shell_words(campaign.campaign_args);
  if (!args.empty()) args = " " + args;
  return fmt::format(
      R"sh(#!/bin/sh
# One shard of a campaign on one node. Written by mlpwatt campaign --slurm.
set -eu
mlpwatt={program}
plan={plan}
out={out}
home=$out/shards
shards={shards} # {nodes} nodes x {per_node}
shard=$SLURM_ARRAY_TASK_ID

# Work on the node's own disk. The folder is found again when the task is requeued to this node; on another
# node what was copied back is the start.
scratch={scratch}/mlpwatt-$SLURM_ARRAY_JOB_ID-$shard
mkdir -p "$home" "$scratch"
rm -f "$home/ended-$shard"
if [ -s "$home/shard-$shard.h5" ]; then
  cp "$home/shard-$shard.h5" "$scratch/.restored.tmp"
  mv "$scratch/.restored.tmp" "$scratch/campaign-restored.h5"
fi

# USR1 comes before the time limit: the window is finished, copied back, and the task goes on later. TERM comes
# with scancel, a preemption or a requeue: the same, and what happens to the task is Slurm's business.
child= told=
trap 'told=limit; kill -TERM $child 2>/dev/null || true' USR1
trap 'told=stop; kill -TERM $child 2>/dev/null || true' TERM INT

again=0
while :; do
  "$mlpwatt" campaign "$plan" --out "$scratch" --shard "$shard/{nodes}x{per_node}" --resume --copy-to "$home/shard-$shard.h5"{args} &
  child=$!
  if [ -n "$told" ]; then kill -TERM $child 2>/dev/null || true; fi # it came before there was a child
  status=0
  wait $child || status=$?
  while kill -0 $child 2>/dev/null; do status=0; wait $child || status=$?; done # a signal ends wait, too
  # Killed, and not by Slurm's wish (out of memory, an operator): all it had completed is on disk, so it goes
  # on at once. A requeue would wait for minutes.
  if [ $status -lt 128 ] || [ -n "$told" ] || [ $again -ge {kills} ]; then break; fi
  again=$((again + 1))
  echo "shard $shard: ended by signal $((status - 128)), going on"
  sleep 1
done

if [ "$told" = limit ] && [ $status -ge 128 ] && [ "${{SLURM_RESTART_COUNT:-0}}" -lt {requeues} ]; then
  for attempt in 1 2 3 4 5 6; do # a busy controller may refuse
    echo "shard $shard: at the time limit, requeued"
    if scontrol requeue "${{SLURM_ARRAY_JOB_ID}}_$shard"; then sleep 60; fi # until the requeue ends this script
    sleep 5
  done
fi
if [ $status -ge 128 ]; then exit $status; fi

# Only what ended well leaves nothing behind: after a full disk, rows are there that could not be copied.
if [ $status -eq 0 ]; then rm -rf "$scratch"; else echo "shard $shard: status $status; its files stay in $scratch"; fi
# Whoever ends last merges, so that the file is complete also when the merging job came too early: the end of a
# task that is requeued by hand later satisfied it already.
: > "$home/ended-$shard"
if [ "$(ls "$home" | grep -c '^ended-')" -ge "$shards" ]; then
  sh "$out/slurm/merge.sh" >> "$out/slurm/merge.log" 2>&1 || true
fi
exit $status
)sh",
      fmt::arg("program", shell_word(campaign.program)), fmt::arg("plan", shell_word(plan_path(campaign))),
      fmt::arg("out", shell_word(campaign.out)), fmt::arg("shards", options.nodes * options.shards_per_node),
      fmt::arg("nodes", options.nodes), fmt::arg("per_node", options.shards_per_node),
      fmt::arg("scratch",
               options.scratch.empty() ? "${SLURM_TMPDIR:-${TMPDIR:-/tmp}}" : shell_word(options.scratch)),
      fmt::arg("args", args), fmt::arg("kills", kMostKills), fmt::arg("requeues", kMostRequeues));
}

std::string merge_script(const SlurmCampaign& campaign) {
  return fmt::format(
      R"sh(#!/bin/sh
# All shards into one file, and whether every run of the plan is there. Written by mlpwatt campaign --slurm.
set -eu
mlpwatt={}
out={}
exec 9> "$out/slurm/merge.lock"
flock 9 || true # the last task and the merging job may come at the same time
"$mlpwatt" merge "$out/campaign.h5" "$out"/shards/shard-*.h5 --replace
"$mlpwatt" check "$out/campaign.h5" --plan {}
)sh",
      shell_word(campaign.program), shell_word(campaign.out), shell_word(plan_path(campaign)));
}

std::vector<std::string> array_command(const SlurmCampaign& campaign, const SlurmOptions& options) {
  std::vector<std::string> command{
      "sbatch", "--parsable", "--job-name=mlpwatt",
      // tasks start in the order of their numbers, the longest first
      fmt::format("--array=1-{}%{}", options.nodes * options.shards_per_node, options.nodes), "--nodes=1",
      "--exclusive", "--requeue", "--open-mode=append", fmt::format("--signal=B:USR1@{}", kWarning_s),
      "--output=" + folder(campaign) + "/task-%a.log"};
  command.insert(command.end(), options.sbatch_args.begin(), options.sbatch_args.end());
  command.push_back(folder(campaign) + "/task.sh");
  return command;
}

std::vector<std::string> merge_command(const SlurmCampaign& campaign, const SlurmOptions& options,
                                       const std::string& array_job) {
  // afterany: shards that are there are merged even when one failed; check then says what is missing. It may
  // also come before a task that is requeued later: that task then merges again.
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
  refuse_other_campaign(campaign, options);
  if (output_of({"sbatch", "--version"}).second != 0)
    throw std::runtime_error(
        "--slurm: no sbatch on this machine's PATH; submit from a login node, or run shards by hand with "
        "--shard I/N");
  std::filesystem::create_directories(folder(campaign));
  write_durably(plan_path(campaign), plan_text(campaign.plan));
  write_durably(nodes_path(campaign), fmt::format("{} {}\n", options.nodes, options.shards_per_node));
  write_durably(folder(campaign) + "/task.sh", task_script(campaign, options));
  write_durably(folder(campaign) + "/merge.sh", merge_script(campaign));
  Submitted jobs;
  jobs.array_job = job_of(array_command(campaign, options));
  jobs.merge_job = job_of(merge_command(campaign, options, jobs.array_job));
  return jobs;
}

}  // namespace mlpwatt

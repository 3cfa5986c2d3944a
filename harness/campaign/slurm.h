#pragma once
// A campaign as a Slurm job array: one task a shard on a node of its own, working on node-local storage and
// copying back, requeued where it was when its node fails or its time ends, and a job that merges at the end.
// There are several shards a node, the longest first, and the scheduler hands the next one to whichever node
// is free: so predictions need not be right for the nodes to end together (harness/campaign/shard.h).
// Submitting the same again goes on with what the shards have.

#include <string>
#include <vector>

#include "harness/campaign/plan.h"

namespace mlpwatt {

struct SlurmOptions {
  int nodes = 1;                         ///< at work at a time
  int shards_per_node = 1;               ///< tasks in all: nodes * shards_per_node
  std::vector<std::string> sbatch_args;  ///< for both jobs, as typed: "--partition=gpu"
  /// Parent of node-local folders; "" = $SLURM_TMPDIR, else $TMPDIR, else /tmp, of the node.
  std::string scratch;
  bool dry_run = false;
};

/// What the tasks run.
struct SlurmCampaign {
  std::string program;                     ///< absolute
  Plan plan;                               ///< kept as FOLDER/slurm/campaign.plan
  std::string out;                         ///< absolute, on storage that all nodes see
  std::vector<std::string> campaign_args;  ///< to hand on: --counters ...
};

/// The array's script: FOLDER/slurm/task.sh. Every decision at run time is in it, so it can be read and
/// changed.
std::string task_script(const SlurmCampaign& campaign, const SlurmOptions& options);
/// The merging job's script: FOLDER/slurm/merge.sh.
std::string merge_script(const SlurmCampaign& campaign);
/// sbatch's arguments. @param array_job for the merge: the job it waits for
std::vector<std::string> array_command(const SlurmCampaign& campaign, const SlurmOptions& options);
std::vector<std::string> merge_command(const SlurmCampaign& campaign, const SlurmOptions& options,
                                       const std::string& array_job);

struct Submitted {
  std::string array_job, merge_job;
};
/// Writes both scripts and submits both jobs.
/// Errors: UsageError when the folder holds shards of another plan or cut otherwise;
/// std::runtime_error with what sbatch said, or that there is none.
Submitted submit(const SlurmCampaign& campaign, const SlurmOptions& options);

}  // namespace mlpwatt

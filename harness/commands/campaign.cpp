// mlpwatt campaign: runs a plan, here or as a Slurm job array.

#include <fmt/format.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <ostream>

#include "harness/campaign/campaign.h"
#include "harness/campaign/slurm.h"
#include "harness/options.h"

namespace mlpwatt {
namespace {

struct Options {
  CampaignOptions campaign;
  std::string shard, meter_config;
  bool slurm = false;
  SlurmOptions job;
  int shards_per_node = 0;  ///< 0 = kShardsPerNode, or as many as the plan allows
};

/// What each task is called with as well, where it is not the default.
std::vector<std::string> options_to_hand_on(const Options& options) {
  const CampaignOptions &run = options.campaign, defaults;
  std::vector<std::string> words;
  const auto hand_on = [&](const char* name, const auto& value, const auto& usual) {
    if (value != usual) words.insert(words.end(), {name, fmt::format("{}", value)});
  };
  const auto path = [](const std::string& given) {
    return given.empty() ? given : std::filesystem::absolute(given).string();
  };
  hand_on("--counters", run.counters, defaults.counters);
  hand_on("--meters", run.power.meters, defaults.power.meters);
  hand_on("--meter-config", path(options.meter_config), std::string());
  hand_on("--idle-s", run.power.idle_s, defaults.power.idle_s);
  hand_on("--peaks-s", run.peaks_s, defaults.peaks_s);
  hand_on("--data-dir", path(run.data_dir), std::string());
  hand_on("--progress-s", run.progress_every_s, defaults.progress_every_s);
  hand_on("--compact-every", run.compact_every, defaults.compact_every);
  hand_on("--copy-every-s", run.copy_every_s, defaults.copy_every_s);
  return words;
}

/// Under Slurm the same plan, some shards a node.
int submit_campaign(Options& options, Context& context) {
  namespace fs = std::filesystem;
  const CampaignOptions& run = options.campaign;
  if (!options.shard.empty()) throw UsageError("--slurm makes the shards itself: leave --shard out");
  const Plan plan = read_plan(run.plan_path);
  if (options.job.nodes > static_cast<int>(plan.entries.size()))
    throw UsageError(fmt::format("--nodes {} is more than the plan's {} configurations", options.job.nodes,
                                 plan.entries.size()));
  options.job.shards_per_node = options.shards_per_node > 0
                                    ? options.shards_per_node
                                    : shards_per_node(plan.entries.size(), options.job.nodes);
  const std::int64_t shards = std::int64_t{options.job.nodes} * options.job.shards_per_node;
  if (shards > static_cast<std::int64_t>(plan.entries.size()))
    throw UsageError(fmt::format("--nodes {} --shards-per-node {} are more than the plan's {} configurations",
                                 options.job.nodes, options.job.shards_per_node, plan.entries.size()));
  SlurmCampaign campaign{fs::read_symlink("/proc/self/exe").string(), plan, fs::absolute(run.out).string(),
                         options_to_hand_on(options)};
  if (options.job.dry_run) {
    context.out << "# " << campaign.out << "/slurm/task.sh\n"
                << task_script(campaign, options.job) << "\n# " << campaign.out << "/slurm/merge.sh\n"
                << merge_script(campaign) << '\n'
                << fmt::format("{}\n{}\n", fmt::join(array_command(campaign, options.job), " "),
                               fmt::join(merge_command(campaign, options.job, "ARRAY_JOB"), " "));
    return kExitOk;
  }
  const Submitted jobs = submit(campaign, options.job);
  if (run.json) {
    context.out << nlohmann::ordered_json{{"array_job", jobs.array_job},
                                          {"tasks", shards},
                                          {"at_a_time", options.job.nodes},
                                          {"merge_job", jobs.merge_job},
                                          {"file", campaign.out + "/campaign.h5"}}
                       .dump(2)
                << '\n';
    return kExitOk;
  }
  context.out << fmt::format(
      "array job {} ({} tasks, {} at a time), merge job {}; logs in {}/slurm, result {}/campaign.h5\n",
      jobs.array_job, shards, options.job.nodes, jobs.merge_job, campaign.out, campaign.out);
  return kExitOk;
}

int campaign(Options& options, Context& context) {
  if (options.slurm) return submit_campaign(options, context);
  if (options.job.dry_run || options.job.nodes > 1 || options.shards_per_node > 0 ||
      !options.job.sbatch_args.empty())
    throw UsageError("--nodes, --shards-per-node, --sbatch-args and --dry-run belong to --slurm");
  if (!options.shard.empty()) options.campaign.shard = parse_shard(options.shard);
  options.campaign.power.config = read_meter_config(options.meter_config);
  return run_campaign(options.campaign, context);
}

const CommandRegistration registration{
    "campaign", "runs a plan: resumable, crash-proof, in shards, alone or under Slurm",
    [](CLI::App& app) -> Action {
      auto options = std::make_shared<Options>();
      CampaignOptions& run = options->campaign;
      app.add_option("plan", run.plan_path, "plan file (mlpwatt plan --out)")->required();
      app.add_option("--out", run.out, "folder of the campaign; FOLDER/campaign.h5 in the end")->required();
      app.add_option(
          "--shard", options->shard,
          "only part I of N, e.g. 2/8: predicted to take equally long; I/NxK: of the N K of --slurm");
      app.add_flag("--resume", run.resume, "go on with what the folder holds; starts one that holds nothing");
      app.add_flag("--retry", run.retry, "with --resume: also run again what did not end in ok");
      app.add_option("--counters", run.counters, "auto, papi, simulate, none, and/or names")
          ->capture_default_str();
      app.add_option("--data-dir", run.data_dir, "where dataset files are looked for first");
      constexpr double month_s = 30 * 86400;
      add_meter_options(app, run.power, options->meter_config);
      real_number(app.add_option("--idle-s", run.power.idle_s,
                                 "idle time before and after each window; 0 = one for all, renewed every "
                                 "ten minutes")
                      ->capture_default_str(),
                  0, 3600);
      real_number(
          app.add_option(
                 "--peaks-s", run.peaks_s,
                 "time for measuring the peaks that floors are made of, once a thread count and precision; "
                 "0 = no floors")
              ->capture_default_str(),
          0, 3600);
      real_number(app.add_option("--progress-s", run.progress_every_s,
                                 "least time between lines when not on a terminal; 0 = a line a run")
                      ->capture_default_str(),
                  0, month_s);
      whole_number(app.add_option("--compact-every", run.compact_every, "runs that make an HDF5 segment")
                       ->capture_default_str(),
                   1, 1'000'000);
      app.add_option("--copy-to", run.copy_to, "a file that follows the store, e.g. on shared storage");
      real_number(app.add_option("--copy-every-s", run.copy_every_s, "how often it is brought up to date")
                      ->capture_default_str(),
                  0, month_s);
      app.add_flag("--json", run.json, "one JSON object when it has ended");
      const char* group = "Slurm";
      app.add_flag("--slurm", options->slurm, "submit a job array that runs it, and a job that merges")
          ->group(group);
      whole_number(
          app.add_option("--nodes", options->job.nodes, "at work at a time, each with a task of its own")
              ->capture_default_str()
              ->group(group),
          1, 100'000);
      whole_number(app.add_option("--shards-per-node", options->shards_per_node,
                                  fmt::format("tasks of the array a node, each smaller than the one before, "
                                              "so that all nodes end together whatever predictions missed "
                                              "(default {}, or as many as the plan allows)",
                                              kShardsPerNode))
                       ->group(group),
                   1, 1000);
      app.add_option("--sbatch-args", options->job.sbatch_args,
                     "for sbatch, e.g. --sbatch-args='--partition=long --time=24:00:00'")
          ->delimiter(' ')
          ->allow_extra_args(false)
          ->group(group);
      app.add_option("--scratch", options->job.scratch,
                     "parent of node-local folders (default $SLURM_TMPDIR, $TMPDIR or /tmp of the node)")
          ->group(group);
      app.add_flag("--dry-run", options->job.dry_run, "print the scripts and commands, do nothing")
          ->group(group);
      return [options](Context& context) { return campaign(*options, context); };
    }};

}  // namespace
}  // namespace mlpwatt

#pragma once
// Running a plan, or a shard of it: in seeded random order, each run as `mlpwatt run` makes it, each record
// on disk before the next.

#include <string>
#include <vector>

#include "harness/campaign/plan.h"
#include "harness/campaign/shard.h"
#include "harness/program.h"
#include "harness/protocol/order.h"
#include "meters/power_session.h"

namespace mlpwatt {

struct CampaignOptions {
  std::string plan_path, out;
  ShardChoice shard;
  bool resume = false;
  bool retry = false;  ///< run again what did not end in ok
  std::string counters = "auto", data_dir;
  /// By default one idle time serves the sitting, and is renewed every kIdleEvery_s.
  PowerOptions power{.meters = "auto", .config = nullptr, .idle_s = 0};
  double peaks_s = 0.5;  ///< for the peaks that floors are made of, once a number of threads and a precision;
                         ///< 0 = no floors
  double progress_every_s = 60;
  int compact_every = 256;
  std::string copy_to;  ///< a file that follows the store, e.g. on shared storage; "" = none
  double copy_every_s = 60;
  bool json = false;  ///< the closing line as one JSON object
};

/// How old the sitting's idle power may become.
inline constexpr double kIdleEvery_s = 600;

/// One run of a plan.
struct PlannedRun {
  std::int64_t order_index = 0;  ///< in the order of the whole plan, whatever the shard
  std::size_t entry = 0;
  int repetition = 0;
};

/// The shard's runs in the order in which they are run: the plan's order without those of other shards. A
/// configuration's repetitions stay together on one shard.
std::vector<PlannedRun> runs_of_shard(const Plan& plan, const ShardChoice& shard);

/// @return exit status: ok; failure when runs failed or the disk is full; 128 + signal when SIGINT or SIGTERM
/// asked to stop: the window that was running is then finished and on disk.
/// Errors: UsageError, RecordError.
int run_campaign(const CampaignOptions& options, Context& context);

}  // namespace mlpwatt

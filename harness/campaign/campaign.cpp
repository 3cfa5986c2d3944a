#include "harness/campaign/campaign.h"

#include <fmt/format.h>
#include <signal.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <ostream>
#include <set>

#include "harness/campaign/budget.h"
#include "harness/campaign/merge.h"
#include "harness/campaign/status_line.h"
#include "harness/campaign/store.h"
#include "harness/run/run_one.h"
#include "harness/text.h"
#include "kernels/nearest.h"

namespace mlpwatt {
namespace {

volatile sig_atomic_t stop_signal = 0;

/// While it lives, the first SIGINT or SIGTERM is noted; a second one ends the process.
class StopSignals {
 public:
  StopSignals() {
    stop_signal = 0;
    struct sigaction action {};
    action.sa_handler = [](int signal) { stop_signal = signal; };
    action.sa_flags = static_cast<int>(SA_RESTART | SA_RESETHAND);
    sigaction(SIGINT, &action, &before_int_);
    sigaction(SIGTERM, &action, &before_term_);
  }
  ~StopSignals() {
    sigaction(SIGINT, &before_int_, nullptr);
    sigaction(SIGTERM, &before_term_, nullptr);
  }
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

 private:
  struct sigaction before_int_ {
  }, before_term_{};
};

/// The plan's benchmarks by name. Errors: PlanError for one that the catalogue does not have.
std::map<std::string, Benchmark> benchmarks_of(const Plan& plan, const RunOptions& options,
                                               const std::string& plan_path) {
  std::map<std::string, Benchmark> found;
  for (const PlanEntry& entry : plan.entries) found[entry.benchmark];
  for (const Family& family : catalogue()) {
    const auto first = found.lower_bound(family.name + "/");
    if (first == found.end() || !first->first.starts_with(family.name + "/")) continue;
    family.enumerate(options, [&](const Benchmark& benchmark) {
      if (const auto place = found.find(benchmark.name); place != found.end()) place->second = benchmark;
    });
  }
  for (const auto& [name, benchmark] : found) {
    if (!benchmark.name.empty()) continue;
    std::vector<std::string> names;
    for (const Family& family : catalogue())
      family.enumerate(options, [&](const Benchmark& known) { names.push_back(known.name); });
    throw PlanError(plan_path + ": " + unknown_name("benchmark", name, names));
  }
  return found;
}

RunSettings settings_of(const Plan& plan, const CampaignOptions& options, const Context& context) {
  RunSettings settings;
  settings.machine = read_machine();
  settings.protocol = plan.protocol;
  settings.kernel.seed = plan.seed;
  settings.kernel.dataset = {parse_dataset_source(plan.dataset_source), options.data_dir, plan.seed};
  settings.kernel.hierarchy = settings.machine.hierarchy;
  settings.counters = parse_counter_selection(options.counters);
  if (settings.counters.choice == CounterChoice::kSimulate)
    settings.simulate = [](const Benchmark&, const Cost&) { return true; };
  settings.command = context.command_line();
  settings.order_seed = plan.order_seed;
  return settings;
}

std::string resume_command(const Context& context) {
  Context again{context.out, context.err, context.args, false};
  if (std::find(again.args.begin(), again.args.end(), "--resume") == again.args.end())
    again.args.emplace_back("--resume");
  return again.command_line();
}

class Campaign {
 public:
  Campaign(const CampaignOptions& options, Context& context)
      : options_(options),
        context_(context),
        plan_(read_plan(options.plan_path)),
        settings_(settings_of(plan_, options, context)),
        benchmarks_(benchmarks_of(plan_, settings_.kernel, options.plan_path)),
        runs_(runs_of_shard(plan_, options.shard)) {}

  int run() {
    refuse_used_folder();
    Store store(options_.out, plan_, options_.compact_every);
    const std::vector<PlannedRun> left = runs_left(store);
    announce(left);
    StatusLine status(context_.err, context_.terminal, options_.progress_every_s, totals(left));
    const StopSignals signals;
    Clock& clock = system_clock();
    double copied_s = clock.monotonic_s();
    for (const PlannedRun& run : left) {
      if (stop_signal != 0) break;
      const PlanEntry& entry = plan_.entries[run.entry];
      status.begin(entry.benchmark, clock.monotonic_s());
      const Record record = measure(run, clock);
      try {
        store.append(record);
      } catch (const DiskFull& full) {
        status.clear();
        return stopped_for_space(full);
      }
      ++completed_;
      status.end(record, entry.predicted_s, clock.monotonic_s());
      if (!options_.copy_to.empty() && clock.monotonic_s() - copied_s >= options_.copy_every_s) {
        store.copy_to(options_.copy_to);
        copied_s = clock.monotonic_s();
      }
    }
    status.clear();
    try {
      return close(store);
    } catch (const DiskFull& full) {
      return stopped_for_space(full);
    }
  }

 private:
  void refuse_used_folder() const {
    if (options_.resume || !std::filesystem::exists(options_.out)) return;
    const StoreFiles files = store_files(options_.out);
    if (files.hdf5.empty() && files.records.empty()) return;
    throw UsageError(
        fmt::format("{} holds runs already; go on with --resume, or choose another --out", options_.out));
  }

  std::vector<PlannedRun> runs_left(const Store& store) const {
    std::vector<PlannedRun> left;
    for (const PlannedRun& run : runs_) {
      const auto done = store.done().find(run.order_index);
      if (done == store.done().end() || (options_.retry && done->second.status != "ok")) left.push_back(run);
    }
    return left;
  }

  double predicted(const std::vector<PlannedRun>& runs) const {
    double sum_s = 0;
    for (const PlannedRun& run : runs) sum_s += plan_.entries[run.entry].predicted_s;
    return sum_s;
  }

  StatusLine::Totals totals(const std::vector<PlannedRun>& left) const {
    return {static_cast<std::int64_t>(runs_.size()), static_cast<std::int64_t>(runs_.size() - left.size()),
            predicted(left)};
  }

  /// The protocol stands before the first result.
  void announce(const std::vector<PlannedRun>& left) const {
    const ProtocolOptions& protocol = plan_.protocol;
    context_.err << fmt::format(
        "campaign {}: {} of {} runs to do{}, order seed {}, windows of {:g} to {:g} s until the interval is "
        "within +-{:g} %, predicted {}; to {}\n",
        plan_.campaign(), left.size(), runs_.size(),
        options_.shard.count > 1
            ? fmt::format(" (shard {}/{})", options_.shard.index + 1, options_.shard.count)
            : "",
        plan_.order_seed, protocol.window_s, protocol.longest_window_s(), 100 * protocol.precision,
        human_duration(predicted(left)), options_.out);
  }

  Record measure(const PlannedRun& run, Clock& clock) {
    const PlanEntry& entry = plan_.entries[run.entry];
    settings_.kernel.batch = entry.batch;
    settings_.kernel.threads = entry.threads;
    settings_.kernel.isa = entry.isa;
    settings_.kernel.algorithm = entry.algorithm;
    Record record =
        run_one(benchmarks_.at(entry.benchmark), settings_, {run.order_index, run.repetition}, clock);
    record.run.set("campaign", plan_.campaign());
    return record;
  }

  int stopped_for_space(const DiskFull& full) const {
    std::error_code error;
    const auto space = std::filesystem::space(options_.out, error);
    context_.err << fmt::format(
        "mlpwatt: {}; stopped after {} run(s), all of them kept. {} free{}. Make room, then: {}\n",
        full.what(), completed_, error ? "Unknown space" : human_bytes(static_cast<double>(space.available)),
        full.needed_bytes > 0
            ? fmt::format(", at least {} needed", human_bytes(static_cast<double>(full.needed_bytes)))
            : "",
        resume_command(context_));
    return kExitFailure;
  }

  int close(Store& store) const {
    const std::size_t missing =
        static_cast<std::size_t>(std::count_if(runs_.begin(), runs_.end(), [&](const PlannedRun& run) {
          return !store.done().contains(run.order_index);
        }));
    if (missing == 0) store.finish();
    if (!options_.copy_to.empty()) store.copy_to(options_.copy_to);
    if (missing > 0) {
      store.compact();
      context_.err << fmt::format("stopped by {} after {} run(s), {} left. Go on with: {}\n",
                                  stop_signal == SIGINT ? "SIGINT" : "SIGTERM", completed_, missing,
                                  resume_command(context_));
      return 128 + stop_signal;
    }
    std::int64_t failed = 0, flagged = 0;
    for (const auto& [index, done] : store.done()) {
      failed += done.status != "ok";
      flagged += done.flagged;
    }
    context_.out << fmt::format("{}/campaign.h5: {} runs, {} of them flagged, {} failed\n", options_.out,
                                store.done().size(), flagged, failed);
    if (failed == 0) return kExitOk;
    context_.err << fmt::format("{} run(s) did not end in ok (columns status, reason); again: {} --retry\n",
                                failed, resume_command(context_));
    return kExitFailure;
  }

  const CampaignOptions& options_;
  Context& context_;
  Plan plan_;
  RunSettings settings_;
  std::map<std::string, Benchmark> benchmarks_;
  std::vector<PlannedRun> runs_;
  std::int64_t completed_ = 0;
};

}  // namespace

std::vector<PlannedRun> runs_of_shard(const Plan& plan, const ShardChoice& shard) {
  std::vector<double> durations;
  for (const PlanEntry& entry : plan.entries) durations.push_back(entry.predicted_s * plan.repetitions);
  const std::vector<int> shard_of = shard_by_longest_first(durations, shard.count);
  std::vector<PlannedRun> runs;
  std::int64_t index = 0;
  for (const OrderedRun& run : shuffled_order(plan.entries.size(), plan.repetitions, plan.order_seed)) {
    if (shard_of[run.benchmark] == shard.index) runs.push_back({index, run.benchmark, run.repetition});
    ++index;
  }
  return runs;
}

int run_campaign(const CampaignOptions& options, Context& context) {
  return Campaign(options, context).run();
}

}  // namespace mlpwatt

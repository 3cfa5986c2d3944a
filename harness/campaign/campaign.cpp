#include "harness/campaign/campaign.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
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

/// While it lives, SIGINT and SIGTERM are noted. A second SIGINT ends the process; a second SIGTERM does not,
/// for a batch system sends one to the script and to its children, and the script hands its own on.
class StopSignals {
 public:
  StopSignals() {
    stop_signal = 0;
    struct sigaction action {};
    action.sa_handler = [](int signal) { stop_signal = signal; };
    action.sa_flags = SA_RESTART;
    sigaction(SIGTERM, &action, &before_term_);
    action.sa_flags = static_cast<int>(SA_RESTART | SA_RESETHAND);
    sigaction(SIGINT, &action, &before_int_);
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

/// The plan's benchmarks by name. Errors: PlanError for the first one that the catalogue does not have.
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
  for (const PlanEntry& entry : plan.entries) {
    if (!found.at(entry.benchmark).name.empty()) continue;
    std::vector<std::string> names;
    for (const Family& family : catalogue())
      family.enumerate(options, [&](const Benchmark& known) { names.push_back(known.name); });
    throw PlanError(
        fmt::format("{}:{}: {}", plan_path, entry.line, unknown_name("benchmark", entry.benchmark, names)));
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
  settings.energy_target = plan.energy_target;
  if (options.peaks_s > 0)
    settings.peaks = std::make_shared<PeaksOnDemand>(settings.kernel, options.peaks_s, system_clock());
  return settings;
}

/// Of the terminal that standard error is; 0 = it is none.
int columns() {
  winsize size{};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
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
    settings_.power = std::make_shared<PowerSession>(options_.power);  // before anything is made
    Store store(options_.out, plan_, options_.compact_every);
    const std::vector<PlannedRun> left = runs_left(store);
    announce(left);
    StatusLine status(context_.err, context_.terminal, options_.progress_every_s, totals(left), columns(),
                      [this] { return watts_now(); });
    const StopSignals signals;
    Clock& clock = system_clock();
    copied_s_ = clock.monotonic_s();
    try {
      for (const PlannedRun& run : left) {
        if (stop_signal != 0) break;
        look_idle(clock);
        const PlanEntry& entry = plan_.entries[run.entry];
        status.begin(entry.benchmark, clock.monotonic_s());
        const Record record = measure(run, clock);
        store.append(record);
        ++completed_;
        status.end(record, entry.predicted_s, clock.monotonic_s());
        if (clock.monotonic_s() - copied_s_ >= options_.copy_every_s) copy(store, clock);
      }
      status.clear();
      return close(store, clock);
    } catch (const DiskFull& full) {
      status.clear();
      copy(store, clock);  // what follows the store is elsewhere, and should not lack what the store has
      return stopped_for_space(full, store);
    }
  }

 private:
  std::string watts_now() const {
    const std::optional<PowerNow> now = settings_.power->power_now();
    return now ? watts_text(now->watts, now->provenance) : "";
  }

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
        options_.shard.shards() > 1 ? fmt::format(" (shard {})", options_.shard.text()) : "",
        plan_.order_seed, protocol.window_s, protocol.longest_window_s(), 100 * protocol.precision,
        human_duration(predicted(left)), options_.out);
  }

  /// The sitting's idle power, when there is none or it is old.
  void look_idle(Clock& clock) {
    if (!settings_.power->active() || settings_.power->idle_s() > 0) return;
    if (idle_at_s_ >= 0 && clock.monotonic_s() - idle_at_s_ < kIdleEvery_s) return;
    settings_.power->forget_idle();
    settings_.power->be_idle_once();
    idle_at_s_ = clock.monotonic_s();
  }

  /// Brings the copy up to date. One that cannot be written stops no campaign: its store has everything.
  void copy(const Store& store, Clock& clock) {
    if (options_.copy_to.empty()) return;
    copied_s_ = clock.monotonic_s();
    try {
      store.copy_to(options_.copy_to);
      copy_failed_.clear();
    } catch (const RecordError& error) {
      if (copy_failed_ != error.what())
        context_.err << fmt::format("the copy is behind, and tried again: {}\n", error.what()) << std::flush;
      copy_failed_ = error.what();
    }
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

  int stopped_for_space(const DiskFull& full, const Store& store) const {
    std::error_code error;
    const auto space = std::filesystem::space(options_.out, error);
    const auto bytes = [](auto count) { return human_bytes(static_cast<double>(count)); };
    std::string needed;
    if (full.needed_bytes > 0) needed += fmt::format(", {} needed for this file", bytes(full.needed_bytes));
    // What is left to do, and one copy of everything when the parts become one file.
    const std::int64_t stored = store.bytes(), done = static_cast<std::int64_t>(store.done().size()),
                       runs = static_cast<std::int64_t>(runs_.size());
    if (done > 0)
      needed += fmt::format(", about {} to finish",
                            bytes(stored / done * (std::max(runs - done, std::int64_t{0}) + runs)));
    context_.err << fmt::format(
        "mlpwatt: {}; stopped after {} run(s), all of them kept. {} free{}. Make room, then: {}\n",
        full.what(), completed_, error ? "Unknown space" : bytes(space.available), needed,
        resume_command(context_));
    return kExitFailure;
  }

  int close(Store& store, Clock& clock) {
    const std::size_t missing =
        static_cast<std::size_t>(std::count_if(runs_.begin(), runs_.end(), [&](const PlannedRun& run) {
          return !store.done().contains(run.order_index);
        }));
    if (missing == 0) store.finish();
    copy(store, clock);
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
    if (options_.json)
      context_.out << nlohmann::ordered_json{{"file", options_.out + "/campaign.h5"},
                                             {"campaign", plan_.campaign()},
                                             {"runs", store.done().size()},
                                             {"flagged", flagged},
                                             {"failed", failed}}
                          .dump(2)
                   << '\n';
    else
      context_.out << fmt::format("{}/campaign.h5: {} runs, {} of them flagged, {} failed\n", options_.out,
                                  store.done().size(), flagged, failed);
    if (!copy_failed_.empty()) {
      context_.err << fmt::format("{} is not up to date; again: {}\n", options_.copy_to,
                                  resume_command(context_));
      return kExitFailure;
    }
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
  double copied_s_ = 0, idle_at_s_ = -1;
  std::string copy_failed_;  ///< what the last attempt failed for; empty = it did not
};

}  // namespace

std::vector<PlannedRun> runs_of_shard(const Plan& plan, const ShardChoice& shard) {
  std::vector<double> durations;
  for (const PlanEntry& entry : plan.entries) durations.push_back(entry.predicted_s * plan.repetitions);
  const std::vector<int> shard_of = shard_by_longest_first(durations, shard.nodes, shard.per_node);
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

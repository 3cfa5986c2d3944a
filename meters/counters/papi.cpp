// The PAPI source: presets and native events, one event set per thread, counted over the window and summed.
//
// How counting reaches the kernel's threads, whoever made them: where the kernel lets PAPI attach, the
// calling thread opens one event set on each entry of /proc/self/task. PAPI 7 tests that permission with a
// hardware event, so on a machine without PMU attaching fails even for software events; there each thread of
// the caller's OpenMP team opens its own. `threads_counted` of `threads_total` says what was reached.

#include "meters/counters/papi.h"

#include <omp.h>
#include <papi.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <map>

#include "meters/counters/papi_set.h"
#include "meters/counters/threads.h"

namespace mlpwatt {
namespace {

/// Events of one component that run together. Only perf_event counts per thread; the others (uncore, sde)
/// count for the whole machine or process and are opened once.
struct Group {
  int component = -1;
  bool per_thread = false;
  std::vector<std::string> events;
};

/// The threads whose work is counted.
std::vector<TaskThread> counted_threads() {
  std::vector<TaskThread> threads = task_threads();
  std::erase_if(threads, [](const TaskThread& thread) { return thread.meter; });
  return threads;
}

/// Why there is no count where not every thread could be opened. Each event of each thread takes a file, and
/// a page of locked memory where PAPI reads registers directly.
std::string lacks_threads(const std::string& error, std::size_t opened, std::size_t threads) {
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  return error + "; only " + std::to_string(opened) + " of " + std::to_string(threads) +
         " threads could be opened; remedy: a higher ulimit -n (" + std::to_string(files.rlim_cur) +
         " now) or sysctl kernel.perf_event_mlock_kb, or fewer --counters";
}

class PapiSource : public CounterSource {
 public:
  PapiSource(std::vector<PapiRecipe> recipes, PapiReach reach)
      : recipes_(std::move(recipes)), reach_(reach) {}

  std::string name() const override { return "papi"; }
  Provenance provenance() const override { return Provenance::kMeasured; }
  bool in_window() const override { return true; }

  CounterStatus probe() override {
    const PapiLibrary& library = PapiLibrary::get();
    CounterStatus status;
    status.detail = library.detail;
    status.hardware = library.hardware;
    if (library.not_permitted && !library.hardware) {
      status.state = CounterStatus::State::kNotPermitted;
      status.remedy = "sysctl kernel.perf_event_paranoid=1 (or lower), or give the program CAP_PERFMON";
    } else if (library.usable) {
      status.state = CounterStatus::State::kFound;
    }
    if (!library.hardware && status.remedy.empty())
      status.remedy = "a machine that shows its PMU (bare metal, or a VM with vPMU), or --counters simulate";
    return status;
  }

  CounterPlan prepare(const CounterRequest& request) override {
    line_bytes_ = request.caches.empty() ? 64 : request.caches[0].line_bytes;
    threads_ = request.threads > 0 ? request.threads : omp_get_max_threads();
    chosen_.clear();
    std::map<std::string, std::string> refusals;
    std::vector<std::string> candidates;
    for (const std::string& wanted : request.names) {
      const std::string reason = choose(wanted);
      if (reason.empty())
        candidates.push_back(wanted);
      else
        refusals[wanted] = reason;
    }
    plan_ = plan_passes(candidates, [&](const std::vector<std::string>& names) { return fits(names); });
    for (const auto& refusal : plan_.refused) chosen_.erase(refusal.name);
    for (const auto& [wanted, reason] : refusals) plan_.refused.push_back({wanted, reason});
    attach_ = reach_ == PapiReach::kAttach || (reach_ == PapiReach::kAuto && can_attach());
    return plan_;
  }

  void start(int pass) override {
    pass_ = pass;
    failure_.clear();
    groups_ = groups_of(plan_.passes.at(static_cast<std::size_t>(pass)));
    sets_.clear();
    once_.clear();
    counted_ = 0;
    team_size_ = 0;
    for (const Group& group : groups_) {
      if (group.per_thread) continue;
      once_.push_back(std::make_unique<PapiSet>());
      note(once_.back()->open(group.component, group.events, 0));
      if (failure_.empty()) note(once_.back()->start());
    }
    for (const Group& group : groups_) {
      if (!group.per_thread) continue;
      if (attach_)
        start_attached(group);
      else
        start_in_team(group);
    }
  }

  std::vector<CounterValue> stop(std::int64_t steps) override {
    std::map<std::string, long long> counts;
    const auto add = [&counts](const Group& group, const std::vector<long long>& read) {
      for (std::size_t i = 0; i < read.size(); ++i) counts[group.events[i]] += read[i];
    };
    std::vector<long long> read;
    for (const Group& group : groups_) {
      if (!group.per_thread || !failure_.empty()) continue;
      if (attach_) {
        for (auto& set : sets_) {
          note(set->stop(read));
          if (failure_.empty()) add(group, read);
        }
      } else {
#pragma omp parallel num_threads(team_size_) private(read)
        {
          const auto self = static_cast<std::size_t>(omp_get_thread_num());
          std::string error = "the OpenMP team changed within the window";
          // An event set may only be stopped by the thread that it counts.
          if (self < owners_.size() && owners_[self] == syscall(SYS_gettid)) error = sets_[self]->stop(read);
#pragma omp critical(mlpwatt_papi)
          {
            note(error);
            if (error.empty()) add(group, read);
          }
        }
      }
    }
    std::size_t once = 0;
    for (const Group& group : groups_) {
      if (group.per_thread || !failure_.empty()) continue;
      note(once_[once++]->stop(read));
      if (failure_.empty()) add(group, read);
    }
    sets_.clear();
    once_.clear();
    return values(counts, steps);
  }

 private:
  void note(const std::string& error) {
    if (failure_.empty()) failure_ = error;
  }

  /// Picks the first recipe of `wanted` that can be counted here. @return "" or why none can.
  std::string choose(const std::string& wanted) {
    std::vector<PapiRecipe> ways;
    for (const PapiRecipe& recipe : recipes_)
      if (recipe.name == wanted) ways.push_back(recipe);
    if (find_counter(wanted) == nullptr) ways.push_back({wanted, {wanted}});
    std::string reasons = ways.empty() ? "no PAPI event for it" : "";
    for (const PapiRecipe& way : ways) {
      std::string reason;
      for (const std::string& event : way.events) {
        if (PapiLibrary::component_of(event, reason) < 0) break;
        const bool in_kernel = event == "perf::CONTEXT-SWITCHES" || event == "perf::CPU-MIGRATIONS";
        if (in_kernel && !PapiLibrary::kernel_events_permitted()) {
          reason = event + ": not permitted (it would read 0); remedy: sysctl kernel.perf_event_paranoid=1";
          break;
        }
      }
      if (reason.empty()) {
        chosen_[wanted] = way;
        if (fits({wanted})) return "";
        reason = way.events[0] + ": " + last_refusal_;
        chosen_.erase(wanted);
      }
      reasons += (reasons.empty() ? "" : ", ") + reason;
    }
    return reasons;
  }

  std::vector<Group> groups_of(const std::vector<std::string>& names) const {
    std::vector<Group> groups;
    for (const std::string& wanted : names) {
      for (const std::string& event : chosen_.at(wanted).events) {
        std::string reason;
        const int component = PapiLibrary::component_of(event, reason);
        auto group = std::find_if(groups.begin(), groups.end(),
                                  [&](const Group& g) { return g.component == component; });
        if (group == groups.end()) {
          const PAPI_component_info_t* info = PAPI_get_component_info(component);
          groups.push_back({component, info != nullptr && std::string(info->name) == "perf_event", {}});
          group = groups.end() - 1;
        }
        if (std::find(group->events.begin(), group->events.end(), event) == group->events.end())
          group->events.push_back(event);
      }
    }
    return groups;
  }

  /// Whether these run together: really opened and started, since the register count alone proves nothing.
  bool fits(const std::vector<std::string>& names) {
    for (const Group& group : groups_of(names)) {
      PapiSet set;
      std::vector<long long> unused;
      last_refusal_ = set.open(group.component, group.events, 0);
      if (last_refusal_.empty()) last_refusal_ = set.start();
      if (last_refusal_.empty()) last_refusal_ = set.stop(unused);
      if (!last_refusal_.empty()) return false;
    }
    return true;
  }

  bool can_attach() const {
    for (const auto& pass : plan_.passes)
      for (const Group& group : groups_of(pass)) {
        if (!group.per_thread) continue;
        PapiSet set;
        return set.open(group.component, group.events, static_cast<int>(syscall(SYS_gettid))).empty();
      }
    return false;
  }

  void start_attached(const Group& group) {
    const std::vector<TaskThread> threads = counted_threads();
    for (const TaskThread& thread : threads) {
      auto set = std::make_unique<PapiSet>();
      std::string error = set->open(group.component, group.events, thread.id);
      if (error.empty()) error = set->start();
      if (error.empty()) {
        sets_.push_back(std::move(set));
      } else if (!thread_has_ended(thread.id)) {
        // A sum that lacks threads looks like any other: rather none, and the files back for the window.
        note(lacks_threads(error, sets_.size(), threads.size()));
        sets_.clear();
        break;
      }
    }
    counted_ = static_cast<int>(sets_.size());
    if (sets_.empty()) note("the process has no threads to count");
  }

  void start_in_team(const Group& group) {
    sets_.resize(static_cast<std::size_t>(threads_));
    owners_.assign(static_cast<std::size_t>(threads_), 0);
    for (auto& set : sets_) set = std::make_unique<PapiSet>();
#pragma omp parallel num_threads(threads_)
    {
      const auto self = static_cast<std::size_t>(omp_get_thread_num());
#pragma omp single
      team_size_ = omp_get_num_threads();
      PAPI_register_thread();
      std::string error = sets_[self]->open(group.component, group.events, 0);
      owners_[self] = syscall(SYS_gettid);
      if (error.empty()) error = sets_[self]->start();
#pragma omp critical(mlpwatt_papi)
      note(error);
    }
    counted_ = team_size_;
  }

  std::vector<CounterValue> values(const std::map<std::string, long long>& counts, std::int64_t steps) const {
    const auto total = static_cast<int>(counted_threads().size());
    std::vector<CounterValue> result;
    for (const std::string& wanted : plan_.passes[static_cast<std::size_t>(pass_)]) {
      const PapiRecipe& recipe = chosen_.at(wanted);
      CounterValue value;
      value.name = wanted;
      value.unit = find_counter(wanted) != nullptr ? find_counter(wanted)->unit : "1";
      value.source = name();
      value.steps = steps;
      value.threads_counted = counted_;
      value.threads_total = std::max(total, counted_);
      value.reason = failure_;
      double count = 0;
      for (const std::string& event : recipe.events) {
        value.event += (value.event.empty() ? "" : "+") + event;
        if (const auto found = counts.find(event); found != counts.end())
          count += static_cast<double>(found->second);
      }
      if (recipe.times_line) {
        count *= line_bytes_;
        value.event = "(" + value.event + ") x line of " + std::to_string(line_bytes_) + " B";
      }
      if (failure_.empty()) value.value = count * recipe.factor;
      result.push_back(std::move(value));
    }
    return result;
  }

  std::vector<PapiRecipe> recipes_;
  PapiReach reach_;
  std::map<std::string, PapiRecipe> chosen_;
  CounterPlan plan_;
  int line_bytes_ = 64, threads_ = 1, pass_ = 0, counted_ = 0, team_size_ = 0;
  bool attach_ = false;
  std::string failure_, last_refusal_;
  std::vector<Group> groups_;
  std::vector<std::unique_ptr<PapiSet>> sets_, once_;
  std::vector<long> owners_;
};

const CounterSourceRegistration registration{"papi", 0, [] { return make_papi_source(); }};

}  // namespace

std::unique_ptr<CounterSource> make_papi_source(std::vector<PapiRecipe> recipes, PapiReach reach) {
  return std::make_unique<PapiSource>(std::move(recipes), reach);
}

}  // namespace mlpwatt

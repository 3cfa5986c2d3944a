#include "meters/counters/counter_source.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace mlpwatt {

std::optional<double> CounterValue::per_step() const {
  if (!value || steps <= 0) return std::nullopt;
  if (share) return value;
  return *value / static_cast<double>(steps);
}

std::string to_string(CounterStatus::State state) {
  switch (state) {
    case CounterStatus::State::kFound:
      return "found";
    case CounterStatus::State::kAbsent:
      return "absent";
    case CounterStatus::State::kNotPermitted:
      return "no permission";
    case CounterStatus::State::kNotCompiledIn:
      return "not compiled in";
  }
  return "unknown";
}

CounterPlan plan_passes(const std::vector<std::string>& names,
                        const std::function<bool(const std::vector<std::string>&)>& fits) {
  CounterPlan plan;
  for (const std::string& name : names) {
    const auto takes = [&](const std::vector<std::string>& pass) {
      std::vector<std::string> longer = pass;
      longer.push_back(name);
      return fits(longer);
    };
    if (const auto pass = std::find_if(plan.passes.begin(), plan.passes.end(), takes);
        pass != plan.passes.end())
      pass->push_back(name);
    else if (fits({name}))
      plan.passes.push_back({name});
    else
      plan.refused.push_back({name, "cannot be counted even alone"});
  }
  return plan;
}

namespace {
std::vector<CounterSourceEntry>& registered() {
  static std::vector<CounterSourceEntry> entries;
  return entries;
}
}  // namespace

const std::vector<CounterSourceEntry>& counter_sources() { return registered(); }

CounterSourceRegistration::CounterSourceRegistration(std::string name, int rank,
                                                     std::function<std::unique_ptr<CounterSource>()> make) {
  auto& entries = registered();
  const auto after =
      std::upper_bound(entries.begin(), entries.end(), rank,
                       [](int wanted, const CounterSourceEntry& entry) { return wanted < entry.rank; });
  entries.insert(after, {std::move(name), rank, std::move(make)});
}

std::vector<std::unique_ptr<CounterSource>> make_counter_sources(CounterChoice choice) {
  std::vector<std::unique_ptr<CounterSource>> sources;
  if (choice == CounterChoice::kNone) return sources;
  bool hardware = false;
  for (const CounterSourceEntry& entry : counter_sources()) {
    auto source = entry.make();
    const bool simulates = source->provenance() == Provenance::kSimulated;
    // Only what counts the processor makes simulating its caches superfluous.
    bool counts_hardware = false;
    if (!simulates && source->serves("cpu")) {
      const CounterStatus status = source->probe();
      counts_hardware = status.hardware && status.state == CounterStatus::State::kFound;
    }
    // A name must not be simulated in one row and measured in the next because some event was busy:
    // where there is a PMU, `auto` never simulates.
    if (simulates && (choice == CounterChoice::kPapi || (choice == CounterChoice::kAuto && hardware)))
      continue;
    if (!simulates && choice == CounterChoice::kSimulate && (entry.name == "papi" || !source->serves("cpu")))
      continue;
    hardware = hardware || counts_hardware;
    sources.push_back(std::move(source));
  }
  return sources;
}

struct CounterSession::Member {
  std::unique_ptr<CounterSource> source;
  CounterPlan plan;

  int passes() const { return static_cast<int>(plan.passes.size()); }
  /// Pass of the session in which its own first one comes.
  int first_pass() const { return source->apart() ? 1 : 0; }
  /// Whether it counts in this pass of the session.
  bool counts_in(int pass) const {
    return source->in_window() && pass >= first_pass() && pass < first_pass() + passes();
  }
};

CounterSession::CounterSession(const CounterSelection& selection, CounterRequest request)
    : CounterSession(make_counter_sources(selection.choice),
                     (request.names = selection.choice == CounterChoice::kNone ? std::vector<std::string>{}
                                                                               : selection.names,
                      std::move(request))) {}

CounterSession::CounterSession(std::vector<std::unique_ptr<CounterSource>> sources, CounterRequest request) {
  for (auto& source : sources) members_.push_back({std::move(source), {}});
  deal(std::move(request));
}

CounterSession::~CounterSession() = default;

void CounterSession::deal(CounterRequest request) {
  names_ = request.names;
  std::vector<std::string> open = request.names;
  for (const std::string& name : names_) {
    CounterValue value;
    value.name = name;
    const CounterName* known = find_counter(name);
    value.unit = known != nullptr ? known->unit : "1";
    values_.push_back(std::move(value));
  }
  for (Member& member : members_) {
    if (open.empty()) break;
    if (!member.source->serves(request.backend)) continue;
    request.names = open;
    open.clear();
    const CounterStatus status = member.source->probe();
    if (status.state == CounterStatus::State::kFound) {
      member.plan = member.source->prepare(request);
    } else {
      const std::string reason = to_string(status.state) + ": " + status.detail +
                                 (status.remedy.empty() ? "" : "; remedy: " + status.remedy);
      for (const std::string& name : request.names) member.plan.refused.push_back({name, reason});
    }
    for (const auto& [name, reason] : member.plan.refused) {
      open.push_back(name);
      auto value = std::find_if(values_.begin(), values_.end(),
                                [&, &wanted = name](const CounterValue& v) { return v.name == wanted; });
      if (value == values_.end()) continue;
      value->reason += (value->reason.empty() ? "" : " | ") + member.source->name() + ": " + reason;
    }
    if (member.source->in_window()) passes_ = std::max(passes_, member.first_pass() + member.passes());
  }
  const bool any = std::any_of(members_.begin(), members_.end(),
                               [&](const Member& member) { return member.source->serves(request.backend); });
  for (CounterValue& value : values_)
    if (value.reason.empty() && !any)
      value.reason =
          members_.empty() ? "no counter source was chosen" : "no counter source for the " + request.backend;
}

int CounterSession::passes() const { return passes_; }

bool CounterSession::has_aside() const {
  return std::any_of(members_.begin(), members_.end(), [](const Member& member) {
    return !member.source->in_window() && !member.plan.passes.empty();
  });
}

bool CounterSession::apart_only(int pass) const {
  return pass > 0 && std::none_of(members_.begin(), members_.end(), [pass](const Member& member) {
           return !member.source->apart() && member.counts_in(pass);
         });
}

void CounterSession::start_all(int pass) {
  for (Member& member : members_)
    if (member.counts_in(pass)) member.source->start(pass - member.first_pass());
}

std::vector<CounterValue> CounterSession::stop_all(int pass, std::int64_t steps) {
  std::vector<CounterValue> counted;
  // Reverse order of start, so that no source counts the starting and stopping of one asked later.
  for (auto member = members_.rbegin(); member != members_.rend(); ++member)
    if (member->counts_in(pass))
      for (CounterValue& value : member->source->stop(steps)) {
        value.pass = pass;
        value.passes = member->first_pass() + member->passes();
        counted.push_back(std::move(value));
      }
  return counted;
}

void CounterSession::start(int pass) {
  current_ = pass;
  empty_bracket_.clear();
  const bool profiled = std::any_of(members_.begin(), members_.end(), [pass](const Member& member) {
    return member.source->apart() && member.counts_in(pass);
  });
  // the first one maps pages and fills caches that the second finds there
  for (int again = 0; again < 2 && !profiled; ++again) {
    start_all(pass);
    empty_bracket_ = stop_all(pass, 0);
  }
  start_all(pass);
}

namespace {
void set_uncertainty(CounterValue& value, const std::vector<CounterValue>& empty_bracket) {
  if (!value.value || value.share) return;
  const auto empty = std::find_if(empty_bracket.begin(), empty_bracket.end(),
                                  [&](const CounterValue& v) { return v.name == value.name; });
  if (empty == empty_bracket.end() || !empty->value) return;
  value.standard_uncertainty = std::abs(*empty->value) / std::sqrt(3.0);
}

void take(std::vector<CounterValue>& values, std::vector<CounterValue> counted) {
  for (CounterValue& fresh : counted) {
    const auto slot = std::find_if(values.begin(), values.end(),
                                   [&](const CounterValue& v) { return v.name == fresh.name; });
    if (slot != values.end()) *slot = std::move(fresh);
  }
}
}  // namespace

void CounterSession::stop(std::int64_t steps) {
  if (current_ < 0) return;
  std::vector<CounterValue> counted = stop_all(current_, steps);
  for (CounterValue& value : counted) set_uncertainty(value, empty_bracket_);
  take(values_, std::move(counted));
  current_ = -1;
}

void CounterSession::count_aside() {
  for (Member& member : members_) {
    if (member.source->in_window()) continue;
    const int passes = static_cast<int>(member.plan.passes.size());
    for (int pass = 0; pass < passes; ++pass) {
      member.source->start(pass);
      std::vector<CounterValue> counted = member.source->stop(0);
      for (CounterValue& value : counted) value.pass = pass, value.passes = passes;
      take(values_, std::move(counted));
    }
  }
}

std::vector<CounterValue> CounterSession::values() const {
  std::vector<CounterValue> result = values_;
  for (CounterValue& value : result)
    if (!value.value && value.reason.empty()) value.reason = "not counted in this run";
  return result;
}

}  // namespace mlpwatt

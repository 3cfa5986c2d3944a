// Software counters from the kernel's own accounting: they need no permission and no PMU, and they cover
// every thread of the process, also those that end within the window. Asked after PAPI, for what PAPI has not
// (its perf_event component is off altogether on a processor its library does not know).

#include <sys/resource.h>
#include <time.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <sstream>

#include "meters/counters/counter_source.h"
#include "meters/counters/threads.h"

namespace mlpwatt {
namespace {

const std::map<std::string, const char*>& events() {
  static const std::map<std::string, const char*> table{
      {"page_faults", "getrusage ru_minflt+ru_majflt"},
      {"context_switches", "getrusage ru_nvcsw+ru_nivcsw"},
      {"migrations", "/proc/self/task/*/sched se.nr_migrations"},
      {"task_clock_s", "CLOCK_PROCESS_CPUTIME_ID"},
  };
  return table;
}

/// The number after the ':' of a line that starts with `key`; false when there is none.
bool read_field(const std::string& path, const std::string& key, double& value) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (line.rfind(key, 0) != 0) continue;
    const std::size_t colon = line.find(':');
    std::istringstream text(colon == std::string::npos ? "" : line.substr(colon + 1));
    return static_cast<bool>(text >> value);
  }
  return false;
}

/// What one thread's own accounting says, for the measuring threads that are subtracted.
bool read_thread(int id, const std::string& name, double& value) {
  const std::string folder = "/proc/self/task/" + std::to_string(id);
  if (name == "migrations") return read_field(folder + "/sched", "se.nr_migrations", value);
  if (name == "context_switches") {
    double forced = 0;
    const bool got = read_field(folder + "/status", "voluntary_ctxt_switches", value) &&
                     read_field(folder + "/status", "nonvoluntary_ctxt_switches", forced);
    value += forced;
    return got;
  }
  if (name == "task_clock_s") {
    std::ifstream file(folder + "/schedstat");
    if (!(file >> value)) return false;
    value *= 1e-9;
    return true;
  }
  // stat: pid (name) state ppid pgrp session tty tpgid flags minflt cminflt majflt; the name may hold
  // anything
  std::ifstream file(folder + "/stat");
  std::string line;
  if (!std::getline(file, line)) return false;
  const std::size_t after = line.rfind(')');
  if (after == std::string::npos) return false;
  std::istringstream text(line.substr(after + 1));
  std::string word;
  for (int i = 0; i < 7; ++i) text >> word;
  double minor = 0, children = 0, major = 0;
  if (!(text >> minor >> children >> major)) return false;
  value = minor + major;
  return true;
}

bool read_process(const std::string& name, double& value) {
  if (name == "migrations") {
    double sum = 0;
    for (const TaskThread& thread : task_threads()) {
      double one = 0;
      if (!read_thread(thread.id, name, one)) return false;
      sum += one;
    }
    value = sum;
    return true;
  }
  if (name == "task_clock_s") {
    timespec now{};
    if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now) != 0) return false;
    value = static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
    return true;
  }
  rusage usage{};
  if (getrusage(RUSAGE_SELF, &usage) != 0) return false;
  value = name == "page_faults" ? static_cast<double>(usage.ru_minflt + usage.ru_majflt)
                                : static_cast<double>(usage.ru_nvcsw + usage.ru_nivcsw);
  return true;
}

class OperatingSystemSource : public CounterSource {
 public:
  std::string name() const override { return "os"; }
  Provenance provenance() const override { return Provenance::kMeasured; }
  bool in_window() const override { return true; }
  bool serves(const std::string&) const override { return true; }  // the host has its part in every kernel
  CounterStatus probe() override {
    return {CounterStatus::State::kFound, "software counters of this process (getrusage, /proc/self/task)",
            "", false};
  }

  CounterPlan prepare(const CounterRequest& request) override {
    CounterPlan plan;
    names_.clear();
    for (const std::string& wanted : request.names) {
      double value = 0;
      if (events().count(wanted) == 0)
        plan.refused.push_back({wanted, "not a software counter"});
      else if (!read_process(wanted, value))
        plan.refused.push_back({wanted, std::string("the kernel does not give ") + events().at(wanted)});
      else
        names_.push_back(wanted);
    }
    if (!names_.empty()) plan.passes.push_back(names_);
    return plan;
  }

  void start(int) override { before_ = read_all(); }

  std::vector<CounterValue> stop(std::int64_t steps) override {
    const std::vector<Reading> after = read_all();
    const auto threads = task_threads();
    const auto counted = static_cast<int>(
        std::count_if(threads.begin(), threads.end(), [](const TaskThread& t) { return !t.meter; }));
    std::vector<CounterValue> values;
    for (std::size_t i = 0; i < names_.size(); ++i) {
      CounterValue value;
      value.name = names_[i];
      value.unit = find_counter(value.name)->unit;
      value.source = name();
      value.event = events().at(value.name);
      value.steps = steps;
      value.threads_counted = value.threads_total = counted;
      if (!before_[i].got || !after[i].got) {
        value.reason = "the kernel stopped giving " + value.event;
      } else {
        double count = after[i].process - before_[i].process;
        // A measuring thread that came or went within the window keeps its share: only whole ones are taken
        // off.
        for (const auto& [id, end] : after[i].meters)
          if (const auto begin = before_[i].meters.find(id); begin != before_[i].meters.end())
            count -= end - begin->second;
        value.value = std::max(count, 0.0);  // the two accounts of a running thread differ by a clock tick
      }
      values.push_back(std::move(value));
    }
    return values;
  }

 private:
  struct Reading {
    bool got = false;
    double process = 0;
    std::map<int, double> meters;
  };

  std::vector<Reading> read_all() const {
    std::vector<Reading> readings;
    const auto threads = task_threads();
    for (const std::string& wanted : names_) {
      Reading reading;
      for (const TaskThread& thread : threads) {
        double value = 0;
        if (thread.meter && read_thread(thread.id, wanted, value)) reading.meters[thread.id] = value;
      }
      reading.got = read_process(wanted, reading.process);
      readings.push_back(std::move(reading));
    }
    return readings;
  }

  std::vector<std::string> names_;
  std::vector<Reading> before_;
};

const CounterSourceRegistration registration{"os", 10,
                                             [] { return std::make_unique<OperatingSystemSource>(); }};

}  // namespace
}  // namespace mlpwatt

// Simulated counters: the same steps run under valgrind's callgrind tool with this machine's cache geometry.
// Callgrind simulates two levels, so three levels take two runs: both have the machine's L1, one has its L2
// as last level, the other its L3. A last level sees the stream of L1 misses in both. The replacement is LRU,
// there is no prefetcher, and all threads would share one simulated cache, hence one thread.

#include "meters/counters/simulated.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <sstream>
#include <stdexcept>

#include "meters/counters/child_process.h"

namespace mlpwatt {

CacheGeometry nearest_simulable(const CacheGeometry& wanted) {
  CacheGeometry best = wanted;
  best.line_bytes = static_cast<int>(std::bit_ceil(static_cast<unsigned>(std::max(wanted.line_bytes, 16))));
  if (wanted.capacity_bytes < best.line_bytes)
    throw std::invalid_argument("cache " + wanted.level + " of " + std::to_string(wanted.capacity_bytes) +
                                " bytes is smaller than one line");
  const int ways = wanted.ways > 0 ? wanted.ways : 8;
  double least = std::numeric_limits<double>::infinity();
  for (std::int64_t sets = 1; sets * best.line_bytes <= wanted.capacity_bytes; sets *= 2) {
    const double exact =
        static_cast<double>(wanted.capacity_bytes) / static_cast<double>(sets * best.line_bytes);
    const auto candidate = static_cast<std::int64_t>(std::llround(exact));
    const bool close = 2 * candidate >= ways && candidate <= 2 * static_cast<std::int64_t>(ways);
    const std::int64_t capacity = sets * best.line_bytes * candidate;
    // Capacity decides what fits; the ways only break ties. A count of ways far from the real one is a last
    // resort (a tiny cache that cannot have that many).
    const double distance =
        std::abs(static_cast<double>(capacity - wanted.capacity_bytes)) +
        std::abs(static_cast<double>(candidate - ways)) / (4.0 * static_cast<double>(candidate + ways)) +
        (close ? 0 : static_cast<double>(wanted.capacity_bytes));
    if (distance < least) {
      least = distance;
      best.capacity_bytes = capacity;
      best.ways = static_cast<int>(candidate);
    }
  }
  return best;
}

std::string geometry_text(const CacheGeometry& geometry) {
  return std::to_string(geometry.capacity_bytes) + "," + std::to_string(geometry.ways) + "," +
         std::to_string(geometry.line_bytes);
}

std::map<std::string, std::int64_t> parse_callgrind_totals(std::istream& dump) {
  std::vector<std::string> events;
  std::vector<std::int64_t> totals;
  bool found = false;
  for (std::string line; std::getline(dump, line);) {
    std::istringstream words(line);
    std::string key;
    words >> key;
    if (key == "events:") {
      events.clear();
      for (std::string event; words >> event;) events.push_back(event);
    } else if (key == "totals:") {
      found = true;
      totals.clear();
      for (std::int64_t total = 0; words >> total;) totals.push_back(total);
    }
  }
  if (events.empty() || !found) throw std::runtime_error("callgrind wrote no totals");
  // Trailing zeros are left out of the file.
  if (totals.size() > events.size()) throw std::runtime_error("callgrind's totals do not match its events");
  totals.resize(events.size(), 0);
  std::map<std::string, std::int64_t> result;
  for (std::size_t i = 0; i < events.size(); ++i) {
    if (totals[i] < 0) throw std::runtime_error("callgrind's total of " + events[i] + " is negative");
    result[events[i]] = totals[i];
  }
  return result;
}

namespace {

using Totals = std::map<std::string, std::int64_t>;

/// How a name is made: the level whose run it needs (0 = any), the events summed, and the factor.
struct Recipe {
  const char* name;
  int level;  ///< 1: any run; 2 and 3: the run whose last level is that cache; -1: the last cache there is
  std::vector<const char*> events;
  bool times_line;
};

const std::vector<Recipe>& recipes() {
  static const std::vector<Recipe> table{
      {"l1_access", 1, {"Dr", "Dw"}, false},      {"l1_miss", 1, {"D1mr", "D1mw"}, false},
      {"l2_access", 1, {"D1mr", "D1mw"}, false},  {"l2_miss", 2, {"DLmr", "DLmw"}, false},
      {"l3_access", 2, {"DLmr", "DLmw"}, false},  {"l3_miss", 3, {"DLmr", "DLmw"}, false},
      {"l2_bytes", 1, {"D1mr", "D1mw"}, true},    {"l3_bytes", 2, {"DLmr", "DLmw"}, true},
      {"dram_bytes", -1, {"DLmr", "DLmw"}, true}, {"instructions", 1, {"Ir"}, false},
  };
  return table;
}

const Recipe* recipe_of(const std::string& name) {
  const auto& table = recipes();
  const auto found =
      std::find_if(table.begin(), table.end(), [&](const Recipe& recipe) { return name == recipe.name; });
  return found == table.end() ? nullptr : &*found;
}

class SimulatedSource : public CounterSource {
 public:
  explicit SimulatedSource(const std::string& valgrind) : wanted_(valgrind.empty() ? "valgrind" : valgrind) {}

  std::string name() const override { return "simulated"; }
  Provenance provenance() const override { return Provenance::kSimulated; }
  bool in_window() const override { return false; }

  CounterStatus probe() override {
    CounterStatus status;
    status.hardware = true;
    program_ = find_program(wanted_);
#ifndef MLPWATT_HAVE_VALGRIND
    status.state = CounterStatus::State::kNotCompiledIn;
    status.detail = "valgrind/callgrind.h was not there at build time";
    status.remedy = "apt-get install valgrind, then make build";
#else
    if (program_.empty()) {
      status.detail = "no program " + wanted_ + " on PATH";
      status.remedy = "apt-get install valgrind";
    } else {
      status.state = CounterStatus::State::kFound;
      status.detail = "cache simulation by " + program_ + " (callgrind)";
    }
#endif
    return status;
  }

  CounterPlan prepare(const CounterRequest& request) override {
    request_ = request;
    levels_.clear();
    CounterPlan plan;
    std::string missing;
    try {
      for (const CacheGeometry& cache : request.caches)
        if (static_cast<int>(levels_.size()) < 3) levels_.push_back(nearest_simulable(cache));
    } catch (const std::invalid_argument& error) {
      missing = error.what();
    }
    if (request.step_command.empty()) missing = "this benchmark cannot be run inside the simulator";
    if (missing.empty() && levels_.size() < 2)
      missing = "the cache geometry of this machine is not known (two levels at least are needed)";
    std::vector<std::string> mine;
    for (const std::string& wanted : request.names) {
      const Recipe* recipe = recipe_of(wanted);
      if (recipe == nullptr)
        plan.refused.push_back({wanted, "a cache simulation does not count it"});
      else if (!missing.empty())
        plan.refused.push_back({wanted, missing});
      else if (recipe->level > static_cast<int>(levels_.size()))
        plan.refused.push_back({wanted, "this machine has no such cache level"});
      else
        mine.push_back(wanted);
    }
    if (!mine.empty()) plan.passes.push_back(mine);
    names_ = std::move(mine);
    return plan;
  }

  void start(int) override {}

  std::vector<CounterValue> stop(std::int64_t) override {
    bool needed[2] = {false, false};  // runs with L2 and with L3 as last level
    for (const std::string& wanted : names_)
      if (recipe_of(wanted)->level != 1) needed[run_of(*recipe_of(wanted))] = true;
    if (!needed[1]) needed[0] = true;  // first-level names can be read from either
    std::string failure;
    Totals totals[2];
    try {
      simulate(needed, totals);
    } catch (const std::exception& error) {
      failure = error.what();
    }
    std::vector<CounterValue> values;
    for (const std::string& wanted : names_) values.push_back(value_of(*recipe_of(wanted), totals, failure));
    return values;
  }

 private:
  /// Index of the run a recipe is read from.
  int run_of(const Recipe& recipe) const {
    const int level = recipe.level < 0 ? static_cast<int>(levels_.size()) : recipe.level;
    return level == 3 ? 1 : 0;
  }

  void simulate(const bool (&needed)[2], Totals (&totals)[2]) {
    const ScratchFolder folder;
    const auto deadline =
        ChildProcess::Clock::now() + std::chrono::duration_cast<ChildProcess::Clock::duration>(
                                         std::chrono::duration<double>(request_.time_limit_s));
    std::unique_ptr<ChildProcess> children[2];
    const auto file = [&](int run) { return folder.path() + "/callgrind." + std::to_string(run); };
    // Both at once: nothing is timed here, and each child uses one core.
    for (int run = 0; run < 2; ++run) {
      if (!needed[run]) continue;
      const CacheGeometry& last = levels_[static_cast<std::size_t>(run) + 1];
      std::vector<std::string> command{program_, "--tool=callgrind", "--cache-sim=yes",
                                       // detection is wrong on some virtual machines: every level is given
                                       "--I1=32768,8,64", "--D1=" + geometry_text(levels_[0]),
                                       "--LL=" + geometry_text(last), "--instr-atstart=no",
                                       "--callgrind-out-file=" + file(run)};
      command.insert(command.end(), request_.step_command.begin(), request_.step_command.end());
      children[run] = std::make_unique<ChildProcess>(
          command,
          std::vector<std::string>{"OMP_NUM_THREADS=1", "OMP_WAIT_POLICY=passive", "OMP_PROC_BIND=false"},
          file(run) + ".log");
    }
    for (int run = 0; run < 2; ++run) {
      if (!children[run]) continue;
      if (!children[run]->wait_until(deadline)) {
        std::ostringstream text;
        text << "the simulation took longer than " << request_.time_limit_s
             << " s; choose a smaller configuration or a longer limit";
        throw std::runtime_error(text.str());
      }
      if (const std::string failed = children[run]->failure(); !failed.empty())
        throw std::runtime_error(program_ + " " + failed);
      // The first dump is the bracket's; the file without a number is written at exit and holds nonsense.
      std::ifstream dump(file(run) + ".1");
      if (!dump) throw std::runtime_error("the command ended without a bracketed step under valgrind");
      totals[run] = parse_callgrind_totals(dump);
    }
  }

  CounterValue value_of(const Recipe& recipe, const Totals (&totals)[2], const std::string& failure) const {
    CounterValue value;
    value.name = recipe.name;
    value.unit = find_counter(value.name)->unit;
    value.source = name();
    value.provenance = provenance();
    value.steps = request_.step_command_steps;
    value.threads_counted = value.threads_total = 1;
    // Names that any run can give are read from the one that was made.
    int run = run_of(recipe);
    if (recipe.level == 1 && totals[run].empty()) run = 1 - run;
    const CacheGeometry& last = levels_[static_cast<std::size_t>(run) + 1];
    std::string sum;
    double count = 0;
    value.reason = failure;
    for (const char* event : recipe.events) {
      sum += (sum.empty() ? "" : "+") + std::string(event);
      const auto found = totals[run].find(event);
      if (found != totals[run].end())
        count += static_cast<double>(found->second);
      else if (value.reason.empty())
        value.reason = "callgrind did not report " + std::string(event);
    }
    const bool is_last = recipe.level != 1;
    const CacheGeometry& counted = is_last ? last : levels_[0];
    if (recipe.times_line) {
      sum = "(" + sum + ") x line of " + std::to_string(counted.line_bytes) + " B";
      count *= counted.line_bytes;
    }
    value.event = "callgrind " + sum + "; D1=" + geometry_text(levels_[0]) +
                  (is_last ? " LL=" + geometry_text(last) : "") +
                  "; data only, LRU, no prefetch, no write-backs";
    for (std::size_t level = 0; level < levels_.size(); ++level) {
      const CacheGeometry& real = request_.caches[level];
      if (geometry_text(real) != geometry_text(levels_[level]))
        value.event += "; machine's " + real.level + " is " + geometry_text(real);
    }
    if (!request_.step_command_facts.empty()) value.event += "; " + request_.step_command_facts;
    if (value.reason.empty()) value.value = count, value.standard_uncertainty = 0;
    return value;
  }

  std::string wanted_, program_;
  CounterRequest request_;
  std::vector<CacheGeometry> levels_;  ///< as simulated
  std::vector<std::string> names_;
};

const CounterSourceRegistration registration{"simulated", 20, [] { return make_simulated_source(); }};

}  // namespace

std::unique_ptr<CounterSource> make_simulated_source(const std::string& valgrind) {
  return std::make_unique<SimulatedSource>(valgrind);
}

}  // namespace mlpwatt

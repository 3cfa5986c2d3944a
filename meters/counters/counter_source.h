#pragma once
// Counters: how often an event happened in a window. One vocabulary for every source (PAPI, the operating
// system, a simulated cache, later CUPTI), one interface per source, and the session that deals names out
// to sources. The harness sees `CounterSession` only.
//
// Adding a source: write one file in meters/counters/ that ends in
//     const CounterSourceRegistration registration{"name", rank, [] { return std::make_unique<Mine>(); }};

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "meters/provenance.h"

namespace mlpwatt {

// ---- vocabulary -------------------------------------------------------------------------------

struct CounterName {
  std::string name;         ///< "l1_miss": stem of the column
  std::string unit;         ///< "1", "B" or "s"
  std::string description;  ///< one line, the file's long_name
  bool share = false;       ///< a part of a whole, not a count: the same for one step as for many
};

/// Every name a source may deliver besides its own native events, in the order of the columns.
const std::vector<CounterName>& counter_vocabulary();
/// The entry for a name or an alias ("l1d_miss" is l1_miss); nullptr for anything else.
const CounterName* find_counter(std::string_view name_or_alias);
/// What `--counters auto` asks for.
const std::vector<std::string>& default_counters();
/// The column of a quantity in the runs group, per step: "l1_miss_simulated". Characters that HDF5 or netCDF
/// names cannot carry ("::", "=") become '_'.
std::string counter_column(const std::string& name, Provenance provenance);

// ---- what was asked ---------------------------------------------------------------------------

enum class CounterChoice {
  kAuto,      ///< papi, then the operating system's; simulated caches where there is no PMU
  kPapi,      ///< measured only: PAPI, and the operating system for what PAPI has not
  kSimulate,  ///< simulated caches, and the operating system's software counters
  kNone,
};

struct CounterSelection {
  CounterChoice choice = CounterChoice::kAuto;
  std::vector<std::string> names;  ///< vocabulary names (aliases resolved) and native events
};

/// Reads the value of `--counters`: auto|papi|simulate|none, and/or names separated by commas. A name with
/// "::" or the prefix "PAPI_" is a native event or preset and is passed on untouched.
/// Errors: std::invalid_argument, one line naming the unknown word and the nearest valid ones.
CounterSelection parse_counter_selection(const std::string& text);

/// One cache level of the machine to be simulated; meters know no Hierarchy.
struct CacheGeometry {
  std::string level;  ///< "L1", "L2", "L3"
  std::int64_t capacity_bytes = 0;
  int ways = 0;  ///< 0 = not known
  int line_bytes = 64;
};

/// Everything a source may need to know beforehand.
struct CounterRequest {
  std::vector<std::string> names;
  std::vector<CacheGeometry> caches;      ///< nearest first
  std::vector<std::string> step_command;  ///< program and arguments that run the same steps inside a
                                          ///< valgrind bracket (meters/counters/valgrind_bracket.h); empty =
                                          ///< this kernel cannot be simulated
  std::int64_t step_command_steps = 1;    ///< how many steps that command counts
  std::string backend = "cpu";            ///< what runs the steps: "cpu" or "gpu"
  std::string step_command_facts;  ///< what that command runs, for the record: "run with --isa avx2_nofma"
  int threads = 0;                 ///< of the kernel's team; 0 = not known
  double time_limit_s = 60;        ///< of everything done aside from the window
};

// ---- what is delivered ------------------------------------------------------------------------

/// A count, or the reason why there is none: never 0 for "could not".
struct CounterValue {
  std::string name;
  std::string unit;
  std::optional<double> value;  ///< over all counted threads and the whole window (`steps` steps)
  std::string reason;           ///< set when there is no value
  std::string source;           ///< "papi"
  std::string event;            ///< the exact event: "PAPI_L1_DCM", "callgrind D1mr+D1mw, D1=32768,8,64"
  Provenance provenance = Provenance::kMeasured;
  std::int64_t steps = 0;    ///< that the count covers
  int threads_counted = 0;   ///< threads of the process with a running counter
  int threads_total = 0;     ///< threads the process had at the window's end
  int pass = 0, passes = 1;  ///< counted in which repetition of the window
  bool share = false;        ///< as CounterName::share
  /// Of `value`: what starting and stopping count themselves (measured by an empty bracket; at most so much
  /// is wrong, rectangular). No event is multiplexed: what does not fit takes another pass. 0 for a simulated
  /// cache, which is deterministic: how far its model is from a processor is no uncertainty of the count.
  /// Empty where it is not known (a GPU's profiler).
  std::optional<double> standard_uncertainty;

  /// Per step (a share: as it is); empty when there is no value.
  std::optional<double> per_step() const;
};

struct CounterStatus {
  enum class State { kFound, kAbsent, kNotPermitted, kNotCompiledIn };
  State state = State::kAbsent;
  std::string detail;     ///< what was found, or why not
  std::string remedy;     ///< what a person can type to change that; empty when nothing can
  bool hardware = false;  ///< counts or simulates the memory hierarchy, not only software events
};
std::string to_string(CounterStatus::State state);

/// Which names a source will deliver in which pass over the same steady state, and why not the others.
struct CounterPlan {
  struct Refusal {
    std::string name, reason;
  };
  std::vector<std::vector<std::string>> passes;
  std::vector<Refusal> refused;
};

/// Distributes `names` (most wanted first) over as few passes as `fits` allows, first fit: pass 0 is filled
/// with the most wanted. `fits(set)` says whether these can be counted together; a name that does not even
/// fit alone is refused. Pure.
CounterPlan plan_passes(const std::vector<std::string>& names,
                        const std::function<bool(const std::vector<std::string>&)>& fits);

/// Used by one caller. Members may throw std::runtime_error with one line naming the source and the remedy.
class CounterSource {
 public:
  virtual ~CounterSource() = default;
  virtual std::string name() const = 0;
  virtual Provenance provenance() const = 0;
  /// In the window (start, steps, stop), or aside from it: `stop` alone does the work, at any time.
  virtual bool in_window() const = 0;
  /// Counting disturbs the time and the watts: each pass is a repetition of the steady state after the
  /// window, never the window itself.
  virtual bool apart() const { return false; }
  /// Whether it counts what this backend ("cpu", "gpu") does.
  virtual bool serves(const std::string& backend) const { return backend == "cpu"; }
  /// Never throws.
  virtual CounterStatus probe() = 0;
  virtual CounterPlan prepare(const CounterRequest& request) = 0;
  /// Starts counting on every thread the process has now (so: after the warm-up).
  virtual void start(int pass) = 0;
  /// @param steps done since start (ignored by sources that count aside).
  /// @return one value for each name of that pass.
  virtual std::vector<CounterValue> stop(std::int64_t steps) = 0;
};

/// A source as registered; lower rank is asked first when several can deliver a name.
struct CounterSourceEntry {
  std::string name;
  int rank = 0;
  std::function<std::unique_ptr<CounterSource>()> make;
};
/// Ordered by rank.
const std::vector<CounterSourceEntry>& counter_sources();
struct CounterSourceRegistration {
  CounterSourceRegistration(std::string name, int rank, std::function<std::unique_ptr<CounterSource>()> make);
};

// ---- the session ------------------------------------------------------------------------------

/// Deals the names out and drives the sources. Use, for one run:
///     CounterSession session(selection, request);
///     for (int pass = 0; pass < session.passes(); ++pass) {
///       session.start(pass);          // pass 0 is the timed window, with its meters; the others repeat it
///       kernel.run(steps);
///       session.stop(steps);
///     }
///     session.count_aside();          // simulated counters; only where wanted, takes seconds
///     session.values();
class CounterSession {
 public:
  CounterSession(const CounterSelection& selection, CounterRequest request);
  /// The same with sources given, for tests.
  CounterSession(std::vector<std::unique_ptr<CounterSource>> sources, CounterRequest request);
  ~CounterSession();
  CounterSession(const CounterSession&) = delete;
  CounterSession& operator=(const CounterSession&) = delete;

  int passes() const;  ///< in-window passes; at least 1, also with nothing to count
  /// Whether a pass serves only sources that count apart from the window: it need not be as long as one.
  bool apart_only(int pass) const;
  bool has_aside() const;
  /// Counts nothing twice before it counts: the difference of start and stop is part of the uncertainty.
  void start(int pass);
  void stop(std::int64_t steps);
  void count_aside();
  /// One for each name asked, in that order; a name that nobody delivered carries the reasons.
  std::vector<CounterValue> values() const;

 private:
  struct Member;
  void deal(CounterRequest request);
  void start_all(int pass);
  std::vector<CounterValue> stop_all(int pass, std::int64_t steps);
  std::vector<Member> members_;
  std::vector<std::string> names_;
  std::vector<CounterValue> values_;
  std::vector<CounterValue> empty_bracket_;  ///< what start and stop alone counted, of the pass that runs
  int passes_ = 1;
  int current_ = -1;
};

/// Sources a choice uses, in rank order, whatever their status.
std::vector<std::unique_ptr<CounterSource>> make_counter_sources(CounterChoice choice);

}  // namespace mlpwatt

#pragma once
// One run: make the kernel, set it up, prove its result, warm up, time one window with counters and meters
// looking on, and put everything into one Record. Whatever goes wrong becomes a row with a status and
// a reason, never a time.

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "harness/compare/floor.h"
#include "harness/machine.h"
#include "harness/protocol/clock.h"
#include "harness/protocol/window.h"
#include "harness/record/record_file.h"
#include "kernels/kernel.h"
#include "meters/counters/counter_source.h"
#include "meters/power_session.h"

namespace mlpwatt {

/// What is the same for all runs of a sitting.
struct RunSettings {
  ProtocolOptions protocol;
  RunOptions kernel;
  CounterSelection counters{CounterChoice::kNone, {}};
  /// Whether a kernel of this cost gets its counters simulated (seconds a run); empty = never.
  std::function<bool(const Benchmark&, const Cost&)> simulate;
  /// What the machine can do at best, for the floor of each row; none = no floor.
  std::shared_ptr<PeaksOnDemand> peaks;
  /// The watt-meters of the sitting; nullptr = none.
  std::shared_ptr<PowerSession> power;
  /// A window goes on until the energy's relative standard uncertainty is below this (or the longest window
  /// is reached); 0 = windows are as long as the protocol says.
  double energy_target = 0;
  Machine machine;
  std::string command;  ///< as typed
  std::uint64_t order_seed = 1;
};

struct RunPlace {
  std::int64_t order_index = 0;
  int repetition = 0;
};

/// Never throws for anything the kernel does.
Record run_one(const Benchmark& benchmark, const RunSettings& settings, const RunPlace& place, Clock& clock);

/// The row of /machine.
Row machine_row(const Machine& machine);

/// Opens the meters of a sitting, and lets its windows last long enough for them unless the user capped them.
/// @param quick one idle time serves all runs, and windows are as long as the clock needs
/// Errors: as PowerSession.
void open_meters(RunSettings& settings, PowerOptions power, double energy_target, bool quick);
/// Whether a window that is long enough for the time has to go on for the energy; empty when nothing looks
/// on.
std::function<bool()> more_for_energy(const RunSettings& settings);

// The parts of a row, for other commands that make one (train).

/// Everything that is known before the kernel exists; the start is now.
Record begin_record(const Benchmark& benchmark, const RunSettings& settings, const RunPlace& place,
                    Clock& clock);
/// Why what runs is not what was asked for; "" when it is. Kernels refuse what they know they cannot do; one
/// that does not look at an option must not run under its name.
/// @param facts as Kernel::facts
std::string substitution(const RunOptions& asked, const std::map<std::string, std::string>& facts);
/// @param facts as Kernel::facts
void set_facts(Row& row, const std::map<std::string, std::string>& facts);
void set_cost(Row& row, const Cost& cost, const RunSettings& settings);
void set_check(Row& row, const Check& check);
void set_window(Row& row, const WarmUp& warm, const Window& window, const Cost& cost);

}  // namespace mlpwatt

#pragma once
// One run: make the kernel, set it up, prove its result, warm up, time one window with counters and meters
// looking on, and put everything into one Record. Whatever goes wrong becomes a row with a status and
// a reason, never a time.

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "harness/machine.h"
#include "harness/protocol/clock.h"
#include "harness/protocol/window.h"
#include "harness/record/record_file.h"
#include "kernels/kernel.h"
#include "meters/counters/counter_source.h"

namespace mlpwatt {

/// What is the same for all runs of a sitting.
struct RunSettings {
  ProtocolOptions protocol;
  RunOptions kernel;
  CounterSelection counters{CounterChoice::kNone, {}};
  /// Whether a kernel of this cost gets its counters simulated (seconds a run); empty = never.
  std::function<bool(const Benchmark&, const Cost&)> simulate;
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

}  // namespace mlpwatt

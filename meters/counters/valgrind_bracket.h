#pragma once
// The child's side of simulated counting: runs warm-up and counted steps so that valgrind's cache simulation
// sees the counted steps only, with a warm cache.

#include <cstdint>

#ifdef MLPWATT_HAVE_VALGRIND
#include <valgrind/callgrind.h>
#include <valgrind/valgrind.h>
#endif

namespace mlpwatt {

#ifdef MLPWATT_HAVE_VALGRIND
inline constexpr bool kValgrindBracketCompiledIn = true;
inline bool running_on_valgrind() { return RUNNING_ON_VALGRIND != 0; }
#else
inline constexpr bool kValgrindBracketCompiledIn = false;
inline bool running_on_valgrind() { return false; }
#endif

/// `run(n)` does n steps. Outside valgrind it just runs them all. Call once per process: the source reads the
/// first dump only.
template <typename Run>
void run_in_valgrind_bracket(std::int64_t warm_up_steps, std::int64_t steps, Run&& run) {
#ifdef MLPWATT_HAVE_VALGRIND
  // Instrumentation starts with an empty cache, so the warm-up must come after it and before the zeroing.
  CALLGRIND_START_INSTRUMENTATION;
  if (warm_up_steps > 0) run(warm_up_steps);
  CALLGRIND_ZERO_STATS;
  run(steps);
  CALLGRIND_DUMP_STATS_AT("steps");
  CALLGRIND_STOP_INSTRUMENTATION;
#else
  if (warm_up_steps > 0) run(warm_up_steps);
  run(steps);
#endif
}

}  // namespace mlpwatt

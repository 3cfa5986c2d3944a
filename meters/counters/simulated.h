#pragma once
// The parts of simulated counting that can be checked without running a simulation.

#include <cstdint>
#include <istream>
#include <map>
#include <string>

#include "meters/counters/counter_source.h"

namespace mlpwatt {

/// The geometry nearest to `wanted` that valgrind can simulate: the number of sets and the line must be
/// powers of two. Keeps the capacity where any number of ways from half to twice the real one allows it; else
/// takes the nearest capacity. Unknown ways count as 8. Throws std::invalid_argument for a capacity below one
/// line.
CacheGeometry nearest_simulable(const CacheGeometry& wanted);

/// "32768,8,64", as valgrind's options take it.
std::string geometry_text(const CacheGeometry& geometry);

/// Event totals of a callgrind dump by event name ("Ir", "D1mr" ...).
/// Throws std::runtime_error when the dump has no events, no totals, or totals that do not match.
std::map<std::string, std::int64_t> parse_callgrind_totals(std::istream& dump);

/// The source, with the valgrind to use ("" = through PATH).
std::unique_ptr<CounterSource> make_simulated_source(const std::string& valgrind = "");

}  // namespace mlpwatt

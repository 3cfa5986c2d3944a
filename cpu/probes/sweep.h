#pragma once
// The working sets the memory probes are asked for: 4 KiB to four times the last cache.

#include <cstdint>
#include <vector>

#include "kernels/hierarchy.h"

namespace mlpwatt::probes {

/// Ascending, from 4 KiB to the last size <= 4 x the last cache (32 MiB where none is known).
/// @param steps_per_octave 1: powers of two; 4: a quarter of a power of two apart, and sixteenths of a
/// capacity near it
std::vector<std::int64_t> sweep_bytes(const Hierarchy& hierarchy, int steps_per_octave);

/// The few sizes of the quick suite, all among the powers of two: one well inside each cache, and the
/// largest.
bool is_quick_size(const Hierarchy& hierarchy, std::int64_t bytes);

}  // namespace mlpwatt::probes

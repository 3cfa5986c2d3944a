#pragma once
// The ring of the pointer chase, open to its test.

#include <cstdint>

#include "kernels/kernel.h"

namespace mlpwatt::chase {

/// One cache line of the working set.
struct alignas(64) Line {
  Line* next;
};

/// `loads` dependent loads from `line` on; the loop the probe times.
Line* walk(Line* line, std::int64_t loads);

/// Passes when the ring through `start` has exactly `count` lines: then every line is on it.
Check check_ring(Line* start, std::int64_t count);

}  // namespace mlpwatt::chase

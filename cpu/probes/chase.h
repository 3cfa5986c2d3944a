#pragma once
// The ring of the pointer chase, open to its test.

#include <cstdint>
#include <vector>

#include "kernels/kernel.h"

namespace mlpwatt::chase {

/// One cache line of the working set.
struct alignas(64) Line {
  Line* next;
};

/// The order in which a ring visits `count` lines: one at random after the other, or (`page_lines` > 0) page
/// by page, both the pages and the lines of each at random.
std::vector<std::int64_t> ring_order(std::int64_t count, std::int64_t page_lines, std::uint64_t seed);

/// `loads` dependent loads from `line` on; the loop the probe times.
Line* walk(Line* line, std::int64_t loads);

/// Passes when the ring through `start` has exactly `count` lines: then every line is on it.
Check check_ring(Line* start, std::int64_t count);

}  // namespace mlpwatt::chase

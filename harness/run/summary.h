#pragma once
// What a sitting prints at its end: one line a configuration, and where to look next.

#include <cstdint>
#include <string>
#include <vector>

#include "harness/record/table.h"

namespace mlpwatt {

/// Rows ordered by name; repetitions of a configuration share a line (median of their medians). Rates stand
/// beside the highest FLOP rate that a cpu/fma run of the same rows reached on as many threads.
std::string summary_table(const std::vector<Row>& rows);
/// Lines for failed, erroneous and unavailable rows; empty when all is well.
std::string summary_of_trouble(const std::vector<Row>& rows);
/// Commands to type next.
std::string where_to_look_next(const std::string& path, std::int64_t added, std::int64_t all);

}  // namespace mlpwatt

#pragma once
// Working sets that the memory probes of a processor and of a GPU have in common.

#include <cstdint>
#include <vector>

namespace mlpwatt {

/// `sizes_bytes`, and around each capacity sixteenths of it, from smallest_bytes to largest_bytes; ascending,
/// each once. Coarser sweeps know a step within 25 or 50 %: between sixteenths it is known within 7 %, which
/// is what an agreement within 10 % needs.
std::vector<std::int64_t> with_sixteenths_around(const std::vector<std::int64_t>& capacities_bytes,
                                                 std::vector<std::int64_t> sizes_bytes,
                                                 std::int64_t smallest_bytes, std::int64_t largest_bytes);

}  // namespace mlpwatt

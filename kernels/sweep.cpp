#include "kernels/sweep.h"

#include <algorithm>

namespace mlpwatt {

std::vector<std::int64_t> with_sixteenths_around(const std::vector<std::int64_t>& capacities_bytes,
                                                 std::vector<std::int64_t> sizes_bytes,
                                                 std::int64_t smallest_bytes, std::int64_t largest_bytes) {
  constexpr std::int64_t kWholeLines = 1024;  // sizes of every kernel divide by lines and vectors
  for (const std::int64_t capacity : capacities_bytes)
    for (int sixteenths = 14; sixteenths <= 18; ++sixteenths) {
      const std::int64_t bytes = capacity / kWholeLines * sixteenths / 16 * kWholeLines;
      if (bytes >= smallest_bytes && bytes <= largest_bytes) sizes_bytes.push_back(bytes);
    }
  std::sort(sizes_bytes.begin(), sizes_bytes.end());
  sizes_bytes.erase(std::unique(sizes_bytes.begin(), sizes_bytes.end()), sizes_bytes.end());
  return sizes_bytes;
}

}  // namespace mlpwatt

#include "cpu/probes/sweep.h"

#include <utility>

#include "kernels/sweep.h"

namespace mlpwatt::probes {

namespace {
constexpr std::int64_t kSmallestBytes = 4096;
constexpr std::int64_t kAssumedLastCacheBytes = 32 << 20;

std::int64_t largest_bytes(const Hierarchy& hierarchy) {
  const std::int64_t last =
      hierarchy.levels.empty() ? kAssumedLastCacheBytes : hierarchy.levels.back().capacity_bytes;
  return 4 * (last > 0 ? last : kAssumedLastCacheBytes);
}

std::int64_t power_of_two_up_to(std::int64_t bytes) {
  std::int64_t power = kSmallestBytes;
  while (power * 2 <= bytes) power *= 2;
  return power;
}
}  // namespace

std::vector<std::int64_t> sweep_bytes(const Hierarchy& hierarchy, int steps_per_octave) {
  const std::int64_t largest = largest_bytes(hierarchy);
  std::vector<std::int64_t> sizes;
  for (std::int64_t octave = kSmallestBytes; octave <= largest; octave *= 2)
    for (int step = 0; step < steps_per_octave; ++step) {
      const std::int64_t bytes = octave + octave * step / steps_per_octave;
      if (bytes <= largest) sizes.push_back(bytes);
    }
  if (steps_per_octave < 4) return sizes;
  std::vector<std::int64_t> capacities;
  for (const CacheLevel& level : hierarchy.levels) capacities.push_back(level.capacity_bytes);
  return with_sixteenths_around(capacities, std::move(sizes), kSmallestBytes, largest);
}

bool is_quick_size(const Hierarchy& hierarchy, std::int64_t bytes) {
  if (bytes == power_of_two_up_to(largest_bytes(hierarchy))) return true;
  for (const CacheLevel& level : hierarchy.levels)
    if (bytes == power_of_two_up_to(level.capacity_bytes / 2)) return true;
  return false;
}

}  // namespace mlpwatt::probes

#pragma once
// The order of runs: a seeded shuffle of our own, the same on every platform, so that slow drifts of the
// machine do not fall on one configuration and the order can be repeated.

#include <cstddef>
#include <cstdint>
#include <vector>

namespace mlpwatt {

struct OrderedRun {
  std::size_t benchmark;  ///< index into the selection
  int repetition;         ///< 0-based
};

/// Every (benchmark, repetition) once. Repetitions are numbered in the order in which they run.
std::vector<OrderedRun> shuffled_order(std::size_t benchmarks, int repetitions, std::uint64_t seed);

}  // namespace mlpwatt

#pragma once
// Splitting a plan over nodes, and what a number of nodes costs.

#include <cstddef>
#include <string>
#include <vector>

namespace mlpwatt {

/// Longest processing time first: every item, the longest first, goes to the shard with the least work
/// (Graham 1969). The same on every machine: ties go to the lower index.
/// @param duration_s of each item; NaN counts as the mean of the known ones (1 when none is)
/// @return the shard of each item, 0 .. shards-1
std::vector<int> shard_by_longest_first(const std::vector<double>& duration_s, int shards);

/// Total duration of each shard.
std::vector<double> shard_loads(const std::vector<double>& duration_s, const std::vector<int>& shard_of,
                                int shards);

struct Balance {
  double wall_s = 0;     ///< of the longest shard
  double busy_s = 0;     ///< of all shards together
  double idle_s = 0;     ///< node-seconds that shards wait for the longest
  double imbalance = 0;  ///< longest / mean - 1
  double idle_share() const { return busy_s + idle_s > 0 ? idle_s / (busy_s + idle_s) : 0; }
};
Balance balance_of(const std::vector<double>& loads_s);

/// "2/8" -> {1, 8}: the index counts from 1 as typed, from 0 as returned. Errors: UsageError.
struct ShardChoice {
  int index = 0, count = 1;
};
ShardChoice parse_shard(const std::string& text);

}  // namespace mlpwatt

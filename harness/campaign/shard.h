#pragma once
// Splitting a plan over nodes, and what a number of nodes costs.

#include <cstddef>
#include <string>
#include <vector>

namespace mlpwatt {

/// Longest processing time first: every item, the longest first, goes to the shard with the least work
/// (Graham 1969). The same on every machine: ties go to the lower index.
///
/// Predicted durations are wrong, and with a shard a node the nodes end as unevenly as they are. With
/// `per_node` > 1 there are nodes * per_node shards in rounds of `nodes`, each round with two thirds of the
/// work of the one before (as in factoring: Hummel, Schonberg, Flynn, CACM 35(8), 1992) and with the longest
/// items that are left. Handed out in order to whichever node is free, the large ones keep the number of
/// starts down, and the small ones, whose errors are small too, fill what the others' errors left. The first
/// holds a third of a node's work, so that it may take nearly three times as long as predicted.
/// @param duration_s of each item; NaN counts as the mean of the known ones (1 when none is)
/// @return the shard of each item, 0 .. nodes * per_node - 1; none is empty when there are that many items
std::vector<int> shard_by_longest_first(const std::vector<double>& duration_s, int nodes, int per_node = 1);

/// What a campaign on a cluster takes unless told otherwise; tests/harness/campaign/scale_test.cpp has what
/// others come to.
inline constexpr int kShardsPerNode = 8;
/// The same, or as many as the items allow: at least 1.
int shards_per_node(std::size_t items, int nodes);

/// Load of each node when shards are handed out in their order, each to the node that is free first.
std::vector<double> handed_out(const std::vector<double>& shard_loads_s, int nodes);

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

struct ShardChoice {
  int index = 0;  ///< from 0
  int nodes = 1, per_node = 1;
  int shards() const { return nodes * per_node; }
  std::string text() const;  ///< as typed: "2/8", "2/8x4"
};
/// "2/8": the second of eight of the same size; "2/8x4": of the 32 that eight nodes are handed. The index
/// counts from 1 as typed, from 0 as returned. Errors: UsageError.
ShardChoice parse_shard(const std::string& text);

}  // namespace mlpwatt

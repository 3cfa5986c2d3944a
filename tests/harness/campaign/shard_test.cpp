// Shards: complete, the same everywhere, balanced.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "harness/campaign/shard.h"
#include "harness/program.h"
#include "kernels/random.h"

namespace mlpwatt {
namespace {

TEST(Shard, LongestFirstByHand) {
  // 7 6 5 4 3 2 over 2: {7, 4, 3} and {6, 5, 2} by the rule "to the one with least, ties to the first"
  const std::vector<double> work{3, 7, 2, 6, 5, 4};
  const std::vector<int> shard_of = shard_by_longest_first(work, 2);
  EXPECT_EQ(shard_of, (std::vector<int>{0, 0, 1, 1, 1, 0}));
  const Balance balance = balance_of(shard_loads(work, shard_of, 2));
  EXPECT_DOUBLE_EQ(balance.wall_s, 14);
  EXPECT_DOUBLE_EQ(balance.busy_s, 27);
  EXPECT_DOUBLE_EQ(balance.idle_s, 1);
  EXPECT_DOUBLE_EQ(balance.imbalance, 14 / 13.5 - 1);
}

TEST(Shard, NeverWorseThanGrahamsBound) {
  RandomStream stream(5);
  for (int trial = 0; trial < 50; ++trial) {
    const int shards = 1 + static_cast<int>(uniform_below(stream, 12));
    std::vector<double> work(1 + uniform_below(stream, 60));
    for (double& item : work) item = std::exp(4 * uniform_unit(stream));
    const Balance balance = balance_of(shard_loads(work, shard_by_longest_first(work, shards), shards));
    const double mean = std::accumulate(work.begin(), work.end(), 0.0) / shards;
    const double least = std::max(mean, *std::max_element(work.begin(), work.end()));
    // against a lower bound of the optimum the last item may add one item of at most half of it
    EXPECT_LE(balance.wall_s, 1.5 * least + 1e-9);
  }
}

TEST(Shard, EachRoundIsTwoThirdsOfTheOneBefore) {
  const std::vector<double> work(1900, 1.0);
  std::vector<double> taken = shard_loads(work, shard_by_longest_first(work, 2, 3), 6);
  EXPECT_EQ(taken, (std::vector<double>{450, 450, 300, 300, 200, 200}));
  EXPECT_EQ(handed_out(taken, 2), (std::vector<double>{950, 950}));
  // the first takes twice as long as predicted: its node, at 900, is handed one of the small ones only
  taken[0] *= 2;
  EXPECT_EQ(handed_out(taken, 2), (std::vector<double>{1100, 1250}));
}

TEST(Shard, OfRoundsNoneIsEmptyAndEveryItemIsInOne) {
  RandomStream stream(6);
  for (int trial = 0; trial < 100; ++trial) {
    const int nodes = 1 + static_cast<int>(uniform_below(stream, 5)),
              per_node = 1 + static_cast<int>(uniform_below(stream, 9));
    std::vector<double> work(static_cast<std::size_t>(nodes * per_node) + uniform_below(stream, 30));
    for (double& item : work) item = trial % 4 == 0 ? 0 : std::exp(6 * uniform_unit(stream));
    std::vector<int> items(static_cast<std::size_t>(nodes * per_node));
    for (const int shard : shard_by_longest_first(work, nodes, per_node))
      ++items.at(static_cast<std::size_t>(shard));
    EXPECT_GE(*std::min_element(items.begin(), items.end()), 1) << nodes << "x" << per_node;
  }
  EXPECT_EQ(shards_per_node(12, 4), std::min(3, kShardsPerNode));
  EXPECT_EQ(shards_per_node(3, 4), 1);
  EXPECT_EQ(shards_per_node(25'798, 256), kShardsPerNode);
}

TEST(Shard, UnknownDurationsCountAsTheMean) {
  const double nan = std::nan("");
  EXPECT_EQ(shard_by_longest_first({nan, nan, nan, nan}, 2), (std::vector<int>{0, 1, 0, 1}));
  EXPECT_EQ(shard_by_longest_first({10, nan, 10, 1}, 2).size(), 4u);
}

TEST(Shard, ChoiceAsTyped) {
  EXPECT_EQ(parse_shard("2/8").index, 1);
  EXPECT_EQ(parse_shard("2/8").shards(), 8);
  const ShardChoice choice = parse_shard("32/8x4");
  EXPECT_EQ(choice.index, 31);
  EXPECT_EQ(choice.nodes, 8);
  EXPECT_EQ(choice.per_node, 4);
  for (const char* text : {"2/8", "32/8x4"}) EXPECT_EQ(parse_shard(text).text(), text);
  for (const char* wrong : {"", "2", "0/8", "9/8", "a/b", "1/0", "1/2/3", "-1/2", "33/8x4", "1/8x", "1/8x0",
                            "1/x8", "1x2/3", "1/99999999x99999999"})
    EXPECT_THROW(parse_shard(wrong), UsageError) << wrong;
}

}  // namespace
}  // namespace mlpwatt

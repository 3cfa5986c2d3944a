#include "harness/campaign/shard.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <functional>
#include <numeric>
#include <queue>

#include "harness/program.h"

namespace mlpwatt {

namespace {

using Load = std::pair<double, int>;  ///< work so far, and the index
/// Of the work of one round, in the next.
constexpr double kNextRound = 2.0 / 3;

using LeastFirst = std::priority_queue<Load, std::vector<Load>, std::greater<>>;

}  // namespace

std::vector<int> shard_by_longest_first(const std::vector<double>& duration_s, int nodes, int per_node) {
  double known = 0, sum = 0;
  for (const double duration : duration_s)
    if (!std::isnan(duration)) {
      ++known;
      sum += duration;
    }
  const double fallback = known > 0 ? sum / known : 1;
  std::vector<double> work;  // never 0: what has work is not empty
  work.reserve(duration_s.size());
  for (const double duration : duration_s)
    work.push_back(std::max(std::isnan(duration) ? fallback : duration, 1e-9));
  std::vector<std::size_t> order(work.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return work[a] > work[b]; });
  const double total = std::accumulate(work.begin(), work.end(), 0.0);
  const auto width = static_cast<std::size_t>(nodes);
  std::vector<int> shard_of(work.size());
  std::size_t next = 0;
  double done = 0, until = 0;
  double share = (1 - kNextRound) / (1 - std::pow(kNextRound, per_node));
  for (int round = 0; round < per_node; ++round) {
    const bool last = round + 1 == per_node;
    until += share * total * (1 - 1e-12);  // what rounding adds must not cost an item
    share *= kNextRound;
    const std::size_t for_others = width * static_cast<std::size_t>(per_node - 1 - round);
    LeastFirst least;
    for (int node = 0; node < nodes; ++node) least.emplace(0.0, round * nodes + node);
    const auto enough = [&](std::size_t taken) { return !last && done >= until && taken >= width; };
    for (std::size_t taken = 0; next + for_others < order.size() && !enough(taken); ++taken, ++next) {
      const std::size_t item = order[next];
      const auto [load, shard] = least.top();
      least.pop();
      shard_of[item] = shard;
      least.emplace(load + work[item], shard);
      done += work[item];
    }
  }
  return shard_of;
}

int shards_per_node(std::size_t items, int nodes) {
  return std::clamp(static_cast<int>(items / static_cast<std::size_t>(nodes)), 1, kShardsPerNode);
}

std::vector<double> handed_out(const std::vector<double>& shard_loads_s, int nodes) {
  LeastFirst free;
  for (int node = 0; node < nodes; ++node) free.emplace(0.0, node);
  std::vector<double> loads(static_cast<std::size_t>(nodes), 0.0);
  for (const double shard_s : shard_loads_s) {
    const auto [load, node] = free.top();
    free.pop();
    loads[static_cast<std::size_t>(node)] = load + shard_s;
    free.emplace(load + shard_s, node);
  }
  return loads;
}

std::vector<double> shard_loads(const std::vector<double>& duration_s, const std::vector<int>& shard_of,
                                int shards) {
  std::vector<double> loads(static_cast<std::size_t>(shards), 0.0);
  for (std::size_t i = 0; i < duration_s.size(); ++i)
    loads[static_cast<std::size_t>(shard_of[i])] += duration_s[i];
  return loads;
}

Balance balance_of(const std::vector<double>& loads_s) {
  Balance balance;
  for (const double load : loads_s) {
    balance.wall_s = std::max(balance.wall_s, load);
    balance.busy_s += load;
  }
  const auto shards = static_cast<double>(loads_s.size());
  balance.idle_s = balance.wall_s * shards - balance.busy_s;
  if (balance.busy_s > 0) balance.imbalance = balance.wall_s * shards / balance.busy_s - 1;
  return balance;
}

std::string ShardChoice::text() const {
  return fmt::format("{}/{}{}", index + 1, nodes, per_node > 1 ? fmt::format("x{}", per_node) : "");
}

ShardChoice parse_shard(const std::string& text) {
  ShardChoice choice;
  std::string_view left = text;
  const auto number_before = [&](std::string_view end, int& value) {
    const std::size_t at = end.empty() ? left.size() : left.find(end);
    const std::string_view part = left.substr(0, at);
    const auto [stop, error] = std::from_chars(part.data(), part.data() + part.size(), value);
    if (at == std::string_view::npos || error != std::errc() || stop != part.data() + part.size() ||
        value < 1)
      return false;
    left.remove_prefix(at + end.size());
    return true;
  };
  const bool rounds = text.find('x') != std::string::npos;
  const bool good = number_before("/", choice.index) && number_before(rounds ? "x" : "", choice.nodes) &&
                    (!rounds || number_before("", choice.per_node));
  constexpr int kMost = 1 << 24;
  if (!good || choice.nodes > kMost / choice.per_node || choice.index > choice.shards())
    throw UsageError(fmt::format(
        "--shard '{}' is neither I/N with I from 1 to N, e.g. 2/8, nor I/NxK with I from 1 to N K", text));
  --choice.index;
  return choice;
}

}  // namespace mlpwatt

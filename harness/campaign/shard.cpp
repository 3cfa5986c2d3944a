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

std::vector<int> shard_by_longest_first(const std::vector<double>& duration_s, int shards) {
  double known = 0, sum = 0;
  for (const double duration : duration_s)
    if (!std::isnan(duration)) {
      ++known;
      sum += duration;
    }
  const double fallback = known > 0 ? sum / known : 1;
  std::vector<double> work;
  for (const double duration : duration_s) work.push_back(std::isnan(duration) ? fallback : duration);
  std::vector<std::size_t> order(work.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return work[a] > work[b]; });
  using Load = std::pair<double, int>;
  std::priority_queue<Load, std::vector<Load>, std::greater<>> least;
  for (int shard = 0; shard < shards; ++shard) least.emplace(0.0, shard);
  std::vector<int> shard_of(work.size());
  for (const std::size_t item : order) {
    auto [load, shard] = least.top();
    least.pop();
    shard_of[item] = shard;
    least.emplace(load + work[item], shard);
  }
  return shard_of;
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

ShardChoice parse_shard(const std::string& text) {
  const std::size_t slash = text.find('/');
  ShardChoice choice;
  const auto whole = [](std::string_view part, int& value) {
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), value);
    return error == std::errc() && end == part.data() + part.size();
  };
  if (slash == std::string::npos || !whole(std::string_view(text).substr(0, slash), choice.index) ||
      !whole(std::string_view(text).substr(slash + 1), choice.count) || choice.count < 1 ||
      choice.index < 1 || choice.index > choice.count)
    throw UsageError(fmt::format("--shard '{}' is not I/N with I from 1 to N, e.g. 2/8", text));
  --choice.index;
  return choice;
}

}  // namespace mlpwatt

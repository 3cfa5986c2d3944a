#include "harness/protocol/order.h"

#include "kernels/random.h"

namespace mlpwatt {

std::vector<OrderedRun> shuffled_order(std::size_t benchmarks, int repetitions, std::uint64_t seed) {
  std::vector<OrderedRun> order;
  order.reserve(benchmarks * static_cast<std::size_t>(repetitions));
  for (int repetition = 0; repetition < repetitions; ++repetition)
    for (std::size_t i = 0; i < benchmarks; ++i) order.push_back({i, repetition});
  RandomStream stream(seed);
  shuffle(order, stream);
  std::vector<int> seen(benchmarks, 0);
  for (OrderedRun& run : order) run.repetition = seen[run.benchmark]++;
  return order;
}

}  // namespace mlpwatt

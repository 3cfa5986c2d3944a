#include "harness/run/sampler_cost.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "harness/protocol/statistics.h"

namespace mlpwatt {
namespace {

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace

SamplerCost measure_sampler_cost(Kernel& kernel, const std::function<std::unique_ptr<PowerSession>()>& open,
                                 double turn_s, int pairs, Clock& clock) {
  double before_s = clock.monotonic_s();
  std::int64_t steps = 1;
  kernel.run(1);
  for (double took_s = clock.monotonic_s() - before_s; took_s < 0.5 * turn_s;) {
    steps = std::max<std::int64_t>(
        steps + 1, std::min<std::int64_t>(8 * steps, std::llround(static_cast<double>(steps) * turn_s /
                                                                  std::max(took_s, 1e-9))));
    before_s = clock.monotonic_s();
    kernel.run(steps);
    took_s = clock.monotonic_s() - before_s;
  }
  const auto turn = [&] {
    const double begin_s = clock.monotonic_s();
    kernel.run(steps);
    return (clock.monotonic_s() - begin_s) / static_cast<double>(steps);
  };
  SamplerCost cost;
  cost.pairs = pairs;
  std::vector<double> plain, ratios, noise;
  double cpu_s = 0;
  for (int pair = 0; pair < pairs; ++pair) {
    double without = 0, with = 0;
    for (int half = 0; half < 2; ++half) {
      // the first of a pair takes turns as well: drift cancels
      if ((half + pair) % 2 == 0) {
        without = turn();
        continue;
      }
      const std::unique_ptr<PowerSession> session = open();
      const double begin_s = clock.monotonic_s(), begin_cpu_s = session->sampler_cpu_s();
      const std::int64_t begin_reads = session->sampler_reads();
      session->begin_window();
      with = turn();
      session->end_window();
      cpu_s += session->sampler_cpu_s() - begin_cpu_s;
      cost.reads += session->sampler_reads() - begin_reads;
      cost.seconds += clock.monotonic_s() - begin_s;
    }
    if (!plain.empty()) noise.push_back(std::fabs(without / plain.back() - 1));
    plain.push_back(without);
    ratios.push_back(with / without - 1);
  }
  const Summary summary = summarise(ratios);
  cost.step_s = median(plain);
  cost.core_share = cpu_s / cost.seconds;
  cost.slow_down = summary.median;
  cost.low95 = summary.low95;
  cost.high95 = summary.high95;
  cost.noise = noise.empty() ? 0 : median(noise);
  return cost;
}

}  // namespace mlpwatt

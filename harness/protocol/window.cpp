#include "harness/protocol/window.h"

#include <algorithm>
#include <cmath>

namespace mlpwatt {
namespace {

/// Blocks per group whose medians are compared.
constexpr std::size_t kGroup = 3;
/// How often a window that could end asks whether it may.
constexpr double kAskEvery_s = 0.25;
constexpr int kBlocksPerLook = 5;

double median_of_group(const std::vector<double>& values, std::size_t end) {
  std::vector<double> group(values.begin() + static_cast<std::ptrdiff_t>(end - kGroup),
                            values.begin() + static_cast<std::ptrdiff_t>(end));
  std::sort(group.begin(), group.end());
  return group[kGroup / 2];
}

std::int64_t steps_in(double seconds, double step_s) {
  if (!(step_s > 0)) return 1'000'000;
  return static_cast<std::int64_t>(std::clamp(std::round(seconds / step_s), 1.0, 1e12));
}

bool tight(const std::vector<double>& blocks, double precision) {
  if (precision <= 0) return true;
  const Summary summary = summarise(blocks);
  // too few blocks for an interval are not a tight one
  return summary.high95 - summary.low95 <= 2 * precision * summary.median;
}

}  // namespace

WarmUp warm_up(Kernel& kernel, const ProtocolOptions& options, Clock& clock) {
  const double block_s = options.window_s / options.blocks;
  // a long least warm-up is a wish, the longest may be only a default
  const double longest_s = std::max(options.longest_warm_up_s(), options.least_warm_up_s());
  const double start = clock.monotonic_s();
  WarmUp result;
  std::vector<double> block_step_s;
  std::int64_t steps = 1;
  for (;;) {
    const double before = clock.monotonic_s();
    kernel.run(steps);
    const double after = clock.monotonic_s();
    result.steps += steps;
    result.duration_s = after - start;
    result.step_s = (after - before) / static_cast<double>(steps);
    const bool long_enough = after - before >= 0.5 * block_s;
    // Blocks too short to be timed well say nothing about steadiness; grow first.
    if (long_enough) block_step_s.push_back(result.step_s);
    const std::size_t n = block_step_s.size();
    if (n >= 2 * kGroup) {
      const double last = median_of_group(block_step_s, n),
                   previous = median_of_group(block_step_s, n - kGroup);
      result.step_s = last;
      result.steady = std::fabs(last - previous) <= options.steady_tolerance * last;
    }
    if (result.steady && result.duration_s >= options.least_warm_up_s()) return result;
    if (result.duration_s >= longest_s) return result;
    // A factor of 16 at most: the first steps are cold and promise too little.
    steps = std::clamp(steps_in(block_s, result.step_s), std::int64_t{1}, 16 * steps);
  }
}

Window run_window(Kernel& kernel, const ProtocolOptions& options, Clock& clock, double step_s,
                  const std::vector<Observer*>& observers, const std::function<bool()>& wants_more) {
  Window window;
  window.steps_per_block = steps_in(options.window_s / options.blocks, step_s);
  window.block_step_s.reserve(std::size_t{16} * static_cast<std::size_t>(options.blocks));
  for (Observer* observer : observers) observer->prepare();
  for (Observer* observer : observers) observer->begin();
  const double cpu_before = clock.cpu_s();
  window.start_realtime_ns = clock.realtime_ns();
  // One look: what the meters integrate begins where we count.
  window.start_monotonic_ns = clock.monotonic_ns();
  window.start_s = 1e-9 * static_cast<double>(window.start_monotonic_ns);
  double now = window.start_s, asked_s = -kAskEvery_s;
  for (;;) {
    kernel.run(window.steps_per_block);
    const double after = clock.monotonic_s();
    window.block_step_s.push_back((after - now) / static_cast<double>(window.steps_per_block));
    now = after;
    const double elapsed = now - window.start_s;
    if (elapsed < options.window_s) continue;
    if (elapsed >= options.longest_window_s()) break;
    const int blocks = static_cast<int>(window.block_step_s.size());
    // Sorting the blocks takes time inside the window: not after every one.
    const bool look = options.precision <= 0 || blocks % kBlocksPerLook == 0;
    if (!(blocks >= options.minimum_blocks && look && tight(window.block_step_s, options.precision)))
      continue;
    if (!wants_more) break;
    if (elapsed < asked_s + kAskEvery_s) continue;
    asked_s = elapsed;
    if (!wants_more()) break;
    now = clock.monotonic_s();  // the question is part of no block
  }
  window.cpu_s = clock.cpu_s() - cpu_before;
  window.duration_s = now - window.start_s;
  window.steps = window.steps_per_block * static_cast<std::int64_t>(window.block_step_s.size());
  for (auto observer = observers.rbegin(); observer != observers.rend(); ++observer)
    (*observer)->end(window.steps);
  for (Observer* observer : observers) observer->finish();
  window.step = summarise(window.block_step_s);
  window.few_blocks = static_cast<int>(window.block_step_s.size()) < options.minimum_blocks;
  window.wide_interval = !tight(window.block_step_s, options.precision);
  return window;
}

}  // namespace mlpwatt

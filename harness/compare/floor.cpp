#include "harness/compare/floor.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

namespace mlpwatt {
namespace {

constexpr std::int64_t kUnlimited = std::numeric_limits<std::int64_t>::max();

const Family& family(const std::string& name) {
  for (const Family& known : catalogue())
    if (known.name == name) return known;
  throw std::runtime_error("the catalogue has no " + name + ", which the floor is measured with");
}

struct Best {
  double flops_per_s = 0, bytes_per_s = 0;
};

/// The best of five blocks after one to warm up.
Best best_rates(const Benchmark& benchmark, const RunOptions& options, double seconds, Clock& clock) {
  constexpr int kBlocks = 5;
  const std::unique_ptr<Kernel> kernel = benchmark.make(options);
  kernel->set_up();
  const Check check = kernel->check();
  if (!check.passed) throw std::runtime_error(benchmark.name + ": " + check.detail);
  const auto block_s = [&](std::int64_t steps) {
    const double before = clock.monotonic_s();
    kernel->run(steps);
    return clock.monotonic_s() - before;
  };
  std::int64_t steps = 1;
  while (block_s(steps) < seconds / (kBlocks + 1) / 2 && steps < (std::int64_t{1} << 40)) steps *= 2;
  double least_s = std::numeric_limits<double>::infinity();
  for (int i = 0; i < kBlocks; ++i) least_s = std::min(least_s, block_s(steps));
  const Cost cost = kernel->cost();
  const double per_s = static_cast<double>(steps) / least_s;
  return {static_cast<double>(cost.flops()) * per_s, static_cast<double>(cost.compulsory_bytes()) * per_s};
}

/// The stream probe of this loop whose working set is nearest to `bytes`.
Benchmark stream_near(const std::string& operation, std::int64_t bytes, bool all, const RunOptions& options) {
  Benchmark nearest;
  double least = std::numeric_limits<double>::infinity();
  family("cpu/stream").enumerate(options, [&](const Benchmark& benchmark) {
    if (std::get<std::string>(benchmark.parameters.at("operation")) != operation) return;
    if (benchmark.name.ends_with("/all") != all) return;
    const double size =
        static_cast<double>(std::get<std::int64_t>(benchmark.parameters.at("working_set_bytes")));
    const double distance = std::abs(std::log(size / static_cast<double>(bytes)));
    if (distance < least) least = distance, nearest = benchmark;
  });
  if (!nearest.make)
    throw std::runtime_error("cpu/stream has no " + operation + " to measure the floor with");
  return nearest;
}

}  // namespace

Peaks measure_peaks(const RunOptions& asked, double seconds, Clock& clock) {
  RunOptions options = asked;
  const Hierarchy& hierarchy = options.hierarchy;
  options.threads = options.threads > 0 ? options.threads : hierarchy.cores;
  options.isa.clear();  // the machine's peak, whatever the kernels were told to use
  Peaks peaks;
  for (const CacheLevel& level : hierarchy.levels) {
    const int instances =
        (options.threads + std::max(1, level.shared_by_cores) - 1) / std::max(1, level.shared_by_cores);
    peaks.levels.push_back({level.name, level.capacity_bytes * instances, 0});
  }
  peaks.levels.push_back({"memory", kUnlimited, 0});

  const char* const operations[] = {"read", "copy", "triad"};
  const double share_s = seconds / static_cast<double>(1 + peaks.levels.size() * std::size(operations));
  family("cpu/fma").enumerate(options, [&](const Benchmark& benchmark) {
    // "/one" keeps to one thread, whatever is asked for
    if (benchmark.unavailable.empty() && !benchmark.name.ends_with("/one"))
      peaks.flops_per_s =
          std::max(peaks.flops_per_s, best_rates(benchmark, options, share_s, clock).flops_per_s);
  });
  const std::int64_t largest_cache =
      peaks.levels.size() > 1 ? peaks.levels[peaks.levels.size() - 2].capacity_bytes : 1 << 26;
  for (Bandwidth& level : peaks.levels) {
    // half a cache is surely inside it, four times the last one surely outside
    const std::int64_t bytes =
        level.capacity_bytes == kUnlimited ? 4 * largest_cache : level.capacity_bytes / 2;
    for (const char* operation : operations) {
      const Benchmark probe = stream_near(operation, bytes, options.threads > 1, options);
      level.bytes_per_s = std::max(level.bytes_per_s, best_rates(probe, options, share_s, clock).bytes_per_s);
    }
  }
  return peaks;
}

const Peaks& PeaksOnDemand::of(int threads) {
  const auto found = known_.find(threads);
  if (found != known_.end()) return found->second;
  RunOptions options = options_;
  options.threads = threads;
  return known_.emplace(threads, measure_peaks(options, seconds_, clock_)).first->second;
}

double floor_s(const Cost& cost, std::int64_t footprint_bytes, const Peaks& peaks) {
  double bytes_per_s = 0;
  for (const Bandwidth& level : peaks.levels)
    if (footprint_bytes <= level.capacity_bytes) {
      bytes_per_s = level.bytes_per_s;
      break;
    }
  if (!(peaks.flops_per_s > 0) || !(bytes_per_s > 0)) return std::numeric_limits<double>::quiet_NaN();
  return std::max(static_cast<double>(cost.flops()) / peaks.flops_per_s,
                  static_cast<double>(cost.compulsory_bytes()) / bytes_per_s);
}

}  // namespace mlpwatt

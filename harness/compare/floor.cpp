#include "harness/compare/floor.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

#include "kernels/backend.h"

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

bool on_processor(const Ceiling& ceiling) { return ceiling.device == "cpu"; }

/// The stream probe of this loop whose working set is nearest to `bytes`.
/// @param options of the ceiling, threads > 0
Benchmark stream_near(const std::string& operation, std::int64_t bytes, const Ceiling& ceiling,
                      const RunOptions& options) {
  Benchmark nearest;
  double least = std::numeric_limits<double>::infinity();
  family(ceiling.device + "/stream").enumerate(options, [&](const Benchmark& benchmark) {
    if (std::get<std::string>(benchmark.parameters.at("operation")) != operation) return;
    if (!benchmark.unavailable.empty() || benchmark.name.ends_with("/shared")) return;
    if (on_processor(ceiling) && benchmark.name.ends_with("/all") != (options.threads > 1)) return;
    const double size =
        static_cast<double>(std::get<std::int64_t>(benchmark.parameters.at("working_set_bytes")));
    const double distance = std::abs(std::log(size / static_cast<double>(bytes)));
    if (distance < least) least = distance, nearest = benchmark;
  });
  if (!nearest.make)
    throw std::runtime_error(ceiling.device + "/stream has no " + operation + " to measure the floor with");
  return nearest;
}

constexpr const char* kOperations[] = {"read", "copy", "triad"};

/// @param options threads > 0
Peaks unmeasured(const RunOptions& options) {
  Peaks peaks;
  for (const CacheLevel& level : options.hierarchy.levels) {
    const int instances =
        (options.threads + std::max(1, level.shared_by_cores) - 1) / std::max(1, level.shared_by_cores);
    peaks.levels.push_back({level.name, level.capacity_bytes * instances, 0});
  }
  peaks.levels.push_back({"memory", kUnlimited, 0});
  return peaks;
}

RunOptions for_peaks(RunOptions options, const Ceiling& ceiling) {
  if (!on_processor(ceiling)) {
    const Backend& backend = require_backend(ceiling.device);
    if (backend.hierarchy) options.hierarchy = backend.hierarchy();
    options.algorithm.clear();
  }
  options.threads = on_processor(ceiling) && ceiling.threads > 0 ? ceiling.threads : options.hierarchy.cores;
  options.isa.clear();  // the machine's peak, whatever the kernels were told to use
  return options;
}

double share_of(double seconds, const Peaks& peaks) {
  return seconds / static_cast<double>(1 + peaks.levels.size() * std::size(kOperations));
}

void measure_flops(Peaks& peaks, const Ceiling& ceiling, const RunOptions& options, double share_s,
                   Clock& clock) {
  const std::string name = ceiling.device + "/fma";
  family(name).enumerate(options, [&](const Benchmark& benchmark) {
    // "/one" keeps to one thread, whatever is asked for; a device has a probe for each way to its units
    if (!benchmark.unavailable.empty() || benchmark.name.ends_with("/one")) return;
    if (!on_processor(ceiling) && !benchmark.name.starts_with(name + "/" + ceiling.precision)) return;
    peaks.flops_per_s =
        std::max(peaks.flops_per_s, best_rates(benchmark, options, share_s, clock).flops_per_s);
  });
}

void measure_level(Peaks& peaks, std::size_t which, const Ceiling& ceiling, const RunOptions& options,
                   double share_s, Clock& clock) {
  const std::int64_t largest_cache =
      peaks.levels.size() > 1 ? peaks.levels[peaks.levels.size() - 2].capacity_bytes : 1 << 26;
  Bandwidth& level = peaks.levels[which];
  // Half a cache is surely inside it, four times the last one surely outside; but beyond the level before it
  // too: the L1 of a GPU's multiprocessors are together more than half of its L2.
  constexpr double kBeyond = 1.3;
  const std::int64_t before = which > 0 ? peaks.levels[which - 1].capacity_bytes : 0;
  const std::int64_t bytes = level.capacity_bytes == kUnlimited
                                 ? 4 * largest_cache
                                 : std::max(level.capacity_bytes / 2,
                                            static_cast<std::int64_t>(kBeyond * static_cast<double>(before)));
  for (const char* operation : kOperations) {
    const Benchmark probe = stream_near(operation, bytes, ceiling, options);
    level.bytes_per_s = std::max(level.bytes_per_s, best_rates(probe, options, share_s, clock).bytes_per_s);
  }
}

/// The first level that holds so much.
std::size_t level_of(const Peaks& peaks, std::int64_t footprint_bytes) {
  std::size_t which = 0;
  while (which + 1 < peaks.levels.size() && footprint_bytes > peaks.levels[which].capacity_bytes) ++which;
  return which;
}

}  // namespace

std::string precision_of(const std::string& name, const std::string& algorithm) {
  for (const std::string precision : {"tf32", "bf16"})
    if (name.find("/" + precision + "/") != std::string::npos ||
        algorithm.find("_" + precision) != std::string::npos)
      return precision;
  return "fp32";
}

Ceiling ceiling_of(const Row& run) {
  Ceiling ceiling;
  ceiling.device = run.text("backend");
  if (on_processor(ceiling)) {
    ceiling.threads = static_cast<int>(run.integer("threads"));
    return ceiling;
  }
  ceiling.precision = precision_of(run.text("name"), run.text("algorithm"));
  return ceiling;
}

Peaks measure_peaks(const RunOptions& asked, double seconds, Clock& clock, const Ceiling& ceiling) {
  const RunOptions options = for_peaks(asked, ceiling);
  Peaks peaks = unmeasured(options);
  const double share_s = share_of(seconds, peaks);
  measure_flops(peaks, ceiling, options, share_s, clock);
  for (std::size_t level = 0; level < peaks.levels.size(); ++level)
    measure_level(peaks, level, ceiling, options, share_s, clock);
  return peaks;
}

const Peaks& PeaksOnDemand::of(const Ceiling& ceiling, std::int64_t footprint_bytes) {
  const RunOptions options = for_peaks(options_, ceiling);
  auto found = known_.find(ceiling);
  if (found == known_.end()) {
    Peaks fresh = unmeasured(options);
    measure_flops(fresh, ceiling, options, share_of(seconds_, fresh), clock_);
    found = known_.emplace(ceiling, std::move(fresh)).first;
  }
  Peaks& peaks = found->second;
  const double share_s = share_of(seconds_, peaks);
  const std::size_t level = level_of(peaks, footprint_bytes);
  if (!(peaks.levels[level].bytes_per_s > 0)) measure_level(peaks, level, ceiling, options, share_s, clock_);
  return peaks;
}

double floor_s(const Cost& cost, std::int64_t footprint_bytes, const Peaks& peaks) {
  if (peaks.levels.empty()) return std::numeric_limits<double>::quiet_NaN();
  const double bytes_per_s = peaks.levels[level_of(peaks, footprint_bytes)].bytes_per_s;
  if (!(peaks.flops_per_s > 0) || !(bytes_per_s > 0)) return std::numeric_limits<double>::quiet_NaN();
  const double least_s = std::max(static_cast<double>(cost.flops()) / peaks.flops_per_s,
                                  static_cast<double>(cost.compulsory_bytes()) / bytes_per_s);
  if (cost.batch_bytes == 0) return least_s;
  const double data_bytes_per_s =
      peaks.levels[level_of(peaks, dataset_footprint_bytes(cost, footprint_bytes))].bytes_per_s;
  if (!(data_bytes_per_s > 0)) return std::numeric_limits<double>::quiet_NaN();
  return std::max(least_s, static_cast<double>(cost.batch_bytes) / data_bytes_per_s);
}

std::int64_t dataset_footprint_bytes(const Cost& cost, std::int64_t footprint_bytes) {
  return cost.batch_bytes == 0 ? 0 : footprint_bytes + cost.working_sets.dataset.total_bytes();
}

std::int64_t footprint_bytes(const std::string& family, const Cost& cost) {
  const bool training = family.ends_with("/mlp_train") || family.ends_with("/train");
  return training ? cost.compulsory_read_bytes : cost.compulsory_bytes();
}

void set_floor(Row& run, const Cost& cost, PeaksOnDemand& peaks) {
  const std::string& family = run.text("family");
  const Ceiling ceiling = ceiling_of(run);
  if ((on_processor(ceiling) && ceiling.threads < 1) || family.ends_with("/fma") ||
      family.ends_with("/stream") || family.ends_with("/chase"))
    return;
  const std::int64_t footprint = footprint_bytes(family, cost);
  double least_s = 0;
  try {
    if (cost.batch_bytes > 0) peaks.of(ceiling, dataset_footprint_bytes(cost, footprint));
    least_s = floor_s(cost, footprint, peaks.of(ceiling, footprint));
  } catch (const std::exception& error) {  // a device or the memory may be full: what was measured stands
    run.set("reason", std::string("no floor: ") + error.what());
  }
  if (!(least_s > 0)) return;
  run.set("floor_s", least_s);
  run.set("floor_ratio", run.real("step_s") / least_s);
}

}  // namespace mlpwatt

#pragma once
// The least time a machine allows for a piece of work: its measured peaks against the work's FLOPs and bytes.

#include <compare>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "harness/protocol/clock.h"
#include "harness/record/table.h"
#include "kernels/kernel.h"

namespace mlpwatt {

struct Bandwidth {
  std::string level;                ///< "L1" ... "memory"
  std::int64_t capacity_bytes = 0;  ///< of all instances the threads use; memory: the largest integer
  double bytes_per_s = 0;           ///< best of the stream probe's loops; 0 = not measured
};

struct Peaks {
  double flops_per_s = 0;
  std::vector<Bandwidth> levels;  ///< nearest first, memory last
};

/// Whose peaks: so many threads of the processor, or all of another device with one of its arithmetics.
struct Ceiling {
  std::string device = "cpu";      ///< the backend's name; its families' names begin with it
  std::string precision = "fp32";  ///< of products; the processor has one
  int threads = 0;                 ///< of the processor; 0 = all cores
  auto operator<=>(const Ceiling&) const = default;
};

/// "fp32", "tf32" or "bf16", by the name of a benchmark (gpu/gemm/tf32/...) or of an engine (graph_bf16 ...).
std::string precision_of(const std::string& name, const std::string& algorithm);

/// What a row of /runs (backend, name, algorithm, threads) has its floor under.
Ceiling ceiling_of(const Row& run);

/// Runs the catalogue's fma and stream probes of the ceiling's device, about `seconds` in all. The best block
/// counts: a floor must not be raised by a neighbour's load.
/// Errors: std::runtime_error when a probe's own check fails or the device is not there.
Peaks measure_peaks(const RunOptions& options, double seconds, Clock& clock, const Ceiling& ceiling);

/// Measures the peaks under a ceiling when they are first asked for, and keeps them. Of the levels
/// only those that something lies in: the probes of a large last cache and of memory take seconds to set up.
class PeaksOnDemand {
 public:
  /// @param seconds for one ceiling
  PeaksOnDemand(RunOptions options, double seconds, Clock& clock)
      : options_(std::move(options)), seconds_(seconds), clock_(clock) {}
  /// Errors: as measure_peaks.
  /// @return with the bandwidth of the level that holds `footprint_bytes`; that of others may be missing
  const Peaks& of(const Ceiling& ceiling, std::int64_t footprint_bytes);

 private:
  RunOptions options_;
  double seconds_;
  Clock& clock_;
  std::map<Ceiling, Peaks> known_;
};

/// Bytes that a step of a benchmark of this family has to find somewhere: a training step writes weights and
/// moments where it read them.
std::int64_t footprint_bytes(const std::string& family, const Cost& cost);

/// Bytes among which a training step finds its batch: the whole dataset beside what the step itself needs; 0
/// of others.
std::int64_t dataset_footprint_bytes(const Cost& cost, std::int64_t footprint_bytes);

/// max(FLOPs / peak, compulsory bytes / bandwidth of the first level that holds `footprint_bytes`,
/// the batch's bytes / bandwidth of the first level that holds the dataset as well).
/// NaN while the peaks are unknown.
double floor_s(const Cost& cost, std::int64_t footprint_bytes, const Peaks& peaks);

/// Sets floor_s and floor_ratio of a row of /runs that has its time: against the peaks under its ceiling.
/// Nothing for the probes, which the floor is made of, and where a probe fails: the row stands, its reason
/// says so.
void set_floor(Row& run, const Cost& cost, PeaksOnDemand& peaks);

}  // namespace mlpwatt

#pragma once
// What the probes of a file say about the memory hierarchy of a machine's processor or GPU: where bandwidth
// and latency step, against the capacities that hwloc reports or a GPU is described with; what each level
// delivers; and, with a meter, what a byte and a FLOP cost.

#include <string>
#include <vector>

#include "harness/record/record_file.h"
#include "kernels/hierarchy.h"

namespace mlpwatt::model {

/// One point of a sweep: working set and what an access cost there.
struct SweepPoint {
  double bytes = 0, value = 0;
};

/// A step between two plateaus: the sizes between which as many accesses miss as do at a cache's capacity,
/// and the plateaus' values.
struct Step {
  double last_before_bytes = 0, first_after_bytes = 0;
  double before = 0, after = 0;
  /// The capacity lies between the two sizes; 10 % beyond either still agrees.
  bool agrees_with(double capacity_bytes) const;
};

/// The `count` steps between the flattest plateaus (of the nearest rising curve; least squares of logarithms;
/// three points at least), with ramps of up to two octaves between them: a cache of randomly placed pages
/// loses lines before it is full. Fewer where plateaus differ by less than 10 %.
/// @param points one a size, ascending; values rise where a cache ends: seconds per load or byte
std::vector<Step> find_steps(const std::vector<SweepPoint>& points, int count);

struct Interval {
  double value = 0, low95 = 0, high95 = 0;  ///< NaN where nothing is known
};

struct LevelFinding {
  std::string level;          ///< L1, L2, L3, memory
  double capacity_bytes = 0;  ///< of one cache as reported; NaN for memory
  /// Of all the caches that the sweep of bandwidth fills: it is of one core, or of a whole device with the L1
  /// of every multiprocessor. The sweep of latency is of one thread always.
  double swept_capacity_bytes = 0;
  std::vector<Step> by_latency, by_bandwidth;             ///< none or one
  std::vector<Step> by_local_latency;                     ///< of the ring that goes page by page; tells only
  Interval bandwidth_bytes_per_s, latency_s, j_per_byte;  ///< of one thread, or the device, inside the level
  /// "", or where the steps lie elsewhere, or that there is none though the sweep reaches beyond the
  /// capacity. Latency decides where it was swept: prefetching may hide a step in bandwidth. Says whether
  /// a ring that spares the TLB steps there too, where one was swept.
  std::string disagreement;
};

struct ProbeFindings {
  std::int64_t machine_row = 0;
  Hierarchy hierarchy;  ///< as reported
  std::vector<LevelFinding> levels;
  Interval flops_per_s, j_per_flop;  ///< of one thread with the fastest instruction set; of a device's fp32
  std::string energy_provenance;     ///< "measured", "modelled", or ""
  /// The joules are above idle: what a byte or a FLOP adds to a machine that is on anyway, which is what the
  /// model's prices are. False: no run has its idle power, and the joules hold the machine's whole power.
  bool energy_above_idle = false;
  Interval idle_power_w;  ///< of the runs those joules are of
};

/// "cpu", or "gpu" where a file has memory probes of that alone.
std::string probed_backend(const Contents& contents);

/// @param machine_row the first row of /machine of the machine meant; -1 = the first that has probes
/// @param backend "cpu" or "gpu": whose. Of several GPUs the one that the first probe describes.
/// Errors: std::invalid_argument when there are none (names the command that records them).
ProbeFindings find_hierarchy(const Contents& contents, const std::string& path, std::int64_t machine_row = -1,
                             const std::string& backend = "cpu");

}  // namespace mlpwatt::model

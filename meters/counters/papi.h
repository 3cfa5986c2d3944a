#pragma once
// The PAPI source's parts that tests drive with events of their own.

#include <memory>
#include <string>
#include <vector>

#include "meters/counters/counter_source.h"
#include "meters/counters/gpu_metrics.h"

namespace mlpwatt {

/// One way to count a vocabulary name: PAPI events, summed, times a factor.
struct PapiRecipe {
  std::string name;                 ///< in the vocabulary
  std::vector<std::string> events;  ///< presets ("PAPI_L1_DCM") or native ("perf::PAGE-FAULTS")
  double factor = 1;
  bool times_line = false;  ///< times the line size of the first-level cache
};

/// Ways in order of preference; several for a name.
std::vector<PapiRecipe> default_papi_recipes();

/// The first processor of each socket, in the order of the sockets; processor 0 when sysfs does not say.
std::vector<int> first_processor_of_sockets(const std::string& folder = "/sys/devices/system/cpu");
/// Reads and writes of a memory controller ("uncore::unc_imc0::UNC_M_CAS_COUNT"): its unit is there once a
/// socket, and is asked for by a processor of that socket.
std::vector<std::string> column_access_events(const std::string& unit, const std::vector<int>& processors);

/// How counting reaches the kernel's threads.
enum class PapiReach {
  kAuto,    ///< attach where the kernel lets PAPI, else the team
  kAttach,  ///< one event set attached to every thread of the process, whoever made it
  kTeam,    ///< one event set in every thread of the caller's OpenMP team
};

/// gpu_recipes() with PAPI's names of the metrics, in both spellings that PAPI has used.
std::vector<MetricRecipe> papi_gpu_recipes();
/// Whether PAPI was built with a component for GPUs and it works here; then CUPTI is left to PAPI.
bool papi_counts_gpus();
/// GPU counters by a PAPI component, apart from the window. @param component "cuda"
std::unique_ptr<CounterSource> make_papi_gpu_source(std::vector<MetricRecipe> recipes = papi_gpu_recipes(),
                                                    std::string component = "cuda");

std::unique_ptr<CounterSource> make_papi_source(std::vector<PapiRecipe> recipes = default_papi_recipes(),
                                                PapiReach reach = PapiReach::kAuto);

}  // namespace mlpwatt

// Which PAPI events make which name of the vocabulary.

#include <papi.h>

#include <regex>

#include "meters/counters/papi.h"
#include "meters/counters/papi_set.h"

namespace mlpwatt {

namespace {

/// Memory controllers' column accesses, one line each. They live in per-channel uncore units that differ by
/// processor, so they are found by pattern; empty where PAPI has no uncore component.
std::vector<std::string> uncore_memory_events() {
  std::vector<std::string> names;
  const int component = PAPI_get_component_index("perf_event_uncore");
  if (component < 0) return names;
  const PAPI_component_info_t* info = PAPI_get_component_info(component);
  if (info == nullptr || info->disabled != 0) return names;
  static const std::regex unit(R"(.*unc_imc\d*::UNC_M_CAS_COUNT)");
  int code = PAPI_NATIVE_MASK;
  if (PAPI_enum_cmp_event(&code, PAPI_ENUM_FIRST, component) != PAPI_OK) return names;
  do {
    char name[PAPI_HUGE_STR_LEN];
    if (PAPI_event_code_to_name(code, name) == PAPI_OK && std::regex_match(name, unit)) {
      names.push_back(std::string(name) + ":RD:cpu=0");
      names.push_back(std::string(name) + ":WR:cpu=0");
    }
  } while (PAPI_enum_cmp_event(&code, PAPI_ENUM_EVENTS, component) == PAPI_OK);
  return names;
}

}  // namespace

std::vector<PapiRecipe> default_papi_recipes() {
  PapiLibrary::get();  // PAPI crashes when asked for events before it is initialised
  std::vector<PapiRecipe> recipes{
      {"l1_access", {"PAPI_L1_DCA"}},
      {"l1_access", {"perf::L1-DCACHE-LOADS", "perf::L1-DCACHE-STORES"}},
      {"l1_access", {"perf::L1-DCACHE-LOADS"}},
      {"l1_miss", {"PAPI_L1_DCM"}},
      {"l1_miss", {"perf::L1-DCACHE-LOAD-MISSES"}},
      {"l2_access", {"PAPI_L2_DCA"}},
      {"l2_access", {"PAPI_L2_TCA"}},
      {"l2_miss", {"PAPI_L2_DCM"}},
      {"l2_miss", {"PAPI_L2_TCM"}},
      {"l3_access", {"PAPI_L3_TCA"}},
      {"l3_access", {"perf::CACHE-REFERENCES"}},
      {"l3_miss", {"PAPI_L3_TCM"}},
      {"l3_miss", {"perf::CACHE-MISSES"}},
      {"l2_bytes", {"PAPI_L1_DCM"}, 1, true},
      {"l2_bytes", {"perf::L1-DCACHE-LOAD-MISSES"}, 1, true},
      {"l3_bytes", {"PAPI_L2_DCM"}, 1, true},
      {"l3_bytes", {"PAPI_L2_TCM"}, 1, true},
      {"instructions", {"PAPI_TOT_INS"}},
      {"instructions", {"perf::INSTRUCTIONS"}},
      {"cycles", {"PAPI_TOT_CYC"}},
      {"cycles", {"perf::CYCLES"}},
      {"fp_ops", {"PAPI_SP_OPS"}},
      {"fp_ops", {"PAPI_FP_OPS"}},
      {"stall", {"PAPI_RES_STL"}},
      {"stall", {"perf::STALLED-CYCLES-BACKEND"}},
      {"tlb_miss", {"PAPI_TLB_DM"}},
      {"tlb_miss", {"perf::DTLB-LOAD-MISSES"}},
      {"page_faults", {"perf::PAGE-FAULTS"}},
      {"context_switches", {"perf::CONTEXT-SWITCHES"}},
      {"migrations", {"perf::CPU-MIGRATIONS"}},
      {"task_clock_s", {"perf::TASK-CLOCK"}, 1e-9},
  };
  if (std::vector<std::string> memory = uncore_memory_events(); !memory.empty())
    recipes.push_back({"dram_bytes", std::move(memory), 1, true});
  recipes.push_back({"dram_bytes", {"PAPI_L3_TCM"}, 1, true});
  recipes.push_back({"dram_bytes", {"perf::CACHE-MISSES"}, 1, true});
  return recipes;
}

}  // namespace mlpwatt

// Which PAPI events make which name of the vocabulary.

#include <papi.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <regex>

#include "meters/counters/papi.h"
#include "meters/counters/papi_set.h"

namespace mlpwatt {

std::vector<int> first_processor_of_sockets(const std::string& folder) {
  namespace fs = std::filesystem;
  std::map<int, int> first;  // by socket
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(folder, none)) {
    static const std::regex processor(R"(cpu(\d+))");
    const std::string name = entry.path().filename();
    std::smatch match;
    int socket = -1;
    std::ifstream file(entry.path() / "topology" / "physical_package_id");
    if (!std::regex_match(name, match, processor) || !(file >> socket) || socket < 0) continue;
    const int number = std::stoi(match[1]);
    const auto known = first.emplace(socket, number).first;
    known->second = std::min(known->second, number);
  }
  std::vector<int> processors;
  for (const auto& [socket, number] : first) processors.push_back(number);
  return processors.empty() ? std::vector<int>{0} : processors;
}

std::vector<std::string> column_access_events(const std::string& unit, const std::vector<int>& processors) {
  std::vector<std::string> names;
  for (const int processor : processors)
    for (const char* direction : {"RD", "WR"})
      names.push_back(unit + ":" + direction + ":cpu=" + std::to_string(processor));
  return names;
}

namespace {

/// Memory controllers' column accesses, one line each. They live in per-channel uncore units that differ by
/// processor, so they are found by pattern; empty where PAPI has no uncore component.
std::vector<std::string> uncore_memory_events() {
  std::vector<std::string> names;
  const int component = PAPI_get_component_index("perf_event_uncore");
  if (component < 0) return names;
  const PAPI_component_info_t* info = PAPI_get_component_info(component);
  if (info == nullptr || info->disabled != 0) return names;
  const std::vector<int> sockets = first_processor_of_sockets();
  static const std::regex unit(R"(.*unc_imc\d*::UNC_M_CAS_COUNT)");
  int code = PAPI_NATIVE_MASK;
  if (PAPI_enum_cmp_event(&code, PAPI_ENUM_FIRST, component) != PAPI_OK) return names;
  do {
    char name[PAPI_HUGE_STR_LEN];
    if (PAPI_event_code_to_name(code, name) == PAPI_OK && std::regex_match(name, unit))
      std::ranges::copy(column_access_events(name, sockets), std::back_inserter(names));
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

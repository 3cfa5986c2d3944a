#pragma once
// A machine that is not here, described by a file in the format `mlpwatt info --json` prints; capacities say
// where data lives, optional rates change what the fitted model charges for a byte of each level.

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "harness/model/model.h"
#include "harness/model/probes.h"
#include "kernels/hierarchy.h"

namespace mlpwatt::model {

struct DescribedMachine {
  Hierarchy hierarchy;
  std::string isa;      ///< the best of "isas", "" when the file names none
  std::string backend;  ///< whose caches: "cpu", "gpu"; "" when the file does not say
  /// time: s per byte, from bandwidth_bytes_per_s; per FLOP from flops_per_s (of one core).
  /// energy: J per byte, from j_per_byte; per FLOP from j_per_flop; W from idle_power_w.
  OtherMachine rates;
};

/// The same rates of a machine that was probed.
OtherMachine rates_of(const ProbeFindings& findings);

/// Reads backend, cores, memory_bytes and caches [{level, capacity_bytes, line_bytes, associativity,
/// shared_by_cores}], and where given caches[].bandwidth_bytes_per_s (of one core, or of a whole device),
/// caches[].j_per_byte, memory {bandwidth_bytes_per_s, j_per_byte}, flops_per_s, j_per_flop, idle_power_w.
/// The joules are above idle; with the idle power beside them, which takes the place of the static term,
/// nothing is counted twice. Other keys, and caches beyond L3, are left alone. Errors: std::invalid_argument
/// naming the file, the key and what is wrong with it.
DescribedMachine read_hierarchy_file(const std::string& path);

/// The same keys of a machine that is here, its rates null: nothing is known of them yet.
/// @param backend whose caches these are
nlohmann::ordered_json hierarchy_json(const Hierarchy& hierarchy, const std::string& backend);

}  // namespace mlpwatt::model

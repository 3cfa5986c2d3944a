#pragma once
// The memory hierarchy of a machine as the cost accounting sees it: cache levels
// with their capacity and sharing, then memory. Filled from hwloc for this machine
// (`read_hierarchy`), or written by hand for a machine that is not here.

#include <cstdint>
#include <string>
#include <vector>

namespace mlpwatt {

struct CacheLevel {
  std::string name;                 ///< "L1", "L2", "L3"
  std::int64_t capacity_bytes = 0;  ///< of one instance
  int line_bytes = 64;
  int associativity = 0;    ///< ways; 0 = unknown or fully associative
  int shared_by_cores = 1;  ///< cores behind one instance
};

struct Hierarchy {
  std::string source;              ///< "hwloc 2.9.0", "file:...", "assumed"
  int cores = 1;                   ///< physical cores this process may run on
  int hardware_threads = 1;        ///< logical processors this process may run on
  std::vector<CacheLevel> levels;  ///< nearest first; memory is not listed
  std::int64_t memory_bytes = 0;

  /// The level called `name`, or nullptr.
  const CacheLevel* find(const std::string& name) const;
  /// Capacity of `name` in bytes, or `fallback_bytes` when the machine does not tell.
  std::int64_t capacity_bytes(const std::string& name, std::int64_t fallback_bytes) const;
};

/// The hierarchy of the machine we run on, read through hwloc. Levels hwloc cannot see
/// (some virtual machines) are left out, never invented; `source` says what was asked.
/// Errors: throws std::runtime_error when hwloc cannot load a topology at all.
Hierarchy read_hierarchy();

}  // namespace mlpwatt

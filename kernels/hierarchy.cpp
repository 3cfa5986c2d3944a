#include "kernels/hierarchy.h"

#include <hwloc.h>
#include <omp.h>

#include <algorithm>
#include <memory>
#include <stdexcept>
#include <type_traits>

namespace mlpwatt {

namespace {

struct TopologyDeleter {
  void operator()(hwloc_topology_t topology) const { hwloc_topology_destroy(topology); }
};
using Topology = std::unique_ptr<std::remove_pointer_t<hwloc_topology_t>, TopologyDeleter>;

struct BitmapDeleter {
  void operator()(hwloc_bitmap_t bitmap) const { hwloc_bitmap_free(bitmap); }
};
using Bitmap = std::unique_ptr<std::remove_pointer_t<hwloc_bitmap_t>, BitmapDeleter>;

Topology load_topology() {
  hwloc_topology_t raw = nullptr;
  if (hwloc_topology_init(&raw) != 0) throw std::runtime_error("hwloc cannot start: out of memory?");
  Topology topology(raw);
  // Processors this process may not use stay in the tree: they share the caches all the same.
  hwloc_topology_set_flags(raw, HWLOC_TOPOLOGY_FLAG_INCLUDE_DISALLOWED);
  if (hwloc_topology_load(raw) != 0)
    throw std::runtime_error("hwloc cannot read this machine's topology (is /sys mounted?)");
  return topology;
}

// What cgroups, task sets and batch systems left us.
Bitmap allowed_processors(hwloc_topology_t topology) {
  Bitmap set(hwloc_bitmap_alloc());
  if (hwloc_get_cpubind(topology, set.get(), HWLOC_CPUBIND_PROCESS) != 0)
    hwloc_bitmap_copy(set.get(), hwloc_topology_get_topology_cpuset(topology));
  // With OMP_PROC_BIND the OpenMP library has bound this thread to a single place before main(), but its
  // team may use every place, and those it took from our task set.
  for (int place = 0; place < omp_get_num_places(); ++place) {
    std::vector<int> ids(static_cast<std::size_t>(omp_get_place_num_procs(place)));
    omp_get_place_proc_ids(place, ids.data());
    for (const int id : ids) hwloc_bitmap_set(set.get(), static_cast<unsigned>(id));
  }
  hwloc_bitmap_and(set.get(), set.get(), hwloc_topology_get_allowed_cpuset(topology));
  return set;
}

int count_inside(hwloc_topology_t topology, hwloc_obj_type_t type, hwloc_const_cpuset_t set) {
  int count = 0;
  for (hwloc_obj_t object = hwloc_get_next_obj_by_type(topology, type, nullptr); object != nullptr;
       object = hwloc_get_next_obj_by_type(topology, type, object))
    if (hwloc_bitmap_intersects(object->cpuset, set)) ++count;
  return count;
}

int count_cores(hwloc_topology_t topology, hwloc_const_cpuset_t set) {
  const int cores = count_inside(topology, HWLOC_OBJ_CORE, set);
  return std::max(1, cores > 0 ? cores : count_inside(topology, HWLOC_OBJ_PU, set));
}

// Machines with two kinds of cores have two kinds of caches: we describe the first allowed core's.
hwloc_obj_t first_inside(hwloc_topology_t topology, hwloc_obj_type_t type, hwloc_const_cpuset_t set) {
  hwloc_obj_t object = hwloc_get_next_obj_by_type(topology, type, nullptr);
  while (object != nullptr && !hwloc_bitmap_intersects(object->cpuset, set))
    object = hwloc_get_next_obj_by_type(topology, type, object);
  return object;
}

}  // namespace

const CacheLevel* Hierarchy::find(const std::string& name) const {
  const auto found =
      std::find_if(levels.begin(), levels.end(), [&](const CacheLevel& level) { return level.name == name; });
  return found == levels.end() ? nullptr : &*found;
}

std::int64_t Hierarchy::capacity_bytes(const std::string& name, std::int64_t fallback_bytes) const {
  const CacheLevel* level = find(name);
  return level != nullptr && level->capacity_bytes > 0 ? level->capacity_bytes : fallback_bytes;
}

Hierarchy read_hierarchy() {
  const Topology topology = load_topology();
  const Bitmap allowed = allowed_processors(topology.get());
  Hierarchy hierarchy;
  hierarchy.source = "hwloc " HWLOC_VERSION;
  hierarchy.cores = count_cores(topology.get(), allowed.get());
  hierarchy.hardware_threads = std::max(1, hwloc_bitmap_weight(allowed.get()));
  hierarchy.memory_bytes = static_cast<std::int64_t>(hwloc_get_root_obj(topology.get())->total_memory);
  const std::pair<hwloc_obj_type_t, const char*> kinds[] = {{HWLOC_OBJ_L1CACHE, "L1"},
                                                            {HWLOC_OBJ_L2CACHE, "L2"},
                                                            {HWLOC_OBJ_L3CACHE, "L3"},
                                                            {HWLOC_OBJ_L4CACHE, "L4"}};
  for (const auto& [type, name] : kinds) {
    const hwloc_obj_t cache = first_inside(topology.get(), type, allowed.get());
    if (cache == nullptr || cache->attr->cache.size == 0) continue;
    CacheLevel level;
    level.name = name;
    level.capacity_bytes = static_cast<std::int64_t>(cache->attr->cache.size);
    if (cache->attr->cache.linesize > 0) level.line_bytes = static_cast<int>(cache->attr->cache.linesize);
    level.associativity = std::max(0, cache->attr->cache.associativity);
    level.shared_by_cores = count_cores(topology.get(), cache->cpuset);
    hierarchy.levels.push_back(level);
  }
  return hierarchy;
}

}  // namespace mlpwatt

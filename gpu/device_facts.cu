// What records and cost accounting are told of the device; the same for a device and the emulator.

#include "gpu/runtime.h"

namespace mlpwatt::gpu {

Hierarchy device_hierarchy() {
  const Device& d = device();
  Hierarchy hierarchy;
  hierarchy.source = "cuda: " + d.name;
  hierarchy.cores = d.multiprocessors;
  hierarchy.hardware_threads = d.multiprocessors;
  CacheLevel l1{"L1", d.l1_bytes, 128, 0, 1};
  CacheLevel l2{"L2", d.l2_bytes, 128, 0, d.multiprocessors};
  hierarchy.levels = {l1, l2};
  hierarchy.memory_bytes = d.memory_bytes;
  return hierarchy;
}

std::map<std::string, std::string> device_facts() {
  const Device& d = device();
  return {{"device", d.name}, {"device_uuid", d.uuid}, {"device_pci", d.pci}};
}

}  // namespace mlpwatt::gpu

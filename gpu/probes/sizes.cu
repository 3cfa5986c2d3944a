#include "gpu/probes/probes.h"
#include "gpu/runtime.h"

namespace mlpwatt::gpu {

std::vector<std::int64_t> probe_sizes(std::int64_t from, std::int64_t to, bool halves) {
  std::vector<std::int64_t> sizes;
  for (std::int64_t size = from; size <= to; size *= 2) {
    sizes.push_back(size);
    if (halves && size + size / 2 <= to) sizes.push_back(size + size / 2);
  }
  return sizes;
}

std::string why_no_room(std::int64_t bytes, Where where) {
  if (const std::string reason = why_unavailable(); !reason.empty()) return reason;
  const Device& d = device();
  // the driver and a process's context take their part
  const std::int64_t room = where == Where::kShared ? d.shared_block_bytes : d.memory_bytes / 10 * 9;
  if (bytes <= room) return "";
  return std::to_string(bytes) + " bytes do not fit the " +
         (where == Where::kShared ? "shared memory" : "memory") + " of " + d.name;
}

}  // namespace mlpwatt::gpu

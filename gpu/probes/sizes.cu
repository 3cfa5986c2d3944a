#include <utility>

#include "gpu/probes/probes.h"
#include "gpu/runtime.h"
#include "kernels/sweep.h"

namespace mlpwatt::gpu {

std::vector<std::int64_t> probe_sizes(std::int64_t from, std::int64_t to,
                                      const std::vector<std::int64_t>& capacities_bytes) {
  std::vector<std::int64_t> sizes;
  for (std::int64_t size = from; size <= to; size *= 2)
    for (const std::int64_t one : {size, size + size / 2})
      if (one <= to) sizes.push_back(one);
  return with_sixteenths_around(capacities_bytes, std::move(sizes), from, to);
}

std::vector<std::int64_t> capacities_bytes(bool of_whole_device) {
  if (!why_unavailable().empty()) return {};
  const Device& d = device();
  return {d.l1_bytes * (of_whole_device ? d.multiprocessors : 1), d.l2_bytes};
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

#pragma once
// The probes of gpu/, open to their tests: ceilings of the multiply-add units and tensor cores, bandwidth and
// latency of each memory level.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernels/kernel.h"

namespace mlpwatt::gpu {

/// "fp32", "tf32", "bf16" (mma.sync), "tf32_wgmma", "bf16_wgmma" (Hopper).
std::unique_ptr<Kernel> make_fma_probe(const std::string& unit);
const std::vector<std::string>& fma_units();

enum class Where { kDevice, kShared };
/// One pass of "copy", "triad" or "read" over `bytes` in all; kShared keeps them in shared memory.
std::unique_ptr<Kernel> make_stream_probe(const std::string& operation, std::int64_t bytes, Where where);
/// Dependent loads by one thread on a random ring of 128-byte lines.
std::unique_ptr<Kernel> make_chase_probe(std::int64_t bytes, Where where, std::uint64_t seed);

// What the probes' check() are made of.
/// Largest error of `sums` (one a thread) after `iterations` of the unit's loop over check()'s own factors.
double fma_error(const std::string& unit, const std::vector<float>& sums, int iterations);
/// Largest error of elements begin, begin + 1 ... of the first array after one pass of copy or triad.
double stream_error(const std::string& operation, const std::vector<float>& got, std::int64_t begin);
/// Of the block sums of read over `floats` elements.
double read_error(const std::vector<float>& sums, std::int64_t floats);
/// Passes when `count` hops from a line lead back to it and no fewer do. `returns_after(n)` walks n hops from
/// the same line each time.
Check check_ring(std::int64_t count, const std::function<bool(std::int64_t)>& returns_after);

/// Powers of two from..to and the sizes half-way between them, and sixteenths of each capacity around it
/// (kernels/sweep.h).
std::vector<std::int64_t> probe_sizes(std::int64_t from, std::int64_t to,
                                      const std::vector<std::int64_t>& capacities_bytes);
/// L1 and L2 as the sweeps meet them; none without a device.
/// @param of_whole_device all multiprocessors' L1, not one's
std::vector<std::int64_t> capacities_bytes(bool of_whole_device);

/// "" when this device can run what needs `bytes` of its memory or shared memory, else why not.
std::string why_no_room(std::int64_t bytes, Where where);

}  // namespace mlpwatt::gpu

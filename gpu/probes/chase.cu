// The pointer chase: latency of shared memory, L1, L2 and device memory. Every 128-byte line of the working
// set holds the number of the next one on a single random ring:
//     for (hop = 0; hop < loads; ++hop) line = next[line]
// One thread; no load can begin before the one before it has ended.

#include <numeric>
#include <stdexcept>

#include "gpu/device/cuda.cuh"
#include "gpu/probes/probes.h"
#include "gpu/runtime.h"
#include "kernels/random.h"

namespace mlpwatt::gpu {
namespace {

constexpr std::int64_t kLineBytes = 128;
constexpr int kWordsPerLine = static_cast<int>(kLineBytes / sizeof(unsigned));
constexpr std::int64_t kLoadsPerStep = 4096;

/// The first word of each line: the index of the next line's first word.
__global__ void make_ring(unsigned* words, const unsigned* order, std::int64_t count) {
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count;
       i += static_cast<std::int64_t>(gridDim.x) * blockDim.x)
    words[static_cast<std::int64_t>(order[i]) * kWordsPerLine] =
        order[i + 1 < count ? i + 1 : 0] * static_cast<unsigned>(kWordsPerLine);
}

/// out[0] = the word that `loads` hops from word out[0] lead to. In shared memory the block copies the ring
/// there first.
template <bool InShared>
__global__ void walk(const unsigned* words, std::int64_t count, std::int64_t loads, unsigned* out) {
  const unsigned* ring = words;
  if constexpr (InShared) {
    unsigned* own = &shared_as<unsigned>();
    for (std::int64_t line = threadIdx.x; line < count; line += blockDim.x)
      own[line * kWordsPerLine] = words[line * kWordsPerLine];
    __syncthreads();
    ring = own;
  }
  if (threadIdx.x != 0) return;
  unsigned at = out[0];
#pragma unroll 8
  for (std::int64_t hop = 0; hop < loads; ++hop) at = ring[at];
  out[0] = at;
}

class Chase : public Kernel {
 public:
  Chase(std::int64_t bytes, Where where, std::uint64_t seed)
      : count_(bytes / kLineBytes), where_(where), seed_(seed) {}

  void set_up() override {
    if (count_ * kWordsPerLine > std::int64_t{1} << 32)
      throw std::invalid_argument("gpu/chase: at most 16 GiB");
    std::vector<unsigned> order(static_cast<std::size_t>(count_));
    std::iota(order.begin(), order.end(), 0u);
    RandomStream stream(seed_);
    shuffle(order, stream);
    const Buffer<unsigned> order_on_device(order);
    // A walk of a large ring takes half a minute: there each line's word is looked at instead, against the
    // order, which is a permutation and so one ring.
    constexpr std::int64_t kMostWalked = std::int64_t{1} << 20;
    if (count_ > kMostWalked) order_ = order;
    words_ = Buffer<unsigned>(static_cast<std::size_t>(count_ * kWordsPerLine));
    at_ = Buffer<unsigned>(std::vector<unsigned>{0});
    launch({.grid = dim3(256), .block = dim3(256)}, make_ring, words_.data(),
           static_cast<const unsigned*>(order_on_device.data()), count_);
    synchronise();
  }

  /// The ring is whole: `count` hops lead back, and no fewer.
  Check check() override {
    if (!order_.empty()) return check_lines();
    const unsigned start = at_.download()[0];
    const Check check = check_ring(count_, [&](std::int64_t hops) {
      at_.upload({start});
      hop(hops);
      return at_.download()[0] == start;
    });
    at_.upload({start});
    return check;
  }

  void run(std::int64_t steps) override { hop(steps * kLoadsPerStep); }

  Cost cost() const override {
    Cost cost;
    cost.compulsory_read_bytes = kLoadsPerStep * static_cast<std::int64_t>(sizeof(unsigned));
    return cost;
  }

  std::map<std::string, std::string> facts() const override {
    std::map<std::string, std::string> facts = device_facts();
    facts["isa"] = "sm_" + std::to_string(device().capability);
    facts["threads"] = "1";
    facts["loads_per_step"] = std::to_string(kLoadsPerStep);
    return facts;
  }

 private:
  Check check_lines() {
    std::int64_t wrong = 0;
    const std::vector<unsigned> words = words_.download();
    for (std::int64_t i = 0; i < count_; ++i) {
      const std::size_t here = static_cast<std::size_t>(i), next = static_cast<std::size_t>((i + 1) % count_);
      wrong += words[static_cast<std::size_t>(order_[here]) * kWordsPerLine] != order_[next] * kWordsPerLine;
    }
    return check_within(static_cast<double>(wrong), 0, "lines that do not lead to the next one of the ring");
  }
  void hop(std::int64_t loads) {
    const unsigned* words = words_.data();
    if (where_ == Where::kShared)
      launch({.block = dim3(128), .shared_bytes = static_cast<std::size_t>(count_ * kLineBytes)}, walk<true>,
             words, count_, loads, at_.data());
    else
      launch({.block = dim3(1)}, walk<false>, words, count_, loads, at_.data());
    synchronise();
  }

  std::int64_t count_;
  Where where_;
  std::uint64_t seed_;
  Buffer<unsigned> words_, at_;
  std::vector<unsigned> order_;  ///< of a large ring
};

constexpr std::int64_t kSmallest = 16 << 10, kLargest = std::int64_t{4} << 30;

const FamilyRegistration registration{
    {.name = "gpu/chase",
     .backend = "gpu",
     .summary = "latency of L1, L2 and device memory, or of /shared memory: dependent loads by one thread",
     .enumerate = [](const RunOptions&, const std::function<void(const Benchmark&)>& visit) {
       const auto add = [&](std::int64_t bytes, Where where) {
         Benchmark benchmark;
         benchmark.name = "gpu/chase/" + std::to_string(bytes) + (where == Where::kShared ? "/shared" : "");
         benchmark.family = "gpu/chase";
         benchmark.parameters = {{"working_set_bytes", bytes}, {"loads_per_step", kLoadsPerStep}};
         benchmark.unavailable = why_no_room(bytes, where);
         benchmark.quick = benchmark.unavailable.empty() && (where == Where::kShared || bytes == 16 << 10 ||
                                                             bytes == 8 << 20 || bytes == 512 << 20);
         benchmark.make = [bytes, where](const RunOptions& run) -> std::unique_ptr<Kernel> {
           return std::make_unique<Chase>(bytes, where, run.seed);
         };
         visit(benchmark);
       };
       add(64 << 10, Where::kShared);
       for (const std::int64_t bytes : probe_sizes(kSmallest, kLargest, capacities_bytes(false)))
         add(bytes, Where::kDevice);
     }}};

}  // namespace

std::unique_ptr<Kernel> make_chase_probe(std::int64_t bytes, Where where, std::uint64_t seed) {
  return std::make_unique<Chase>(bytes, where, seed);
}

Check check_ring(std::int64_t count, const std::function<bool(std::int64_t)>& returns_after) {
  if (!returns_after(count)) return check_within(1, 0, "a turn of the ring does not end where it began");
  // A shorter ring would have a length that divides `count`: it is enough to try count / p for every prime p.
  std::int64_t rest = count;
  for (std::int64_t p = 2; rest > 1; ++p) {
    if (p * p > rest) p = rest;
    if (rest % p != 0) continue;
    while (rest % p == 0) rest /= p;
    if (returns_after(count / p))
      return check_within(
          1, 0,
          "the ring closes after " + std::to_string(count / p) + " of " + std::to_string(count) + " lines");
  }
  return check_within(0, 0, "");
}

}  // namespace mlpwatt::gpu

// The device's arithmetic ceilings: independent multiply-add chains in registers for fp32, independent
// accumulators for the tensor cores, by mma.sync (a warp) and by wgmma (a warpgroup, Hopper), whose rates
// differ.

#include <cmath>
#include <stdexcept>

#include "gpu/device/mma.cuh"
#include "gpu/device/warp.cuh"
#include "gpu/device/wgmma_tf32.cuh"
#include "gpu/probes/probes.h"
#include "gpu/runtime.h"

namespace mlpwatt::gpu {
namespace {

constexpr int kChains = 8;  // latency 4 cycles, 4 warps an issue slot: more than enough in flight
constexpr int kThreads = 256;
constexpr int kBlocksPerMultiprocessor = 4;

/// Every chain: x = c, then `iterations` times x = x * factor + term. out[thread] = sum of its chains.
__global__ void __launch_bounds__(kThreads)
    fma_fp32(std::int64_t iterations, float factor, float term, float* out) {
  float chain[kChains];
#pragma unroll
  for (int c = 0; c < kChains; ++c) chain[c] = static_cast<float>(c);
#pragma unroll 16
  for (std::int64_t n = 0; n < iterations; ++n) {
#pragma unroll
    for (int c = 0; c < kChains; ++c) chain[c] = chain[c] * factor + term;
  }
  float sum = 0;
#pragma unroll
  for (int c = 0; c < kChains; ++c) sum += chain[c];
  out[blockIdx.x * blockDim.x + threadIdx.x] = sum;
}

/// Every accumulator adds the same product `iterations` times: its elements become iterations * k * a * b.
template <bool Half>
__global__ void __launch_bounds__(kThreads) fma_mma(std::int64_t iterations, float a, float b, float* out) {
  float sums[kChains][4];
  std::uint32_t fa[4], fb[2];
  const std::uint32_t packed_a = pack_bf16(to_bf16(a), to_bf16(a)),
                      packed_b = pack_bf16(to_bf16(b), to_bf16(b));
#pragma unroll
  for (int i = 0; i < 4; ++i) fa[i] = Half ? packed_a : to_tf32(a);
#pragma unroll
  for (int i = 0; i < 2; ++i) fb[i] = Half ? packed_b : to_tf32(b);
#pragma unroll
  for (int c = 0; c < kChains; ++c)
#pragma unroll
    for (int i = 0; i < 4; ++i) sums[c][i] = 0;
#pragma unroll 4
  for (std::int64_t n = 0; n < iterations; ++n) {
#pragma unroll
    for (int c = 0; c < kChains; ++c) {
      if constexpr (Half)
        mma_bf16(sums[c], fa, fb);
      else
        mma_tf32(sums[c], fa, fb);
    }
  }
  float sum = 0;
#pragma unroll
  for (int c = 0; c < kChains; ++c)
#pragma unroll
    for (int i = 0; i < 4; ++i) sum += sums[c][i];
  out[blockIdx.x * blockDim.x + threadIdx.x] = sum;
}

constexpr int kWgmmaN = 128;

/// Two warpgroups, each with 64 x 128 sums, read the same operands in shared memory over and over.
template <bool Half>
__global__ void __launch_bounds__(kThreads) fma_wgmma(std::int64_t iterations, float a, float b, float* out) {
#if defined(MLPWATT_SM90A)
  struct Shared {
    alignas(1024) unsigned char a[64 * 128], b[kWgmmaN * 128];
  };
  Shared& shared = shared_as<Shared>();
  require_swizzle_alignment(&shared);
  const std::uint32_t word_a = Half ? pack_bf16(to_bf16(a), to_bf16(a)) : __float_as_uint(a);
  const std::uint32_t word_b = Half ? pack_bf16(to_bf16(b), to_bf16(b)) : __float_as_uint(b);
  for (unsigned i = threadIdx.x; i < sizeof shared.a / 4; i += blockDim.x)
    reinterpret_cast<std::uint32_t*>(shared.a)[i] = word_a;
  for (unsigned i = threadIdx.x; i < sizeof shared.b / 4; i += blockDim.x)
    reinterpret_cast<std::uint32_t*>(shared.b)[i] = word_b;
  fence_async_proxy();
  __syncthreads();
  float sums[kWgmmaN / 2];
#pragma unroll
  for (int i = 0; i < kWgmmaN / 2; ++i) sums[i] = 0;
  const Operand operand_a = make_operand(shared.a, 1024, 0), operand_b = make_operand(shared.b, 1024, 0);
  wgmma_fence();
  for (std::int64_t n = 0; n < iterations; ++n) {
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      if constexpr (Half)
        wgmma_bf16<kWgmmaN, false, false>(sums, advance(operand_a, 32 * k), advance(operand_b, 32 * k), true);
      else
        wgmma_tf32<kWgmmaN>(sums, advance(operand_a, 32 * k), advance(operand_b, 32 * k), true);
    }
    wgmma_commit();
    wgmma_wait<1>();
  }
  wgmma_wait<0>();
  float sum = 0;
#pragma unroll
  for (int i = 0; i < kWgmmaN / 2; ++i) sum += sums[i];
  out[blockIdx.x * blockDim.x + threadIdx.x] = sum;
#endif
}

struct Unit {
  const char* name;
  void (*kernel)(std::int64_t, float, float, float*);
  std::int64_t macs_per_iteration;  ///< of a block
  std::int64_t sums_per_thread;     ///< elements that out[] adds up
  std::int64_t k;                   ///< products added to each of them in an iteration
  std::size_t shared_bytes;
  int from_capability, to_capability;
};
constexpr std::int64_t kWarps = kThreads / 32, kWarpgroups = kThreads / 128;
constexpr std::size_t kOperandBytes = (64 + kWgmmaN) * 128;
const Unit kUnits[] = {
    {"fp32", fma_fp32, kThreads* kChains, kChains, 1, 0, 80, 999},
    {"tf32", fma_mma<false>, kWarps* kChains * 16 * 8 * 8, kChains * 4, 8, 0, 80, 999},
    {"bf16", fma_mma<true>, kWarps* kChains * 16 * 8 * 16, kChains * 4, 16, 0, 80, 999},
    {"tf32_wgmma", fma_wgmma<false>, kWarpgroups * 64 * kWgmmaN * 32, kWgmmaN / 2, 32, kOperandBytes, 90, 90},
    {"bf16_wgmma", fma_wgmma<true>, kWarpgroups * 64 * kWgmmaN * 64, kWgmmaN / 2, 64, kOperandBytes, 90, 90},
};

/// What each thread's sum is after `iterations`.
double expected(const Unit& unit, int iterations) {
  if (std::string(unit.name) != "fp32")  // exact: small multiples of 1/8
    return static_cast<double>(iterations * unit.sums_per_thread * unit.k) * 0.125;
  double want = 0;  // after n iterations a chain that started at c is 2 + (c - 2) / 2^n
  for (int c = 0; c < kChains; ++c) want += 2 + (c - 2) / std::pow(2.0, iterations);
  return want;
}

const Unit& unit_called(const std::string& name) {
  for (const Unit& unit : kUnits)
    if (name == unit.name) return unit;
  throw std::invalid_argument("gpu/fma has no '" + name + "'");
}

class Fma : public Kernel {
 public:
  explicit Fma(const Unit& unit) : unit_(unit) {}

  void set_up() override {
    blocks_ = device().multiprocessors * kBlocksPerMultiprocessor;
    out_ = Buffer<float>(static_cast<std::size_t>(blocks_ * kThreads));
  }

  Check check() override {
    constexpr int kIterations = 10;
    const bool chains = std::string(unit_.name) == "fp32";
    const float a = 0.5f, b = chains ? 1.0f : 0.25f;
    start(kIterations, a, b);
    synchronise();
    const double worst = fma_error(unit_.name, out_.download(), kIterations);
    const double want = expected(unit_, kIterations);
    return check_within(worst, chains ? 1e-4 * want : 0, "sums of the chains against their closed form");
  }

  void run(std::int64_t steps) override {
    // factors of zero keep the sums finite for any number of steps; the units do not know
    const bool chains = std::string(unit_.name) == "fp32";
    start(steps * kIterationsPerStep, chains ? 0.5f : 0.0f, chains ? 1.0f : 0.0f);
    synchronise();
  }

  Cost cost() const override {
    Cost cost;
    cost.multiplies = cost.adds = unit_.macs_per_iteration * kIterationsPerStep * blocks_;
    return cost;
  }

  std::map<std::string, std::string> facts() const override {
    std::map<std::string, std::string> facts = device_facts();
    facts["isa"] = "sm_" + std::to_string(device().capability);
    facts["threads"] = std::to_string(blocks_ * kThreads);
    return facts;
  }

 private:
  static constexpr std::int64_t kIterationsPerStep = 1000;
  void start(std::int64_t iterations, float a, float b) {
    launch({.grid = dim3(static_cast<unsigned>(blocks_)),
            .block = dim3(kThreads),
            .shared_bytes = unit_.shared_bytes},
           unit_.kernel, iterations, a, b, out_.data());
  }

  const Unit& unit_;
  int blocks_ = 0;
  Buffer<float> out_;
};

std::string why_not(const Unit& unit) {
  if (const std::string reason = why_unavailable(); !reason.empty()) return reason;
  const int capability = device().capability;
  if (capability < unit.from_capability || capability > unit.to_capability)
    return std::string("wgmma is of compute capability 9.0; ") + device().name + " has " +
           std::to_string(capability / 10) + "." + std::to_string(capability % 10);
  if (unit.to_capability == 90 && !has_wgmma(reinterpret_cast<const void*>(unit.kernel)))
    return "this program was built without wgmma: make GPU_ARCH=90a";
  return "";
}

const FamilyRegistration registration{
    {.name = "gpu/fma",
     .backend = "gpu",
     .summary = "peak multiply-add rate of the fp32 units and the tensor cores (mma.sync, wgmma)",
     .enumerate = [](const RunOptions&, const std::function<void(const Benchmark&)>& visit) {
       for (const Unit& unit : kUnits) {
         Benchmark benchmark;
         benchmark.name = std::string("gpu/fma/") + unit.name;
         benchmark.family = "gpu/fma";
         benchmark.unavailable = why_not(unit);
         benchmark.quick = benchmark.unavailable.empty();
         benchmark.make = [&unit](const RunOptions&) -> std::unique_ptr<Kernel> {
           return std::make_unique<Fma>(unit);
         };
         visit(benchmark);
       }
     }}};

}  // namespace

std::unique_ptr<Kernel> make_fma_probe(const std::string& name) {
  return std::make_unique<Fma>(unit_called(name));
}

double fma_error(const std::string& name, const std::vector<float>& sums, int iterations) {
  const double want = expected(unit_called(name), iterations);
  double worst = 0;
  for (const float got : sums) {
    const double error = std::abs(got - want);
    if (!(error <= worst)) worst = error;
    if (std::isnan(error)) break;
  }
  return worst;
}

const std::vector<std::string>& fma_units() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all;
    for (const Unit& unit : kUnits)
      if (device().capability >= unit.from_capability && device().capability <= unit.to_capability)
        all.push_back(unit.name);
    return all;
  }();
  return names;
}

}  // namespace mlpwatt::gpu

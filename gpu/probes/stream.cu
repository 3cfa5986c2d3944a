// The stream probe: bandwidth of shared memory, L1, L2 and device memory. A step is one pass over the working
// set, which is split over the multiprocessors; each keeps to its own part of every array, so that small sets
// stay in its L1. All steps of a run happen in one launch.
//     copy  a[i] = b[i]        triad  a[i] = b[i] + s c[i]        read  sum of a[i]

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "gpu/device/cuda.cuh"
#include "gpu/device/warp.cuh"
#include "gpu/probes/probes.h"
#include "gpu/runtime.h"

namespace mlpwatt::gpu {
namespace {

constexpr int kThreads = 1024;
constexpr int kUnroll = 4;   // 16-byte loads a thread has in flight
constexpr float kScale = 3;  // small whole numbers throughout: results are exact, in any order of adding

enum class Operation { kCopy, kTriad, kRead };
struct Shape {
  const char* name;
  Operation operation;
  int arrays, reads, writes;
  int multiplies, adds;  // of a float at each index
};
constexpr Shape kShapes[] = {{"copy", Operation::kCopy, 2, 1, 1, 0, 0},
                             {"triad", Operation::kTriad, 3, 2, 1, 1, 1},
                             {"read", Operation::kRead, 1, 1, 0, 0, 1}};

__host__ __device__ __forceinline__ float value_at(int array, std::int64_t i) {
  return static_cast<float>((i * (array + 1)) % 13 - 6);
}

/// A load that the compiler neither moves out of the loop over passes nor drops; cached like any other.
__device__ __forceinline__ float4 load_now(const float4* at) {
#if defined(__CUDACC__)
  float4 value;
  asm volatile("ld.v4.f32 {%0, %1, %2, %3}, [%4];"
               : "=f"(value.x), "=f"(value.y), "=f"(value.z), "=f"(value.w)
               : "l"(at)
               : "memory");
  return value;
#else
  return *at;
#endif
}

/// `passes` over `count` groups of four floats by the threads of a block; returns the thread's sum for kRead.
template <Operation Which>
__device__ __forceinline__ float pass_over(float4* a, const float4* b, const float4* c, std::int64_t count,
                                           std::int64_t passes) {
  float sum = 0;
  for (std::int64_t pass = 0; pass < passes; ++pass) {
    sum = 0;
    for (std::int64_t first = threadIdx.x; first < count; first += kThreads * kUnroll) {
      float4 x[kUnroll], y[kUnroll];
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
        const std::int64_t i = first + u * kThreads;
        if (i >= count) break;
        x[u] = load_now((Which == Operation::kRead ? a : b) + i);
        if (Which == Operation::kTriad) y[u] = load_now(c + i);
      }
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
        const std::int64_t i = first + u * kThreads;
        if (i >= count) break;
        if (Which == Operation::kRead)
          sum += x[u].x + x[u].y + x[u].z + x[u].w;
        else if (Which == Operation::kCopy)
          a[i] = x[u];
        else
          a[i] = make_float4(x[u].x + kScale * y[u].x, x[u].y + kScale * y[u].y, x[u].z + kScale * y[u].z,
                             x[u].w + kScale * y[u].w);
      }
    }
  }
  return sum;
}

/// Arrays of `groups` groups of four floats, of which block b has [b share, (b + 1) share). In shared memory
/// the block makes its part itself, and stores array 0 to `a` at the end. sums[b] = the block's sum.
template <Operation Which, bool InShared>
__global__ void __launch_bounds__(kThreads)
    stream_kernel(float4* a, const float4* b, const float4* c, std::int64_t groups, std::int64_t share,
                  std::int64_t passes, float* sums) {
  const std::int64_t begin = blockIdx.x * share,
                     count = max(std::int64_t{0}, min(groups, begin + share) - begin);
  float sum;
  if constexpr (InShared) {
    float4* own = &shared_as<float4>();
    for (int array = 0; array < 3; ++array)
      for (std::int64_t i = threadIdx.x; i < count; i += kThreads) {
        if (array * share + i >= share * (Which == Operation::kTriad ? 3 : Which == Operation::kCopy ? 2 : 1))
          break;
        const std::int64_t e = 4 * (begin + i);
        own[array * share + i] = make_float4(value_at(array, e), value_at(array, e + 1),
                                             value_at(array, e + 2), value_at(array, e + 3));
      }
    __syncthreads();
    sum = pass_over<Which>(own, own + share, own + 2 * share, count, passes);
    __syncthreads();
    for (std::int64_t i = threadIdx.x; i < count; i += kThreads) a[begin + i] = own[i];
  } else {
    sum = pass_over<Which>(a + begin, b + begin, c + begin, count, passes);
  }
  using Partials = float[kThreads / 32];
  MLPWATT_SHARED(Partials, partial);
  sum = warp_sum(sum);
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x == 0) {
    float total = 0;
    for (int w = 0; w < kThreads / 32; ++w) total += partial[w];
    sums[blockIdx.x] = total;
  }
}

__global__ void fill_array(float* array, int number, std::int64_t count) {
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count;
       i += static_cast<std::int64_t>(gridDim.x) * blockDim.x)
    array[i] = value_at(number, i);
}

class StreamProbe : public Kernel {
 public:
  StreamProbe(const Shape& shape, std::int64_t bytes, Where where)
      : shape_(shape), bytes_(bytes), where_(where) {}

  void set_up() override {
    blocks_ = device().multiprocessors;
    // of one array; in shared memory `bytes_` is each multiprocessor's
    const std::int64_t total = where_ == Where::kShared ? bytes_ * blocks_ : bytes_;
    groups_ = std::max<std::int64_t>(1, total / shape_.arrays / 16);
    share_ = where_ == Where::kShared ? std::max<std::int64_t>(1, bytes_ / shape_.arrays / 16)
                                      : (groups_ + blocks_ - 1) / blocks_;
    if (where_ == Where::kShared) groups_ = share_ * blocks_;
    const int in_memory = where_ == Where::kShared ? 1 : shape_.arrays;
    for (int k = 0; k < in_memory; ++k) arrays_[k] = Buffer<float>(static_cast<std::size_t>(4 * groups_));
    sums_ = Buffer<float>(static_cast<std::size_t>(blocks_));
    fill();
  }

  Check check() override {
    run(1);
    double worst = 0;
    if (shape_.operation == Operation::kRead) {
      worst = read_error(sums_.download(), 4 * groups_);
    } else {
      // Windows spread over the array, both ends among them: all of it where it is small.
      constexpr std::int64_t kWindow = 1 << 16, kWindows = 16;
      const std::int64_t floats = 4 * groups_;
      std::vector<float> got(static_cast<std::size_t>(std::min(floats, kWindow)));
      for (std::int64_t w = 0; w < kWindows; ++w) {
        const std::int64_t begin = w * (floats - static_cast<std::int64_t>(got.size())) / (kWindows - 1);
        copy_to_host(got.data(), arrays_[0].data() + begin, got.size() * sizeof(float));
        const double error = stream_error(shape_.name, got, begin);
        if (!(error <= worst)) worst = error;
      }
    }
    fill();
    return check_within(worst, 0, std::string("gpu/stream/") + shape_.name + " against the plain loop");
  }

  void run(std::int64_t steps) override {
    const auto start = [&](auto* kernel) {
      launch({.grid = dim3(static_cast<unsigned>(blocks_)),
              .block = dim3(kThreads),
              .shared_bytes =
                  where_ == Where::kShared ? static_cast<std::size_t>(share_ * shape_.arrays * 16) : 0},
             kernel, array(0), array(1), array(2), groups_, share_, steps, sums_.data());
    };
    const bool shared = where_ == Where::kShared;
    if (shape_.operation == Operation::kCopy)
      shared ? start(stream_kernel<Operation::kCopy, true>) : start(stream_kernel<Operation::kCopy, false>);
    else if (shape_.operation == Operation::kTriad)
      shared ? start(stream_kernel<Operation::kTriad, true>) : start(stream_kernel<Operation::kTriad, false>);
    else
      shared ? start(stream_kernel<Operation::kRead, true>) : start(stream_kernel<Operation::kRead, false>);
    synchronise();
  }

  Cost cost() const override {
    const std::int64_t n = 4 * groups_;
    Cost cost;
    cost.multiplies = shape_.multiplies * n;
    cost.adds = shape_.adds * n;
    cost.compulsory_read_bytes = 4 * shape_.reads * n;
    cost.compulsory_write_bytes = 4 * shape_.writes * n;
    return cost;
  }

  std::map<std::string, std::string> facts() const override {
    std::map<std::string, std::string> facts = device_facts();
    facts["isa"] = "sm_" + std::to_string(device().capability);
    facts["threads"] = std::to_string(blocks_ * kThreads);
    facts["working_set_bytes"] = std::to_string(16 * groups_ * shape_.arrays);
    return facts;
  }

 private:
  float4* array(int k) const { return reinterpret_cast<float4*>(arrays_[k].data()); }
  void fill() {
    for (int k = 0; k < 3; ++k)
      if (arrays_[k].size() > 0)
        launch({.grid = dim3(static_cast<unsigned>(4 * blocks_)), .block = dim3(256)}, fill_array,
               arrays_[k].data(), k, 4 * groups_);
    synchronise();
  }

  const Shape& shape_;
  std::int64_t bytes_;
  Where where_;
  int blocks_ = 0;
  std::int64_t groups_ = 0, share_ = 0;
  Buffer<float> arrays_[3], sums_;
};

// 2 MiB are 16 KiB for each of 128 multiprocessors.
constexpr std::int64_t kSmallest = std::int64_t{2} << 20, kLargest = std::int64_t{4} << 30;

const FamilyRegistration registration{
    {.name = "gpu/stream",
     .backend = "gpu",
     .summary = "bandwidth of L1, L2 and device memory over working sets of all multiprocessors, or of "
                "/shared memory",
     .enumerate = [](const RunOptions&, const std::function<void(const Benchmark&)>& visit) {
       const auto add = [&](const Shape& shape, std::int64_t bytes, Where where) {
         Benchmark benchmark;
         benchmark.name = std::string("gpu/stream/") + shape.name + "/" + std::to_string(bytes) +
                          (where == Where::kShared ? "/shared" : "");
         benchmark.family = "gpu/stream";
         benchmark.parameters = {{"operation", std::string(shape.name)}, {"working_set_bytes", bytes}};
         benchmark.unavailable = why_no_room(bytes, where);
         benchmark.quick = benchmark.unavailable.empty() && shape.operation == Operation::kTriad &&
                           (bytes == 16 << 20 || bytes == std::int64_t{1} << 30 || where == Where::kShared);
         benchmark.make = [&shape, bytes, where](const RunOptions&) -> std::unique_ptr<Kernel> {
           return std::make_unique<StreamProbe>(shape, bytes, where);
         };
         visit(benchmark);
       };
       for (const Shape& shape : kShapes) {
         add(shape, 96 << 10, Where::kShared);  // of every multiprocessor
         for (const std::int64_t bytes : probe_sizes(kSmallest, kLargest, capacities_bytes(true)))
           add(shape, bytes, Where::kDevice);
       }
     }}};

}  // namespace

std::unique_ptr<Kernel> make_stream_probe(const std::string& operation, std::int64_t bytes, Where where) {
  for (const Shape& shape : kShapes)
    if (operation == shape.name) return std::make_unique<StreamProbe>(shape, bytes, where);
  throw std::invalid_argument("gpu/stream has no '" + operation + "'");
}

double stream_error(const std::string& operation, const std::vector<float>& got, std::int64_t begin) {
  double worst = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    const std::int64_t e = begin + static_cast<std::int64_t>(i);
    const float want = value_at(1, e) + (operation == "triad" ? kScale * value_at(2, e) : 0.0f);
    const double error = std::abs(static_cast<double>(got[i]) - want);
    if (!(error <= worst)) worst = error;
    if (std::isnan(error)) break;
  }
  return worst;
}

double read_error(const std::vector<float>& sums, std::int64_t floats) {
  double total = 0, want = 0;
  for (const float sum : sums) total += sum;
  // the values repeat every 13 and add up to nothing over a period
  for (std::int64_t i = floats / 13 * 13; i < floats; ++i) want += value_at(0, i);
  return std::abs(total - want);
}

}  // namespace mlpwatt::gpu

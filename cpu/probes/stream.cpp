// The stream probe: bandwidth of each level of the memory hierarchy. A step is one pass over the working set,
// which is split over the threads; every thread keeps to its own part of each array.

#include "cpu/probes/stream.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <stdexcept>

#include "cpu/isa.h"
#include "cpu/probes/sweep.h"
#include "cpu/team.h"
#include "kernels/kernel.h"

namespace mlpwatt {

namespace {

constexpr std::int64_t kLineFloats = 16;
constexpr float kScale = 3;  // small whole numbers throughout: results are exact, in any order of adding

struct Operation {
  const char* name;
  int arrays;         // the working set is split over them
  int reads, writes;  // of a float at each index
  int multiplies, adds;
};
constexpr Operation kOperations[] = {
    {"copy", 2, 1, 1, 0, 0}, {"triad", 3, 2, 1, 1, 1}, {"read", 1, 1, 0, 0, 1}, {"write", 1, 0, 1, 0, 0}};

const stream::Loops& loops_for(const std::string& wanted) {
  switch (choose_isa(wanted)) {
#if defined(__x86_64__)
    case Isa::kAvx512:
      return stream::kAvx512;
    case Isa::kAvx2:
      return stream::kAvx2;
    case Isa::kAvx2NoFma:
      return stream::kAvx2NoFma;
#endif
    default:
      return stream::kGeneric;
  }
}

struct FreeDeleter {
  void operator()(float* memory) const { std::free(memory); }
};
using Array = std::unique_ptr<float, FreeDeleter>;

Array allocate(std::int64_t floats) {
  // A page apart from everything else, so that threads never share one.
  const std::size_t bytes = (static_cast<std::size_t>(floats) * sizeof(float) + 4095) / 4096 * 4096;
  float* memory = static_cast<float*>(std::aligned_alloc(4096, bytes));
  if (memory == nullptr)
    throw std::runtime_error("cpu/stream: no memory for " + std::to_string(bytes) + " bytes");
  return Array(memory);
}

double largest(double a, double b) { return std::isnan(a) || a >= b ? a : b; }

float value_at(int array, std::int64_t i) { return static_cast<float>((i * (array + 1)) % 13 - 6); }

class Stream : public Kernel {
 public:
  Stream(const Operation& operation, std::int64_t bytes, int threads, const RunOptions& options)
      : operation_(operation),
        loops_(loops_for(options.isa)),
        threads_(threads),
        floats_(std::max<std::int64_t>(kLineFloats,
                                       bytes / operation.arrays / threads / 4 / kLineFloats * kLineFloats)) {}

  void set_up() override {
    parts_.resize(static_cast<std::size_t>(threads_));
    for (Part& part : parts_)
      for (int k = 0; k < operation_.arrays; ++k) part.arrays[k] = allocate(floats_);
    fill();
  }

  Check check() override {
    run(1);
    double worst = 0;
    for (const Part& part : parts_)
      worst = largest(worst, stream::result_error(operation_.name, part.arrays[0].get(), part.sum, floats_));
    fill();
    return check_within(worst, 0, std::string("cpu/stream/") + operation_.name + " against the plain loop");
  }

  void run(std::int64_t steps) override {
    run_team(threads_,
             [&](const TeamMember& member) { pass(parts_[static_cast<std::size_t>(member.id)], steps); });
  }

  Cost cost() const override {
    const std::int64_t n = floats_ * threads_;
    Cost cost;
    cost.multiplies = operation_.multiplies * n;
    cost.adds = operation_.adds * n;
    // As the loop names them. Below the first level every written line is read as well (write-allocate):
    // 4 n more bytes of traffic for copy, triad and write, left out here as STREAM leaves them out.
    cost.compulsory_read_bytes = 4 * operation_.reads * n;
    cost.compulsory_write_bytes = 4 * operation_.writes * n;
    return cost;
  }

  std::map<std::string, std::string> facts() const override {
    return {{"isa", loops_.isa},
            {"threads", std::to_string(threads_)},
            {"working_set_bytes", std::to_string(4 * floats_ * threads_ * operation_.arrays)}};
  }

 private:
  struct alignas(64) Part {  // a line of its own: `sum` is written by its thread
    Array arrays[3];
    float sum = 0;
  };

  // Each thread touches its own part first, so that it lies in the memory next to it.
  void fill() {
#pragma omp parallel for num_threads(threads_) schedule(static, 1)
    for (int t = 0; t < threads_; ++t)
      for (int k = 0; k < operation_.arrays; ++k)
        for (std::int64_t i = 0; i < floats_; ++i)
          parts_[static_cast<std::size_t>(t)].arrays[k].get()[i] = value_at(k, i);
  }

  void pass(Part& part, std::int64_t steps) const {
    float *a = part.arrays[0].get(), *b = part.arrays[1].get(), *c = part.arrays[2].get();
    for (std::int64_t step = 0; step < steps; ++step) {
      if (operation_.arrays == 3)
        loops_.triad(a, b, c, kScale, floats_);
      else if (operation_.arrays == 2)
        loops_.copy(a, b, floats_);
      else if (operation_.writes > 0)
        loops_.write(a, kScale, floats_);
      else
        part.sum = loops_.read(a, floats_);
    }
  }

  const Operation& operation_;
  const stream::Loops& loops_;
  int threads_;
  std::int64_t floats_;  // of one array of one thread
  std::vector<Part> parts_;
};

Benchmark describe(const Operation& operation, std::int64_t bytes, bool all_cores,
                   const RunOptions& options) {
  const int threads = options.threads > 0 ? options.threads
                      : all_cores         ? std::max(1, options.hierarchy.cores)
                                          : 1;
  Benchmark benchmark;
  benchmark.name =
      std::string("cpu/stream/") + operation.name + "/" + std::to_string(bytes) + (all_cores ? "/all" : "");
  benchmark.family = "cpu/stream";
  benchmark.parameters = {{"operation", std::string(operation.name)}, {"working_set_bytes", bytes}};
  benchmark.quick =
      !all_cores && std::string(operation.name) == "triad" && probes::is_quick_size(options.hierarchy, bytes);
  benchmark.make = [&operation, bytes, threads](const RunOptions& run) -> std::unique_ptr<Kernel> {
    return std::make_unique<Stream>(operation, bytes, run.threads > 0 ? run.threads : threads, run);
  };
  return benchmark;
}

const FamilyRegistration registration{
    {.name = "cpu/stream",
     .backend = "cpu",
     .summary = "bandwidth of each memory level: copy, triad, read, write; one thread, or /all cores",
     .enumerate = [](const RunOptions& options, const std::function<void(const Benchmark&)>& visit) {
       for (const bool all_cores : {false, true})
         for (const Operation& operation : kOperations) {
           // The reading sweep of one thread is the one that capacities are told by.
           const bool fine = !all_cores && operation.writes == 0;
           for (const std::int64_t bytes : probes::sweep_bytes(options.hierarchy, fine ? 4 : 1))
             visit(describe(operation, bytes, all_cores, options));
         }
     }}};

}  // namespace

double stream::result_error(const char* operation_name, const float* a, float sum, std::int64_t n) {
  const std::string operation = operation_name;
  double worst = 0, expected_sum = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    double expected = value_at(0, i);
    expected_sum += expected;
    if (operation == "copy") expected = value_at(1, i);
    if (operation == "triad") expected = value_at(1, i) + kScale * value_at(2, i);
    if (operation == "write") expected = kScale;
    worst = largest(worst, std::abs(a[i] - expected));
  }
  return operation == "read" ? largest(worst, std::abs(sum - expected_sum)) : worst;
}

}  // namespace mlpwatt

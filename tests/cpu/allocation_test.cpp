// What is timed allocates nothing: malloc and its kin, by any thread, counted while a kernel runs. This file
// stands between the test program and the C library's malloc; it counts only when told to.

#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <memory>
#include <string>

#include "cpu/aligned.h"
#include "cpu/gemm/gemm_kernel.h"
#include "cpu/isa.h"
#include "cpu/mlp/mlp_train.h"
#include "cpu/team.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define MLPWATT_OTHER_MALLOC 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__GLIBC__)
#define MLPWATT_OTHER_MALLOC 1
#endif

namespace {

std::atomic<bool> counting{false};
std::atomic<long> counted{0};

[[maybe_unused]] void count() noexcept {
  if (counting.load(std::memory_order_relaxed)) counted.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace

#ifndef MLPWATT_OTHER_MALLOC
extern "C" {
void* __libc_malloc(std::size_t bytes);
void* __libc_calloc(std::size_t items, std::size_t bytes);
void* __libc_realloc(void* memory, std::size_t bytes);
void* __libc_memalign(std::size_t alignment, std::size_t bytes);

void* malloc(std::size_t bytes) noexcept {
  count();
  return __libc_malloc(bytes);
}
void* calloc(std::size_t items, std::size_t bytes) noexcept {
  count();
  return __libc_calloc(items, bytes);
}
void* realloc(void* memory, std::size_t bytes) noexcept {
  count();
  return __libc_realloc(memory, bytes);
}
void* memalign(std::size_t alignment, std::size_t bytes) noexcept {
  count();
  return __libc_memalign(alignment, bytes);
}
void* aligned_alloc(std::size_t alignment, std::size_t bytes) noexcept {
  count();
  return __libc_memalign(alignment, bytes);
}
int posix_memalign(void** memory, std::size_t alignment, std::size_t bytes) noexcept {
  count();
  if (alignment % sizeof(void*) != 0 || (alignment & (alignment - 1)) != 0) return EINVAL;
  void* const got = __libc_memalign(alignment, bytes);
  if (got == nullptr) return ENOMEM;
  *memory = got;
  return 0;
}
}
#endif

namespace mlpwatt {
namespace {

template <typename Work>
long allocations(const Work& work) {
  counted = 0;
  counting = true;
  work();
  counting = false;
  return counted;
}

/// The compiler must not see that nobody needs the memory.
template <typename T>
void keep(T* memory) {
  asm volatile("" : : "g"(memory) : "memory");
}

class Allocation : public ::testing::Test {
 protected:
  void SetUp() override {
#ifdef MLPWATT_OTHER_MALLOC
    GTEST_SKIP() << "malloc is a sanitizer's own here (or not glibc's): it cannot be counted";
#endif
  }
  /// One call warms up: it may start the team.
  static void expect_none(Kernel& kernel, const std::string& what) {
    kernel.set_up();
    kernel.run(1);
    EXPECT_EQ(allocations([&] { kernel.run(20); }), 0) << what;
  }
  static RunOptions small_caches(Isa isa, int threads) {
    RunOptions options;
    options.isa = isa_name(isa);
    options.threads = threads;
    options.hierarchy.cores = 3;
    options.hierarchy.levels = {{"L1", 8 << 10}, {"L2", 64 << 10}, {"L3", 1 << 20}};
    return options;
  }
};

TEST_F(Allocation, IsCountedWhateverAndWhoeverAllocates) {
  EXPECT_EQ(allocations([] {}), 0);
  EXPECT_EQ(allocations([] { keep(std::make_unique<int>(1).get()); }), 1);
  EXPECT_EQ(allocations([] { keep(std::string(100, 'x').data()); }), 1);
  EXPECT_EQ(allocations([] { keep(AlignedFloats(100).data()); }), 1);
  const auto by_the_other = [](int floats) {
    run_team(2, [&](const TeamMember& member) {
      if (member.id == 1) keep(AlignedFloats(floats).data());
    });
  };
  by_the_other(0);
  EXPECT_EQ(allocations([&] { by_the_other(0); }), 0) << "starting a team again";
  EXPECT_EQ(allocations([&] { by_the_other(100); }), 1);
}

TEST_F(Allocation, TrainingAllocatesNothing) {
  const DatasetInfo& info = dataset_info("wine_quality_white");
  // the second has gradients by outputs beside others by rows; 20 steps are more than an epoch
  for (const Network& network : {Network{info.features, {17, 9, info.outputs}, false, info.task},
                                 Network{info.features, {300, 290, info.outputs}, false, info.task},
                                 Network{info.features, {33, 33, 33, info.outputs}, true, info.task}})
    for (const char* algorithm : {"fused", "blocked", "twin_shallow"})
      for (const Isa isa : available_isas())
        for (const int threads : {1, 2, 3}) {
          RunOptions options = small_caches(isa, threads);
          options.algorithm = algorithm;
          const auto kernel = make_mlp_train(network, info.name, options);
          expect_none(*kernel, std::string(algorithm) + " " + isa_name(isa) + " " + std::to_string(threads) +
                                   " thread(s), first width " + std::to_string(network.widths[0]));
          EXPECT_EQ(kernel->facts().at("algorithm"), algorithm);
          EXPECT_EQ(kernel->facts().at("isa"), isa_name(isa));
        }
}

TEST_F(Allocation, AProductAllocatesNothing) {
  for (const GemmLayout layout : {GemmLayout::kNN, GemmLayout::kNT, GemmLayout::kTN})
    for (const auto& [m, n, k] : {std::tuple{3, 5, 7}, {31, 33, 65}, {200, 130, 300}})
      for (const Isa isa : available_isas())
        for (const int threads : {1, 2, 3}) {
          const auto kernel = make_gemm_kernel({layout, m, n, k}, small_caches(isa, threads));
          expect_none(*kernel, std::string(layout_name(layout)) + " " + std::to_string(m) + " " +
                                   isa_name(isa) + " " + std::to_string(threads) + " thread(s)");
        }
}

}  // namespace
}  // namespace mlpwatt

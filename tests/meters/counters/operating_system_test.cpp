// Software counters of the kernel, against pages touched and switches made here.

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <thread>

#include "meters/counters/counter_source.h"
#include "meters/thread_name.h"

namespace mlpwatt {
namespace {

void touch(std::size_t pages) {
  const std::size_t bytes = pages * 4096;
  void* block = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(block, MAP_FAILED);
  madvise(block, bytes, MADV_NOHUGEPAGE);
  for (std::size_t i = 0; i < bytes; i += 4096) static_cast<volatile char*>(block)[i] = 1;
  munmap(block, bytes);
}

std::unique_ptr<CounterSource> make_os() {
  for (const CounterSourceEntry& entry : counter_sources())
    if (entry.name == "os") return entry.make();
  return nullptr;
}

class OsCounters : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_NE(source, nullptr);
    CounterRequest request;
    request.names = {"page_faults", "context_switches", "task_clock_s", "l1_miss"};
    plan = source->prepare(request);
  }
  double value_of(const std::vector<CounterValue>& values, const std::string& name) {
    for (const CounterValue& value : values)
      if (value.name == name) return value.value.value_or(-1);
    return -2;
  }
  std::unique_ptr<CounterSource> source = make_os();
  CounterPlan plan;
};

TEST_F(OsCounters, CountsSoftwareEventsAndRefusesTheRest) {
  ASSERT_EQ(plan.passes.size(), 1u);
  ASSERT_EQ(plan.refused.size(), 1u);
  EXPECT_EQ(plan.refused[0].name, "l1_miss");
  source->start(0);
  touch(2000);
  for (int i = 0; i < 20; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  const auto values = source->stop(5);
  const double faults = value_of(values, "page_faults");
  EXPECT_GE(faults, 1800);
  if (std::getenv("MLPWATT_SANITIZED") == nullptr) {  // sanitizers touch pages of their own
    EXPECT_LE(faults, 2200);
  }
  EXPECT_GE(value_of(values, "context_switches"), 20);
  EXPECT_GT(value_of(values, "task_clock_s"), 0);
  EXPECT_LT(value_of(values, "task_clock_s"), 10);
  for (const CounterValue& value : values) EXPECT_EQ(value.steps, 5);
}

TEST_F(OsCounters, CoversThreadsThatEndAndLeavesMetersOut) {
  if (std::getenv("MLPWATT_SANITIZED") != nullptr) GTEST_SKIP() << "sanitizers touch pages of their own";
  std::atomic<int> stage{0}, ready{0}, done{0};
  std::thread meter([&] {
    name_meter_thread("test");
    ++ready;
    while (stage < 1) std::this_thread::yield();
    touch(5000);
    ++done;
    while (stage < 2) std::this_thread::yield();
  });
  while (ready < 1) std::this_thread::yield();
  source->start(0);
  stage = 1;
  std::thread([] { touch(2000); }).join();
  while (done < 1) std::this_thread::yield();
  const double faults = value_of(source->stop(1), "page_faults");
  stage = 2;
  meter.join();
  EXPECT_NEAR(faults, 2000, 200);
}

}  // namespace
}  // namespace mlpwatt

// The PAPI source through PAPI's real calls. What this machine has not is stood in for below PAPI
// (tests/support/pretend_pmu.cpp) in a child of this program, since PAPI initialises once per process;
// counters of known value come from software-defined events. Hardware events are asked of hardware only where
// there is some.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/perf_event.h>
#include <omp.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <regex>
#include <sstream>
#include <thread>

#include "meters/counters/child_process.h"
#include "meters/counters/papi.h"
#include "meters/counters/papi_set.h"
#include "meters/counters/threads.h"
#include "meters/thread_name.h"
#include "tests/support/temporary_folder.h"

#if __has_include(<sde_lib.h>)
#include <sde_lib.h>
#define MLPWATT_TEST_SDE 1
#endif

namespace mlpwatt {

namespace testing {
extern void (*before_opening_event)(const perf_event_attr&, int thread, int leader);  // pretend_pmu.cpp
}

namespace {

/// Faults exactly `pages` pages in the calling thread.
void touch(std::size_t pages) {
  const std::size_t bytes = pages * 4096;
  void* block = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(block, MAP_FAILED);
  madvise(block, bytes, MADV_NOHUGEPAGE);
  for (std::size_t i = 0; i < bytes; i += 4096) static_cast<volatile char*>(block)[i] = 1;
  munmap(block, bytes);
}

CounterValue find(const std::vector<CounterValue>& values, const std::string& name) {
  for (const CounterValue& value : values)
    if (value.name == name) return value;
  ADD_FAILURE() << "no value for " << name;
  return {};
}

CounterPlan prepare(CounterSource& source, std::vector<std::string> names, int threads = 0) {
  CounterRequest request;
  request.names = std::move(names);
  request.threads = threads;
  return source.prepare(request);
}

// ---- run in a child that pretends -------------------------------------------------------------

TEST(PapiPretend, DISABLED_PageFaultsOfEachOpenMPThreadAreSummed) {
  auto source = make_papi_source();
  ASSERT_EQ(source->probe().state, CounterStatus::State::kFound) << source->probe().detail;
  const CounterPlan plan = prepare(*source, {"page_faults", "task_clock_s"}, 4);
  ASSERT_EQ(plan.passes.size(), 1u) << (plan.refused.empty() ? "" : plan.refused[0].reason);
  for (int repeat = 0; repeat < 20; ++repeat) {
    source->start(0);
#pragma omp parallel num_threads(4)
    touch(static_cast<std::size_t>(500 * (omp_get_thread_num() + 1)));
    const auto values = source->stop(10);
    const CounterValue faults = find(values, "page_faults");
    ASSERT_TRUE(faults.value.has_value()) << faults.reason;
    EXPECT_GE(*faults.value, 5000);
    if (std::getenv("MLPWATT_SANITIZED") == nullptr) {  // sanitizers touch pages of their own
      EXPECT_LE(*faults.value, 5000 + 100) << "page tables, stacks";
    }
    EXPECT_EQ(faults.event, "perf::PAGE-FAULTS");
    EXPECT_EQ(faults.threads_counted, 4);
    EXPECT_EQ(faults.steps, 10);
    EXPECT_GT(find(values, "task_clock_s").value.value_or(-1), 0);
    EXPECT_LT(find(values, "task_clock_s").value.value_or(9), 5);
  }
}

TEST(PapiPretend, DISABLED_KernelEventsAreCountedOrNotPermitted) {
  auto source = make_papi_source();
  const CounterPlan plan = prepare(*source, {"context_switches"}, 2);
  if (!PapiLibrary::kernel_events_permitted()) {
    ASSERT_EQ(plan.refused.size(), 1u);
    EXPECT_NE(plan.refused[0].reason.find("not permitted"), std::string::npos) << plan.refused[0].reason;
    return;
  }
  ASSERT_EQ(plan.passes.size(), 1u);
  source->start(0);
#pragma omp parallel num_threads(2)
  for (int i = 0; i < 20; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  const CounterValue switches = find(source->stop(1), "context_switches");
  EXPECT_GE(switches.value.value_or(-1), 40) << switches.reason;
}

TEST(PapiPretend, DISABLED_TeamReachLeavesOtherThreadsOutAndSaysSo) {
  auto source = make_papi_source(default_papi_recipes(), PapiReach::kTeam);
  prepare(*source, {"page_faults"}, 2);
  std::atomic<int> stage{0};
  std::thread other([&] {
    while (stage < 1) std::this_thread::yield();
    touch(3000);
    stage = 2;
    while (stage < 3) std::this_thread::yield();
  });
  source->start(0);
  stage = 1;
  while (stage < 2) std::this_thread::yield();
  const CounterValue faults = find(source->stop(1), "page_faults");
  stage = 3;
  other.join();
  ASSERT_TRUE(faults.value.has_value()) << faults.reason;
  EXPECT_LT(*faults.value, 1000);
  EXPECT_EQ(faults.threads_counted, 2);
  EXPECT_GE(faults.threads_total, 3);
}

// Only with hardware (or its pretence) does PAPI attach.
TEST(PapiPretendHardware, DISABLED_AttachingReachesEveryThreadWhoeverMadeItButMeters) {
  if (!PapiLibrary::get().hardware) GTEST_SKIP() << PapiLibrary::get().detail;
  auto source = make_papi_source(default_papi_recipes(), PapiReach::kAttach);
  const CounterPlan plan = prepare(*source, {"page_faults"});
  ASSERT_EQ(plan.passes.size(), 1u);
  std::atomic<int> stage{0}, ready{0}, done{0};
  const auto body = [&](std::size_t pages, bool meter) {
    if (meter) name_meter_thread("test");
    ++ready;
    while (stage < 1) std::this_thread::yield();
    touch(pages);
    ++done;
    while (stage < 2) std::this_thread::yield();
  };
  std::thread first(body, 1000, false), second(body, 2000, false), meter(body, 4000, true);
  while (ready < 3) std::this_thread::yield();
  const auto threads = task_threads();
  const auto wanted = std::count_if(threads.begin(), threads.end(), [](const auto& t) { return !t.meter; });
  source->start(0);
  stage = 1;
  while (done < 3) std::this_thread::yield();
  const CounterValue faults = find(source->stop(1), "page_faults");
  stage = 2;
  first.join();
  second.join();
  meter.join();
  ASSERT_TRUE(faults.value.has_value()) << faults.reason;
  EXPECT_GE(*faults.value, 3000);
  EXPECT_LE(*faults.value, 3100);
  EXPECT_EQ(faults.threads_counted, wanted);
  EXPECT_EQ(faults.threads_total, wanted);
}

/// Threads that wait for the end of scope.
class WaitingThreads {
 public:
  explicit WaitingThreads(int count) {
    for (int i = 0; i < count; ++i)
      threads_.emplace_back([this] {
        ++ready_;
        while (!end_) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      });
    while (ready_ < count) std::this_thread::yield();
  }
  ~WaitingThreads() {
    end_ = true;
    for (std::thread& thread : threads_) thread.join();
  }

 private:
  std::atomic<int> ready_{0};
  std::atomic<bool> end_{false};
  std::vector<std::thread> threads_;
};

/// Until the end of scope this process may open so many files more, as a user's ulimit -n has it.
class FewFiles {
 public:
  explicit FewFiles(rlim_t more) {
    getrlimit(RLIMIT_NOFILE, &before_);
    const int next = open("/dev/null", O_RDONLY);
    close(next);
    const rlimit few{static_cast<rlim_t>(next) + more, before_.rlim_max};
    EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
  }
  ~FewFiles() { setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  rlimit before_{};
};

TEST(PapiPretendHardware, DISABLED_ThereIsNoSumThatLacksThreads) {
  if (!PapiLibrary::get().hardware) GTEST_SKIP() << PapiLibrary::get().detail;
  auto source = make_papi_source(default_papi_recipes(), PapiReach::kAttach);
  ASSERT_EQ(prepare(*source, {"page_faults"}).passes.size(), 1u);
  const WaitingThreads waiting(12);
  const auto count = [&] {
    source->start(0);
    touch(100);
    return find(source->stop(1), "page_faults");
  };
  CounterValue refused;
  {
    const FewFiles few(6);  // enough for some of the threads
    refused = count();
  }
  EXPECT_FALSE(refused.value.has_value()) << refused.value.value_or(0);
  std::smatch said;
  ASSERT_TRUE(std::regex_search(refused.reason, said, std::regex("only ([0-9]+) of ([0-9]+) threads")))
      << refused.reason;
  EXPECT_GE(std::stoi(said[1]), 1) << refused.reason;
  EXPECT_LT(std::stoi(said[1]), std::stoi(said[2])) << refused.reason;
  EXPECT_GE(std::stoi(said[2]), 13) << refused.reason;
  for (const char* word : {"attaching to thread ", "Too many ", "remedy: ", "ulimit -n",
                           "kernel.perf_event_mlock_kb", "fewer --counters"})
    EXPECT_NE(refused.reason.find(word), std::string::npos) << word << " in: " << refused.reason;
  EXPECT_EQ(refused.reason.find('\n'), std::string::npos) << refused.reason;
  // the files of the threads that could be opened are free again
  const CounterValue whole = count();
  ASSERT_TRUE(whole.value.has_value()) << whole.reason;
  EXPECT_GE(*whole.value, 100);
  EXPECT_EQ(whole.threads_counted, whole.threads_total);
}

std::atomic<int> leaving_thread{0};
std::atomic<bool> leave{false};

TEST(PapiPretendHardware, DISABLED_AThreadThatEndedMeanwhileIsPassedOver) {
  if (!PapiLibrary::get().hardware) GTEST_SKIP() << PapiLibrary::get().detail;
  auto source = make_papi_source(default_papi_recipes(), PapiReach::kAttach);
  ASSERT_EQ(prepare(*source, {"page_faults"}).passes.size(), 1u);
  const WaitingThreads waiting(2);
  std::thread leaving([] {
    leaving_thread = gettid();
    while (!leave) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  });
  while (leaving_thread == 0) std::this_thread::yield();
  testing::before_opening_event = [](const perf_event_attr&, int thread, int) {
    if (thread != leaving_thread || leave.exchange(true)) return;
    while (!thread_has_ended(thread)) {
    }
  };
  source->start(0);
  testing::before_opening_event = nullptr;
  EXPECT_TRUE(leave) << "listed, but nobody tried to count it";
  leave = true;
  leaving.join();
  touch(100);
  const CounterValue faults = find(source->stop(1), "page_faults");
  ASSERT_TRUE(faults.value.has_value()) << faults.reason;
  EXPECT_GE(*faults.value, 100);
  EXPECT_EQ(faults.threads_counted, faults.threads_total);
}

const std::vector<std::string> kMoreThanRegisters{"perf::CYCLES",           "perf::INSTRUCTIONS",
                                                  "perf::CACHE-MISSES",     "perf::BRANCH-MISSES",
                                                  "perf::CACHE-REFERENCES", "perf::DTLB-LOAD-MISSES"};
int leaders = 0, leaders_not_pinned = 0;

/// A group whose leader is pinned counts all the time, or reading it is an error; no other is ever scaled up.
TEST(PapiPretendHardware, DISABLED_NothingIsMultiplexed) {
  if (!PapiLibrary::get().hardware) GTEST_SKIP() << PapiLibrary::get().detail;
  testing::before_opening_event = [](const perf_event_attr& attributes, int, int leader) {
    // what runs at once is PAPI's question whether it may, no counter
    if (leader >= 0 || !attributes.disabled) return;
    ++leaders;
    if (!attributes.pinned) ++leaders_not_pinned;
  };
  auto source = make_papi_source();
  const CounterPlan plan = prepare(*source, kMoreThanRegisters);
  ASSERT_GE(plan.passes.size(), 2u);
  for (int pass = 0; pass < static_cast<int>(plan.passes.size()); ++pass) {
    const int before = leaders;
    source->start(pass);
    source->stop(1);
    EXPECT_GT(leaders, before) << "pass " << pass;
  }
  testing::before_opening_event = nullptr;
  EXPECT_EQ(leaders_not_pinned, 0) << "of " << leaders;
}

TEST(PapiPretendHardware, DISABLED_MoreEventsThanRegistersTakeSeveralPasses) {
  if (!PapiLibrary::get().hardware) GTEST_SKIP() << PapiLibrary::get().detail;
  auto source = make_papi_source();
  EXPECT_TRUE(source->probe().hardware);
  const CounterPlan plan = prepare(*source, kMoreThanRegisters);
  ASSERT_EQ(plan.refused.size(), 0u) << plan.refused[0].name << " " << plan.refused[0].reason;
  ASSERT_EQ(plan.passes.size(), 2u);
  EXPECT_EQ(plan.passes[0].size(), 4u);
  EXPECT_EQ(plan.passes[0][0], "perf::CYCLES");
  for (int pass = 0; pass < 2; ++pass) {
    source->start(pass);
    touch(700);
    for (const CounterValue& value : source->stop(1)) {
      ASSERT_TRUE(value.value.has_value()) << value.name << ": " << value.reason;
      const bool advances = value.name == "perf::CYCLES" || value.name == "perf::INSTRUCTIONS";
      if (std::getenv("MLPWATT_PRETEND_PMU") != nullptr && !advances) {
        EXPECT_NEAR(*value.value, 700, 50) << value.name;
      }
    }
  }
}

/// Runs the tests above in a child; "" or what it wrote.
std::string run_pretending(const std::string& what, const std::string& filter) {
  const ScratchFolder folder;
  const std::string log = folder.path() + "/log";
  ChildProcess child({std::filesystem::read_symlink("/proc/self/exe").string(), "--gtest_filter=" + filter,
                      "--gtest_also_run_disabled_tests"},
                     {"MLPWATT_PRETEND_PMU=" + what}, log);
  child.wait_until(ChildProcess::Clock::now() + std::chrono::seconds(120));
  std::ostringstream text;
  text << std::ifstream(log).rdbuf();
  if (child.failure().empty() && text.str().find("[  SKIPPED ]") == std::string::npos &&
      text.str().find("[  PASSED  ]") != std::string::npos)
    return "";
  return child.failure() + "\n" + text.str();
}

bool can_pretend() {
#if __has_include(<perfmon/pfmlib.h>) && defined(__x86_64__)
  return true;
#else
  return false;
#endif
}

TEST(PapiSource, SoftwareEventsOverOpenMPThreads) {
  if (!can_pretend()) GTEST_SKIP() << "libpfm's header is not here (apt-get install libpfm4-dev)";
  EXPECT_EQ(run_pretending("software", "PapiPretend.*"), "");
}

TEST(PapiSource, StandInHardwareEventsAttachAndTakePasses) {
  if (std::getenv("MLPWATT_SANITIZED") != nullptr)
    GTEST_SKIP() << "sanitizers touch pages of their own, and see what PAPI does not free";
  if (!can_pretend()) GTEST_SKIP() << "libpfm's header is not here (apt-get install libpfm4-dev)";
  EXPECT_EQ(run_pretending("hardware", "PapiPretendHardware.*"), "");
}

// ---- in this process, with what the machine really has ------------------------------------------

TEST(PapiSource, RealHardwareEvents) {
  if (!PapiLibrary::get().hardware) GTEST_SKIP() << "no hardware counters: " << PapiLibrary::get().detail;
  auto source = make_papi_source();
  const CounterPlan plan = prepare(*source, {"instructions", "cycles", "l1_miss"}, 2);
  ASSERT_FALSE(plan.passes.empty());
  const auto count = [&](long iterations) {
    source->start(0);
    for (long i = 0; i < iterations; ++i) asm volatile("");
    return find(source->stop(1), "instructions").value.value_or(-1);
  };
  count(1000);
  const double few = count(1'000'000), many = count(10'000'000);
  EXPECT_GT(few, 1e6);
  EXPECT_NEAR(many / few, 10, 1.5);
}

TEST(PapiRecipes, MemoryTrafficIsCountedOnEverySocket) {
  const testing::TemporaryFolder folder;
  // numbered as firmware may: the second socket's processors in between
  for (const auto& [processor, socket] : {std::pair{0, 0}, {1, 1}, {2, 0}, {3, 1}, {10, 2}}) {
    const std::string at = folder.path("cpu" + std::to_string(processor)) + "/topology";
    std::filesystem::create_directories(at);
    std::ofstream(at + "/physical_package_id") << socket << '\n';
  }
  std::filesystem::create_directories(folder.path("cpufreq/topology"));
  const std::vector<int> processors = first_processor_of_sockets(folder.path(""));
  EXPECT_EQ(processors, (std::vector<int>{0, 1, 10}));
  EXPECT_EQ(column_access_events("u::unc_imc0::UNC_M_CAS_COUNT", {0, 10}),
            (std::vector<std::string>{
                "u::unc_imc0::UNC_M_CAS_COUNT:RD:cpu=0", "u::unc_imc0::UNC_M_CAS_COUNT:WR:cpu=0",
                "u::unc_imc0::UNC_M_CAS_COUNT:RD:cpu=10", "u::unc_imc0::UNC_M_CAS_COUNT:WR:cpu=10"}));
  EXPECT_EQ(first_processor_of_sockets(folder.path("nowhere")), std::vector<int>{0});
}

TEST(PapiSource, StatusNamesWhatIsMissing) {
  const CounterStatus status = make_papi_source()->probe();
  EXPECT_FALSE(status.detail.empty());
  EXPECT_EQ(status.hardware, PapiLibrary::get().hardware);
  if (!status.hardware) {
    EXPECT_FALSE(status.remedy.empty());
  }
}

TEST(PapiSource, AbsentEventsAreReasonsNotZeros) {
  auto source =
      make_papi_source({{"l1_miss", {"PAPI_NO_SUCH_PRESET"}}, {"l1_miss", {"nopmu::NO_SUCH_EVENT"}}});
  const CounterPlan plan = prepare(*source, {"l1_miss", "cycles", "nopmu::OTHER"});
  EXPECT_TRUE(plan.passes.empty());
  ASSERT_EQ(plan.refused.size(), 3u);
  for (const auto& [name, reason] : plan.refused) EXPECT_FALSE(reason.empty()) << name;
  const auto& l1 = *std::find_if(plan.refused.begin(), plan.refused.end(),
                                 [](const auto& refusal) { return refusal.name == "l1_miss"; });
  EXPECT_NE(l1.reason.find("PAPI_NO_SUCH_PRESET"), std::string::npos) << l1.reason;
  EXPECT_NE(l1.reason.find("nopmu::NO_SUCH_EVENT"), std::string::npos) << l1.reason;
}

#ifdef MLPWATT_TEST_SDE
long long sde_l1 = 0, sde_memory_lines = 0;

TEST(PapiSource, CountersOfKnownValueThroughPapi) {
  papi_handle_t handle = papi_sde_init("mlpwatt_test");
  papi_sde_register_counter(handle, "L1_MISS", PAPI_SDE_RO | PAPI_SDE_DELTA, PAPI_SDE_long_long, &sde_l1);
  papi_sde_register_counter(handle, "LINES", PAPI_SDE_RO | PAPI_SDE_DELTA, PAPI_SDE_long_long,
                            &sde_memory_lines);
  auto source = make_papi_source({{"l1_miss", {"PAPI_NO_SUCH_PRESET"}},
                                  {"l1_miss", {"sde:::mlpwatt_test::L1_MISS"}},
                                  {"dram_bytes", {"sde:::mlpwatt_test::LINES"}, 1, true},
                                  {"task_clock_s", {"sde:::mlpwatt_test::L1_MISS"}, 1e-9}});
  ASSERT_EQ(source->probe().state, CounterStatus::State::kFound) << source->probe().detail;
  const CounterPlan plan =
      prepare(*source, {"l1_miss", "dram_bytes", "task_clock_s", "sde:::mlpwatt_test::LINES"}, 4);
  ASSERT_EQ(plan.passes.size(), 1u) << plan.refused[0].reason;
  ASSERT_TRUE(plan.refused.empty());
  sde_l1 = 5;  // before the window: must not be counted
  for (int repeat = 1; repeat <= 3; ++repeat) {
    source->start(0);
    sde_l1 += 1200 * repeat;
    sde_memory_lines += 10 * repeat;
    const auto values = source->stop(4);
    const CounterValue l1 = find(values, "l1_miss");
    EXPECT_EQ(l1.value, 1200 * repeat) << l1.reason;
    EXPECT_EQ(l1.per_step(), 300 * repeat);
    EXPECT_EQ(l1.event, "sde:::mlpwatt_test::L1_MISS");
    EXPECT_EQ(l1.unit, "1");
    EXPECT_EQ(find(values, "dram_bytes").value, 640 * repeat);
    EXPECT_EQ(find(values, "dram_bytes").unit, "B");
    EXPECT_DOUBLE_EQ(find(values, "task_clock_s").value.value_or(-1), 1200e-9 * repeat);
    EXPECT_EQ(find(values, "sde:::mlpwatt_test::LINES").value, 10 * repeat);
  }
}

TEST(PapiGpuSource, CountsByItsComponentApartFromTheWindow) {
  papi_handle_t handle = papi_sde_init("mlpwatt_gpu");
  static long long fma = 0, tensor = 0;
  papi_sde_register_counter(handle, "TENSOR", PAPI_SDE_RO | PAPI_SDE_DELTA, PAPI_SDE_long_long, &tensor);
  papi_sde_register_counter(handle, "FMA", PAPI_SDE_RO | PAPI_SDE_DELTA, PAPI_SDE_long_long, &fma);
  auto source = make_papi_gpu_source(
      {{"fp_ops", {{"sde:::mlpwatt_gpu::FMA", 2}, {"sde:::mlpwatt_gpu::TENSOR"}}}}, "sde");
  EXPECT_TRUE(source->apart());
  EXPECT_TRUE(source->serves("gpu"));
  EXPECT_FALSE(source->serves("cpu"));
  ASSERT_EQ(source->probe().state, CounterStatus::State::kFound) << source->probe().detail;
  ASSERT_EQ(prepare(*source, {"fp_ops", "PAPI_TOT_CYC"}, 1).passes.size(), 1u);
  source->start(0);
  fma += 50;
  tensor += 7;
  const auto values = source->stop(10);
  ASSERT_EQ(values.size(), 1u);
  EXPECT_EQ(values[0].value, 107) << values[0].reason;
  EXPECT_EQ(values[0].event, "2*sde:::mlpwatt_gpu::FMA+sde:::mlpwatt_gpu::TENSOR");
  EXPECT_EQ(values[0].source, "papi_gpu");
}
#endif

TEST(PapiGpuSource, WithoutTheComponentItSaysSo) {
  auto source = make_papi_gpu_source(papi_gpu_recipes(), "no_such_component");
  const CounterStatus status = source->probe();
  EXPECT_EQ(status.state, CounterStatus::State::kAbsent);
  EXPECT_EQ(status.detail, "PAPI was built without its no_such_component component");
}

}  // namespace
}  // namespace mlpwatt

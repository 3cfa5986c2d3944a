#include "kernels/hierarchy.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

namespace mlpwatt {
namespace {

TEST(Hierarchy, OfThisMachineIsConsistent) {
  const Hierarchy h = read_hierarchy();
  EXPECT_EQ(h.source.rfind("hwloc ", 0), 0u) << h.source;
  EXPECT_GE(h.cores, 1);
  EXPECT_GE(h.hardware_threads, h.cores);
  EXPECT_LE(h.hardware_threads, static_cast<int>(std::thread::hardware_concurrency()));
  EXPECT_GT(h.memory_bytes, 1 << 20);
  std::int64_t before = 0;
  for (const CacheLevel& level : h.levels) {
    EXPECT_GT(level.capacity_bytes, before) << level.name;
    EXPECT_GE(level.shared_by_cores, 1);
    EXPECT_GE(level.associativity, 0);
    EXPECT_GE(level.line_bytes, 16);
    before = level.capacity_bytes;
    EXPECT_EQ(h.find(level.name), &level);
  }
}

TEST(Hierarchy, FallsBackWhereALevelIsUnknown) {
  Hierarchy h;
  h.levels = {{"L1", 32768}, {"L2", 0}};
  EXPECT_EQ(h.capacity_bytes("L1", 1), 32768);
  EXPECT_EQ(h.capacity_bytes("L2", 7), 7);
  EXPECT_EQ(h.capacity_bytes("L3", 9), 9);
  EXPECT_EQ(h.find("L3"), nullptr);
}

/// As this program was started: a team of an earlier test may have bound this thread since.
const cpu_set_t allowed_at_start = [] {
  cpu_set_t set;
  CPU_ZERO(&set);
  sched_getaffinity(0, sizeof set, &set);
  return set;
}();

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define MLPWATT_THREAD_SANITIZER
#endif
#endif

TEST(Hierarchy, KeepsToTheProcessorsWeAreAllowed) {
#ifdef MLPWATT_THREAD_SANITIZER
  GTEST_SKIP() << "the sanitizer starts a thread in the child, which keeps all processors";
#endif
  const cpu_set_t all = allowed_at_start;
  if (CPU_COUNT(&all) < 2) GTEST_SKIP() << "one processor only";
  // A process of its own: OpenMP and other tests' threads keep their binding here.
  const pid_t child = fork();
  if (child == 0) {
    sched_setaffinity(0, sizeof all, &all);
    const Hierarchy whole = read_hierarchy();
    cpu_set_t single;
    CPU_ZERO(&single);
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
      if (CPU_ISSET(cpu, &all)) {
        CPU_SET(cpu, &single);
        break;
      }
    sched_setaffinity(0, sizeof single, &single);
    const Hierarchy here = read_hierarchy();
    const bool same_caches =
        here.levels.size() == whole.levels.size() &&
        (here.levels.empty() || here.levels.back().shared_by_cores == whole.levels.back().shared_by_cores);
    _exit(here.cores == 1 && here.hardware_threads == 1 && same_caches ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "status " << status;
}

}  // namespace
}  // namespace mlpwatt

// What a team's members compute with.

#include "cpu/team.h"

#include <gtest/gtest.h>

#include <atomic>
#include <limits>
#include <vector>

namespace mlpwatt {
namespace {

float halved(float x) {
  volatile float here = x;
  here = here * 0.5f;
  return here;
}

TEST(Team, DenormalsAreZeroWithinAndFloatsAsEverAfterwards) {
  const float least = std::numeric_limits<float>::min(), denormal = halved(least);
  ASSERT_GT(denormal, 0) << "outside of a team half of the least normal float is one";
#if !defined(__x86_64__)
  GTEST_SKIP() << "denormals are quick here and stay as they are";
#endif
  for (const int threads : {1, 2, 3}) {
    std::vector<float> made(threads), taken(threads), normal(threads);
    run_team(threads, [&](const TeamMember& member) {
      made[member.id] = halved(least);
      taken[member.id] = halved(denormal) + halved(4 * least);
      normal[member.id] = halved(2 * least);
    });
    for (int t = 0; t < threads; ++t) {
      EXPECT_EQ(made[t], 0) << t << " of " << threads;
      EXPECT_EQ(taken[t], 2 * least) << t << " of " << threads;
      EXPECT_EQ(normal[t], least) << t << " of " << threads;
    }
    EXPECT_GT(halved(least), 0) << "of the thread that called it";
  }
  // also when it ends by an exception
  EXPECT_THROW(run_team(1, [](const TeamMember&) { throw 1; }), int);
  EXPECT_GT(halved(least), 0);
}

/// Members would wait for ever for those who are not there.
TEST(Team, AShortOneIsRefusedBeforeItBegins) {
  const int levels = omp_get_max_active_levels();
  omp_set_max_active_levels(0);  // every region then has one thread
  std::atomic<int> begun{0};
  EXPECT_THROW(run_team(2,
                        [&](const TeamMember& member) {
                          ++begun;
                          member.wait();
                        }),
               std::runtime_error);
  omp_set_max_active_levels(levels);
  EXPECT_EQ(begun, 0);
  run_team(2, [&](const TeamMember&) { ++begun; });
  EXPECT_EQ(begun, 2);
}

}  // namespace
}  // namespace mlpwatt

// Reuse distances of whole arrays decide the level; the arithmetic of simple cases is done by hand here.

#include "kernels/traffic.h"

#include <gtest/gtest.h>

namespace mlpwatt {
namespace {

Hierarchy pretend() {
  Hierarchy hierarchy;
  hierarchy.cores = 4;
  hierarchy.levels = {{"L1", 1000, 64, 8, 1}, {"L2", 10000, 64, 8, 1}, {"L3", 100000, 64, 16, 4}};
  return hierarchy;
}

TEST(Traffic, ASmallArrayStaysInTheFirstLevel) {
  ReuseTrace trace(pretend(), 1);
  trace.touch(trace.add({500, 500}));
  const Traffic traffic = trace.per_step();
  EXPECT_EQ(traffic.levels, (std::vector<std::string>{"L1", "L2", "L3", "memory"}));
  EXPECT_DOUBLE_EQ(traffic.bytes[0], 500);
  EXPECT_DOUBLE_EQ(traffic.bytes_beyond(0), 0);
}

TEST(Traffic, ArraysPushEachOtherOut) {
  // Each is 3000 bytes: alone it lives in L2; three in turn are 9000 apart and partly lost by L2.
  ReuseTrace alone(pretend(), 1);
  alone.touch(alone.add({3000, 3000}));
  EXPECT_DOUBLE_EQ(alone.per_step().bytes[1], 3000);
  ReuseTrace together(pretend(), 1);
  for (int i = 0; i < 3; ++i) together.touch(together.add({3000, 3000}));
  const Traffic traffic = together.per_step();
  EXPECT_DOUBLE_EQ(traffic.bytes[0], 0);
  EXPECT_GT(traffic.bytes[1], 0);
  EXPECT_GT(traffic.bytes[2], 0);
  EXPECT_DOUBLE_EQ(traffic.bytes[1] + traffic.bytes[2], 9000);
  ReuseTrace larger(pretend(), 1);
  for (int i = 0; i < 3; ++i) larger.touch(larger.add({6000, 6000}));
  EXPECT_DOUBLE_EQ(larger.per_step().bytes[2], 18000);
}

TEST(Traffic, ATouchRightAfterIsNearAndAFreshOneIsFar) {
  ReuseTrace trace(pretend(), 1);
  const int small = trace.add({400, 400}), large = trace.add({50000, 50000});
  trace.touch(small);
  trace.touch(small);
  trace.touch(large);
  const Traffic traffic = trace.per_step();
  EXPECT_DOUBLE_EQ(traffic.bytes[0], 400);    // the second touch
  EXPECT_DOUBLE_EQ(traffic.bytes[2], 50400);  // the first, and the large array: 50400 apart
  ReuseTrace fresh(pretend(), 1);
  fresh.touch_fresh(fresh.add({400, 400}), 1e6);
  EXPECT_DOUBLE_EQ(fresh.per_step().bytes[3], 400);
}

TEST(Traffic, SharedLevelsSeeAllThreadsPrivateOnesTheirOwn) {
  // 4 threads, 40 000 bytes each, their own: 160 000 do not fit the shared level, 40 000 would.
  ReuseTrace own(pretend(), 4);
  own.touch(own.add({40000, 160000}));
  EXPECT_DOUBLE_EQ(own.per_step().bytes[3], 160000);
  ReuseTrace same(pretend(), 4);
  same.touch(same.add({40000, 40000}));
  EXPECT_DOUBLE_EQ(same.per_step().bytes[2], 160000);
}

TEST(Traffic, WhatAnotherThreadWroteComesFromASharedLevel) {
  ReuseTrace trace(pretend(), 2);
  trace.touch(trace.add({500, 500}), 1, 0.5);
  const Traffic traffic = trace.per_step();
  EXPECT_DOUBLE_EQ(traffic.bytes[0], 500);
  EXPECT_GT(traffic.bytes[2], 0);
  EXPECT_DOUBLE_EQ(traffic.bytes[0] + traffic.bytes[1] + traffic.bytes[2], 1000);
}

TEST(Traffic, RegistersAskTheFirstLevel) {
  ReuseTrace trace(pretend(), 1);
  trace.touch(trace.add({500, 500}));
  trace.registers(7000);
  EXPECT_DOUBLE_EQ(trace.per_step().bytes[0], 7000);
}

TEST(Traffic, RefusesNoThreads) { EXPECT_THROW(ReuseTrace(pretend(), 0), std::invalid_argument); }

}  // namespace
}  // namespace mlpwatt

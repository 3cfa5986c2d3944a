#include "kernels/kernel.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

namespace mlpwatt {
namespace {

TEST(CheckWithin, FailsOnMoreThanTheBoundAndOnNan) {
  EXPECT_TRUE(check_within(1e-6, 1e-6, "x").passed);
  EXPECT_FALSE(check_within(2e-6, 1e-6, "x").passed);
  EXPECT_FALSE(check_within(std::nan(""), 1e-6, "x").passed);
  EXPECT_FALSE(check_within(0, std::nan(""), "x").passed);
  EXPECT_FALSE(check_within(INFINITY, 1e-6, "x").passed);
  EXPECT_NE(check_within(2, 1, "layer 3").detail.find("layer 3"), std::string::npos);
}

TEST(Catalogue, FamiliesAreOrderedAndUnique) {
  std::set<std::string> names;
  std::string before;
  for (const Family& family : catalogue()) {
    EXPECT_TRUE(names.insert(family.name).second) << family.name;
    EXPECT_LT(before, family.name);
    EXPECT_FALSE(family.summary.empty());
    EXPECT_EQ(family.name.rfind(family.backend + "/", 0), 0u) << family.name;
    before = family.name;
  }
}

}  // namespace
}  // namespace mlpwatt

#include "kernels/nearest.h"

#include <gtest/gtest.h>

namespace mlpwatt {
namespace {

TEST(Nearest, EditDistance) {
  EXPECT_EQ(edit_distance("", ""), 0);
  EXPECT_EQ(edit_distance("", "abc"), 3);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3);
  EXPECT_EQ(edit_distance("mnist", "mnsit"), 1);  // two neighbours swapped
  EXPECT_EQ(edit_distance("MNIST", "mnist"), 0);
}

TEST(Nearest, BestFirst) {
  const std::vector<std::string> names{"mnist", "adult", "wine_quality_white", "sleep"};
  EXPECT_EQ(nearest_names("minst", names, 1), (std::vector<std::string>{"mnist"}));
  EXPECT_EQ(nearest_names("wine", names, 1), (std::vector<std::string>{"wine_quality_white"}));
  EXPECT_EQ(nearest_names("zzz", names, 9).size(), names.size());
  EXPECT_TRUE(nearest_names("x", {}).empty());
}

TEST(Nearest, Message) {
  EXPECT_EQ(unknown_name("meter", "papy", {"papi", "ipmi"}), "unknown meter 'papy'; nearest: papi, ipmi");
  EXPECT_EQ(unknown_name("meter", "papy", {}), "unknown meter 'papy'");
}

}  // namespace
}  // namespace mlpwatt

// The share of the tests that this process runs (tests/run.sh) is its own business: test programs that a test
// starts, itself under Valgrind among them, run what they are told.

#include <gtest/gtest.h>

#include <cstdlib>

namespace mlpwatt::testing {
namespace {

class ForgetShards : public ::testing::Environment {
  void SetUp() override {  // GoogleTest has taken its share by now
    unsetenv("GTEST_TOTAL_SHARDS");
    unsetenv("GTEST_SHARD_INDEX");
  }
};

[[maybe_unused]] const ::testing::Environment* const forget =
    ::testing::AddGlobalTestEnvironment(new ForgetShards);

}  // namespace
}  // namespace mlpwatt::testing

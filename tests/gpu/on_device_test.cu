// On a device: nothing runs, and one line says why, when it cannot be used.

#include <gtest/gtest.h>

#include "gpu/runtime.h"

#if !defined(MLPWATT_EMULATED)
namespace mlpwatt::gpu {
namespace {

class UsableDevice : public testing::Environment {
  void SetUp() override {
    if (!why_unavailable().empty()) GTEST_FAIL() << why_unavailable();
  }
};
const testing::Environment* const usable = testing::AddGlobalTestEnvironment(new UsableDevice);

}  // namespace
}  // namespace mlpwatt::gpu
#endif

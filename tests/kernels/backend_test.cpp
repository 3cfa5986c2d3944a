// Devices by name: absent, unusable, usable.

#include "kernels/backend.h"

#include <gtest/gtest.h>

#include <stdexcept>

namespace mlpwatt {
namespace {

std::string reason_for_the_test = "no such card in this slot";

const BackendRegistration registration{{"backend_test", [] { return reason_for_the_test; },
                                        [] { return Hierarchy{}; },
                                        [](const Network&, const Dataset&, const RunOptions&,
                                           const reference::Adam&) { return Backend::Trainer{}; }}};

std::string complaint(const std::string& name) {
  try {
    require_backend(name);
    return "";
  } catch (const std::runtime_error& error) {
    return error.what();
  }
}

TEST(Backends, AnAbsentOneNamesTheRemedy) {
  EXPECT_EQ(find_backend("no_such_backend"), nullptr);
  EXPECT_NE(complaint("no_such_backend").find("nvcc"), std::string::npos) << complaint("no_such_backend");
}

TEST(Backends, OneThatCannotBeUsedSaysWhy) {
  ASSERT_NE(find_backend("backend_test"), nullptr);
  EXPECT_EQ(complaint("backend_test"), "backend backend_test cannot be used here: no such card in this slot");
  reason_for_the_test.clear();
  EXPECT_EQ(complaint("backend_test"), "");
  reason_for_the_test = "no such card in this slot";
}

}  // namespace
}  // namespace mlpwatt

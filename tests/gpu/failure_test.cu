// What is said of a device that is not there, too small, or lost, and that everything else goes on.

#include "gpu/failure.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gpu/runtime.h"

namespace mlpwatt::gpu {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

Presence present() {
  Presence presence;
  presence.devices = 1;
  presence.driver = presence.needed = 13000;
  presence.name = "NVIDIA H100 PCIe";
  presence.capability_major = 9;
  return presence;
}

TEST(GpuAbsence, ADeviceThatIsThereHasNoReason) { EXPECT_EQ(why_absent(present()), ""); }

TEST(GpuAbsence, EachReasonIsOneLineWithItsRemedy) {
  const auto changed = [](const std::function<void(Presence&)>& change) {
    Presence presence = present();
    change(presence);
    return why_absent(presence);
  };
  const CudaStatus too_old{kCudaInsufficientDriver, "cudaErrorInsufficientDriver", "driver is insufficient"};
  const std::string cases[] = {
      changed([&](Presence& p) { p.counted = too_old, p.driver = 0; }),
      changed([&](Presence& p) { p.counted = too_old, p.driver = 11040; }),
      changed([&](Presence& p) {
        p.counted = {kCudaNoDevice, "cudaErrorNoDevice", "no device detected"};
      }),
      changed([&](Presence& p) { p.devices = 0; }),
      changed([&](Presence& p) { p.name = "Tesla V100", p.capability_major = 7; }),
      changed([&](Presence& p) {
        p.opened = {kCudaDevicesUnavailable, "cudaErrorDevicesUnavailable", "devices busy or unavailable"};
      }),
      changed([&](Presence& p) {
        p.opened = {kCudaMemoryAllocation, "cudaErrorMemoryAllocation", "out of memory"};
      }),
  };
  EXPECT_THAT(cases[0],
              AllOf(HasSubstr("no NVIDIA driver is loaded"), HasSubstr("install one for CUDA 13.0")));
  EXPECT_THAT(cases[1], AllOf(HasSubstr("driver is too old"), HasSubstr("knows CUDA 11.4"),
                              HasSubstr("install one for CUDA 13.0")));
  EXPECT_THAT(cases[2], AllOf(HasSubstr("no device detected"), HasSubstr("CUDA_VISIBLE_DEVICES")));
  EXPECT_THAT(cases[3], AllOf(HasSubstr("none found"), HasSubstr("nvidia-smi -L")));
  EXPECT_THAT(cases[4], AllOf(HasSubstr("Tesla V100"), HasSubstr("8.0")));
  EXPECT_THAT(cases[5], AllOf(HasSubstr("devices busy"), HasSubstr("another process holds")));
  EXPECT_THAT(cases[6], AllOf(HasSubstr("out of memory"), HasSubstr("nvidia-smi lists who holds it")));
  for (const std::string& said : cases) EXPECT_THAT(said, Not(HasSubstr("\n")));
}

}  // namespace
}  // namespace mlpwatt::gpu

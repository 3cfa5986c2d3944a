#pragma once
// What a failed CUDA call means: one line with the remedy, and whether the device is lost with it. For CUDA's
// runtime (runtime.cu) and the tests' emulated one alike; the latter is built without CUDA's headers, so its
// error numbers stand here, and runtime.cu asserts that they are CUDA's.

#include <cstddef>
#include <stdexcept>
#include <string>

namespace mlpwatt::gpu {

/// A CUDA call failed; what() is one line naming the call's purpose, CUDA's reason and the remedy.
struct DeviceError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

#define MLPWATT_CUDA_ERRORS(X)      \
  X(MemoryAllocation, 2)            \
  X(InsufficientDriver, 35)         \
  X(DevicesUnavailable, 46)         \
  X(NoDevice, 100)                  \
  X(NoKernelImageForDevice, 209)    \
  X(ECCUncorrectable, 214)          \
  X(NvlinkUncorrectable, 220)       \
  X(Contained, 226)                 \
  X(IllegalAddress, 700)            \
  X(LaunchTimeout, 702)             \
  X(Assert, 710)                    \
  X(HardwareStackError, 714)        \
  X(IllegalInstruction, 715)        \
  X(MisalignedAddress, 716)         \
  X(InvalidAddressSpace, 717)       \
  X(InvalidPc, 718)                 \
  X(LaunchFailure, 719)             \
  X(CooperativeLaunchTooLarge, 720) \
  X(MpsClientTerminated, 810)       \
  X(Unknown, 999)

enum CudaError : int {
  kCudaSuccess = 0,
#define MLPWATT_ENUMERATOR(name, number) kCuda##name = number,
  MLPWATT_CUDA_ERRORS(MLPWATT_ENUMERATOR)
#undef MLPWATT_ENUMERATOR
};

/// What a call returned, in CUDA's own words.
struct CudaStatus {
  int error = kCudaSuccess;
  std::string name, text;  ///< "cudaErrorLaunchFailure", "unspecified launch failure"
};

/// After these nothing on the device works until the process ends.
bool is_lasting(int error);

/// Throws DeviceError for a call that failed; remembers what lost the device.
[[noreturn]] void fail(const CudaStatus& status, const std::string& doing);
[[noreturn]] void fail_for_memory(std::size_t asked_bytes, std::size_t free_bytes, std::size_t total_bytes);

/// What lost the device to this process, as later work is refused with it; "" while it is not lost.
std::string why_lost();
/// An emulated device comes back.
void forget_loss();

/// What was found when CUDA was asked for a device the first time.
struct Presence {
  CudaStatus counted;  ///< of cudaGetDeviceCount
  int devices = 0;
  int driver = 0;  ///< the CUDA version that the driver knows, 12040 for 12.4; 0 = no driver
  int needed = 0;  ///< that this program was built with
  std::string name;
  int capability_major = 0;
  CudaStatus opened;  ///< of making the context
};
/// Why that is no device to be used, one line with the remedy; "" when it is one.
std::string why_absent(const Presence& presence);

}  // namespace mlpwatt::gpu

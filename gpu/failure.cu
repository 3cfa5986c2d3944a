#include "gpu/failure.h"

#include <mutex>

namespace mlpwatt::gpu {
namespace {

std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

std::string remedy(int error) {
  switch (error) {
    case kCudaMemoryAllocation:
      return "free device memory (nvidia-smi lists who holds it) or choose a smaller working set";
    case kCudaNoDevice:
      return "CUDA_VISIBLE_DEVICES may hide it; nvidia-smi -L lists devices";
    case kCudaNoKernelImageForDevice:
      return "build for this device: make GPU_ARCH=native";
    case kCudaCooperativeLaunchTooLarge:
      return "the kernel asks for more blocks than the device holds at once; another process or MIG may "
             "limit it";
    case kCudaDevicesUnavailable:
      return "another process holds the device exclusively; nvidia-smi lists it";
    default:
      return is_lasting(error)
                 ? "the device is lost to this process: start again; `compute-sanitizer` finds the "
                   "kernel at fault, `dmesg | grep Xid` a failing device"
                 : "see the CUDA runtime's documentation of this error";
  }
}

struct Loss {
  std::mutex guard;
  std::string text;
};
Loss& loss() {
  static Loss the_loss;
  return the_loss;
}

}  // namespace

bool is_lasting(int error) {
  switch (error) {
    case kCudaIllegalAddress:
    case kCudaMisalignedAddress:
    case kCudaInvalidAddressSpace:
    case kCudaInvalidPc:
    case kCudaLaunchTimeout:
    case kCudaHardwareStackError:
    case kCudaIllegalInstruction:
    case kCudaLaunchFailure:
    case kCudaECCUncorrectable:
    case kCudaNvlinkUncorrectable:
    case kCudaDevicesUnavailable:
    case kCudaAssert:
    case kCudaContained:
    case kCudaMpsClientTerminated:
    case kCudaUnknown:
      return true;
    default:
      return false;
  }
}

void fail(const CudaStatus& status, const std::string& doing) {
  const std::string text =
      doing + " failed: " + status.text + " (" + status.name + "); " + remedy(status.error);
  if (is_lasting(status.error)) {
    const std::lock_guard lock(loss().guard);
    if (loss().text.empty()) loss().text = text;
  }
  throw DeviceError(text);
}

void fail_for_memory(std::size_t asked_bytes, std::size_t free_bytes, std::size_t total_bytes) {
  throw DeviceError("out of device memory: asked for " + std::to_string(asked_bytes) + " bytes, " +
                    std::to_string(free_bytes) + " of " + std::to_string(total_bytes) + " are free; " +
                    remedy(kCudaMemoryAllocation));
}

std::string why_lost() {
  const std::lock_guard lock(loss().guard);
  return loss().text.empty() ? "" : "the device was lost earlier: " + loss().text;
}

void forget_loss() {
  const std::lock_guard lock(loss().guard);
  loss().text.clear();
}

std::string why_absent(const Presence& p) {
  if (p.counted.error == kCudaInsufficientDriver)
    return p.driver == 0 ? "no CUDA device: no NVIDIA driver is loaded; install one for CUDA " +
                               version_text(p.needed) + " or newer"
                         : "the NVIDIA driver is too old (it knows CUDA " + version_text(p.driver) +
                               "): install one for CUDA " + version_text(p.needed) +
                               " or newer; nvidia-smi shows the present one";
  if (p.counted.error != kCudaSuccess)
    return "no CUDA device: " + p.counted.text + "; " + remedy(p.counted.error);
  if (p.devices == 0) return "no CUDA device: none found; " + remedy(kCudaNoDevice);
  if (p.capability_major > 0 && p.capability_major < 8)
    return p.name +
           " is older than compute capability 8.0, which gpu/ needs: CUDA_VISIBLE_DEVICES chooses another";
  if (p.opened.error != kCudaSuccess)
    return "the CUDA device cannot be used: " + p.opened.text + "; " + remedy(p.opened.error);
  return "";
}

}  // namespace mlpwatt::gpu

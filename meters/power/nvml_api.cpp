#include "meters/power/nvml_api.h"

#include <dlfcn.h>

namespace mlpwatt {

void throw_nvml(int status, const std::string& reason) {
  if (status == kNvmlNoPermission) throw NvmlPermissionError(reason);
  throw std::runtime_error(reason);
}

NvmlLibrary::NvmlLibrary(const std::string& path) {
  handle_ = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle_ == nullptr) throw std::runtime_error(dlerror());
  const auto find = [&](auto& function, const char* name, bool required = true) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(handle_, name));
    if (function == nullptr && required) {
      dlclose(handle_);
      throw std::runtime_error(path + " has no " + name);
    }
  };
  int (*start)() = nullptr;
  find(start, "nvmlInit_v2");
  find(shutdown_, "nvmlShutdown");
  find(error_text, "nvmlErrorString");
  find(device_count, "nvmlDeviceGetCount_v2");
  find(device_by_index, "nvmlDeviceGetHandleByIndex_v2");
  find(device_by_uuid, "nvmlDeviceGetHandleByUUID");
  find(device_uuid, "nvmlDeviceGetUUID");
  find(device_name, "nvmlDeviceGetName");
  find(power_usage_mw, "nvmlDeviceGetPowerUsage");
  find(energy_mj, "nvmlDeviceGetTotalEnergyConsumption", false);
  find(field_values, "nvmlDeviceGetFieldValues", false);
  find(power_limit_mw, "nvmlDeviceGetEnforcedPowerLimit", false);
  find(mig_mode, "nvmlDeviceGetMigMode", false);
  find(compute_capability, "nvmlDeviceGetCudaComputeCapability", false);
  find(clock_mhz, "nvmlDeviceGetClockInfo", false);
  find(temperature_c, "nvmlDeviceGetTemperature", false);
  find(held_back, "nvmlDeviceGetViolationStatus", false);
  find(clock_reasons, "nvmlDeviceGetCurrentClocksEventReasons", false);
  if (clock_reasons == nullptr)  // its name before driver 535
    find(clock_reasons, "nvmlDeviceGetCurrentClocksThrottleReasons", false);
  if (const int status = start(); status != kNvmlSuccess) {
    const std::string reason = "nvmlInit: " + text(status);
    dlclose(handle_);
    throw_nvml(status, reason);
  }
}

NvmlLibrary::~NvmlLibrary() {
  shutdown_();
  dlclose(handle_);
}

std::string NvmlLibrary::text(int status) const {
  const char* words = error_text(status);
  return (words != nullptr ? words : "unknown error") + std::string(" (") + std::to_string(status) + ")";
}

std::optional<double> nvml_number(const NvmlField& field) {
  switch (field.value_type) {
    case kNvmlDouble:
      return field.value.d;
    case kNvmlUint:
      return field.value.ui;
    case kNvmlUlong:
      return static_cast<double>(field.value.ul);
    case kNvmlUlonglong:
      return static_cast<double>(field.value.ull);
    case kNvmlLonglong:
      return static_cast<double>(field.value.sll);
    case kNvmlInt:
      return field.value.si;
    case kNvmlUshort:
      return field.value.us;
    default:
      return std::nullopt;
  }
}

}  // namespace mlpwatt

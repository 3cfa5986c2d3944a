#include "meters/counters/cupti_api.h"

#include <dlfcn.h>

#include <cstdlib>
#include <stdexcept>
#include <type_traits>

namespace mlpwatt {
namespace {

template <class Function>
bool find(void* handle, Function& function, const char* name) {
  function = reinterpret_cast<Function>(dlsym(handle, name));
  return function != nullptr;
}

}  // namespace

std::vector<std::string> cupti_paths() {
  std::vector<std::string> paths;
  if (const char* given = std::getenv("MLPWATT_CUPTI"); given != nullptr && *given != 0)
    paths.push_back(given);
  for (const char* name : {"libcupti.so.13", "libcupti.so.12", "libcupti.so"}) paths.push_back(name);
  std::vector<std::string> homes;
  if (const char* home = std::getenv("CUDA_HOME"); home != nullptr && *home != 0) homes.push_back(home);
  homes.push_back("/usr/local/cuda");
  for (const std::string& home : homes)
    for (const char* folder : {"/lib64/", "/lib/", "/extras/CUPTI/lib64/"})
      paths.push_back(home + folder + "libcupti.so");
  return paths;
}

CuptiLibrary::CuptiLibrary(const std::vector<std::string>& paths) {
  std::string first_problem;
  for (const std::string& path : paths) {
    // Stays loaded for good: it leaves hooks behind in the driver.
    handle_ = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (handle_ != nullptr) {
      path_ = path;
      break;
    }
    if (first_problem.empty()) first_problem = dlerror();
  }
  if (handle_ == nullptr) throw std::runtime_error(first_problem);
  const char* missing = nullptr;
  const auto need = [&](auto& function, const char* name) {
    if (!find(handle_, function, name) && missing == nullptr) missing = name;
  };
  need(initialize, "cuptiProfilerInitialize");
  need(chip_name, "cuptiDeviceGetChipName");
  need(availability, "cuptiProfilerGetCounterAvailability");
  need(host_chips, "cuptiProfilerHostGetSupportedChips");
  need(host_initialize, "cuptiProfilerHostInitialize");
  need(host_deinitialize, "cuptiProfilerHostDeinitialize");
  need(host_add_metrics, "cuptiProfilerHostConfigAddMetrics");
  need(host_image_size, "cuptiProfilerHostGetConfigImageSize");
  need(host_image, "cuptiProfilerHostGetConfigImage");
  need(host_passes, "cuptiProfilerHostGetNumOfPasses");
  need(host_evaluate, "cuptiProfilerHostEvaluateToGpuValues");
  need(range_enable, "cuptiRangeProfilerEnable");
  need(range_disable, "cuptiRangeProfilerDisable");
  need(range_data_size, "cuptiRangeProfilerGetCounterDataSize");
  need(range_data_initialize, "cuptiRangeProfilerCounterDataImageInitialize");
  need(range_config, "cuptiRangeProfilerSetConfig");
  need(range_start, "cuptiRangeProfilerStart");
  need(range_push, "cuptiRangeProfilerPushRange");
  need(range_pop, "cuptiRangeProfilerPopRange");
  need(range_stop, "cuptiRangeProfilerStop");
  need(range_decode, "cuptiRangeProfilerDecodeData");
  find(handle_, result_string_, "cuptiGetResultString");
  if (missing != nullptr) {
    dlclose(handle_);
    throw std::runtime_error(
        path_ + " has no " + missing +
        ": a CUPTI with the range profiler (CUDA 12.6 or later) is needed; MLPWATT_CUPTI=FILE "
        "names another");
  }
}

CuptiLibrary::~CuptiLibrary() { dlclose(handle_); }

std::string CuptiLibrary::text(int status) const {
  const char* words = nullptr;
  if (result_string_ != nullptr) result_string_(status, &words);
  std::string text =
      (words != nullptr ? words : "CUPTI error") + std::string(" (") + std::to_string(status) + ")";
  if (status == kCuptiNoPrivileges)
    text +=
        "; remedy: options nvidia NVreg_RestrictProfilingToAdminUsers=0 in /etc/modprobe.d and a restart, or "
        "run as "
        "root (in a container: with CAP_SYS_ADMIN)";
  if (status == kCuptiLegacyProfiler)
    text += "; remedy: MLPWATT_CUPTI=FILE, a libcupti at least as new as the driver's CUDA version";
  return text;
}

CudaDriver::CudaDriver(const std::string& path)
    : handle_(dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE)) {
  if (handle_ == nullptr) throw std::runtime_error(dlerror());
  const auto fail = [&](const std::string& reason) {
    dlclose(handle_);
    throw std::runtime_error(reason);
  };
  int (*start)(unsigned) = nullptr;
  int (*count)(int*) = nullptr;
  if (!find(handle_, start, "cuInit") || !find(handle_, count, "cuDeviceGetCount") ||
      !find(handle_, context_current_, "cuCtxGetCurrent") ||
      !find(handle_, context_device_, "cuCtxGetDevice") || !find(handle_, context_set_, "cuCtxSetCurrent") ||
      !find(handle_, primary_retain_, "cuDevicePrimaryCtxRetain"))
    fail(path + " is no CUDA driver");
  if (const int status = start(0); status != 0)
    fail("the CUDA driver does not start (cuInit: " + std::to_string(status) + ")");
  int devices = 0;
  if (count(&devices) != 0 || devices < 1) fail("the CUDA driver shows no device");
}

CudaDriver::~CudaDriver() { dlclose(handle_); }

void* CudaDriver::context() const {
  void* context = nullptr;
  if (context_current_(&context) == 0 && context != nullptr) return context;
  // The runtime lives in the primary context; retaining it again counts references and makes none if it is
  // there.
  if (primary_retain_(&context, 0) != 0 || context_set_(context) != 0) return nullptr;
  return context;
}

int CudaDriver::device() const {
  int device = 0;
  return context_device_(&device) == 0 ? device : 0;
}

}  // namespace mlpwatt

#pragma once
// The stand-in of NVIDIA's library (tests/plugins/fake_nvml.cpp) as a test drives it.

#include <dlfcn.h>

#include <cstdlib>
#include <stdexcept>
#include <string>

#include "tests/plugins/fake_nvml.h"

namespace mlpwatt::testing {

inline std::string plugin_path(const std::string& name) {
  const char* build = std::getenv("MLPWATT_BUILD");
  return std::string(build != nullptr ? build : "build") + "/tests/plugins/" + name + ".so";
}

/// Loaded afresh for each fixture: nothing is left of the test before.
class NvmlFixture {
 public:
  NvmlFixture() : path(plugin_path("fake_nvml")), handle_(dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL)) {
    if (handle_ == nullptr) throw std::runtime_error(dlerror());
    script = static_cast<FakeNvml*>(dlsym(handle_, "fake_nvml"));
  }
  ~NvmlFixture() { dlclose(handle_); }
  NvmlFixture(const NvmlFixture&) = delete;
  NvmlFixture& operator=(const NvmlFixture&) = delete;

  FakeGpu& add(const char* uuid, double watts, const char* name = "NVIDIA H100 80GB HBM3") {
    FakeGpu& gpu = script->gpus[script->count++];
    gpu.uuid = uuid;
    gpu.name = name;
    gpu.average_w = gpu.instant_w = gpu.usage_w = watts;
    gpu.energy_j = 1000;
    gpu.limit_w = 700;
    return gpu;
  }

  const std::string path;
  FakeNvml* script = nullptr;

 private:
  void* handle_;
};

}  // namespace mlpwatt::testing

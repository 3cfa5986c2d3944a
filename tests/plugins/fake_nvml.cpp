// A stand-in of libnvidia-ml.so.1 that plays what a test puts into `fake_nvml`. Struct layouts are written
// down here a second time, so that a mistake in the meter's own is seen.

#include "tests/plugins/fake_nvml.h"

#include <chrono>
#include <cstring>
#include <thread>

using mlpwatt::testing::FakeGpu;
using mlpwatt::testing::FakeNvml;

extern "C" {

FakeNvml fake_nvml;

struct Field {
  unsigned field, scope;
  long long timestamp, latency;
  unsigned type;
  unsigned status;
  unsigned char value[8];
};
static_assert(sizeof(Field) == 40);

static FakeGpu* gpu(void* handle) { return static_cast<FakeGpu*>(handle); }
static void take_time() { std::this_thread::sleep_for(std::chrono::duration<double>(fake_nvml.hang_s)); }

int nvmlInit_v2() {
  if (fake_nvml.init_status == 0) ++fake_nvml.running;
  return fake_nvml.init_status;
}
int nvmlShutdown() {
  --fake_nvml.running;
  return 0;
}
const char* nvmlErrorString(int status) {
  return status == 3    ? "Not Supported"
         : status == 4  ? "Insufficient Permissions"
         : status == 6  ? "Not Found"
         : status == 9  ? "Driver Not Loaded"
         : status == 15 ? "GPU is lost"
                        : "Unknown Error";
}
int nvmlDeviceGetCount_v2(unsigned* count) {
  *count = static_cast<unsigned>(fake_nvml.count);
  return 0;
}
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void** handle) {
  *handle = &fake_nvml.gpus[index];
  return fake_nvml.gpus[index].handle_status;
}
int nvmlDeviceGetHandleByUUID(const char* uuid, void** handle) {
  for (int i = 0; i < fake_nvml.count; ++i)
    if (std::strcmp(fake_nvml.gpus[i].uuid, uuid) == 0) {
      *handle = &fake_nvml.gpus[i];
      return 0;
    }
  return 6;
}
int nvmlDeviceGetUUID(void* handle, char* text, unsigned length) {
  std::strncpy(text, gpu(handle)->uuid, length);
  return 0;
}
int nvmlDeviceGetName(void* handle, char* text, unsigned length) {
  std::strncpy(text, gpu(handle)->name, length);
  return 0;
}
int nvmlDeviceGetCudaComputeCapability(void* handle, int* major, int* minor) {
  *major = gpu(handle)->capability / 10;
  *minor = gpu(handle)->capability % 10;
  return gpu(handle)->capability > 0 ? 0 : 3;
}
int nvmlDeviceGetPowerUsage(void* handle, unsigned* power_mw) {
  take_time();
  *power_mw = static_cast<unsigned>(gpu(handle)->usage_w * 1000);
  return gpu(handle)->status;
}
int nvmlDeviceGetTotalEnergyConsumption(void* handle, unsigned long long* energy_mj) {
  take_time();
  ++fake_nvml.counter_reads;
  *energy_mj = static_cast<unsigned long long>(gpu(handle)->energy_j * 1000);
  return gpu(handle)->has_energy ? static_cast<int>(gpu(handle)->status) : 3;
}
int nvmlDeviceGetEnforcedPowerLimit(void* handle, unsigned* limit_mw) {
  *limit_mw = static_cast<unsigned>(gpu(handle)->limit_w * 1000);
  return *limit_mw > 0 ? 0 : 3;
}
int nvmlDeviceGetClockInfo(void* handle, unsigned type, unsigned* mhz) {
  if (type != 1 && type != 2) return 2;
  *mhz = type == 1 ? gpu(handle)->clock_mhz : gpu(handle)->memory_clock_mhz;
  return static_cast<int>(gpu(handle)->status);
}
int nvmlDeviceGetTemperature(void* handle, unsigned sensor, unsigned* celsius) {
  if (sensor != 0) return 2;
  *celsius = gpu(handle)->temperature_c;
  return static_cast<int>(gpu(handle)->status);
}
int nvmlDeviceGetCurrentClocksEventReasons(void* handle, unsigned long long* reasons) {
  *reasons = gpu(handle)->reasons;
  return static_cast<int>(gpu(handle)->status);
}
int nvmlDeviceGetViolationStatus(void* handle, unsigned policy, unsigned long long* reference_and_held_back) {
  if (policy >= 12) return 2;
  reference_and_held_back[0] = 1'000'000;  // microseconds
  reference_and_held_back[1] = static_cast<unsigned long long>(gpu(handle)->held_back_s[policy] * 1e9);
  return static_cast<int>(gpu(handle)->status);
}
int nvmlDeviceGetMigMode(void* handle, unsigned* current, unsigned* pending) {
  *current = *pending = gpu(handle)->mig ? 1 : 0;
  return 0;
}
int nvmlDeviceGetFieldValues(void* handle, int count, void* fields) {
  take_time();
  ++fake_nvml.power_reads;
  for (int i = 0; i < count; ++i) {
    Field& field = static_cast<Field*>(fields)[i];
    const FakeGpu& which = *gpu(handle);
    const bool average = field.field == 185, instant = field.field == 186;
    const bool there = (average && which.has_average) || (instant && which.has_instant);
    field.status = there ? static_cast<unsigned>(which.status) : 3;
    field.type = which.value_type;
    const double power_mw = 1000 * (average ? which.average_w : which.instant_w);
    const auto whole = static_cast<long long>(power_mw);
    // garbage beyond the type's width, as an uninitialised union has
    std::memset(field.value, 0xa5, sizeof field.value);
    if (field.type == 0) std::memcpy(field.value, &power_mw, 8);
    if (field.type == 1 || field.type == 5) std::memcpy(field.value, &whole, 4);
    if (field.type >= 2 && field.type <= 4) std::memcpy(field.value, &whole, 8);
    if (field.type == 6) std::memcpy(field.value, &whole, 2);
  }
  return 0;
}

}  // extern "C"

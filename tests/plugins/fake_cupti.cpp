// A stand-in of libcupti.so.13 and libcuda.so.1 that plays what a test puts into `fake_cupti`, and refuses
// calls out of order as the real one does. A configuration image is the list of its metrics' numbers; so is
// the counter data, followed by the values.

#include "tests/plugins/fake_cupti.h"

#include <cstring>
#include <map>
#include <vector>

#include "meters/counters/cupti_api.h"

using namespace mlpwatt;
using mlpwatt::testing::FakeCupti;

extern "C" {

FakeCupti fake_cupti;
}

namespace {

constexpr int kInvalid = 1, kOutOfOrder = 7;
constexpr std::size_t kImageBytes = 16;

struct Host {
  std::vector<int> metrics;
};
struct Profiler {
  bool configured = false, started = false, in_range = false, stopped = false;
  std::vector<int> metrics;
  std::uint8_t* data = nullptr;
  std::size_t data_size = 0;
};

int number_of(const char* name) {
  for (int i = 0; i < fake_cupti.metric_count; ++i)
    if (std::strcmp(fake_cupti.metrics[i].name, name) == 0) return i;
  return -1;
}

Profiler* profiler(void* handle) { return static_cast<Profiler*>(handle); }

}  // namespace

extern "C" {

int cuInit(unsigned) { return fake_cupti.driver_status; }
int cuDeviceGetCount(int* count) {
  *count = fake_cupti.devices;
  return 0;
}
int cuCtxGetCurrent(void** context) {
  *context = nullptr;
  return 0;
}
int cuCtxGetDevice(int* device) {
  *device = 0;
  return 0;
}
int cuCtxSetCurrent(void*) { return 0; }
int cuDevicePrimaryCtxRetain(void** context, int) {
  *context = &fake_cupti;
  return 0;
}

int cuptiGetResultString(int status, const char** text) {
  *text = status == 35   ? "CUPTI_ERROR_INSUFFICIENT_PRIVILEGES"
          : status == 38 ? "CUPTI_ERROR_LEGACY_PROFILER_NOT_SUPPORTED"
                         : "CUPTI_ERROR_UNKNOWN";
  return 0;
}
int cuptiProfilerInitialize(CuptiInitialize*) { return fake_cupti.initialize_status; }
int cuptiDeviceGetChipName(CuptiChipName* params) {
  params->chip = fake_cupti.chip;
  return 0;
}
int cuptiProfilerGetCounterAvailability(CuptiAvailability* params) {
  params->image_size = 4;
  return fake_cupti.availability_status;
}
int cuptiProfilerHostGetSupportedChips(CuptiHostChips* params) {
  params->count = 1;
  params->names = &fake_cupti.chip;
  return 0;
}
int cuptiProfilerHostInitialize(CuptiHostInitialize* params) {
  if (std::strcmp(params->chip, fake_cupti.chip) != 0) return kInvalid;
  params->host = new Host;
  return 0;
}
int cuptiProfilerHostDeinitialize(CuptiHostDeinitialize* params) {
  delete static_cast<Host*>(params->host);
  return 0;
}
int cuptiProfilerHostConfigAddMetrics(CuptiHostAddMetrics* params) {
  for (std::size_t i = 0; i < params->count; ++i) {
    const int number = number_of(params->names[i]);
    if (number < 0) return kInvalid;
    static_cast<Host*>(params->host)->metrics.push_back(number);
  }
  return 0;
}
int cuptiProfilerHostGetConfigImageSize(CuptiHostImageSize* params) {
  params->size = kImageBytes;
  return 0;
}
int cuptiProfilerHostGetConfigImage(CuptiHostImage* params) {
  const auto& metrics = static_cast<Host*>(params->host)->metrics;
  if (params->size < kImageBytes || metrics.size() >= kImageBytes) return kInvalid;
  params->image[0] = static_cast<std::uint8_t>(metrics.size());
  for (std::size_t i = 0; i < metrics.size(); ++i)
    params->image[i + 1] = static_cast<std::uint8_t>(metrics[i]);
  return 0;
}
int cuptiProfilerHostGetNumOfPasses(CuptiHostPasses* params) {
  std::map<int, std::size_t> of_unit;
  params->passes = 1;
  for (int i = 0; i < params->image[0]; ++i) {
    const std::size_t together = ++of_unit[fake_cupti.metrics[params->image[i + 1]].unit];
    params->passes = std::max(params->passes, (together + 1) / 2);
  }
  return 0;
}
int cuptiRangeProfilerEnable(CuptiRangeEnable* params) {
  if (fake_cupti.enable_status != 0) return fake_cupti.enable_status;
  if (fake_cupti.enabled > 0) return kOutOfOrder;
  ++fake_cupti.enabled;
  params->profiler = new Profiler;
  return 0;
}
int cuptiRangeProfilerDisable(CuptiRangeCall* params) {
  --fake_cupti.enabled;
  fake_cupti.counting = false;
  delete profiler(params->profiler);
  return 0;
}
int cuptiRangeProfilerGetCounterDataSize(CuptiRangeDataSize* params) {
  params->size = kImageBytes + params->count * sizeof(double);
  return params->ranges == 1 ? 0 : kInvalid;
}
int cuptiRangeProfilerCounterDataImageInitialize(CuptiRangeDataInitialize* params) {
  std::memset(params->data, 0, params->size);
  return 0;
}
int cuptiRangeProfilerSetConfig(CuptiRangeConfig* params) {
  // user range, user replay
  if (params->struct_size != 90 || params->range != 2 || params->replay != 3) return kInvalid;
  // the range that is pushed is of the level that is collected
  if (params->least_nesting_level != 1 || params->target_nesting_level != 1) return kInvalid;
  Profiler& self = *profiler(params->profiler);
  self.configured = true;
  self.metrics.assign(params->config + 1, params->config + 1 + params->config[0]);
  self.data = params->data;
  self.data_size = params->data_size;
  return 0;
}
int cuptiRangeProfilerStart(CuptiRangeCall* params) {
  if (fake_cupti.start_status != 0) return fake_cupti.start_status;
  if (!profiler(params->profiler)->configured) return kOutOfOrder;
  profiler(params->profiler)->started = true;
  return 0;
}
int cuptiRangeProfilerPushRange(CuptiRangePush* params) {
  Profiler& self = *profiler(params->profiler);
  if (!self.started || self.in_range) return kOutOfOrder;
  self.in_range = true;
  fake_cupti.counting = true;
  fake_cupti.steps = 0;
  ++fake_cupti.ranges;
  return 0;
}
int cuptiRangeProfilerPopRange(CuptiRangeCall* params) {
  Profiler& self = *profiler(params->profiler);
  if (!self.in_range) return kOutOfOrder;
  self.in_range = fake_cupti.counting = false;
  return 0;
}
int cuptiRangeProfilerStop(CuptiRangeStop* params) {
  Profiler& self = *profiler(params->profiler);
  if (!self.started || self.in_range || params->struct_size != 41) return kOutOfOrder;
  self.stopped = true;
  params->all_passes_submitted = fake_cupti.submits_all ? 1 : 0;
  return 0;
}
int cuptiRangeProfilerDecodeData(CuptiRangeDecode* params) {
  Profiler& self = *profiler(params->profiler);
  if (!self.stopped) return kOutOfOrder;
  self.data[0] = static_cast<std::uint8_t>(self.metrics.size());
  for (std::size_t i = 0; i < self.metrics.size(); ++i) {
    self.data[i + 1] = static_cast<std::uint8_t>(self.metrics[i]);
    const auto& metric = fake_cupti.metrics[self.metrics[i]];
    // a percentage does not grow with the steps
    const bool share = std::strstr(metric.name, ".pct") != nullptr;
    const double value = share ? metric.per_step : metric.per_step * fake_cupti.steps;
    std::memcpy(self.data + kImageBytes + i * sizeof value, &value, sizeof value);
  }
  return 0;
}
int cuptiProfilerHostEvaluateToGpuValues(CuptiHostEvaluate* params) {
  for (std::size_t i = 0; i < params->count; ++i) {
    const int number = number_of(params->names[i]);
    bool found = false;
    for (int k = 0; k < params->data[0]; ++k) {
      if (params->data[k + 1] != number) continue;
      std::memcpy(&params->values[i],
                  params->data + kImageBytes + static_cast<std::size_t>(k) * sizeof(double), sizeof(double));
      found = true;
    }
    if (!found) return kInvalid;
  }
  return 0;
}

}  // extern "C"

#pragma once
// What the stand-in of NVIDIA's management library plays; the test reaches it by dlsym("fake_nvml").

#include <atomic>

namespace mlpwatt::testing {

struct FakeGpu {
  const char* uuid = "";
  const char* name = "";
  std::atomic<int> status{0};         ///< nvmlReturn_t of every reading
  std::atomic<int> handle_status{0};  ///< of asking for it by its number
  std::atomic<int> capability{0};     ///< compute capability times ten; 0 = the driver does not tell
  std::atomic<double> average_w{0}, instant_w{0}, usage_w{0}, energy_j{0}, limit_w{0};
  std::atomic<bool> has_average{true}, has_instant{true}, has_energy{true}, mig{false};
  std::atomic<unsigned> value_type{1};
  std::atomic<unsigned> clock_mhz{1980}, memory_clock_mhz{2619}, temperature_c{45};
  std::atomic<unsigned long long> reasons{0};
  std::atomic<double> held_back_s[12] = {};  ///< by nvmlPerfPolicyType_t
};

struct FakeNvml {
  FakeGpu gpus[32];
  std::atomic<int> count{0};
  std::atomic<int> init_status{0};
  std::atomic<double> hang_s{0};  ///< every reading takes this long
  std::atomic<int> counter_reads{0}, power_reads{0}, running{0};
};

}  // namespace mlpwatt::testing

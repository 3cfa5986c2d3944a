#pragma once
// The part of NVIDIA's profiling library (CUPTI of CUDA 12.6 or later) and of the driver that counting needs,
// declared here so that the program builds without the toolkit; both libraries are loaded at run time. Where
// the toolkit's headers are at hand, tests/meters/counters/cupti_test.cpp compares every layout with them.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace mlpwatt {

enum CuptiStatus {
  kCuptiSuccess = 0,
  kCuptiInvalidParameter = 1,
  kCuptiNoPrivileges = 35,
  kCuptiLegacyProfiler = 38,
};

extern "C" {
// Every call takes one of these; the library reads `struct_size` to know which fields its caller has.
struct CuptiInitialize {
  std::size_t struct_size;
  void* reserved;
};
struct CuptiChipName {
  std::size_t struct_size;
  void* reserved;
  std::size_t device_index;
  const char* chip;
};
struct CuptiAvailability {
  std::size_t struct_size;
  void* reserved;
  void* context;
  std::size_t image_size;
  std::uint8_t* image;
};
struct CuptiHostChips {
  std::size_t struct_size;
  void* reserved;
  std::size_t count;
  const char* const* names;
};
struct CuptiHostInitialize {
  std::size_t struct_size;
  void* reserved;
  int profiler_type;  ///< 0 = range profiler
  const char* chip;
  const std::uint8_t* availability;
  void* host;
};
struct CuptiHostDeinitialize {
  std::size_t struct_size;
  void* reserved;
  void* host;
};
struct CuptiHostAddMetrics {
  std::size_t struct_size;
  void* reserved;
  void* host;
  const char** names;
  std::size_t count;
};
struct CuptiHostImageSize {
  std::size_t struct_size;
  void* reserved;
  void* host;
  std::size_t size;
};
struct CuptiHostImage {
  std::size_t struct_size;
  void* reserved;
  void* host;
  std::size_t size;
  std::uint8_t* image;
};
struct CuptiHostPasses {
  std::size_t struct_size;
  void* reserved;
  std::size_t size;
  std::uint8_t* image;
  std::size_t passes;
};
struct CuptiHostEvaluate {
  std::size_t struct_size;
  void* reserved;
  void* host;
  const std::uint8_t* data;
  std::size_t data_size;
  std::size_t range;
  const char** names;
  std::size_t count;
  double* values;
};
struct CuptiRangeEnable {
  std::size_t struct_size;
  void* reserved;
  void* context;
  void* profiler;
};
/// Disable, Start and PopRange take the same.
struct CuptiRangeCall {
  std::size_t struct_size;
  void* reserved;
  void* profiler;
};
struct CuptiRangeDataSize {
  std::size_t struct_size;
  void* reserved;
  void* profiler;
  const char** names;
  std::size_t count;
  std::size_t ranges;
  std::uint32_t tree_nodes;
  std::size_t size;
};
struct CuptiRangeDataInitialize {
  std::size_t struct_size;
  void* reserved;
  void* profiler;
  std::size_t size;
  std::uint8_t* data;
};
struct CuptiRangeConfig {
  std::size_t struct_size;
  void* reserved;
  void* profiler;
  std::size_t config_size;
  const std::uint8_t* config;
  std::size_t data_size;
  std::uint8_t* data;
  int range;   ///< 2 = the user pushes and pops
  int replay;  ///< 3 = the user repeats
  std::size_t ranges_per_pass;
  std::uint16_t nesting_levels;
  std::uint16_t least_nesting_level;
  std::size_t pass_index;
  std::uint16_t target_nesting_level;
};
struct CuptiRangeStop {
  std::size_t struct_size;
  void* reserved;
  void* profiler;
  std::size_t pass_index;
  std::size_t target_nesting_level;
  std::uint8_t all_passes_submitted;
};
struct CuptiRangePush {
  std::size_t struct_size;
  void* reserved;
  void* profiler;
  const char* name;
};
struct CuptiRangeDecode {
  std::size_t struct_size;
  void* reserved;
  void* profiler;
  std::size_t dropped;
};
}

/// The size that the library expects: up to the end of the last field, without the padding after it.
template <class Params>
constexpr std::size_t cupti_size = sizeof(Params);
template <>
inline constexpr std::size_t cupti_size<CuptiRangeConfig> = offsetof(CuptiRangeConfig, target_nesting_level) +
                                                            sizeof(std::uint16_t);
template <>
inline constexpr std::size_t cupti_size<CuptiRangeStop> = offsetof(CuptiRangeStop, all_passes_submitted) +
                                                          sizeof(std::uint8_t);

/// Zeroed, with its size filled in.
template <class Params>
Params cupti_params() {
  Params params{};
  params.struct_size = cupti_size<Params>;
  return params;
}

/// The profiling library, loaded.
class CuptiLibrary {
 public:
  /// @param paths tried in this order
  /// Errors: std::runtime_error when none can be loaded or it has no range profiler.
  explicit CuptiLibrary(const std::vector<std::string>& paths);
  ~CuptiLibrary();
  CuptiLibrary(const CuptiLibrary&) = delete;
  CuptiLibrary& operator=(const CuptiLibrary&) = delete;

  int (*initialize)(CuptiInitialize*) = nullptr;
  int (*chip_name)(CuptiChipName*) = nullptr;
  int (*availability)(CuptiAvailability*) = nullptr;
  int (*host_chips)(CuptiHostChips*) = nullptr;
  int (*host_initialize)(CuptiHostInitialize*) = nullptr;
  int (*host_deinitialize)(CuptiHostDeinitialize*) = nullptr;
  int (*host_add_metrics)(CuptiHostAddMetrics*) = nullptr;
  int (*host_image_size)(CuptiHostImageSize*) = nullptr;
  int (*host_image)(CuptiHostImage*) = nullptr;
  int (*host_passes)(CuptiHostPasses*) = nullptr;
  int (*host_evaluate)(CuptiHostEvaluate*) = nullptr;
  int (*range_enable)(CuptiRangeEnable*) = nullptr;
  int (*range_disable)(CuptiRangeCall*) = nullptr;
  int (*range_data_size)(CuptiRangeDataSize*) = nullptr;
  int (*range_data_initialize)(CuptiRangeDataInitialize*) = nullptr;
  int (*range_config)(CuptiRangeConfig*) = nullptr;
  int (*range_start)(CuptiRangeCall*) = nullptr;
  int (*range_push)(CuptiRangePush*) = nullptr;
  int (*range_pop)(CuptiRangeCall*) = nullptr;
  int (*range_stop)(CuptiRangeStop*) = nullptr;
  int (*range_decode)(CuptiRangeDecode*) = nullptr;
  const std::string& path() const { return path_; }
  /// The library's own word for a status, its number, and what can be done about it.
  std::string text(int status) const;

 private:
  void* handle_ = nullptr;
  int (*result_string_)(int, const char**) = nullptr;
  std::string path_;
};

/// The driver, as far as a context is needed to count in.
class CudaDriver {
 public:
  /// Errors: std::runtime_error when it cannot be loaded, does not start or shows no device.
  explicit CudaDriver(const std::string& path);
  ~CudaDriver();
  CudaDriver(const CudaDriver&) = delete;
  CudaDriver& operator=(const CudaDriver&) = delete;
  /// The context of the kernels under way on this thread: the current one, else the primary context of the
  /// first device. nullptr when the driver refuses.
  void* context() const;
  /// Number of the device of that context.
  int device() const;

 private:
  void* handle_ = nullptr;
  int (*context_current_)(void**) = nullptr;
  int (*context_device_)(int*) = nullptr;
  int (*context_set_)(void*) = nullptr;
  int (*primary_retain_)(void**, int) = nullptr;
};

/// Where CUPTI may lie: $MLPWATT_CUPTI, the loader's own path, $CUDA_HOME and /usr/local/cuda.
std::vector<std::string> cupti_paths();

}  // namespace mlpwatt

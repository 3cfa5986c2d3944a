#pragma once
// The part of NVIDIA's management library that power needs, declared here because CUDA's tools do not bring
// its header; the library comes with the driver and is loaded at run time.

#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace mlpwatt {

extern "C" {
struct nvmlDevice_st;
typedef nvmlDevice_st* NvmlDevice;

union NvmlValue {
  double d;
  int si;
  unsigned int ui;
  unsigned long ul;
  unsigned long long ull;
  long long sll;
  unsigned short us;
};

/// nvmlFieldValue_t
struct NvmlField {
  unsigned int field_id;
  unsigned int scope_id;
  long long timestamp_us;  ///< since 1970
  long long latency_us;
  unsigned int value_type;  ///< of NvmlType
  int status;               ///< nvmlReturn_t of this field alone
  NvmlValue value;
};

/// nvmlViolationTime_t
struct NvmlHeldBack {
  unsigned long long reference_us;
  unsigned long long held_back_ns;  ///< since the driver was loaded
};
}

enum NvmlStatus {
  kNvmlSuccess = 0,
  kNvmlUninitialized = 1,
  kNvmlNotSupported = 3,
  kNvmlNoPermission = 4,
  kNvmlGpuIsLost = 15,
};
enum NvmlType { kNvmlDouble, kNvmlUint, kNvmlUlong, kNvmlUlonglong, kNvmlLonglong, kNvmlInt, kNvmlUshort };
/// nvmlPerfPolicyType_t: what keeps the clocks below what was asked for
enum NvmlPolicy { kNvmlByPower = 0, kNvmlByHeat = 1, kNvmlByBoard = 3 };
enum NvmlFieldId : unsigned { kNvmlPowerAverage = 185, kNvmlPowerInstant = 186 };

/// This user may not talk to the driver, or not to this GPU.
struct NvmlPermissionError : std::runtime_error {
  using std::runtime_error::runtime_error;
};
/// Throws NvmlPermissionError or std::runtime_error, by the status.
[[noreturn]] void throw_nvml(int status, const std::string& reason);

/// The loaded library, initialised; shut down with the last copy.
class NvmlLibrary {
 public:
  /// Errors: std::runtime_error when it cannot be loaded or lacks a function, or does not start
  /// (NvmlPermissionError where it may not).
  explicit NvmlLibrary(const std::string& path);
  ~NvmlLibrary();
  NvmlLibrary(const NvmlLibrary&) = delete;
  NvmlLibrary& operator=(const NvmlLibrary&) = delete;

  const char* (*error_text)(int) = nullptr;
  int (*device_count)(unsigned*) = nullptr;
  int (*device_by_index)(unsigned, NvmlDevice*) = nullptr;
  int (*device_by_uuid)(const char*, NvmlDevice*) = nullptr;
  int (*device_uuid)(NvmlDevice, char*, unsigned) = nullptr;
  int (*device_name)(NvmlDevice, char*, unsigned) = nullptr;
  // nullptr where the driver is older than the call
  int (*clock_mhz)(NvmlDevice, int type, unsigned*) = nullptr;
  int (*temperature_c)(NvmlDevice, int sensor, unsigned*) = nullptr;
  int (*clock_reasons)(NvmlDevice, unsigned long long*) = nullptr;
  int (*held_back)(NvmlDevice, int policy, NvmlHeldBack*) = nullptr;
  int (*power_usage_mw)(NvmlDevice, unsigned*) = nullptr;
  int (*energy_mj)(NvmlDevice, unsigned long long*) = nullptr;
  int (*field_values)(NvmlDevice, int, NvmlField*) = nullptr;               ///< nullptr in old drivers
  int (*power_limit_mw)(NvmlDevice, unsigned*) = nullptr;                   ///< may be nullptr
  int (*mig_mode)(NvmlDevice, unsigned*, unsigned*) = nullptr;              ///< may be nullptr
  int (*compute_capability)(NvmlDevice, int* major, int* minor) = nullptr;  ///< may be nullptr

  std::string text(int status) const;

 private:
  int (*shutdown_)() = nullptr;
  void* handle_ = nullptr;
};

/// A field as a number, whatever type this driver gives it; nullopt for a type nobody has defined.
std::optional<double> nvml_number(const NvmlField& field);

}  // namespace mlpwatt

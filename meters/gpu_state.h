#pragma once
// How hot and how fast the GPUs are, and what slows them down: noted at both ends of a window. Through
// NVIDIA's management library, without a CUDA context (one would raise the clocks).

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "meters/power/nvml_api.h"

namespace mlpwatt {

/// Empty where the driver does not say.
struct GpuState {
  std::string uuid;
  std::optional<double> clock_hz;  ///< of the multiprocessors
  std::optional<double> memory_clock_hz;
  std::optional<double> temperature_c;
  /// Why the clocks are not the highest: NVML's event reasons, a bit each.
  std::optional<std::uint64_t> reasons;
  /// How long power, heat and the board have held the clocks down, each since the driver was loaded: counted
  /// by the driver, so that what happens between two looks is not lost.
  std::array<std::optional<double>, 3> held_back_s;
};

/// The longest time that one of power, heat and the board held the clocks down between two looks at one GPU;
/// empty where the driver counts none of them.
std::optional<double> held_back_between_s(const GpuState& before, const GpuState& after);

/// Those reasons in words: "sw_power_cap hw_thermal"; "none".
std::string reasons_text(std::uint64_t reasons);
/// The bits that mean the GPU was held back while it worked: power, heat or the board; not idleness, nor
/// clocks that somebody set.
std::uint64_t slowing_reasons(std::uint64_t reasons);

class GpuStates {
 public:
  /// Without the library there are no GPUs, and nothing else happens.
  explicit GpuStates(const std::string& library = "libnvidia-ml.so.1");
  /// Of every GPU that answers, in the library's order.
  std::vector<GpuState> read() const;

 private:
  std::shared_ptr<NvmlLibrary> library_;
};

}  // namespace mlpwatt

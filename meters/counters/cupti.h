#pragma once
// The parts of counting on a GPU that can be checked without one.

#include <memory>
#include <string>
#include <vector>

#include "meters/counters/counter_source.h"
#include "meters/counters/cupti_api.h"
#include "meters/counters/gpu_metrics.h"

namespace mlpwatt {

/// Metrics of one chip: what there is and what can be counted together. Needs no GPU.
class CuptiChip {
 public:
  /// @param availability of counters on the device at hand; empty = all the chip has
  CuptiChip(std::shared_ptr<CuptiLibrary> library, std::string chip,
            std::vector<std::uint8_t> availability = {});
  /// Passes over the same work that these metrics take together; 0 when one is unknown here.
  /// Errors: std::runtime_error when the chip is unknown to the library.
  std::size_t passes(const std::vector<std::string>& metrics) const;
  /// The configuration for the hardware. Errors: as passes, and for an unknown metric.
  std::vector<std::uint8_t> image(const std::vector<std::string>& metrics) const;
  /// Values from a decoded counter image, in the order of `metrics`.
  std::vector<double> evaluate(const std::vector<std::string>& metrics,
                               const std::vector<std::uint8_t>& data) const;
  const std::string& name() const { return chip_; }

 private:
  class Host;
  std::shared_ptr<CuptiLibrary> library_;
  std::string chip_;
  std::vector<std::uint8_t> availability_;
};

/// @param cupti where to look for the library, @param driver the CUDA driver
/// @param parameters the driver's file of module parameters
std::unique_ptr<CounterSource> make_cupti_source(std::vector<std::string> cupti = cupti_paths(),
                                                 std::string driver = "libcuda.so.1",
                                                 std::string parameters = "/proc/driver/nvidia/params");

}  // namespace mlpwatt

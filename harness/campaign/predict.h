#pragma once
// How long a configuration will take on this machine: the cost model with a few coefficients measured through
// the very kernels. All of it is modelled and never recorded beside measurements.

#include <cmath>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "harness/campaign/grid.h"
#include "harness/machine.h"
#include "harness/protocol/clock.h"
#include "meters/power_session.h"

namespace mlpwatt {

/// What the prediction of a training step looks at. Everything is in seconds, or in units of it, so that the
/// coefficients are pure numbers near 1 where the model is good, and seconds for the overheads.
struct StepFeatures {
  double constant = 1;   ///< a step's own overhead
  double layers = 0;     ///< depth: barriers, edges of small matrices
  double compute_s = 0;  ///< FLOPs at the measured peak
  double cells_s = 0;    ///< activations read and written, at the near bandwidth
  double state_s = 0;    ///< weights, moments and gradients moved, at the bandwidth of where b lives
  std::vector<double> values() const { return {constant, layers, compute_s, cells_s, state_s}; }
};

/// Coefficients of one way of running: backend, ISA, threads.
struct TimeModel {
  std::string backend, isa;
  int threads = 0;
  double peak_flops_per_s = 0;   ///< of cpu/fma
  double near_bytes_per_s = 0;   ///< of cpu/stream, working set in L2
  double far_bytes_per_s = 0;    ///< of cpu/stream, working set beyond the last cache
  std::vector<double> step;      ///< of StepFeatures::values()
  double stretch = 1;            ///< warm-up and window together, over the least window
  std::vector<double> overhead;  ///< set-up and check: 1, min(P, kCheckedParameters), P
  double load_s_per_cell = 0;    ///< reading a dataset, per value
  double step_error = 0;         ///< median relative error over the calibration's own networks

  StepFeatures features(const Network& network, int batch, std::int64_t rows,
                        const Hierarchy& hierarchy) const;
  double step_s(const Network& network, int batch, std::int64_t rows, const Hierarchy& hierarchy) const;
  /// One repetition, everything included but loading the dataset (once a process).
  /// @param for_energy_s what the meters need of a window at least; 0 = nothing
  double run_s(double one_step_s, std::int64_t parameters, const ProtocolOptions& protocol,
               double for_energy_s = 0) const;
  double load_s(const DatasetInfo& dataset) const;
};

/// What the node drew while it was calibrated, as its meters saw it: what predicted energies are made of.
struct NodePower {
  std::string asked;            ///< --meters
  std::string meters, domains;  ///< that were summed
  std::string provenance;       ///< measured or modelled; "" = no meter
  double watts = std::nan("");  ///< mean over the calibration: set-up, checks and windows
  double idle_watts = std::nan("");
  double slowest_period_s = 0;  ///< of the meters' updates
  bool known() const { return !std::isnan(watts); }
};

struct Calibration {
  std::string host, processor, measured_utc, commit;
  NodePower power;
  double window_s = 0;  ///< of the plan it was measured for
  std::vector<TimeModel> models;
  /// Errors: std::runtime_error when there is none for the entry.
  const TimeModel& model(const std::string& backend, const std::string& isa, int threads) const;
  bool has(const std::string& backend, const std::string& isa, int threads) const;
};

nlohmann::ordered_json calibration_json(const Calibration& calibration);
/// Errors: nlohmann::json::exception, std::runtime_error.
Calibration parse_calibration(const nlohmann::json& json);

/// A way of running that occurs in a grid.
struct Way {
  std::string backend, isa;
  int threads = 0;
  auto operator<=>(const Way&) const = default;
};

/// Measures every way on this machine; about `budget_s` in all.
/// @param power looks on all the time
/// @param say called with a line a measurement
/// Errors: whatever the kernels throw.
Calibration calibrate(const std::vector<Way>& ways, const Machine& machine, const ProtocolOptions& protocol,
                      double budget_s, PowerSession& power, Clock& clock,
                      const std::function<void(const std::string&)>& say);

}  // namespace mlpwatt

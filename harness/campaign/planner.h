#pragma once
// From filters to a plan: the grid, a sample of it, what it will take, and how much fits a budget.

#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "harness/campaign/budget.h"
#include "harness/campaign/grid.h"
#include "harness/campaign/predict.h"

namespace mlpwatt {

struct PlannerOptions {
  GridFilter filter;
  Plan settings;           ///< without entries
  std::size_t sample = 0;  ///< 0 = all
  Budget budget;
  PowerOptions power{.meters = "auto"};  ///< what looks on during the calibration
  double watts = std::nan("");           ///< of a working node, as given; else what the calibration saw
  double idle_watts = std::nan("");      ///< of a node that waits, likewise
  /// The longest window was given; otherwise it is made long enough for the meters.
  bool longest_window_given = false;
  bool calibrate = true;         ///< false: nothing is predicted
  std::string calibration_path;  ///< "" = in the user cache, by host name
  bool recalibrate = false;
  double calibration_budget_s = 60;  ///< what one may take, about
};

struct Planned {
  Plan plan;  ///< comments say what the fields below say
  std::vector<Infeasible> infeasible;
  std::int64_t grid_configurations = 0;  ///< distinct and feasible, before sample and budget
  std::int64_t duplicates = 0;
  double time_s = std::nan(""), energy_j = std::nan("");  ///< of all runs; modelled
  NodePower power;                                        ///< what energies are predicted with
};

/// @param say progress, a line at a time
/// Errors: UsageError (filters that leave nothing, a budget that needs what is not given), and whatever the
/// calibration's kernels throw.
Planned make_plan(const PlannerOptions& options, const std::function<void(const std::string&)>& say);

}  // namespace mlpwatt

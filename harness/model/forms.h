#pragma once
// The forms of model that are fitted and compared: which terms explain a step. Each form turns one run into
// one row of a design; the roofline, which is no sum, brings its own fit.

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "harness/model/fit.h"
#include "harness/model/training_runs.h"

namespace mlpwatt::model {

enum class Target { kTime, kEnergyMeasured, kEnergyModelled };
const char* to_string(Target target);  ///< "time", "energy_measured", "energy_modelled"
/// NaN when the run has none. Seconds or joules per step.
double target_value(const TrainingRun& run, Target target);

struct Term {
  std::string name;
  std::string per;  ///< what one unit is: "step", "layer", "FLOP", "byte" ...
};
/// "s/byte", "J/layer"; "W" for the static term.
std::string unit_of(const Term& term, Target target);

struct Form {
  std::string name;
  std::string description;  ///< the formula in words
  std::vector<Term> terms;  ///< of energy; time has no static term (terms_of)
  /// The row of the design; empty when the run lacks what the form needs.
  /// Time: work of the busiest thread. Energy: work of all threads.
  std::function<Eigen::VectorXd(const TrainingRun&, Target)> row;
};

/// The terms of a row for this target, in order.
std::vector<Term> terms_of(const Form& form, Target target);

/// parameters, flops: the baselines. placement, counters_measured, counters_simulated, traffic: the issue's
/// formula with B_level from working sets, counters, or our loops. work: traffic with the loops' own counts
/// of issued FLOPs, register tiles, divisions and barriers beside it.
const std::vector<Form>& forms();
/// Errors: std::invalid_argument naming the nearest.
const Form& form(const std::string& name);

/// max(a FLOPs, b compulsory bytes), both per thread for time: the two rates that fit best on relative error.
struct Roofline {
  double per_flop = 0, per_byte = 0;
  double predict(const TrainingRun& run, Target target) const;
};
/// @param rows of `runs` to fit on, all with a value
Roofline fit_roofline(const std::vector<TrainingRun>& runs, const std::vector<std::size_t>& rows,
                      Target target);
/// Its two rates with bootstrap intervals; a ceiling that no run meets is not identified.
/// @param rows of `runs`, at least one
Fit fit_roofline_rates(const std::vector<TrainingRun>& runs, const std::vector<std::size_t>& rows,
                       Target target, const BootstrapOptions& options);
std::vector<Term> roofline_terms();

/// The rows of `runs` that have both the target and what the form needs, as a design.
struct DesignOfRuns {
  Design design;
  std::vector<std::size_t> runs;  ///< index into the runs, one a row
};
DesignOfRuns design_of(const std::vector<TrainingRun>& runs, const std::vector<std::size_t>& rows,
                       const Form& form, Target target);

}  // namespace mlpwatt::model

#pragma once
// The fitted model as a whole: every form for every machine, backend, algorithm and target of a file; its
// rows in /model, /model_tests and /model_predictions; and predictions from those rows.

#include <map>
#include <set>
#include <string>
#include <vector>

#include "harness/model/cross_validation.h"

namespace mlpwatt::model {

struct FittedForm {
  std::int64_t machine_row = 0;
  std::string backend, algorithm, form;
  Target target = Target::kTime;
  Fit fit;
  std::int64_t configurations = 0;
};

struct TestedForm {
  std::int64_t machine_row = 0;
  std::string backend;
  Target target = Target::kTime;
  Validation validation;
  double repeat_sd = 0;  ///< NaN without repetitions
};

struct Fitting {
  std::vector<FittedForm> forms;
  std::vector<TestedForm> tests;
  std::vector<std::string> left_out;  ///< what could not be fitted, and why, one line each
};

/// @param runs as merge_repetitions leaves them
Fitting fit_all(const std::vector<TrainingRun>& runs, const BootstrapOptions& options = {});

/// The rows of the three tables.
std::map<const Table*, std::vector<Row>> rows_of(const Fitting& fitting,
                                                 const std::vector<TrainingRun>& runs);

/// One term of a prediction.
struct Share {
  std::string term;
  double amount = 0;  ///< of steps, layers, FLOPs, bytes ...
  double price = 0;   ///< of one
  std::string unit;   ///< of the price: "s/byte", "J/layer", "W"
  double cost = 0;    ///< amount * price, in s or J
};

struct Estimate {
  Target target = Target::kTime;
  std::string form;
  double value = 0, low95 = 0, high95 = 0;  ///< per step; the interval is that of the runs predicted unseen
  std::vector<Share> shares;
  /// Terms this step has something of and no run of the file had: they cost something and count as nothing.
  std::vector<std::string> unpriced;
  /// Of a machine that is not here: terms that the fit could not tell from others, whose price is in theirs.
  /// What moves between them there is not priced.
  std::vector<std::string> inseparable;
};

/// Prices by term that replace the fitted ones.
using Prices = std::map<std::string, double>;

/// What a machine that is not here does differently. Energy's static term is paid for seconds of its own.
struct OtherMachine {
  Prices time, energy;
};

/// Predictions from the /model rows of one file.
class Model {
 public:
  /// @param machine the name of a host, or the number of a row of /machine, that has a model; "" = the first
  /// Errors: std::invalid_argument when the file has no model (names the command that makes one), or none, or
  /// several, of that machine (names those that it has).
  Model(const Contents& contents, const std::string& path, const std::string& machine = "");

  /// Targets that can be predicted for this algorithm, energy first.
  std::vector<Target> targets(const std::string& backend, const std::string& algorithm) const;
  std::vector<std::string> algorithms(const std::string& backend) const;
  /// That something can be predicted for on this machine, "cpu" first.
  std::vector<std::string> backends() const;
  /// @param configuration, hierarchy what runs where; other: the hierarchy is of a machine that is not here
  /// Energy needs the time as well: its static term is price times the predicted time.
  /// Errors: std::invalid_argument when nothing was fitted for the algorithm (names those that were).
  Estimate predict(const Configuration& configuration, const Hierarchy& hierarchy, Target target,
                   const OtherMachine* other = nullptr) const;
  /// Of a term for this algorithm; NaN where it was not fitted, or not told from others.
  double fitted_price(const std::string& backend, const std::string& algorithm, Target target,
                      const std::string& term) const;
  /// Whether no fitted run of this algorithm has something, or hardly any has, of a term.
  bool was_never_touched(const std::string& backend, const std::string& algorithm, Target target,
                         const std::string& term) const;
  std::int64_t machine_row() const { return machine_row_; }
  /// Rows of /machine with a model, as machines() has them.
  const std::vector<std::int64_t>& machine_rows() const { return machine_rows_; }
  /// "0 (host, processor), 2 (...)": every machine of the file with a model.
  const std::vector<std::string>& machines() const { return machines_; }

 private:
  struct Coefficients {
    std::map<std::string, double> values;
    std::set<std::string> untouched;    ///< terms that no run, or hardly any, has something of
    std::set<std::string> inseparable;  ///< terms that could not be told from others
  };
  /// Of the form that predicts best; nullptr when none was fitted.
  const Coefficients* best_coefficients(const std::string& backend, const std::string& algorithm,
                                        Target target) const;
  /// The form that predicts best unseen, of those that need no run.
  std::string best_form(const std::string& backend, const std::string& algorithm, Target target) const;

  std::int64_t machine_row_ = 0;
  std::vector<std::string> machines_;
  std::vector<std::int64_t> machine_rows_;
  std::map<std::string, Coefficients> coefficients_;  ///< by backend|algorithm|target|form
  struct Quality {
    double sd = 0, ratio_low95 = 1, ratio_high95 = 1;
  };
  std::map<std::string, Quality> quality_;  ///< by backend|target|form: the worst kind of parts left out
};

}  // namespace mlpwatt::model

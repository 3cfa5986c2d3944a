#pragma once
// A recommendation put to the test: the top and the median pick are run, window by window in turn, and what
// is measured decides.

#include <iosfwd>
#include <vector>

#include "harness/model/recommendation.h"

namespace mlpwatt::model {

struct VerifyOptions {
  int repetitions = 7;
  double window_s = 0.2;
  std::string dataset_source = "auto";
};

struct Verification {
  Target target = Target::kTime;    ///< what could be measured: energy where a meter gave it, else time
  std::vector<double> top, median;  ///< per datum, window by window; neighbours ran one after the other
  double top_per_datum = 0, median_per_datum = 0;          ///< medians
  double saving = 0, saving_low95 = 0, saving_high95 = 0;  ///< 1 - top / median pick; bootstrap over pairs
  double predicted_saving = 0;
  bool holds() const { return saving_low95 > 0; }
};

/// Errors: std::runtime_error when one of the two fails to run, with its reason.
Verification verify(const Candidate& top, const Candidate& median, const VerifyOptions& options,
                    std::ostream& progress);

/// The interval and median of 1 - top[i] / median[i] over pairs.
void summarise_pairs(Verification& verification);

}  // namespace mlpwatt::model

#pragma once
// A prediction put to the test: two configurations (of a recommendation the top and the median pick, of a
// question what is asked and what it is compared with) are run, window by window in turn, and what is
// measured decides.

#include <iosfwd>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "harness/model/recommendation.h"

namespace CLI {
class App;
}

namespace mlpwatt::model {

struct VerifyOptions {
  int repetitions = 7;
  double window_s = 0.2;
  std::string dataset_source = "auto";
  std::string meters = "auto";  ///< as mlpwatt run --meters; with a real one joules decide, else seconds
};

/// --repetitions --window-s --dataset-source --meters
void add_verify_options(CLI::App& app, VerifyOptions& options);

struct Verification {
  Target target = Target::kTime;    ///< what could be measured: energy where a meter gave it, else time
  std::vector<double> top, median;  ///< per datum, window by window; neighbours ran one after the other
  double top_per_datum = 0, median_per_datum = 0;          ///< medians
  double saving = 0, saving_low95 = 0, saving_high95 = 0;  ///< 1 - top / median pick; bootstrap over pairs
  double predicted_saving = 0;  ///< of what was measured: joules, or seconds where no meter looked on
  bool holds() const { return saving_low95 > 0; }
  /// False: what is cheaper in joules is predicted to take longer, and only seconds could be measured.
  bool decides() const { return predicted_saving > 0; }
};

/// Errors: std::runtime_error when one of the two fails to run, with its reason.
Verification verify(const Candidate& top, const Candidate& median, const VerifyOptions& options,
                    std::ostream& progress);

/// One line: what was measured, beside what was predicted.
std::string verification_text(const Verification& verification);
nlohmann::ordered_json verification_json(const Verification& verification);

/// The interval and median of 1 - top[i] / median[i] over pairs.
void summarise_pairs(Verification& verification);

}  // namespace mlpwatt::model

#pragma once
// How well a form predicts runs it has not seen: whole datasets, whole shapes and whole size octaves are left
// out in turn, never random rows, so that a neighbour of the same kind cannot leak the answer.

#include <string>
#include <vector>

#include "harness/model/forms.h"

namespace mlpwatt::model {

/// How runs are cut into the parts that are left out in turn.
const std::vector<std::string>& held_out_kinds();  ///< "dataset", "shape", "size"
/// The part of a run: "mnist", "rectangle", "2^12".
std::string part_of(const TrainingRun& run, const std::string& kind);

/// One run, predicted by a fit that has not seen its part.
struct Prediction {
  std::size_t run = 0;  ///< index into the runs
  double predicted = 0, value = 0;
  double ratio() const { return predicted / value; }
};

struct Validation {
  std::string form, kind;
  int parts = 0;  ///< that were left out in turn; 0 = nothing to leave out
  std::vector<Prediction> predictions;
  double sd = 0;            ///< standard deviation of predicted / value; NaN without predictions
  double median_error = 0;  ///< median of |predicted / value - 1|
  double median_ratio = 0;  ///< bias
};

/// Every algorithm has coefficients of its own.
/// @param form a form's name, or "roofline"
/// Where the rest is too small to fit on (fewer runs than twice the terms), the part gets no prediction.
Validation cross_validate(const std::vector<TrainingRun>& runs, const std::vector<std::size_t>& rows,
                          const std::string& form, const std::string& kind, Target target);

}  // namespace mlpwatt::model

#pragma once
// Which networks to train: candidates that meet what is asked, ranked by predicted cost of a training datum.

#include <cstdint>
#include <string>
#include <vector>

#include "harness/model/question.h"

namespace mlpwatt::model {

struct Wish {
  std::string dataset;
  std::int64_t parameters = 0;  ///< target number of parameters; 0 = not asked
  double min_accuracy = 0;      ///< test accuracy that some recorded training reached; 0 = not asked
  /// Empty: default_batches(), or with min_accuracy those the accuracy was reached with.
  std::vector<int> batches;
};

/// 32 to 1024 in octaves.
const std::vector<int>& default_batches();

struct Candidate {
  Configuration configuration;
  Estimate estimate;  ///< per step
  StepWork work;
  double per_datum = 0, per_datum_low95 = 0, per_datum_high95 = 0;
  double s_per_datum = 0;  ///< predicted as well where joules are: what is left to measure without a meter
};

/// Errors: as Question::estimate.
Candidate make_candidate(const Question& question, const Configuration& configuration, Target target);

/// Cheapest first, all by the same target; those with terms that nobody has priced (Estimate::unpriced) last,
/// for they would win by what is not known.
/// Errors: std::invalid_argument when nothing meets the wish (names what there is).
std::vector<Candidate> recommend(const Question& question, const Wish& wish);

/// Why `better` is cheaper per datum than `other`: one line a term, largest saving first.
std::vector<std::string> explain(const Candidate& better, const Candidate& other);

}  // namespace mlpwatt::model

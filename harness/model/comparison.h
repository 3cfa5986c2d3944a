#pragma once
// Two files side by side: each configuration both have, the ratio of what it cost, and whether the difference
// is more than scatter.

#include <string>
#include <vector>

#include "harness/record/record_file.h"

namespace mlpwatt::model {

/// One side of one configuration: the recorded values and how sure their middle is.
struct Side {
  std::vector<double> values;  ///< of the repetitions
  double middle = 0;           ///< exp of the mean log
  double log_error = 0;        ///< standard error of the mean log
  double freedom = 0;          ///< degrees of freedom of log_error
};

struct Compared {
  std::string name;
  Side a, b;
  double ratio = 0, low95 = 0, high95 = 0;  ///< b / a
  double p = 0;                             ///< two-sided, that the ratio is 1
  bool significant = false;  ///< after Benjamini and Hochberg's correction over all configurations, 5 %
};

struct Comparison {
  std::string quantity, unit;  ///< a column of /runs
  std::vector<Compared> configurations;
  double median_ratio = 0, low95 = 0, high95 = 0;  ///< bootstrap over configurations
  int faster = 0, slower = 0;                      ///< significant ones with ratio below and above 1
};

/// Configurations are matched by name and batch. Algorithm, instruction set, threads and host may differ
/// between the files, since they are often what is compared; but where one file has runs of a name with
/// several of them, those are configurations of their own (and their names say which), not repetitions. Where
/// a side has fewer than three repetitions its error is that of the windows themselves (their 95 % interval),
/// which misses drift between windows.
/// @param quantity step_s, step_energy_j_measured or step_energy_j_modelled
/// @param flagged_energies take those as well
Comparison compare(const Contents& a, const Contents& b, const std::string& quantity,
                   bool flagged_energies = false);

/// Two-sided p of Student's t with `freedom` degrees of freedom.
double student_p(double t, double freedom);

}  // namespace mlpwatt::model

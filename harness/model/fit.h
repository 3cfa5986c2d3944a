#pragma once
// Fitting a sum of non-negative terms to times or energies on relative error, with bootstrap intervals; terms
// that the data cannot tell apart, or never excite, are reported and left out, not invented.

#include <Eigen/Dense>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "kernels/random.h"

namespace mlpwatt::model {

/// What is fitted: y[i] ~ sum over terms of coefficient[j] * x(i, j).
struct Design {
  std::vector<std::string> terms;
  Eigen::MatrixXd x;  ///< [rows x terms], >= 0
  Eigen::VectorXd y;  ///< [rows], > 0
  /// Terms that need the weight of at least five rows ((sum m^2)^2 / sum m^4 of the relative column m): of a
  /// level that two or three runs brush, their scatter would become the price, and ruin what uses it in
  /// earnest.
  std::set<std::string> need_support;
  std::vector<std::string> groups;  ///< [rows]; rows of one group are resampled together (repetitions)

  Eigen::Index rows() const { return x.rows(); }
  Design only(const std::vector<Eigen::Index>& rows) const;
};

enum class Identified {
  kYes,
  kZero,       ///< identified, and the best non-negative value is 0
  kEmpty,      ///< no row touches it, or so few that their scatter would be its price
  kCollinear,  ///< a combination of the terms before it says the same
};
const char* to_string(Identified state);

struct Coefficient {
  std::string term;
  double value = 0;  ///< NaN unless identified
  double low95 = 0, high95 = 0;
  Identified state = Identified::kYes;
  std::string reason;  ///< why not identified, naming the terms it cannot be told from
};

struct Fit {
  std::vector<Coefficient> coefficients;  ///< in the order of the terms
  Eigen::VectorXd values() const;         ///< 0 where not identified
  double predict(const Eigen::VectorXd& x) const { return values().dot(x); }
};

/// Minimises the sum of ((x c - y) / y)^2 over c >= 0.
Eigen::VectorXd fit_relative(const Eigen::MatrixXd& x, const Eigen::VectorXd& y);

/// Minimises over the identified terms only; the others are 0. What cross-validation uses.
Eigen::VectorXd fit_identified(const Design& design);

/// For each term whether the rows determine it. Columns are compared after division by y, as the fit sees
/// them: a term whose distance from the span of the accepted ones is below 1/1000 of its length is collinear.
std::vector<Coefficient> identify(const Design& design);

struct BootstrapOptions {
  int resamples = 200;
  std::uint64_t seed = 1;
};
/// Bootstrap samples of rows: as many groups as there are, drawn with replacement, each with all its rows.
class GroupedRows {
 public:
  explicit GroupedRows(const std::vector<std::string>& group_of_row);
  std::vector<Eigen::Index> draw(RandomStream& random) const;

 private:
  std::vector<std::vector<Eigen::Index>> groups_;
};
/// The middle 95 % of bootstrap values; NaN of none.
void set_interval(Coefficient& coefficient, const std::vector<double>& drawn);
/// Errors: std::invalid_argument for fewer rows than terms, or a y that is not positive.
Fit fit(const Design& design, const BootstrapOptions& options = {});

/// Quantile by linear interpolation; `values` must not be empty.
double quantile(std::vector<double> values, double p);

}  // namespace mlpwatt::model

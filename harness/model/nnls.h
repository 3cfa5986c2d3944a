#pragma once
// Non-negative least squares: coefficients of energy and time cannot be negative.

#include <Eigen/Dense>

namespace mlpwatt::model {

struct NnlsResult {
  Eigen::VectorXd x;         ///< >= 0, one a column
  double residual_norm = 0;  ///< |a x - b|
  int iterations = 0;
};

/// min |a x - b| subject to x >= 0, by the active-set method of Lawson and Hanson (Solving Least Squares
/// Problems, chapter 23). Columns may differ by any scale: they are normalised inside.
/// @param a [rows x terms], @param b [rows]
/// Errors: std::invalid_argument when the sizes differ or a value is not finite; std::runtime_error when
/// the method does not settle.
NnlsResult nnls(const Eigen::MatrixXd& a, const Eigen::VectorXd& b);

}  // namespace mlpwatt::model

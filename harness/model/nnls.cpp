#include "harness/model/nnls.h"

#include <stdexcept>
#include <vector>

namespace mlpwatt::model {

namespace {

/// Least squares over the columns in `passive`, zero elsewhere.
Eigen::VectorXd solve_passive(const Eigen::MatrixXd& a, const Eigen::VectorXd& b,
                              const std::vector<char>& passive) {
  std::vector<Eigen::Index> columns;
  for (Eigen::Index j = 0; j < a.cols(); ++j)
    if (passive[static_cast<std::size_t>(j)]) columns.push_back(j);
  Eigen::VectorXd x = Eigen::VectorXd::Zero(a.cols());
  if (columns.empty()) return x;
  // The pivoting QR stands a rank-deficient set: it gives a minimum-norm basic solution, not infinities.
  x(columns) = a(Eigen::all, columns).colPivHouseholderQr().solve(b);
  return x;
}

}  // namespace

NnlsResult nnls(const Eigen::MatrixXd& a, const Eigen::VectorXd& b) {
  if (a.rows() != b.size()) throw std::invalid_argument("nnls: a has another number of rows than b");
  if (!a.allFinite() || !b.allFinite()) throw std::invalid_argument("nnls: a value is not finite");
  const Eigen::Index terms = a.cols();
  Eigen::VectorXd scale = a.colwise().norm();
  for (double& s : scale)
    if (!(s > 0)) s = 1;
  const Eigen::MatrixXd m = a * scale.cwiseInverse().asDiagonal();

  std::vector<char> passive(static_cast<std::size_t>(terms), 0);
  Eigen::VectorXd x = Eigen::VectorXd::Zero(terms);
  const double tolerance = 1e-12 * std::max(1e-300, b.norm());
  const int limit = 10 * static_cast<int>(terms) + 10;
  NnlsResult result;
  for (;; ++result.iterations) {
    if (result.iterations > limit) throw std::runtime_error("nnls: no convergence");
    const Eigen::VectorXd gradient = m.transpose() * (b - m * x);
    Eigen::Index entering = -1;
    for (Eigen::Index j = 0; j < terms; ++j)
      if (!passive[static_cast<std::size_t>(j)] && gradient(j) > tolerance &&
          (entering < 0 || gradient(j) > gradient(entering)))
        entering = j;
    if (entering < 0) break;
    passive[static_cast<std::size_t>(entering)] = 1;
    for (int inner = 0;; ++inner) {
      if (inner > limit) throw std::runtime_error("nnls: no convergence");
      const Eigen::VectorXd trial = solve_passive(m, b, passive);
      // As far towards the trial as no coefficient turns negative.
      double step = 1;
      for (Eigen::Index j = 0; j < terms; ++j)
        if (passive[static_cast<std::size_t>(j)] && trial(j) <= 0)
          step = std::min(step, x(j) / (x(j) - trial(j)));
      if (!(step < 1)) {
        x = trial;
        break;
      }
      x += step * (trial - x);
      bool dropped = false;
      for (Eigen::Index j = 0; j < terms; ++j)
        if (passive[static_cast<std::size_t>(j)] && (x(j) <= 0 || (trial(j) <= 0 && x(j) < 1e-14))) {
          passive[static_cast<std::size_t>(j)] = 0;
          x(j) = 0;
          dropped = true;
        }
      // Rounding may leave the blocking coefficient a hair above zero; it must go, or the loop repeats.
      if (!dropped) {
        Eigen::Index least = -1;
        for (Eigen::Index j = 0; j < terms; ++j)
          if (passive[static_cast<std::size_t>(j)] && trial(j) <= 0 && (least < 0 || x(j) < x(least)))
            least = j;
        passive[static_cast<std::size_t>(least)] = 0;
        x(least) = 0;
      }
    }
  }
  result.x = x.cwiseQuotient(scale);
  result.residual_norm = (a * result.x - b).norm();
  return result;
}

}  // namespace mlpwatt::model

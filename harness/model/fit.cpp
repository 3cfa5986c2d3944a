#include "harness/model/fit.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <stdexcept>

#include "harness/model/nnls.h"

namespace mlpwatt::model {

namespace {

constexpr double kCollinear = 1e-3;
constexpr double kLeastSupport = 5;

/// Rows divided by their y: the residual of the scaled system is the relative error.
Eigen::MatrixXd relative(const Eigen::MatrixXd& x, const Eigen::VectorXd& y) {
  return y.cwiseInverse().asDiagonal() * x;
}

std::vector<Eigen::Index> identified_columns(const std::vector<Coefficient>& coefficients) {
  std::vector<Eigen::Index> columns;
  for (std::size_t j = 0; j < coefficients.size(); ++j)
    if (coefficients[j].state == Identified::kYes) columns.push_back(static_cast<Eigen::Index>(j));
  return columns;
}

}  // namespace

const char* to_string(Identified state) {
  switch (state) {
    case Identified::kYes:
      return "identified";
    case Identified::kZero:
      return "zero";
    case Identified::kEmpty:
      return "unidentifiable: empty";
    case Identified::kCollinear:
      return "unidentifiable: collinear";
  }
  return "";
}

Design Design::only(const std::vector<Eigen::Index>& rows) const {
  Design part{terms, x(rows, Eigen::all), y(rows), need_support, {}};
  for (const Eigen::Index i : rows) part.groups.push_back(groups.at(static_cast<std::size_t>(i)));
  return part;
}

Eigen::VectorXd Fit::values() const {
  Eigen::VectorXd values(static_cast<Eigen::Index>(coefficients.size()));
  for (std::size_t j = 0; j < coefficients.size(); ++j)
    values(static_cast<Eigen::Index>(j)) = std::isnan(coefficients[j].value) ? 0 : coefficients[j].value;
  return values;
}

Eigen::VectorXd fit_relative(const Eigen::MatrixXd& x, const Eigen::VectorXd& y) {
  return nnls(relative(x, y), Eigen::VectorXd::Ones(y.size())).x;
}

std::vector<Coefficient> identify(const Design& design) {
  const Eigen::MatrixXd m = relative(design.x, design.y);
  std::vector<Coefficient> found;
  std::vector<Eigen::Index> accepted;
  for (Eigen::Index j = 0; j < m.cols(); ++j) {
    Coefficient one;
    one.term = design.terms.at(static_cast<std::size_t>(j));
    const double norm = m.col(j).norm();
    if (!(norm > 0)) {
      one.state = Identified::kEmpty;
      one.reason = "no run touches it";
    } else if (const double support = std::pow(norm, 4) / m.col(j).array().pow(4).sum();
               design.need_support.contains(one.term) && support < kLeastSupport) {
      one.state = Identified::kEmpty;
      one.reason = "hardly any run touches it";
    } else if (!accepted.empty()) {
      const Eigen::MatrixXd others =
          m(Eigen::all, accepted) * m(Eigen::all, accepted).colwise().norm().cwiseInverse().asDiagonal();
      const Eigen::VectorXd weights = others.colPivHouseholderQr().solve(m.col(j));
      if ((others * weights - m.col(j)).norm() < kCollinear * norm) {
        one.state = Identified::kCollinear;
        one.reason = "cannot be told from";
        for (std::size_t k = 0; k < accepted.size(); ++k)
          if (std::abs(weights(static_cast<Eigen::Index>(k))) > 0.01 * norm)
            one.reason += " " + design.terms.at(static_cast<std::size_t>(accepted[k]));
      }
    }
    if (one.state == Identified::kYes) accepted.push_back(j);
    found.push_back(one);
  }
  return found;
}

Eigen::VectorXd fit_identified(const Design& design) {
  const std::vector<Eigen::Index> columns = identified_columns(identify(design));
  Eigen::VectorXd all = Eigen::VectorXd::Zero(design.x.cols());
  all(columns) = fit_relative(design.x(Eigen::all, columns), design.y);
  return all;
}

GroupedRows::GroupedRows(const std::vector<std::string>& group_of_row) {
  std::map<std::string, std::vector<Eigen::Index>> by_name;
  for (std::size_t i = 0; i < group_of_row.size(); ++i)
    by_name[group_of_row[i]].push_back(static_cast<Eigen::Index>(i));
  for (auto& [name, rows] : by_name) groups_.push_back(std::move(rows));
}

std::vector<Eigen::Index> GroupedRows::draw(RandomStream& random) const {
  std::vector<Eigen::Index> rows;
  for (std::size_t n = 0; n < groups_.size(); ++n) {
    const std::vector<Eigen::Index>& group = groups_[uniform_below(random, groups_.size())];
    rows.insert(rows.end(), group.begin(), group.end());
  }
  return rows;
}

void set_interval(Coefficient& coefficient, const std::vector<double>& drawn) {
  const double none = std::numeric_limits<double>::quiet_NaN();
  coefficient.low95 = drawn.empty() ? none : quantile(drawn, 0.025);
  coefficient.high95 = drawn.empty() ? none : quantile(drawn, 0.975);
}

Fit fit(const Design& design, const BootstrapOptions& options) {
  if (design.rows() < design.x.cols())
    throw std::invalid_argument("the fit has " + std::to_string(design.rows()) + " runs for " +
                                std::to_string(design.x.cols()) + " terms; record more runs");
  if (!(design.y.minCoeff() > 0)) throw std::invalid_argument("the fit needs positive values");
  Fit fit;
  fit.coefficients = identify(design);
  const std::vector<Eigen::Index> columns = identified_columns(fit.coefficients);
  const Eigen::MatrixXd x = design.x(Eigen::all, columns);
  const Eigen::VectorXd best = fit_relative(x, design.y);

  const GroupedRows grouped(design.groups);
  RandomStream random(options.seed);
  std::vector<std::vector<double>> drawn(columns.size());
  for (int r = 0; r < options.resamples; ++r) {
    const std::vector<Eigen::Index> rows = grouped.draw(random);
    const Eigen::VectorXd values = fit_relative(x(rows, Eigen::all), design.y(rows));
    for (std::size_t k = 0; k < columns.size(); ++k) drawn[k].push_back(values(static_cast<Eigen::Index>(k)));
  }
  for (Coefficient& one : fit.coefficients)
    if (one.state != Identified::kYes)
      one.value = one.low95 = one.high95 = std::numeric_limits<double>::quiet_NaN();
  for (std::size_t k = 0; k < columns.size(); ++k) {
    Coefficient& one = fit.coefficients[static_cast<std::size_t>(columns[k])];
    one.value = best(static_cast<Eigen::Index>(k));
    if (one.value == 0) one.state = Identified::kZero;
    set_interval(one, drawn[k]);
  }
  return fit;
}

double quantile(std::vector<double> values, double p) {
  std::sort(values.begin(), values.end());
  const double at = p * static_cast<double>(values.size() - 1);
  const std::size_t i = static_cast<std::size_t>(at);
  if (i + 1 >= values.size()) return values.back();
  return values[i] + (at - static_cast<double>(i)) * (values[i + 1] - values[i]);
}

}  // namespace mlpwatt::model

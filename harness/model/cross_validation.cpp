#include "harness/model/cross_validation.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <stdexcept>

namespace mlpwatt::model {

namespace {

/// Coefficients from the rows that are kept, applied to those left out.
struct Linear {
  std::vector<std::size_t> runs;
  Eigen::VectorXd predicted, values;
};
std::optional<Linear> apply(const std::vector<TrainingRun>& runs, const std::vector<std::size_t>& kept,
                            const std::vector<std::size_t>& left_out, const Form& form, Target target,
                            const std::map<std::size_t, double>& times_s) {
  const DesignOfRuns known = design_of(runs, kept, form, target);
  if (known.design.rows() < 2 * known.design.x.cols()) return std::nullopt;
  DesignOfRuns asked = design_of(runs, left_out, form, target);
  if (!times_s.empty())  // the static term's seconds: predicted as well, nobody has measured them
    for (std::size_t i = 0; i < asked.runs.size(); ++i)
      asked.design.x(static_cast<Eigen::Index>(i), asked.design.x.cols() - 1) = times_s.at(asked.runs[i]);
  return Linear{asked.runs, asked.design.x * fit_identified(known.design), asked.design.y};
}

/// As Model::predict does it: energy pays for a time that is predicted from the kept rows too.
void predict_linear(const std::vector<TrainingRun>& runs, const std::vector<std::size_t>& kept,
                    const std::vector<std::size_t>& left_out, const Form& form, Target target,
                    std::vector<Prediction>& predictions) {
  std::map<std::size_t, double> times_s;
  if (terms_of(form, target).size() > terms_of(form, Target::kTime).size()) {
    const std::optional<Linear> times = apply(runs, kept, left_out, form, Target::kTime, {});
    if (!times) return;
    for (std::size_t i = 0; i < times->runs.size(); ++i)
      times_s[times->runs[i]] = times->predicted(static_cast<Eigen::Index>(i));
  }
  const std::optional<Linear> found = apply(runs, kept, left_out, form, target, times_s);
  if (!found) return;
  for (std::size_t i = 0; i < found->runs.size(); ++i)
    predictions.push_back({found->runs[i], found->predicted(static_cast<Eigen::Index>(i)),
                           found->values(static_cast<Eigen::Index>(i))});
}

void predict_roofline(const std::vector<TrainingRun>& runs, const std::vector<std::size_t>& kept,
                      const std::vector<std::size_t>& left_out, Target target,
                      std::vector<Prediction>& predictions) {
  const auto with_value = [&](const std::vector<std::size_t>& rows) {
    std::vector<std::size_t> some;
    for (const std::size_t i : rows)
      if (target_value(runs[i], target) > 0) some.push_back(i);
    return some;
  };
  const std::vector<std::size_t> known = with_value(kept);
  if (known.size() < 4) return;
  const Roofline roofline = fit_roofline(runs, known, target);
  for (const std::size_t i : with_value(left_out))
    predictions.push_back({i, roofline.predict(runs[i], target), target_value(runs[i], target)});
}

}  // namespace

const std::vector<std::string>& held_out_kinds() {
  static const std::vector<std::string> kinds{"dataset", "shape", "size"};
  return kinds;
}

std::string part_of(const TrainingRun& run, const std::string& kind) {
  if (kind == "dataset") return run.configuration.dataset;
  if (kind == "shape") return run.configuration.shape;
  if (kind == "size")
    return "2^" + std::to_string(std::lround(std::log2(static_cast<double>(run.configuration.size))));
  throw std::invalid_argument("cross-validation leaves out dataset, shape or size, not " + kind);
}

Validation cross_validate(const std::vector<TrainingRun>& runs, const std::vector<std::size_t>& rows,
                          const std::string& form_name, const std::string& kind, Target target) {
  Validation validation;
  validation.form = form_name;
  validation.kind = kind;
  std::set<std::string> parts;
  for (const std::size_t i : rows) parts.insert(part_of(runs[i], kind));
  std::set<std::string> algorithms;
  for (const std::size_t i : rows) algorithms.insert(runs[i].configuration.algorithm);
  if (parts.size() >= 2)
    for (const std::string& part : parts) {
      const std::size_t before = validation.predictions.size();
      for (const std::string& algorithm : algorithms) {
        std::vector<std::size_t> kept, left_out;
        for (const std::size_t i : rows)
          if (runs[i].configuration.algorithm == algorithm)
            (part_of(runs[i], kind) == part ? left_out : kept).push_back(i);
        if (form_name == "roofline")
          predict_roofline(runs, kept, left_out, target, validation.predictions);
        else
          predict_linear(runs, kept, left_out, form(form_name), target, validation.predictions);
      }
      if (validation.predictions.size() > before) ++validation.parts;
    }
  const double count = static_cast<double>(validation.predictions.size());
  validation.sd = validation.median_error = validation.median_ratio =
      std::numeric_limits<double>::quiet_NaN();
  if (count < 2) return validation;
  double mean = 0, squares = 0;
  std::vector<double> ratios, errors;
  for (const Prediction& p : validation.predictions) {
    ratios.push_back(p.ratio());
    errors.push_back(std::abs(p.ratio() - 1));
    mean += p.ratio() / count;
  }
  for (const double ratio : ratios) squares += (ratio - mean) * (ratio - mean);
  validation.sd = std::sqrt(squares / (count - 1));
  validation.median_error = quantile(errors, 0.5);
  validation.median_ratio = quantile(ratios, 0.5);
  return validation;
}

}  // namespace mlpwatt::model

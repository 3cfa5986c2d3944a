#include "harness/model/model.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <stdexcept>

#include "cpu/twins/mlp_twin.h"

namespace mlpwatt::model {

namespace {

constexpr double kAbsent = std::numeric_limits<double>::quiet_NaN();

const std::vector<Target>& all_targets() {
  static const std::vector<Target> targets{Target::kEnergyMeasured, Target::kEnergyModelled, Target::kTime};
  return targets;
}

/// Whose coefficients an algorithm is predicted with. A twin does the same work in another order: it has the
/// prices of the engine it is a twin of, and is kept out of the fit, so that predicting it is a test.
std::string priced_as(const std::string& algorithm) { return is_mlp_twin(algorithm) ? "blocked" : algorithm; }

std::string key(const std::string& backend, const std::string& algorithm, Target target,
                const std::string& form) {
  return backend + '|' + priced_as(algorithm) + '|' + to_string(target) + '|' + form;
}

/// Standard deviation of repetitions about their configuration's median.
double repeat_sd(const std::vector<TrainingRun>& runs, const std::vector<std::size_t>& rows) {
  double squares = 0, freedom = 0;
  for (const std::size_t i : rows) {
    for (const double ratio : runs[i].repeat_ratios) squares += (ratio - 1) * (ratio - 1);
    if (!runs[i].repeat_ratios.empty()) freedom += static_cast<double>(runs[i].repeat_ratios.size()) - 1;
  }
  return freedom > 0 ? std::sqrt(squares / freedom) : kAbsent;
}

void fit_machine(const std::vector<TrainingRun>& runs, const std::vector<std::size_t>& rows,
                 std::int64_t machine_row, const std::string& backend, Target target,
                 const BootstrapOptions& options, Fitting& fitting) {
  std::map<std::string, std::vector<std::size_t>> by_algorithm;
  for (const std::size_t i : rows)
    if (target_value(runs[i], target) > 0) by_algorithm[runs[i].configuration.algorithm].push_back(i);
  std::vector<std::string> names{"roofline"};
  for (const auto& [algorithm, some] : by_algorithm)
    if (some.size() >= 2 * roofline_terms().size())
      fitting.forms.push_back({machine_row, backend, algorithm, "roofline", target,
                               fit_roofline_rates(runs, some, target, options),
                               static_cast<std::int64_t>(some.size())});
  for (const Form& form : forms()) {
    names.push_back(form.name);
    for (const auto& [algorithm, some] : by_algorithm) {
      const DesignOfRuns made = design_of(runs, some, form, target);
      if (made.design.rows() == 0) continue;
      if (made.design.rows() < 2 * made.design.x.cols()) {
        fitting.left_out.push_back(
            fmt::format("{} of {} {}: {} configurations for {} terms; twice as many "
                        "needed",
                        form.name, algorithm, to_string(target), made.design.rows(), made.design.x.cols()));
        continue;
      }
      fitting.forms.push_back({machine_row, backend, algorithm, form.name, target, fit(made.design, options),
                               made.design.rows()});
    }
  }
  for (const std::string& name : names)
    for (const std::string& kind : held_out_kinds()) {
      Validation validation = cross_validate(runs, rows, name, kind, target);
      if (validation.predictions.empty()) continue;
      fitting.tests.push_back({machine_row, backend, target, std::move(validation),
                               target == Target::kTime ? repeat_sd(runs, rows) : kAbsent});
    }
}

/// Of runs of several instruction sets, or devices, those of the one with the most: a FLOP of another has
/// another price. Says on `left_out` what became of the others.
std::vector<std::size_t> of_one_isa(const std::vector<TrainingRun>& runs,
                                    const std::vector<std::size_t>& rows,
                                    std::vector<std::string>& left_out) {
  std::map<std::string, std::vector<std::size_t>> by_isa;
  for (const std::size_t i : rows) {
    const Configuration& c = runs[i].configuration;
    by_isa[c.device.empty() ? c.isa : c.isa + " of " + c.device].push_back(i);
  }
  const auto most = std::max_element(by_isa.begin(), by_isa.end(), [](const auto& a, const auto& b) {
    return a.second.size() < b.second.size();
  });
  for (const auto& [isa, some] : by_isa)
    if (isa != most->first)
      left_out.push_back(
          fmt::format("{} run(s) of {}: {} of {} are fitted, and one instruction set or device at a time",
                      some.size(), isa, most->second.size(), most->first));
  return most->second;
}

template <typename Of>
Row identity(const Table& table, const Of& of, const std::string& form) {
  Row row(table);
  row.set("machine_row", of.machine_row);
  row.set("backend", of.backend);
  row.set("target", to_string(of.target));
  row.set("form", form);
  return row;
}

}  // namespace

Fitting fit_all(const std::vector<TrainingRun>& runs, const BootstrapOptions& options) {
  std::map<std::pair<std::int64_t, std::string>, std::vector<std::size_t>> machines;
  for (std::size_t i = 0; i < runs.size(); ++i)
    if (!is_mlp_twin(runs[i].configuration.algorithm))
      machines[{runs[i].machine_row, runs[i].configuration.backend}].push_back(i);
  Fitting fitting;
  for (const auto& [where, all] : machines) {
    const std::vector<std::size_t> rows = of_one_isa(runs, all, fitting.left_out);
    for (const Target target : all_targets())
      if (std::any_of(rows.begin(), rows.end(),
                      [&](std::size_t i) { return target_value(runs[i], target) > 0; }))
        fit_machine(runs, rows, where.first, where.second, target, options, fitting);
  }
  return fitting;
}

std::map<const Table*, std::vector<Row>> rows_of(const Fitting& fitting,
                                                 const std::vector<TrainingRun>& runs) {
  std::map<const Table*, std::vector<Row>> tables{
      {&model_table(), {}}, {&model_tests_table(), {}}, {&model_predictions_table(), {}}};
  for (const FittedForm& fitted : fitting.forms) {
    const std::vector<Term> terms =
        fitted.form == "roofline" ? roofline_terms() : terms_of(form(fitted.form), fitted.target);
    for (std::size_t j = 0; j < terms.size(); ++j) {
      const Coefficient& one = fitted.fit.coefficients[j];
      Row row = identity(model_table(), fitted, fitted.form);
      row.set("algorithm", fitted.algorithm);
      row.set("term", one.term);
      row.set("unit", unit_of(terms[j], fitted.target));
      row.set("value", one.value);
      row.set("low95", one.low95);
      row.set("high95", one.high95);
      row.set("state", to_string(one.state));
      row.set("reason", one.reason);
      row.set("configurations", fitted.configurations);
      tables[&model_table()].push_back(std::move(row));
    }
  }
  for (const TestedForm& tested : fitting.tests) {
    const Validation& v = tested.validation;
    Row row = identity(model_tests_table(), tested, v.form);
    row.set("held_out", v.kind);
    row.set("parts", v.parts);
    row.set("predictions", static_cast<std::int64_t>(v.predictions.size()));
    row.set("sd_ratio", v.sd);
    row.set("median_error", v.median_error);
    row.set("median_ratio", v.median_ratio);
    std::vector<double> ratios;
    for (const Prediction& p : v.predictions) {
      ratios.push_back(p.ratio());
      Row one = identity(model_predictions_table(), tested, v.form);
      one.set("run_row", runs[p.run].run_row);
      one.set("held_out", v.kind);
      one.set("predicted", p.predicted);
      one.set("ratio", p.ratio());
      tables[&model_predictions_table()].push_back(std::move(one));
    }
    row.set("ratio_low95", quantile(ratios, 0.025));
    row.set("ratio_high95", quantile(ratios, 0.975));
    row.set("repeat_sd", tested.repeat_sd);
    row.set("statistic", to_string(runs[v.predictions.front().run].statistic));
    tables[&model_tests_table()].push_back(std::move(row));
  }
  return tables;
}

Model::Model(const Contents& contents, const std::string& path, const std::string& machine) {
  const std::vector<Row>& rows = contents.rows(model_table());
  if (rows.empty())
    throw std::invalid_argument(path + ": holds no fitted model; make one with: mlpwatt fit " + path);
  std::set<std::int64_t> modelled, meant;
  for (const Row& row : rows) modelled.insert(row.integer("machine_row"));
  for (const std::int64_t at : modelled) {
    const Row& row = contents.rows(machine_table()).at(static_cast<std::size_t>(at));
    machine_rows_.push_back(at);
    machines_.push_back(fmt::format("{} ({}, {})", at, row.text("host"), row.text("processor")));
    if (machine == std::to_string(at) || machine == row.text("host")) meant.insert(at);
  }
  if (!machine.empty() && meant.size() != 1)
    throw std::invalid_argument(fmt::format("{}: {} model of machine '{}'; it has models of: {}", path,
                                            meant.empty() ? "no" : "more than one", machine,
                                            fmt::join(machines_, ", ")));
  machine_row_ = machine.empty() ? rows.front().integer("machine_row") : *meant.begin();
  const auto target_of = [&](const Row& row) {
    for (const Target target : all_targets())
      if (row.text("target") == to_string(target)) return target;
    throw std::invalid_argument(path + ": unknown model target '" + row.text("target") + "'");
  };
  for (const Row& row : rows) {
    if (row.integer("machine_row") != machine_row_) continue;
    const double value = row.real("value");
    Coefficients& fitted =
        coefficients_[key(row.text("backend"), row.text("algorithm"), target_of(row), row.text("form"))];
    // what is collinear has its cost in the terms it cannot be told from
    fitted.values[row.text("term")] = std::isnan(value) ? 0 : value;
    if (row.text("state") == to_string(Identified::kEmpty)) fitted.untouched.insert(row.text("term"));
    if (row.text("state") == to_string(Identified::kCollinear)) fitted.inseparable.insert(row.text("term"));
  }
  for (const Row& row : contents.rows(model_tests_table())) {
    if (row.integer("machine_row") != machine_row_ || std::isnan(row.real("sd_ratio"))) continue;
    Quality& worst = quality_[key(row.text("backend"), "", target_of(row), row.text("form"))];
    worst.sd = std::max(worst.sd, row.real("sd_ratio"));
    worst.ratio_low95 = std::min(worst.ratio_low95, row.real("ratio_low95"));
    worst.ratio_high95 = std::max(worst.ratio_high95, row.real("ratio_high95"));
  }
}

std::vector<std::string> Model::algorithms(const std::string& backend) const {
  std::set<std::string> names;
  for (const auto& [name, coefficients] : coefficients_)
    if (name.starts_with(backend + '|'))
      names.insert(name.substr(backend.size() + 1, name.find('|', backend.size() + 1) - backend.size() - 1));
  return {names.begin(), names.end()};
}

std::vector<std::string> Model::backends() const {
  std::vector<std::string> names;
  for (const std::string backend : {"cpu", "gpu"}) {
    const std::vector<std::string> known = algorithms(backend);
    if (std::any_of(known.begin(), known.end(),
                    [&](const auto& name) { return !targets(backend, name).empty(); }))
      names.push_back(backend);
  }
  return names;
}

std::vector<Target> Model::targets(const std::string& backend, const std::string& algorithm) const {
  std::vector<Target> found;
  for (const Target target : all_targets())
    if (!best_form(backend, algorithm, target).empty()) found.push_back(target);
  return found;
}

std::string Model::best_form(const std::string& backend, const std::string& algorithm, Target target) const {
  std::string best;
  double best_sd = std::numeric_limits<double>::infinity();
  for (const std::string name : {"work", "traffic", "placement"}) {
    if (!coefficients_.contains(key(backend, algorithm, target, name))) continue;
    const auto quality = quality_.find(key(backend, "", target, name));
    const double sd = quality == quality_.end() ? 1e300 : quality->second.sd;
    if (sd < best_sd) best_sd = sd, best = name;
  }
  return best;
}

const Model::Coefficients* Model::best_coefficients(const std::string& backend, const std::string& algorithm,
                                                    Target target) const {
  const auto fitted =
      coefficients_.find(key(backend, algorithm, target, best_form(backend, algorithm, target)));
  return fitted == coefficients_.end() ? nullptr : &fitted->second;
}

bool Model::was_never_touched(const std::string& backend, const std::string& algorithm, Target target,
                              const std::string& term) const {
  const Coefficients* fitted = best_coefficients(backend, algorithm, target);
  return fitted != nullptr && fitted->untouched.contains(term);
}

double Model::fitted_price(const std::string& backend, const std::string& algorithm, Target target,
                           const std::string& term) const {
  const Coefficients* fitted = best_coefficients(backend, algorithm, target);
  if (fitted == nullptr || fitted->untouched.contains(term) || fitted->inseparable.contains(term))
    return kAbsent;
  const auto found = fitted->values.find(term);
  return found == fitted->values.end() ? kAbsent : found->second;
}

Estimate Model::predict(const Configuration& configuration, const Hierarchy& hierarchy, Target target,
                        const OtherMachine* other) const {
  const std::string name = best_form(configuration.backend, configuration.algorithm, target);
  if (name.empty())
    throw std::invalid_argument(fmt::format(
        "no {} model was fitted for algorithm '{}' on {}; the file has: {}; record runs of it (mlpwatt run "
        "--algorithm {} --filter '^{}/mlp_train/' ... of a dozen sizes or more) and fit again",
        to_string(target), configuration.algorithm, configuration.backend,
        fmt::join(algorithms(configuration.backend), ", "), priced_as(configuration.algorithm),
        configuration.backend));
  TrainingRun run;
  run.configuration = configuration;
  run.work = step_work(configuration, hierarchy);
  const Form& chosen = form(name);
  const Coefficients& fitted =
      coefficients_.at(key(configuration.backend, configuration.algorithm, target, name));
  const Prices none;
  const Prices& prices = other == nullptr ? none : target == Target::kTime ? other->time : other->energy;
  const auto price_of = [&](const std::string& term) {
    if (const auto given = prices.find(term); given != prices.end()) return given->second;
    const auto found = fitted.values.find(term);
    return found == fitted.values.end() ? 0.0 : found->second;
  };
  if (target != Target::kTime && price_of("static") > 0)
    run.step_s = predict(configuration, hierarchy, Target::kTime, other).value;
  const Eigen::VectorXd amounts = chosen.row(run, target);
  if (amounts.size() == 0)
    throw std::invalid_argument("algorithm '" + configuration.algorithm + "' has no traffic model");
  Estimate estimate;
  estimate.target = target;
  estimate.form = name;
  const std::vector<Term> terms = terms_of(chosen, target);
  for (std::size_t j = 0; j < terms.size(); ++j) {
    const double amount = amounts(static_cast<Eigen::Index>(j)), price = price_of(terms[j].name);
    estimate.shares.push_back({terms[j].name, amount, price, unit_of(terms[j], target), amount * price});
    estimate.value += amount * price;
    if (amount <= 0 || prices.contains(terms[j].name)) continue;
    if (fitted.untouched.contains(terms[j].name)) estimate.unpriced.push_back(terms[j].name);
    if (other != nullptr && fitted.inseparable.contains(terms[j].name))
      estimate.inseparable.push_back(terms[j].name);
  }
  if (const auto quality = quality_.find(key(configuration.backend, "", target, name));
      quality != quality_.end()) {
    estimate.low95 = estimate.value / quality->second.ratio_high95;
    estimate.high95 =
        quality->second.ratio_low95 > 0 ? estimate.value / quality->second.ratio_low95 : kAbsent;
  } else {
    estimate.low95 = estimate.high95 = kAbsent;
  }
  return estimate;
}

}  // namespace mlpwatt::model

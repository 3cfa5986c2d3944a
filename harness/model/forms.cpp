#include "harness/model/forms.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

#include "kernels/nearest.h"

namespace mlpwatt::model {

namespace {

/// For time the busiest thread counts, for energy all of them.
double part(const TrainingRun& run, Target target) {
  if (target != Target::kTime) return 1;
  const double imbalance = run.work.has_traffic ? run.work.imbalance : 1;
  return imbalance / std::max(1, run.configuration.threads);
}

/// Energy pays for the time that passes as well.
bool has_static(Target target) { return target != Target::kTime; }
const std::string kStatic = "static";

std::vector<Term> level_terms() {
  std::vector<Term> terms;
  for (const std::string& level : level_names()) terms.push_back({level, "byte"});
  return terms;
}

std::vector<Term> terms_with_levels(std::vector<Term> terms) {
  for (const Term& level : level_terms()) terms.push_back(level);
  terms.push_back({kStatic, "second"});
  return terms;
}

/// `head`, then the levels' bytes, then the static term.
Eigen::VectorXd row_of(const TrainingRun& run, Target target, const std::vector<double>& head,
                       const std::vector<double>& level_bytes) {
  Eigen::VectorXd row(
      static_cast<Eigen::Index>(head.size() + level_bytes.size() + (has_static(target) ? 1 : 0)));
  Eigen::Index at = 0;
  for (const double value : head) row(at++) = value;
  for (const double bytes : level_bytes) row(at++) = bytes * part(run, target);
  if (has_static(target)) row(at) = run.step_s;
  return row;
}

Eigen::VectorXd counters_row(const TrainingRun& run, Target target, const std::string& provenance) {
  const auto found = run.counter_bytes.find(provenance);
  if (found == run.counter_bytes.end()) return {};
  return row_of(run, target, {1, run.work.layers, run.work.flops * part(run, target)}, found->second);
}

std::vector<Form> make_forms() {
  const std::vector<Term> head{{"step", "step"}, {"layer", "layer"}, {"flop", "FLOP"}};
  std::vector<Form> forms;
  forms.push_back({"parameters",
                   "baseline: a + b parameters",
                   {{"step", "step"}, {"parameter", "parameter"}},
                   [](const TrainingRun& run, Target target) -> Eigen::VectorXd {
                     return Eigen::Vector2d{1, run.work.parameters * part(run, target)};
                   }});
  forms.push_back({"flops",
                   "baseline: a + b FLOPs",
                   {{"step", "step"}, {"flop", "FLOP"}},
                   [](const TrainingRun& run, Target target) -> Eigen::VectorXd {
                     return Eigen::Vector2d{1, run.work.flops * part(run, target)};
                   }});
  forms.push_back({"placement", "formula, bytes = working sets at the level the study's rule puts them",
                   terms_with_levels(head), [](const TrainingRun& run, Target target) {
                     return row_of(run, target, {1, run.work.layers, run.work.flops * part(run, target)},
                                   run.work.placement_bytes);
                   }});
  for (const std::string provenance : {"measured", "simulated"})
    forms.push_back({"counters_" + provenance, "formula, bytes = cache misses times the line, " + provenance,
                     terms_with_levels(head), [provenance](const TrainingRun& run, Target target) {
                       return counters_row(run, target, provenance);
                     }});
  forms.push_back({"traffic", "formula, bytes = what our loops move between levels", terms_with_levels(head),
                   [](const TrainingRun& run, Target target) -> Eigen::VectorXd {
                     if (!run.work.has_traffic) return {};
                     return row_of(run, target, {1, run.work.layers, run.work.flops * part(run, target)},
                                   run.work.traffic_bytes);
                   }});
  forms.push_back({"work", "traffic, and our loops' issued FLOPs, register tiles, divisions, barriers",
                   terms_with_levels({{"step", "step"},
                                      {"layer", "layer"},
                                      {"barrier", "barrier"},
                                      {"tile", "tile"},
                                      {"flop", "FLOP"},
                                      {"root", "division"}}),
                   [](const TrainingRun& run, Target target) -> Eigen::VectorXd {
                     if (!run.work.has_traffic) return {};
                     const double share = part(run, target);
                     return row_of(run, target,
                                   {1, run.work.layers, run.work.barriers, run.work.tiles * share,
                                    run.work.issued_flops * share, run.work.roots * share},
                                   run.work.traffic_bytes);
                   }});
  return forms;
}

}  // namespace

const char* to_string(Target target) {
  switch (target) {
    case Target::kTime:
      return "time";
    case Target::kEnergyMeasured:
      return "energy_measured";
    case Target::kEnergyModelled:
      return "energy_modelled";
  }
  return "";
}

double target_value(const TrainingRun& run, Target target) {
  if (target == Target::kTime) return run.step_s;
  const auto found = run.energy_j.find(target == Target::kEnergyMeasured ? "measured" : "modelled");
  return found == run.energy_j.end() ? std::numeric_limits<double>::quiet_NaN() : found->second;
}

std::string unit_of(const Term& term, Target target) {
  if (target == Target::kTime) return "s/" + term.per;
  return term.per == "second" ? "W" : "J/" + term.per;
}

std::vector<Term> terms_of(const Form& form, Target target) {
  std::vector<Term> terms = form.terms;
  if (!has_static(target)) std::erase_if(terms, [](const Term& term) { return term.name == kStatic; });
  return terms;
}

const std::vector<Form>& forms() {
  static const std::vector<Form> all = make_forms();
  return all;
}

const Form& form(const std::string& name) {
  std::vector<std::string> names;
  for (const Form& one : forms()) {
    if (one.name == name) return one;
    names.push_back(one.name);
  }
  throw std::invalid_argument(unknown_name("model form", name, names));
}

double Roofline::predict(const TrainingRun& run, Target target) const {
  const double share = part(run, target);
  return std::max(per_flop * run.work.flops * share, per_byte * run.work.compulsory_bytes * share);
}

namespace {

/// A run's FLOPs and compulsory bytes over its value: at rates a and b it is predicted as max(a flops, b
/// bytes) times what it was.
struct Relative {
  double flops, bytes;
};
std::vector<Relative> relative_work(const std::vector<TrainingRun>& runs,
                                    const std::vector<std::size_t>& rows, Target target) {
  std::vector<Relative> work;
  for (const std::size_t i : rows) {
    const double per_value = part(runs[i], target) / target_value(runs[i], target);
    work.push_back({runs[i].work.flops * per_value, runs[i].work.compulsory_bytes * per_value});
  }
  return work;
}

/// For a given ratio of the two rates the best scale has a closed form; the ratio is searched.
Roofline fit_ratio(const std::vector<Relative>& work) {
  Roofline best;
  double best_error = std::numeric_limits<double>::infinity();
  for (double bytes_per_flop = 0x1p-12; bytes_per_flop <= 0x1p12; bytes_per_flop *= 1.05) {
    double uu = 0, u = 0;
    for (const Relative& run : work) {
      const double ratio = std::max(run.flops, bytes_per_flop * run.bytes);
      uu += ratio * ratio;
      u += ratio;
    }
    const double scale = u / uu, error = static_cast<double>(work.size()) - u * scale;
    if (error < best_error) best_error = error, best = {scale, scale * bytes_per_flop};
  }
  return best;
}

}  // namespace

Roofline fit_roofline(const std::vector<TrainingRun>& runs, const std::vector<std::size_t>& rows,
                      Target target) {
  return fit_ratio(relative_work(runs, rows, target));
}

std::vector<Term> roofline_terms() { return {{"flop", "FLOP"}, {"compulsory_bytes", "byte"}}; }

Fit fit_roofline_rates(const std::vector<TrainingRun>& runs, const std::vector<std::size_t>& rows,
                       Target target, const BootstrapOptions& options) {
  const std::vector<Relative> work = relative_work(runs, rows, target);
  const Roofline best = fit_ratio(work);
  const bool by_bytes = std::any_of(work.begin(), work.end(), [&](const Relative& run) {
    return best.per_byte * run.bytes > best.per_flop * run.flops;
  });
  const bool by_flops = std::any_of(work.begin(), work.end(), [&](const Relative& run) {
    return best.per_flop * run.flops > best.per_byte * run.bytes;
  });
  std::vector<std::string> names;
  for (const std::size_t i : rows) names.push_back(runs[i].configuration.name());
  const GroupedRows grouped(names);
  RandomStream random(options.seed);
  std::vector<double> flop_rates, byte_rates;
  for (int r = 0; r < options.resamples; ++r) {
    std::vector<Relative> some;
    for (const Eigen::Index i : grouped.draw(random)) some.push_back(work[static_cast<std::size_t>(i)]);
    const Roofline drawn = fit_ratio(some);
    flop_rates.push_back(drawn.per_flop);
    byte_rates.push_back(drawn.per_byte);
  }
  Fit fit;
  const auto add = [&](const Term& term, double value, const std::vector<double>& drawn, bool met) {
    Coefficient one;
    one.term = term.name;
    one.value = value;
    set_interval(one, drawn);
    if (!met) {
      one.value = one.low95 = one.high95 = std::numeric_limits<double>::quiet_NaN();
      one.state = Identified::kEmpty;
      one.reason = "no run meets this ceiling";
    }
    fit.coefficients.push_back(one);
  };
  add(roofline_terms()[0], best.per_flop, flop_rates, by_flops);
  add(roofline_terms()[1], best.per_byte, byte_rates, by_bytes);
  return fit;
}

DesignOfRuns design_of(const std::vector<TrainingRun>& runs, const std::vector<std::size_t>& rows,
                       const Form& form, Target target) {
  DesignOfRuns made;
  std::vector<Eigen::VectorXd> lines;
  std::vector<double> values;
  for (const std::size_t i : rows) {
    const double y = target_value(runs[i], target);
    Eigen::VectorXd line = form.row(runs[i], target);
    if (!(y > 0) || line.size() == 0) continue;
    lines.push_back(std::move(line));
    values.push_back(y);
    made.runs.push_back(i);
    made.design.groups.push_back(runs[i].configuration.name());
  }
  made.design.need_support = {level_names().begin(), level_names().end()};
  for (const Term& term : terms_of(form, target)) made.design.terms.push_back(term.name);
  made.design.x.resize(static_cast<Eigen::Index>(lines.size()),
                       static_cast<Eigen::Index>(made.design.terms.size()));
  for (std::size_t i = 0; i < lines.size(); ++i) made.design.x.row(static_cast<Eigen::Index>(i)) = lines[i];
  made.design.y = Eigen::Map<Eigen::VectorXd>(values.data(), static_cast<Eigen::Index>(values.size()));
  return made;
}

}  // namespace mlpwatt::model

#include "harness/model/comparison.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>

#include "harness/model/fit.h"
#include "harness/record/energy_quality.h"
#include "kernels/kernel.h"
#include "kernels/random.h"

namespace mlpwatt::model {

namespace {

constexpr double kNormal95 = 1.959964;

/// Regularised incomplete beta function by its continued fraction (Lentz; e.g. Numerical Recipes 6.4).
double incomplete_beta(double a, double b, double x) {
  if (x <= 0) return 0;
  if (x >= 1) return 1;
  if (x > (a + 1) / (a + b + 2)) return 1 - incomplete_beta(b, a, 1 - x);
  const double front =
      std::exp(std::lgamma(a + b) - std::lgamma(a) - std::lgamma(b) + a * std::log(x) + b * std::log1p(-x)) /
      a;
  const auto guard = [](double value) { return std::abs(value) < 1e-300 ? 1e-300 : value; };
  double c = 1, d = 1 / guard(1 - (a + b) * x / (a + 1)), sum = d;
  for (int m = 1; m < 500; ++m) {
    const double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
    d = 1 / guard(1 + even * d);
    c = guard(1 + even / c);
    sum *= d * c;
    const double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
    d = 1 / guard(1 + odd * d);
    c = guard(1 + odd / c);
    sum *= d * c;
    if (std::abs(d * c - 1) < 1e-14) break;
  }
  return front * sum;
}

/// The t that a two-sided 95 % interval of so many degrees of freedom reaches.
double student_95(double freedom) {
  double low = 1, high = 1e4;
  for (int i = 0; i < 200; ++i) {
    const double middle = (low + high) / 2;
    (student_p(middle, freedom) > 0.05 ? low : high) = middle;
  }
  return low;
}

struct Recorded {
  std::vector<double> values, window_errors;
};

/// Which column is compared, and of which runs.
struct Asked {
  const std::string& quantity;
  bool flagged_energies;
  bool counts(const Row& row) const { return row.text("status") == "ok" && value(row) > 0; }
  double value(const Row& row) const { return unflagged_real(row, quantity, flagged_energies); }
};

std::string name_and_batch(const Row& row) {
  const std::int64_t batch = row.integer("batch");
  return row.text("name") +
         (batch == kAbsentInteger || batch == 256 ? "" : " batch " + std::to_string(batch));
}

/// What may differ between files, but makes other configurations of the runs of one file.
constexpr const char* kVariants[] = {"threads", "isa", "algorithm", "host"};

/// How a device's engine was tuned (its text, its threads) is the program's choice of the day.
std::string variant_of(const Row& row, const std::string& column) {
  const bool of_device = row.text("backend") == "gpu";
  if (column == "algorithm") return of_device ? algorithm_name(row.text(column)) : row.text(column);
  if (column != "threads") return row.text(column);
  if (of_device) return "";
  const std::int64_t threads = row.integer(column);
  return threads == kAbsentInteger ? "" : std::to_string(threads);
}

/// The columns of kVariants that tell a file's runs of one name and batch apart.
using Splits = std::map<std::string, std::set<std::string>>;

void find_splits(const Contents& contents, const Asked& asked, Splits& splits) {
  std::map<std::string, std::map<std::string, std::string>> first;
  for (const Row& row : contents.rows(runs_table())) {
    if (!asked.counts(row)) continue;
    const std::string key = name_and_batch(row);
    for (const std::string column : kVariants)
      if (first[key].emplace(column, variant_of(row, column)).first->second != variant_of(row, column))
        splits[key].insert(column);
  }
}

std::map<std::string, Recorded> collect(const Contents& contents, const Asked& asked, const Splits& splits) {
  std::map<std::string, Recorded> found;
  for (const Row& row : contents.rows(runs_table())) {
    if (!asked.counts(row)) continue;
    const double value = asked.value(row);
    std::string key = name_and_batch(row);
    if (const auto split = splits.find(key); split != splits.end())
      for (const std::string& column : split->second) key += " " + column + " " + variant_of(row, column);
    Recorded& recorded = found[key];
    recorded.values.push_back(value);
    const double low = row.real("step_low95_s"), high = row.real("step_high95_s");
    // energy of a window is at least as uncertain as its time
    recorded.window_errors.push_back(low > 0 && high >= low ? std::log(high / low) / (2 * kNormal95)
                                                            : std::numeric_limits<double>::quiet_NaN());
  }
  return found;
}

Side summarise(const Recorded& recorded) {
  Side side;
  side.values = recorded.values;
  const double n = static_cast<double>(side.values.size());
  double mean = 0, squares = 0, window = 0;
  for (const double value : side.values) mean += std::log(value) / n;
  for (const double value : side.values) squares += (std::log(value) - mean) * (std::log(value) - mean);
  for (const double error : recorded.window_errors) window += error * error;
  side.middle = std::exp(mean);
  if (side.values.size() >= 3) {
    side.log_error = std::sqrt(squares / (n - 1) / n);
    side.freedom = n - 1;
  } else {
    side.log_error = std::sqrt(window) / n;
    side.freedom = 1e6;
  }
  return side;
}

void judge(Compared& one) {
  const double a = one.a.log_error * one.a.log_error, b = one.b.log_error * one.b.log_error;
  const double error = std::sqrt(a + b), difference = std::log(one.b.middle / one.a.middle);
  one.ratio = one.b.middle / one.a.middle;
  one.p = one.low95 = one.high95 = std::numeric_limits<double>::quiet_NaN();
  if (!(error >= 0)) return;
  if (error == 0) {
    one.p = difference == 0 ? 1 : 0;
    one.low95 = one.high95 = one.ratio;
    return;
  }
  // Welch's degrees of freedom
  const double freedom = (a + b) * (a + b) / (a * a / one.a.freedom + b * b / one.b.freedom);
  one.p = student_p(difference / error, freedom);
  const double reach = student_95(freedom) * error;
  one.low95 = std::exp(difference - reach);
  one.high95 = std::exp(difference + reach);
}

void correct(std::vector<Compared>& all) {
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < all.size(); ++i)
    if (!std::isnan(all[i].p)) order.push_back(i);
  std::sort(order.begin(), order.end(), [&](std::size_t i, std::size_t j) { return all[i].p < all[j].p; });
  std::size_t passed = 0;
  for (std::size_t k = 0; k < order.size(); ++k)
    if (all[order[k]].p <= 0.05 * static_cast<double>(k + 1) / static_cast<double>(order.size()))
      passed = k + 1;
  for (std::size_t k = 0; k < passed; ++k) all[order[k]].significant = true;
}

}  // namespace

double student_p(double t, double freedom) {
  return incomplete_beta(freedom / 2, 0.5, freedom / (freedom + t * t));
}

Comparison compare(const Contents& a, const Contents& b, const std::string& quantity, bool flagged_energies) {
  Comparison comparison;
  comparison.quantity = quantity;
  if (!runs_table().has(quantity)) return comparison;
  comparison.unit = runs_table().columns()[runs_table().index(quantity)].unit;
  const Asked asked{quantity, flagged_energies};
  Splits splits;
  for (const Contents* contents : {&a, &b}) find_splits(*contents, asked, splits);
  const auto left = collect(a, asked, splits), right = collect(b, asked, splits);
  for (const auto& [name, recorded] : left) {
    const auto other = right.find(name);
    if (other == right.end()) continue;
    Compared one;
    one.name = name;
    one.a = summarise(recorded);
    one.b = summarise(other->second);
    judge(one);
    comparison.configurations.push_back(std::move(one));
  }
  if (comparison.configurations.empty()) return comparison;
  correct(comparison.configurations);
  std::vector<double> ratios, medians;
  for (const Compared& one : comparison.configurations) {
    ratios.push_back(one.ratio);
    if (one.significant) ++(one.ratio < 1 ? comparison.faster : comparison.slower);
  }
  RandomStream random(1);
  for (int r = 0; r < 1000; ++r) {
    std::vector<double> drawn;
    for (std::size_t i = 0; i < ratios.size(); ++i)
      drawn.push_back(ratios[uniform_below(random, ratios.size())]);
    medians.push_back(quantile(std::move(drawn), 0.5));
  }
  comparison.median_ratio = quantile(ratios, 0.5);
  comparison.low95 = quantile(medians, 0.025);
  comparison.high95 = quantile(medians, 0.975);
  return comparison;
}

}  // namespace mlpwatt::model

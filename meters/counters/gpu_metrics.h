#pragma once
// What the vocabulary's names mean on a GPU: sums of the profiler's metrics, the same ones whoever counts
// them (CUPTI, PAPI's cuda component).

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "meters/counters/counter_source.h"

namespace mlpwatt {

/// A metric of CUPTI ("dram__bytes_read.sum"), or an event of PAPI, and the factor it enters with.
struct MetricTerm {
  std::string metric;
  double factor = 1;
};
/// One way of making a name of the vocabulary; of several the first whose metrics can be counted is taken.
struct MetricRecipe {
  std::string name;
  std::vector<MetricTerm> terms;
};
const std::vector<MetricRecipe>& gpu_recipes();

/// Names as sums of metrics. The metrics of one name need not fit one pass of the hardware: each pass looks
/// at other steps, and a name is complete after the last pass that has one of its metrics.
class MetricSums {
 public:
  /// @param why_not "" where this metric can be counted
  /// @param plan_metrics distributes metrics over passes
  CounterPlan plan(const std::vector<std::string>& names, const std::vector<MetricRecipe>& recipes,
                   const std::function<std::string(const std::string& metric)>& why_not,
                   const std::function<CounterPlan(const std::vector<std::string>& metrics)>& plan_metrics);
  const std::vector<std::string>& metrics(int pass) const {
    return metrics_.at(static_cast<std::size_t>(pass));
  }
  /// Before the first pass: what was counted is forgotten.
  void begin() { counts_.clear(); }
  void count(const std::string& metric, double total, std::int64_t steps);
  /// The names that are complete after this pass. @param failure why there is nothing; "" = there is
  std::vector<CounterValue> values(int pass, std::int64_t steps, const std::string& failure) const;

 private:
  struct Count {
    double total = 0, per_step = 0;
  };
  CounterValue value_of(const std::string& name, std::int64_t steps, const std::string& failure) const;
  std::map<std::string, MetricRecipe> chosen_;
  std::vector<std::vector<std::string>> metrics_, names_;  ///< by pass
  std::map<std::string, Count> counts_;
};

}  // namespace mlpwatt

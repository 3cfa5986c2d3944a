#include "meters/counters/gpu_metrics.h"

#include <algorithm>
#include <cstdio>
#include <set>

namespace mlpwatt {
namespace {

/// Additions and multiplications of fp32, a multiply-add being two, of all threads that are not masked.
std::vector<MetricTerm> fp32_operations() {
  const std::string executed = "smsp__sass_thread_inst_executed_op_";
  return {
      {executed + "fadd_pred_on.sum"}, {executed + "fmul_pred_on.sum"}, {executed + "ffma_pred_on.sum", 2}};
}

/// The same of instructions that work on a pair of them.
std::vector<MetricTerm> paired_fp32_operations() {
  const std::string executed = "smsp__sass_thread_inst_executed_op_";
  return {{executed + "fadd2_pred_on.sum", 2},
          {executed + "fmul2_pred_on.sum", 2},
          {executed + "ffma2_pred_on.sum", 4}};
}

const std::string kTensor = "sm__ops_path_tensor_";

/// Operations of the tensor cores with tf32 and bf16 factors and fp32 sums; instructions know nothing of
/// them.
std::vector<MetricTerm> tensor_operations() {
  return {{kTensor + "src_tf32_dst_fp32.sum"}, {kTensor + "src_bf16_dst_fp32.sum"}};
}

/// Where the sum over both kinds of tf32 instructions takes two passes of the hardware: its parts.
std::vector<MetricTerm> tensor_operations_in_parts() {
  return {{kTensor + "op_hmma_src_tf32_dst_fp32.sum"},
          {kTensor + "op_utchmma_src_tf32_dst_fp32_sparsity_off.sum"},
          {kTensor + "op_utchmma_src_tf32_dst_fp32_sparsity_on.sum"},
          {kTensor + "src_bf16_dst_fp32.sum"}};
}

std::vector<MetricTerm> together(std::initializer_list<std::vector<MetricTerm>> parts) {
  std::vector<MetricTerm> all;
  for (const std::vector<MetricTerm>& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

}  // namespace

const std::vector<MetricRecipe>& gpu_recipes() {
  constexpr double kSectorBytes = 32;
  static const std::vector<MetricRecipe> recipes{
      {"l1_bytes", {{"l1tex__t_bytes.sum"}}},
      {"l1_access", {{"l1tex__t_sectors.sum"}}},
      {"l1_miss", {{"l1tex__t_sectors_lookup_miss.sum"}}},
      {"l2_access", {{"lts__t_sectors.sum"}}},
      {"l2_miss", {{"lts__t_sectors_lookup_miss.sum"}}},
      {"l2_bytes", {{"lts__t_bytes.sum"}}},
      {"l2_bytes",
       {{"lts__t_sectors_op_read.sum", kSectorBytes}, {"lts__t_sectors_op_write.sum", kSectorBytes}}},
      // some chips count reads and writes under names of their own, some only their sum
      {"dram_bytes", {{"dram__bytes_read.sum"}, {"dram__bytes_write.sum"}}},
      {"dram_bytes", {{"dram__bytes_op_read.sum"}, {"dram__bytes_op_write.sum"}}},
      {"dram_bytes", {{"dram__bytes.sum"}}},
      // All of these say the same on the chips that have their metrics; a sum without the tensor cores would
      // not, and is none of them.
      {"fp_ops", together({fp32_operations(), paired_fp32_operations(), tensor_operations_in_parts()})},
      {"fp_ops", together({fp32_operations(), tensor_operations_in_parts()})},
      {"fp_ops", together({fp32_operations(), tensor_operations()})},
      {"occupancy", {{"sm__warps_active.avg.pct_of_peak_sustained_active", 0.01}}},
      {"instructions", {{"smsp__inst_executed.sum"}}},
      {"cycles", {{"sm__cycles_elapsed.max"}}},
  };
  return recipes;
}

CounterPlan MetricSums::plan(
    const std::vector<std::string>& names, const std::vector<MetricRecipe>& recipes,
    const std::function<std::string(const std::string&)>& why_not,
    const std::function<CounterPlan(const std::vector<std::string>&)>& plan_metrics) {
  chosen_.clear();
  CounterPlan plan;
  std::vector<std::string> metrics;
  for (const std::string& name : names) {
    std::string reasons;
    for (const MetricRecipe& recipe : recipes) {
      if (recipe.name != name || chosen_.contains(name)) continue;
      std::string reason;
      for (const MetricTerm& term : recipe.terms)
        if (reason.empty()) reason = why_not(term.metric);
      if (reason.empty())
        chosen_[name] = recipe;
      else
        reasons += (reasons.empty() ? "" : ", ") + reason;
    }
    if (!chosen_.contains(name)) {
      plan.refused.push_back({name, reasons.empty() ? "no metric is known for it" : reasons});
      continue;
    }
    for (const MetricTerm& term : chosen_[name].terms)
      if (std::find(metrics.begin(), metrics.end(), term.metric) == metrics.end())
        metrics.push_back(term.metric);
  }
  const CounterPlan by_metric = plan_metrics(metrics);
  metrics_ = by_metric.passes;
  plan.passes.assign(metrics_.size(), {});
  for (const std::string& name : names) {
    if (!chosen_.contains(name)) continue;
    std::string refusal;
    std::size_t last = 0;
    for (const MetricTerm& term : chosen_[name].terms) {
      for (const auto& refused : by_metric.refused)
        if (refused.name == term.metric && refusal.empty()) refusal = term.metric + ": " + refused.reason;
      for (std::size_t pass = 0; pass < metrics_.size(); ++pass)
        if (std::find(metrics_[pass].begin(), metrics_[pass].end(), term.metric) != metrics_[pass].end())
          last = std::max(last, pass);
    }
    if (refusal.empty())
      plan.passes[last].push_back(name);  // it is complete after that one
    else
      plan.refused.push_back({name, refusal});
  }
  names_ = plan.passes;
  return plan;
}

void MetricSums::count(const std::string& metric, double total, std::int64_t steps) {
  counts_[metric] = {total, steps > 0 ? total / static_cast<double>(steps) : 0};
}

std::vector<CounterValue> MetricSums::values(int pass, std::int64_t steps, const std::string& failure) const {
  std::vector<CounterValue> values;
  for (const std::string& name : names_.at(static_cast<std::size_t>(pass)))
    values.push_back(value_of(name, steps, failure));
  return values;
}

CounterValue MetricSums::value_of(const std::string& name, std::int64_t steps,
                                  const std::string& failure) const {
  CounterValue value;
  value.name = name;
  value.unit = find_counter(name) != nullptr ? find_counter(name)->unit : "1";
  value.share = find_counter(name) != nullptr && find_counter(name)->share;
  value.steps = steps;
  value.reason = failure;
  double sum = 0;
  for (const MetricTerm& term : chosen_.at(name).terms) {
    value.event += value.event.empty() ? "" : "+";
    if (term.factor != 1) {
      char text[32];
      std::snprintf(text, sizeof text, "%g*", term.factor);
      value.event += text;
    }
    value.event += term.metric;
    const auto count = counts_.find(term.metric);
    if (count == counts_.end()) {
      if (value.reason.empty()) value.reason = term.metric + " was not counted";
      continue;
    }
    // Terms may come from passes of different length.
    sum += term.factor *
           (value.share ? count->second.total : count->second.per_step * static_cast<double>(steps));
  }
  if (value.reason.empty()) value.value = sum;
  return value;
}

}  // namespace mlpwatt

// Names of the vocabulary as sums of a GPU's metrics: the same ones for CUPTI and for PAPI.

#include "meters/counters/gpu_metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "meters/counters/papi.h"

namespace mlpwatt {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(GpuMetrics, OperationsAlwaysHaveTheTensorCores) {
  int ways = 0;
  for (const MetricRecipe& recipe : gpu_recipes()) {
    if (recipe.name != "fp_ops") continue;
    ++ways;
    std::string terms;
    for (const MetricTerm& term : recipe.terms) terms += term.metric + " ";
    for (const char* part :
         {"op_fadd_pred_on", "op_fmul_pred_on", "op_ffma_pred_on", "src_tf32_dst_fp32", "src_bf16_dst_fp32"})
      EXPECT_THAT(terms, HasSubstr(part));
  }
  EXPECT_GT(ways, 0);
}

/// "cuda:::dram__bytes:stat=sum:device=0" or "cuda:::dram__bytes.sum:device=0" -> "dram__bytes.sum".
std::string metric_of(std::string event) {
  const std::string begin = "cuda:::", end = ":device=0", statistic = ":stat=";
  EXPECT_TRUE(event.starts_with(begin) && event.ends_with(end)) << event;
  event = event.substr(begin.size(), event.size() - begin.size() - end.size());
  if (const std::size_t at = event.find(statistic); at != std::string::npos)
    event.replace(at, statistic.size(), ".");
  return event;
}

TEST(GpuMetrics, PapisNamesMeanWhatCuptisDo) {
  std::vector<std::string> cupti, papi;
  const auto text = [](const MetricRecipe& recipe, auto spelling) {
    std::string said = recipe.name + ":";
    for (const MetricTerm& term : recipe.terms)
      said += " " + std::to_string(term.factor) + "*" + spelling(term.metric);
    return said;
  };
  for (const MetricRecipe& recipe : gpu_recipes())
    cupti.insert(cupti.end(), 2, text(recipe, [](const std::string& metric) { return metric; }));
  for (const MetricRecipe& recipe : papi_gpu_recipes()) papi.push_back(text(recipe, metric_of));
  EXPECT_EQ(papi, cupti) << "each in two spellings";
}

CounterPlan two_at_once(const std::vector<std::string>& metrics) {
  return plan_passes(metrics, [](const std::vector<std::string>& set) { return set.size() <= 2; });
}

TEST(MetricSums, TermsComeFromPassesOverOtherSteps) {
  MetricSums sums;
  const CounterPlan plan = sums.plan(
      {"fp_ops", "cycles"}, {{"fp_ops", {{"fma", 2}, {"tf32"}, {"bf16"}}}, {"cycles", {{"cycles"}}}},
      [](const std::string&) { return std::string(); }, two_at_once);
  EXPECT_THAT(plan.refused, IsEmpty());
  EXPECT_THAT(plan.passes, ElementsAre(IsEmpty(), ElementsAre("fp_ops", "cycles")));
  EXPECT_THAT(sums.metrics(0), ElementsAre("fma", "tf32"));
  sums.begin();
  sums.count("fma", 500, 10);
  sums.count("tf32", 70, 10);
  EXPECT_THAT(sums.values(0, 10, ""), IsEmpty());
  sums.count("bf16", 12, 4);
  sums.count("cycles", 400, 4);
  const std::vector<CounterValue> values = sums.values(1, 4, "");
  ASSERT_EQ(values.size(), 2u);
  EXPECT_EQ(values[0].per_step(), 2 * 50 + 7 + 3);
  EXPECT_EQ(values[0].event, "2*fma+tf32+bf16");
  EXPECT_EQ(values[1].per_step(), 100);
  sums.begin();
  sums.count("bf16", 12, 4);
  EXPECT_EQ(sums.values(1, 4, "")[0].reason, "fma was not counted") << "no part of a sum is the sum";
}

TEST(MetricSums, ANameWithoutOneOfItsMetricsIsRefusedAndSaysWhich) {
  MetricSums sums;
  const std::vector<MetricRecipe> recipes{{"fp_ops", {{"fma", 2}, {"tf32"}}},
                                          {"fp_ops", {{"fma", 2}, {"parts"}}}};
  const auto lacks = [](const std::string& metric) { return metric == "fma" ? "" : "no " + metric; };
  CounterPlan plan = sums.plan({"fp_ops", "stall"}, recipes, lacks, two_at_once);
  EXPECT_THAT(plan.passes, IsEmpty());
  ASSERT_EQ(plan.refused.size(), 2u);
  EXPECT_EQ(plan.refused[0].reason, "no tf32, no parts");
  EXPECT_EQ(plan.refused[1].reason, "no metric is known for it");
  const auto lacks_first = [](const std::string& metric) {
    return metric == "tf32" ? "no tf32" : std::string();
  };
  plan = sums.plan({"fp_ops"}, recipes, lacks_first, two_at_once);
  EXPECT_THAT(plan.passes, ElementsAre(ElementsAre("fp_ops")));
  EXPECT_THAT(sums.metrics(0), ElementsAre("fma", "parts"));
  const auto none_fits = [](const std::vector<std::string>& metrics) {
    return plan_passes(metrics, [](const std::vector<std::string>& set) {
      return set != std::vector<std::string>{"parts"} && set.size() == 1;
    });
  };
  plan = sums.plan({"fp_ops"}, recipes, lacks_first, none_fits);
  ASSERT_EQ(plan.refused.size(), 1u);
  EXPECT_THAT(plan.refused[0].reason, HasSubstr("parts: "));
}

}  // namespace
}  // namespace mlpwatt

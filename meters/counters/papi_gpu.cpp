// GPU counters by PAPI's cuda component, where PAPI was built with it (distributions' packages are not). It
// drives the same profiler as our own source does, with the same disturbance, and is therefore kept apart
// from the window in the same way; two users of one profiler would be refused, so ours stands back.

#include <papi.h>

#include "meters/counters/papi.h"
#include "meters/counters/papi_set.h"

namespace mlpwatt {
namespace {

/// "" when it works, else why not.
std::string component_problem(const std::string& component) {
  PapiLibrary::get();
  const int index = PAPI_get_component_index(component.c_str());
  if (index < 0) return "PAPI was built without its " + component + " component";
  const PAPI_component_info_t* info = PAPI_get_component_info(index);
  // Some components start at their first use and say "delayed" until then.
  if (info == nullptr || (info->disabled != 0 && info->disabled != PAPI_EDELAY_INIT))
    return "PAPI's " + component +
           " component is disabled: " + (info == nullptr ? "" : info->disabled_reason);
  return "";
}

class PapiGpuSource final : public CounterSource {
 public:
  PapiGpuSource(std::vector<PapiRecipe> recipes, std::string component)
      : component_(std::move(component)), papi_(make_papi_source(std::move(recipes), PapiReach::kTeam)) {}

  std::string name() const override { return "papi_gpu"; }
  Provenance provenance() const override { return Provenance::kMeasured; }
  bool in_window() const override { return true; }
  bool apart() const override { return true; }
  bool serves(const std::string& backend) const override { return backend == "gpu"; }

  CounterStatus probe() override {
    CounterStatus status;
    status.hardware = true;
    status.detail = component_problem(component_);
    if (!status.detail.empty()) return status;
    status.state = CounterStatus::State::kFound;
    status.detail = "PAPI's " + component_ + " component";
    return status;
  }
  CounterPlan prepare(const CounterRequest& request) override {
    // PAPI's own presets count the processor, and are nothing that a GPU does.
    CounterRequest mine = request;
    CounterPlan others;
    mine.names.clear();
    for (const std::string& name : request.names)
      if (name.starts_with("PAPI_") || name.starts_with("perf::"))
        others.refused.push_back({name, "counts the processor"});
      else
        mine.names.push_back(name);
    CounterPlan plan = papi_->prepare(mine);
    plan.refused.insert(plan.refused.end(), others.refused.begin(), others.refused.end());
    return plan;
  }
  void start(int pass) override { papi_->start(pass); }
  std::vector<CounterValue> stop(std::int64_t steps) override {
    std::vector<CounterValue> values = papi_->stop(steps);
    for (CounterValue& value : values) {
      value.source = name();
      value.share = find_counter(value.name) != nullptr && find_counter(value.name)->share;
    }
    return values;
  }

 private:
  std::string component_;
  std::unique_ptr<CounterSource> papi_;
};

const CounterSourceRegistration registration{"papi_gpu", 5, [] { return make_papi_gpu_source(); }};

}  // namespace

bool papi_counts_gpus() { return component_problem("cuda").empty(); }

std::vector<PapiRecipe> papi_gpu_recipes() {
  struct Metric {
    const char *name, *metric, *statistic;
    double factor;
  };
  constexpr Metric kMetrics[] = {
      {"l1_bytes", "l1tex__t_bytes", "sum", 1},
      {"l1_access", "l1tex__t_sectors", "sum", 1},
      {"l1_miss", "l1tex__t_sectors_lookup_miss", "sum", 1},
      {"l2_access", "lts__t_sectors", "sum", 1},
      {"l2_miss", "lts__t_sectors_lookup_miss", "sum", 1},
      {"l2_bytes", "lts__t_bytes", "sum", 1},
      {"dram_bytes", "dram__bytes", "sum", 1},
      {"occupancy", "sm__warps_active", "avg.pct_of_peak_sustained_active", 0.01},
      {"instructions", "smsp__inst_executed", "sum", 1},
      {"cycles", "sm__cycles_elapsed", "max", 1},
  };
  std::vector<PapiRecipe> recipes;
  const auto spellings = [](const std::string& metric, const std::string& statistic) {
    return std::vector<std::string>{"cuda:::" + metric + ":stat=" + statistic + ":device=0",
                                    "cuda:::" + metric + "." + statistic + ":device=0"};
  };
  for (const Metric& metric : kMetrics)
    for (const std::string& event : spellings(metric.metric, metric.statistic))
      recipes.push_back({metric.name, {event}, metric.factor});
  const std::string instructions = "smsp__sass_thread_inst_executed_op_";
  for (std::size_t spelling = 0; spelling < 2; ++spelling) {
    const auto event = [&](const char* operation) {
      return spellings(instructions + operation + "_pred_on", "sum")[spelling];
    };
    // the multiply-add twice, by naming it twice: a recipe is a plain sum
    recipes.push_back({"fp_ops", {event("fadd"), event("fmul"), event("ffma"), event("ffma")}});
  }
  return recipes;
}

std::unique_ptr<CounterSource> make_papi_gpu_source(std::vector<PapiRecipe> recipes, std::string component) {
  return std::make_unique<PapiGpuSource>(std::move(recipes), std::move(component));
}

}  // namespace mlpwatt

// GPU counters by PAPI's cuda component, where PAPI was built with it (distributions' packages are not). It
// drives the same profiler as our own source does, with the same disturbance, and is therefore kept apart
// from the window in the same way; two users of one profiler would be refused, so ours stands back. Its names
// mean what they mean there (gpu_metrics.h): PAPI refuses events that need several passes of the hardware in
// one set, so the terms of a name come from several sets, each over other steps.

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
  PapiGpuSource(std::vector<MetricRecipe> recipes, std::string component)
      : recipes_(std::move(recipes)),
        component_(std::move(component)),
        events_(make_papi_source({}, PapiReach::kTeam)) {}

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
    std::vector<MetricRecipe> recipes = recipes_;
    for (const std::string& name : request.names)
      if (find_counter(name) == nullptr) recipes.push_back({name, {{name}}});  // an event, by its own name
    const auto why_not = [](const std::string& event) {
      // PAPI's own presets count the processor, and are nothing that a GPU does.
      if (event.starts_with("PAPI_") || event.starts_with("perf::")) return event + " counts the processor";
      std::string reason;
      PapiLibrary::component_of(event, reason);
      return reason;
    };
    return sums_.plan(request.names, recipes, why_not, [&](const std::vector<std::string>& events) {
      CounterRequest by_event = request;
      by_event.names = events;
      return events_->prepare(by_event);
    });
  }
  void start(int pass) override {
    pass_ = pass;
    if (pass == 0) sums_.begin();
    events_->start(pass);
  }
  std::vector<CounterValue> stop(std::int64_t steps) override {
    std::string failure;
    for (const CounterValue& event : events_->stop(steps)) {
      if (event.value)
        sums_.count(event.name, *event.value, steps);
      else if (failure.empty())
        failure = event.reason;
    }
    std::vector<CounterValue> values = sums_.values(pass_, steps, failure);
    for (CounterValue& value : values) value.source = name();
    return values;
  }

 private:
  std::vector<MetricRecipe> recipes_;
  std::string component_;
  std::unique_ptr<CounterSource> events_;  ///< counts single events, without a vocabulary
  MetricSums sums_;
  int pass_ = 0;
};

const CounterSourceRegistration registration{"papi_gpu", 5, [] { return make_papi_gpu_source(); }};

}  // namespace

bool papi_counts_gpus() { return component_problem("cuda").empty(); }

std::vector<MetricRecipe> papi_gpu_recipes() {
  const auto spelled = [](const std::string& metric, bool qualified) {
    const std::size_t dot = metric.find('.');
    return "cuda:::" + metric.substr(0, dot) + (qualified ? ":stat=" : ".") + metric.substr(dot + 1) +
           ":device=0";
  };
  std::vector<MetricRecipe> recipes;
  for (const MetricRecipe& recipe : gpu_recipes())
    for (const bool qualified : {true, false}) {
      recipes.push_back(recipe);
      for (MetricTerm& term : recipes.back().terms) term.metric = spelled(term.metric, qualified);
    }
  return recipes;
}

std::unique_ptr<CounterSource> make_papi_gpu_source(std::vector<MetricRecipe> recipes,
                                                    std::string component) {
  return std::make_unique<PapiGpuSource>(std::move(recipes), std::move(component));
}

}  // namespace mlpwatt

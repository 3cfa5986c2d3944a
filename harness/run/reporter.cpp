#include "harness/run/reporter.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "harness/protocol/statistics.h"

namespace mlpwatt {
namespace {

using Run = benchmark::BenchmarkReporter::Run;

double value_of(const Summary& summary, const std::string& statistic) {
  if (statistic == "mean") return summary.mean;
  if (statistic == "median") return summary.median;
  if (statistic == "stddev") return summary.stddev;
  return summary.stddev / summary.mean;
}

/// One aggregate of repetitions of one benchmark, in the form Google Benchmark reports its own.
Run aggregate(const std::vector<Run>& runs, const std::string& statistic, bool keep_nan) {
  Run result = runs.front();
  result.run_type = Run::RT_Aggregate;
  result.aggregate_name = statistic;
  result.aggregate_unit = statistic == "cv" ? benchmark::kPercentage : benchmark::kTime;
  result.repetition_index = Run::no_repetition_index;
  result.iterations = static_cast<benchmark::IterationCount>(runs.size());
  const auto over = [&](const std::function<double(const Run&)>& quantity) {
    std::vector<double> values;
    for (const Run& run : runs) values.push_back(quantity(run));
    return value_of(summarise(values), statistic);
  };
  // Reporters divide accumulated time by iterations, except for percentages.
  const double scale = statistic == "cv" ? 1 : static_cast<double>(result.iterations);
  result.real_accumulated_time = scale * over([](const Run& run) {
                                   return run.real_accumulated_time / static_cast<double>(run.iterations);
                                 });
  result.cpu_accumulated_time = scale * over([](const Run& run) {
                                  return run.cpu_accumulated_time / static_cast<double>(run.iterations);
                                });
  // over the runs that have it: a flagged energy is none
  for (const Run& run : runs) result.counters.insert(run.counters.begin(), run.counters.end());
  for (auto& [name, counter] : result.counters) {
    std::vector<double> values;
    for (const Run& run : runs)
      if (const auto found = run.counters.find(name);
          found != run.counters.end() && !std::isnan(found->second.value))
        values.push_back(found->second.value);
    counter.value = value_of(summarise(values), statistic);
  }
  // a spread of nothing over nothing; JSON has no word for it
  if (!keep_nan)
    std::erase_if(result.counters, [](const auto& entry) { return std::isnan(entry.second.value); });
  return result;
}

}  // namespace

WindowReporter::WindowReporter(std::unique_ptr<benchmark::BenchmarkReporter> inner, ReporterOptions options,
                               std::function<RunFacts()> facts)
    : inner_(std::move(inner)), options_(std::move(options)), facts_(std::move(facts)) {}

bool WindowReporter::ReportContext(const Context& context) {
  inner_->SetOutputStream(&GetOutputStream());
  inner_->SetErrorStream(&GetErrorStream());
  Context ours = context;
  const std::string suffix = "/iterations:1/manual_time";
  ours.name_field_width -= std::min(ours.name_field_width, suffix.size());
  if (options_.repetitions > 1 && options_.show_aggregates)
    ours.name_field_width += std::string("_median").size();
  return inner_->ReportContext(ours);
}

void WindowReporter::ReportRuns(const std::vector<Run>& runs) {
  const RunFacts facts = facts_();
  std::vector<Run> ours = runs;
  for (Run& run : ours) {
    run.run_name.iterations.clear();
    run.run_name.time_type.clear();
    run.repetitions = options_.repetitions;
    run.repetition_index = facts.repetition;
    if (!options_.columns.empty()) {
      benchmark::UserCounters fixed;
      for (const std::string& name : options_.columns) {
        const auto found = run.counters.find(name);
        fixed[name] = found == run.counters.end() ? benchmark::Counter(std::nan("")) : found->second;
      }
      run.counters = fixed;
    }
    if (run.error_occurred) continue;
    const double step_s = run.real_accumulated_time;  // the body reports its window's time per step
    run.iterations = std::max<std::int64_t>(1, facts.steps);
    run.real_accumulated_time = step_s * static_cast<double>(run.iterations);
    run.cpu_accumulated_time = facts.cpu_s;
    by_name_[run.benchmark_name()].push_back(run);
  }
  if (options_.show_runs || options_.repetitions == 1) inner_->ReportRuns(ours);
}

void WindowReporter::Finalize() {
  if (options_.show_aggregates)
    for (const auto& [name, runs] : by_name_)
      if (runs.size() > 1)
        for (const char* statistic : {"mean", "median", "stddev", "cv"})
          inner_->ReportRuns({aggregate(runs, statistic, !options_.columns.empty())});
  inner_->Finalize();
}

}  // namespace mlpwatt

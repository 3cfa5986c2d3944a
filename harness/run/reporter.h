#pragma once
// Google Benchmark's own reporters, shown one run a window: names without the suffixes our one-iteration
// entries get, the window's steps as iterations, repetitions numbered, aggregates over repetitions.

#include <benchmark/benchmark.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace mlpwatt {

/// What our body knows of a run and Google Benchmark cannot.
struct RunFacts {
  std::int64_t steps = 0;
  double cpu_s = 0;  ///< of the window
  int repetition = 0;
};

struct ReporterOptions {
  int repetitions = 1;
  bool show_runs = true;             ///< false: aggregates only (where there are repetitions)
  std::vector<std::string> columns;  ///< CSV: every run must have these counters and no others
  bool show_aggregates = true;  ///< mean, median, stddev, cv of configurations with two repetitions or more
};

/// Wraps a reporter. `facts` tells about the run that is being reported.
class WindowReporter : public benchmark::BenchmarkReporter {
 public:
  WindowReporter(std::unique_ptr<benchmark::BenchmarkReporter> inner, ReporterOptions options,
                 std::function<RunFacts()> facts);
  bool ReportContext(const Context& context) override;
  void ReportRuns(const std::vector<Run>& runs) override;
  void Finalize() override;

 private:
  std::unique_ptr<benchmark::BenchmarkReporter> inner_;
  ReporterOptions options_;
  std::function<RunFacts()> facts_;
  std::map<std::string, std::vector<Run>> by_name_;
};

/// A reporter that says nothing.
class SilentReporter : public benchmark::BenchmarkReporter {
 public:
  bool ReportContext(const Context&) override { return true; }
  void ReportRuns(const std::vector<Run>&) override {}
};

}  // namespace mlpwatt

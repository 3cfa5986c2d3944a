#pragma once
// A sitting: a selection of benchmarks, run in shuffled order as Google Benchmark benchmarks (one entry a
// run, one iteration, manual time: the window is our own loop inside), every record on disk before the next
// run starts.

#include <cstdint>
#include <functional>
#include <iosfwd>
#include <string>
#include <vector>

#include "harness/run/run_one.h"

namespace mlpwatt {

/// Google Benchmark's flags that keep their meaning; the others are ours under another name.
struct GoogleOptions {
  std::string format;           ///< "", console, json, csv; "" = no display of Google Benchmark's
  std::string out, out_format;  ///< a second report into a file
  std::string color = "auto";   ///< yes, no, auto
  bool counters_tabular = false;
  bool report_aggregates_only = false, display_aggregates_only = false;
  std::string perf_counters, context, time_unit;
  int verbosity = 0;
};

struct Sitting {
  std::vector<Benchmark> benchmarks;
  int repetitions = 1;
  RunSettings settings;
  GoogleOptions google;
};

/// Runs everything. `done` gets each record the moment it is complete and makes it durable; what it throws
/// ends the sitting and is thrown on from here.
/// @return the records in the order run
std::vector<Row> run_sitting(const Sitting& sitting, Clock& clock, std::ostream& out, std::ostream& err,
                             bool terminal, const std::function<void(Record)>& done);

}  // namespace mlpwatt

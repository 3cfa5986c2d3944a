#include "harness/run/sitting.h"

#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cmath>
#include <exception>
#include <memory>
#include <ostream>

#include "harness/protocol/order.h"
#include "harness/record/energy_quality.h"
#include "harness/run/progress.h"
#include "harness/run/reporter.h"
#include "harness/text.h"

namespace mlpwatt {
namespace {

/// Google Benchmark keeps its flags for the life of the process: every one is set at every call.
void initialise_google(const GoogleOptions& options) {
  std::vector<std::string> arguments{
      "mlpwatt",
      "--benchmark_list_tests=false",
      "--benchmark_filter=.",
      "--benchmark_min_time=0.5",
      "--benchmark_repetitions=1",
      "--benchmark_enable_random_interleaving=false",
      "--benchmark_report_aggregates_only=false",
      "--benchmark_display_aggregates_only=false",
      "--benchmark_format=" + (options.format.empty() ? "console" : options.format),
      "--benchmark_out=" + options.out,
      "--benchmark_out_format=" + (options.out_format.empty() ? "json" : options.out_format),
      "--benchmark_color=" + options.color,
      fmt::format("--benchmark_counters_tabular={}", options.counters_tabular),
      "--benchmark_perf_counters=" + options.perf_counters,
      fmt::format("--v={}", options.verbosity),
  };
  // an empty context is refused, and keys given before stay: their repetition is only a remark
  if (!options.context.empty()) arguments.push_back("--benchmark_context=" + options.context);
  arguments.push_back("--benchmark_time_unit=" + (options.time_unit.empty() ? "us" : options.time_unit));
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  static std::string program = arguments.front();  // the library keeps the pointer for its reports
  argv.front() = program.data();
  int argc = static_cast<int>(argv.size());
  benchmark::Initialize(&argc, argv.data());
}

std::unique_ptr<benchmark::BenchmarkReporter> make_reporter(const std::string& format,
                                                            const GoogleOptions& options, bool colour) {
  if (format == "json") return std::make_unique<benchmark::JSONReporter>();
    // deprecated upstream, but the flag that selects it is there and must work
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
  if (format == "csv") return std::make_unique<benchmark::CSVReporter>();
#pragma GCC diagnostic pop
  int flags = benchmark::ConsoleReporter::OO_None;
  if (colour) flags |= benchmark::ConsoleReporter::OO_Color;
  if (options.counters_tabular) flags |= benchmark::ConsoleReporter::OO_Tabular;
  return std::make_unique<benchmark::ConsoleReporter>(
      static_cast<benchmark::ConsoleReporter::OutputOptions>(flags));
}

std::string outcome_text(const Row& row) {
  if (row.text("status") != "ok") return row.text("status") + ": " + row.text("reason");
  std::string text = human_seconds(row.real("step_s")) + "/step";
  if (row.real("flops_per_s") > 0) text += ", " + human_si(row.real("flops_per_s")) + "FLOP/s";
  if (row.text("quality") != "ok") text += " [" + row.text("quality") + "]";
  return text;
}

/// What Google Benchmark shows beside the time: its name there, and the column it is.
std::vector<std::pair<std::string, std::string>> shown_counters() {
  std::vector<std::pair<std::string, std::string>> shown{
      {"FLOP/s", "flops_per_s"}, {"min_s", "step_min_s"}, {"mad_s", "step_mad_s"}};
  for (const Column& column : runs_table().columns())
    if (column.type == Type::kReal &&
        (column.name.ends_with("_measured") || column.name.ends_with("_simulated") ||
         column.name.ends_with("_modelled")))
      shown.emplace_back(column.name, column.name);
  return shown;
}

void set_counters(benchmark::State& state, const Row& row) {
  for (const auto& [name, column] : shown_counters())
    if (const double value = unflagged_real(row, column); !std::isnan(value)) state.counters[name] = value;
  state.SetLabel(fmt::format("{} {} thread(s){}", row.text("isa"),
                             row.integer("threads") == kAbsentInteger ? 0 : row.integer("threads"),
                             energy_is_flagged(row) ? " energy:" + row.text("energy_quality") : ""));
}

}  // namespace

std::vector<Row> run_sitting(const Sitting& sitting, Clock& clock, std::ostream& out, std::ostream& err,
                             bool terminal, const std::function<void(Record)>& done) {
  initialise_google(sitting.google);
  const std::vector<OrderedRun> order =
      shuffled_order(sitting.benchmarks.size(), sitting.repetitions, sitting.settings.order_seed);
  Progress progress(err, terminal, static_cast<std::int64_t>(order.size()));
  std::vector<Row> rows;
  RunFacts facts;
  std::exception_ptr broken;
  benchmark::ClearRegisteredBenchmarks();
  for (std::size_t i = 0; i < order.size(); ++i) {
    const Benchmark& entry = sitting.benchmarks[order[i].benchmark];
    const int repetition = order[i].repetition;
    benchmark::RegisterBenchmark(
        entry.name.c_str(),
        [&, i, repetition](benchmark::State& state) {
          facts = {0, 0, repetition};
          if (broken) {
            state.SkipWithError("not run: an earlier record could not be written");
            return;
          }
          progress.begin(entry.name, clock.monotonic_s());
          Record record = run_one(entry, sitting.settings, {static_cast<std::int64_t>(i), repetition}, clock);
          const Row row = record.run;
          try {
            done(std::move(record));
          } catch (...) {
            broken = std::current_exception();
            state.SkipWithError("the record could not be written");
            return;
          }
          rows.push_back(row);
          progress.end(outcome_text(row), clock.monotonic_s());
          if (row.text("status") != "ok") {
            state.SkipWithError((row.text("status") + ": " + row.text("reason")).c_str());
            return;
          }
          facts = {row.integer("steps"), row.real("step_cpu_s") * static_cast<double>(row.integer("steps")),
                   repetition};
          for (auto _ : state) state.SetIterationTime(row.real("step_s"));
          set_counters(state, row);
        })
        ->Iterations(1)
        ->UseManualTime();
  }
  const GoogleOptions& google = sitting.google;
  const bool many = sitting.repetitions > 1;
  const bool colour = google.color == "yes" || google.color == "true" || google.color == "on" ||
                      google.color == "1" || (google.color == "auto" && isatty(STDOUT_FILENO) == 1);
  const auto wrapped = [&](const std::string& format, bool show_runs, bool in_colour) {
    ReporterOptions options;
    options.repetitions = sitting.repetitions;
    options.show_runs = show_runs || !many;
    // CSV has one header: a column that a later run added would end the program.
    if (format == "csv")
      for (const auto& [name, column] : shown_counters()) options.columns.push_back(name);
    return std::make_unique<WindowReporter>(make_reporter(format, google, in_colour), options,
                                            [&] { return facts; });
  };
  std::unique_ptr<benchmark::BenchmarkReporter> display = std::make_unique<SilentReporter>();
  if (!google.format.empty())
    display =
        wrapped(google.format, !(google.report_aggregates_only || google.display_aggregates_only), colour);
  display->SetOutputStream(&out);
  display->SetErrorStream(&err);
  std::unique_ptr<benchmark::BenchmarkReporter> file;
  if (!google.out.empty())
    file = wrapped(google.out_format.empty() ? "json" : google.out_format, !google.report_aggregates_only,
                   false);
  benchmark::RunSpecifiedBenchmarks(display.get(), file.get(), ".");
  benchmark::ClearRegisteredBenchmarks();
  progress.clear();
  if (broken) std::rethrow_exception(broken);
  return rows;
}

}  // namespace mlpwatt

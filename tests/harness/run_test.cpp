// mlpwatt run: what it prints, what it records, and what becomes of kernels that cannot or must not be timed.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>

#include "cpu/isa.h"
#include "harness/build_facts.h"
#include "harness/machine.h"
#include "harness/protocol/order.h"
#include "harness/protocol/statistics.h"
#include "harness/record/reader.h"
#include "harness/record/record_file.h"
#include "harness/run/row_json.h"
#include "meters/counters/child_process.h"
#include "tests/harness/fakes.h"
#include "tests/harness/program.h"
#include "tests/support/temporary_folder.h"

namespace mlpwatt::testing {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::MatchesRegex;
using ::testing::Not;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

// --- families of the tests' own

int steps_of_untimed = 0;                 ///< run by kernels that must never be
std::function<void()> during_a_good_run;  ///< what else test/good/saboteur does

FakeScript untimed(FakeScript script) {
  script.step_s = 1e-6;
  script.during_run = [] { ++steps_of_untimed; };
  return script;
}

Benchmark unavailable(const std::string& name) {
  Benchmark benchmark = fake_benchmark(name);
  benchmark.unavailable = "no such device in this machine";
  return benchmark;
}

const FamilyRegistration faults{fake_family(
    "test/faults",
    {fake_benchmark("test/faults/wrong", untimed({.check = {false, "C(3,4) is 1, reference 2", 0.5, 0.1}})),
     fake_benchmark("test/faults/unsaid", untimed({.check = {false, "", 0.5, 0.1}})),
     fake_benchmark("test/faults/nan", untimed({.check = check_within(kNan, 1, "all of it")})),
     fake_benchmark("test/faults/nan_called_passed", untimed({.check = {true, "", kNan, 1}})),
     fake_benchmark("test/faults/nan_bound", untimed({.check = {true, "", 0, kNan}})),
     fake_benchmark("test/faults/set_up", untimed({.throws_in = "set_up"})),
     fake_benchmark("test/faults/check", untimed({.throws_in = "check"})),
     fake_benchmark("test/faults/run", {.step_s = 1e-4, .throws_in = "run"}),
     fake_benchmark("test/faults/late", {.step_s = 1e-4, .throws_in = "9"})})};
const FamilyRegistration good{fake_family(
    "test/good",
    {fake_benchmark("test/good/a", {.step_s = 1e-4}), fake_benchmark("test/good/b", {.step_s = 2e-4}),
     fake_benchmark("test/good/c", {.step_s = 3e-4}),
     fake_benchmark("test/good/saboteur", {.step_s = 1e-4, .during_run = [] {
                                             if (during_a_good_run) during_a_good_run();
                                           }})})};
const FamilyRegistration devices{
    fake_family("test/devices", {unavailable("test/devices/one"), unavailable("test/devices/two")})};

// --- running them

/// In a folder of its own, quickly, without counters.
class RunCommand : public ::testing::Test {
 protected:
  Outcome run_filter(const std::string& filter, const std::vector<std::string>& more = {}) {
    std::vector<std::string> args{"run",        "--filter", filter,       "--out", file(),
                                  "--window-s", "0.01",     "--counters", "none"};
    args.insert(args.end(), more.begin(), more.end());
    return run(args);
  }
  std::string file() const { return folder_.path("x.h5"); }
  std::vector<Row> rows() const { return read_file(file()).rows(runs_table()); }
  const TemporaryFolder folder_;
};

const std::string kFma = "cpu/fma/" + isa_name(available_isas().back());
const std::string kNetwork = "cpu/mlp_train/wine_quality_white/rectangle/256/4";

TEST_F(RunCommand, EveryCountHasItsSourceAndUncertainty) {
  const Outcome outcome = run({"run", "--filter", kFma, "--out", file(), "--window-s", "0.01", "--counters",
                               "task_clock,page_faults", "--threads", "1"});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  const auto details = nlohmann::json::parse(rows().at(0).text("counter_details"));
  for (const char* name : {"task_clock_s", "page_faults"}) {
    const auto& detail = details.at(name);
    EXPECT_EQ(detail.at("provenance"), "measured");
    EXPECT_NE(detail.at("source"), "");
    EXPECT_GE(detail.at("standard_uncertainty_per_step").get<double>(), 0) << name;
  }
  // starting and stopping takes some time of the clock, and little of a window
  const double clock_s = rows().at(0).real("task_clock_s_measured");
  EXPECT_LT(details.at("task_clock_s").at("standard_uncertainty_per_step").get<double>(), 0.5 * clock_s);
}

TEST_F(RunCommand, ARowSaysAllThatIsNeededToRepeatIt) {
  const Outcome outcome = run_filter(kFma, {"--threads", "1", "--seed", "7", "--order-seed", "5"});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  ASSERT_EQ(rows().size(), 1u);
  const Row row = rows()[0];
  EXPECT_EQ(row.text("name"), kFma);
  EXPECT_EQ(row.text("family"), "cpu/fma");
  EXPECT_EQ(row.text("backend"), "cpu");
  EXPECT_EQ(row.text("isa"), isa_name(available_isas().back()));
  EXPECT_EQ(row.integer("threads"), 1);
  EXPECT_THAT(row.text("binding"), HasSubstr("cpus="));
  EXPECT_EQ(row.integer("seed"), 7);
  EXPECT_EQ(row.integer("order_seed"), 5);
  EXPECT_EQ(row.integer("order_index"), 0);
  EXPECT_EQ(row.integer("repetition"), 0);
  EXPECT_THAT(row.text("command"),
              ::testing::EndsWith("mlpwatt run --filter " + kFma + " --out " + file() +
                                  " --window-s 0.01 --counters none --threads 1 --seed 7 --order-seed 5"));
  EXPECT_EQ(row.text("commit"), build_facts().commit);
  EXPECT_EQ(row.text("compiler"), build_facts().compiler);
  EXPECT_EQ(row.text("compiler_flags"), compiler_flags_of(row.text("isa")));
#if defined(__x86_64__)
  EXPECT_THAT(row.text("compiler_flags"), HasSubstr("; kernels: -O3"));
#endif
  EXPECT_EQ(compiler_flags_of("sm_90").find("; kernels: nvcc ") != std::string::npos,
            !build_facts().nvcc.empty());
  EXPECT_THAT(row.text("started_utc"), MatchesRegex("20[0-9-]+T[0-9:]+\\.[0-9]+Z"));
  EXPECT_EQ(row.text("status"), "ok");
  EXPECT_EQ(row.text("reason"), "");
  EXPECT_NE(row.text("quality"), "");
  EXPECT_EQ(row.real("window_target_s"), 0.01);
  EXPECT_GE(row.real("duration_s"), 0.01);
  EXPECT_GE(row.integer("blocks"), 10);
  EXPECT_EQ(row.integer("steps"), row.integer("blocks") * row.integer("steps_per_block"));
  EXPECT_GT(row.integer("warm_up_steps"), 0);
  EXPECT_GT(row.real("step_min_s"), 0);
  for (const auto& [low, high] : {std::pair{"step_min_s", "step_low95_s"},
                                  {"step_low95_s", "step_s"},
                                  {"step_s", "step_high95_s"},
                                  {"step_high95_s", "step_max_s"}})
    EXPECT_LE(row.real(low), row.real(high)) << low << " " << high;
  EXPECT_DOUBLE_EQ(row.real("step_mean_s"),
                   row.real("duration_s") / static_cast<double>(row.integer("steps")));
  EXPECT_DOUBLE_EQ(row.real("flops_per_s"), static_cast<double>(row.integer("flops")) / row.real("step_s"));
  EXPECT_LE(row.real("check_error"), row.real("check_bound"));
  const Contents contents = read_file(file());
  ASSERT_EQ(contents.rows(machine_table()).size(), 1u);
  EXPECT_EQ(row.integer("machine_row"), 0);
  const Row& machine = contents.rows(machine_table())[0];
  EXPECT_EQ(machine.text("host"), row.text("host"));
  EXPECT_NE(machine.text("host"), "");
  EXPECT_EQ(machine.integer("cores"), read_machine().hierarchy.cores);
  EXPECT_THAT(Reader(file()).problems(), IsEmpty());
}

TEST_F(RunCommand, ATeamsBindingIsThatOfAllItsThreads) {
  cpu_set_t allowed;  // a team of an earlier test may have left this thread on one of them
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) CPU_SET(cpu, &allowed);
  ASSERT_EQ(sched_setaffinity(0, sizeof allowed, &allowed), 0);
  ASSERT_EQ(sched_getaffinity(0, sizeof allowed, &allowed), 0);
  if (CPU_COUNT(&allowed) < 2) GTEST_SKIP() << "one processor";
  ASSERT_EQ(run_filter("cpu/fma/generic", {"--threads", "2"}).status, 0);
  EXPECT_THAT(rows().at(0).text("binding"), ::testing::ContainsRegex("cpus=[0-9]+[-,][0-9]+"));
}

TEST_F(RunCommand, ATrainingRowNamesItsNetworkAndItsData) {
  ASSERT_EQ(run_filter(kNetwork, {"--batch", "64", "--algorithm", "fused"}).status, 0);
  const Row row = rows().at(0);
  EXPECT_EQ(row.text("dataset"), "wine_quality_white");
  EXPECT_EQ(row.text("shape"), "rectangle");
  EXPECT_EQ(row.integer("size"), 256);
  EXPECT_EQ(row.integer("depth"), 4);
  EXPECT_EQ(row.integer("batch"), 64);
  EXPECT_EQ(row.text("algorithm"), "fused");
  EXPECT_EQ(row.text("dataset_source"), "file");
  EXPECT_EQ(row.text("dataset_checksum"), load_dataset("wine_quality_white", {}).checksum);
  EXPECT_TRUE(row.text("dataset_checksum").starts_with("sha256:")) << row.text("dataset_checksum");
  EXPECT_GT(row.integer("working_set_f_bytes"), 0);
  EXPECT_NE(row.text("working_set_f_level"), "");
  ASSERT_EQ(run_filter(kNetwork, {"--dataset-source", "synthetic"}).status, 0);
  EXPECT_EQ(rows().at(1).text("dataset_source"), "synthetic");
  EXPECT_NE(rows().at(1).text("dataset_checksum"), row.text("dataset_checksum"));
}

TEST_F(RunCommand, PrintsTheProtocolTheTableAndWhereToLookNext) {
  const Outcome first = run_filter("^test/good/[ab]$", {"--repetitions", "2", "--order-seed", "9"});
  ASSERT_EQ(first.status, 0) << first.err;
  EXPECT_THAT(first.err, AllOf(HasSubstr("2 benchmark(s) x 2 repetition(s), order seed 9, windows of 0.01 s"),
                               HasSubstr("[1/4] test/good/"), HasSubstr("[4/4] test/good/")));
  EXPECT_THAT(first.out, AllOf(HasSubstr("time/step"), HasSubstr("test/good/a"), HasSubstr("test/good/b"),
                               HasSubstr("h5ls " + file() + "/runs"), HasSubstr("4 row(s) added, 4 in all")));
  EXPECT_THAT(run_filter("test/good/a").out, HasSubstr("1 row(s) added, 5 in all"));
  EXPECT_EQ(rows().size(), 5u);
}

TEST_F(RunCommand, JsonIsWhatTheFileHolds) {
  const Outcome outcome = run_filter("test/good/[ab]", {"--json"});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  const auto object = outcome.json();
  EXPECT_EQ(object["file"], file());
  ASSERT_EQ(object["runs"].size(), 2u);
  for (std::size_t i = 0; i < 2; ++i) EXPECT_EQ(object["runs"][i], nlohmann::json(row_json(rows()[i])));
}

TEST_F(RunCommand, JsonOfAFileNameThatIsNotText) {
  const Outcome outcome = run({"run", "--filter", "test/good/a", "--window-s", "0.01", "--counters", "none",
                               "--json", "--out", folder_.path("\xff.h5")});
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_EQ(outcome.json()["runs"].size(), 1u);
}

// --- Google Benchmark's flags

TEST_F(RunCommand, GoogleJsonHasRunsAndAggregates) {
  const Outcome outcome = run_filter("test/good/a", {"--benchmark_format=json", "--benchmark_repetitions=3"});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  const auto entries = outcome.json()["benchmarks"];
  ASSERT_EQ(entries.size(), 7u);
  std::vector<double> times;
  for (int i = 0; i < 3; ++i) {
    const auto& entry = entries[static_cast<std::size_t>(i)];
    const Row row = rows().at(static_cast<std::size_t>(i));
    EXPECT_EQ(entry["name"], "test/good/a");
    EXPECT_EQ(entry["run_type"], "iteration");
    EXPECT_EQ(entry["repetition_index"], i);
    EXPECT_EQ(entry["repetitions"], 3);
    EXPECT_EQ(entry["iterations"], row.integer("steps"));
    EXPECT_EQ(entry["time_unit"], "us");
    EXPECT_NEAR(entry["real_time"].get<double>(), 1e6 * row.real("step_s"), 1e-6 * 1e6 * row.real("step_s"));
    EXPECT_NEAR(entry["cpu_time"].get<double>(), 1e6 * row.real("step_cpu_s"),
                1e-6 * 1e6 * row.real("step_cpu_s"));
    EXPECT_DOUBLE_EQ(entry["FLOP/s"].get<double>(), row.real("flops_per_s"));
    times.push_back(entry["real_time"]);
  }
  const Summary summary = summarise(times);
  for (const auto& [name, value] :
       {std::pair{"mean", summary.mean}, {"median", summary.median}, {"stddev", summary.stddev}}) {
    const auto found = std::find_if(entries.begin(), entries.end(), [&, wanted = name](const auto& entry) {
      return entry["name"] == std::string("test/good/a_") + wanted;
    });
    ASSERT_NE(found, entries.end()) << name;
    EXPECT_EQ((*found)["run_type"], "aggregate");
    EXPECT_NEAR((*found)["real_time"].get<double>(), value, 1e-6 * summary.mean) << name;
  }
}

TEST_F(RunCommand, GoogleAggregatesAlone) {
  for (const char* flag : {"--benchmark_report_aggregates_only", "--benchmark_display_aggregates_only"}) {
    const auto entries =
        run_filter("test/good/a", {"--benchmark_format=json", "--benchmark_repetitions=2", flag})
            .json()["benchmarks"];
    ASSERT_EQ(entries.size(), 4u) << flag;
    for (const auto& entry : entries) EXPECT_EQ(entry["run_type"], "aggregate");
  }
}

TEST_F(RunCommand, GoogleCsvConsoleAndFile) {
  const Outcome csv = run_filter("test/good/[ab]", {"--benchmark_format=csv"});
  ASSERT_EQ(csv.status, 0) << csv.err;
  EXPECT_THAT(csv.out, AllOf(HasSubstr("name,iterations,real_time,cpu_time"), HasSubstr("\"test/good/a\","),
                             HasSubstr("\"test/good/b\",")));
  const Outcome console =
      run_filter("test/good/a", {"--benchmark_format=console", "--benchmark_out=" + folder_.path("out.json"),
                                 "--benchmark_time_unit=ns"});
  ASSERT_EQ(console.status, 0) << console.err;
  EXPECT_THAT(console.out,
              AllOf(HasSubstr("test/good/a "), HasSubstr(" ns "), Not(HasSubstr("manual_time"))));
  const auto written = nlohmann::json::parse(std::ifstream(folder_.path("out.json")));
  EXPECT_EQ(written["benchmarks"][0]["name"], "test/good/a");
}

TEST_F(RunCommand, GoogleContextIsInTheReport) {
  // in a process of its own: Google Benchmark keeps a context for life
  const std::string report = folder_.path("report.json");
  ChildProcess child(
      {program_path(), "run", "--filter", "cpu/fma/generic", "--window-s", "0.01", "--counters", "none",
       "--out", file(), "--benchmark_out=" + report, "--benchmark_context=room=cold"},
      {}, folder_.path("log"));
  ASSERT_TRUE(child.wait_until(ChildProcess::Clock::now() + std::chrono::minutes(1)));
  ASSERT_EQ(child.failure(), "");
  EXPECT_EQ(nlohmann::json::parse(std::ifstream(report))["context"]["room"], "cold");
}

TEST_F(RunCommand, GoogleListTestsNamesAndDoesNothing) {
  const Outcome outcome = run_filter("^test/good/", {"--benchmark_list_tests"});
  EXPECT_EQ(outcome.status, 0);
  EXPECT_EQ(outcome.out, "test/good/a\ntest/good/b\ntest/good/c\ntest/good/saboteur\n");
  EXPECT_FALSE(std::filesystem::exists(file()));
}

TEST_F(RunCommand, ACallThatDoesNotRunLeavesNoReportBehind) {
  const std::string report = folder_.path("report.json");
  EXPECT_EQ(run_filter("no_such_benchmark", {"--benchmark_out=" + report}).status, 2);
  EXPECT_FALSE(std::filesystem::exists(report));
}

// --- order

TEST_F(RunCommand, TheOrderIsTheSeededOneAndRecorded) {
  const std::vector<std::string> names{"test/good/a", "test/good/b", "test/good/c"};
  const auto sequence = [&](const char* seed) {
    std::filesystem::remove(file());
    EXPECT_EQ(
        run_filter("^test/good/[abc]$", {"--window-s", "0.002", "--repetitions", "3", "--order-seed", seed})
            .status,
        2)
        << "an option given twice";
    const Outcome outcome = run({"run", "--filter", "^test/good/[abc]$", "--out", file(), "--window-s",
                                 "0.002", "--counters", "none", "--repetitions", "3", "--order-seed", seed});
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    std::vector<std::string> ran;
    for (const Row& row : rows()) {
      EXPECT_EQ(row.integer("order_index"), static_cast<std::int64_t>(ran.size()));
      EXPECT_EQ(row.integer("order_seed"), std::stoll(seed));
      EXPECT_EQ(row.integer("repetition"), std::count(ran.begin(), ran.end(), row.text("name")));
      ran.push_back(row.text("name"));
    }
    return ran;
  };
  const std::vector<std::string> ran = sequence("4");
  std::vector<std::string> expected;
  for (const OrderedRun& run : shuffled_order(3, 3, 4)) expected.push_back(names[run.benchmark]);
  EXPECT_EQ(ran, expected);
  EXPECT_EQ(sequence("4"), ran);
  EXPECT_NE(sequence("5"), ran);
}

// --- what was asked for is what ran

TEST_F(RunCommand, AForcedInstructionSetIsReadBack) {
  std::size_t expected = 0;
  for (const Isa isa : available_isas())
    for (const char* name : {"cpu/gemm/nn/64x64x64", kNetwork.c_str()}) {
      const Outcome outcome = run_filter(name, {"--isa", isa_name(isa)});
      ASSERT_EQ(outcome.status, 0) << outcome.err;
      ASSERT_EQ(rows().size(), ++expected);
      EXPECT_EQ(rows().back().text("isa"), isa_name(isa));
      EXPECT_EQ(rows().back().text("status"), "ok");
    }
}

TEST_F(RunCommand, AnInstructionSetThatIsNotHereIsNotReplaced) {
  for (const Isa isa : {Isa::kAvx512, Isa::kAvx2, Isa::kAvx2NoFma}) {
    const auto here = available_isas();
    if (std::find(here.begin(), here.end(), isa) != here.end()) continue;
    const Outcome outcome = run_filter("cpu/gemm/nn/64x64x64", {"--isa", isa_name(isa)});
    EXPECT_EQ(outcome.status, 1);
    EXPECT_THAT(outcome.err, HasSubstr("'" + isa_name(isa) + "'"));
    EXPECT_TRUE(std::isnan(rows().back().real("step_s")));
    return;
  }
  GTEST_SKIP() << "this machine has every instruction set";
}

TEST_F(RunCommand, AKernelWithoutTheAlgorithmOrInstructionSetDoesNotRunUnderItsName) {
  for (const auto& [name, option, value, has] :
       {std::tuple{"cpu/gemm/nn/64x64x64", "--algorithm", "strassen", "blocked"},
        {"test/good/a", "--isa", "generic", "fake"},
        {"test/good/a", "--algorithm", "other", "scripted"}}) {
    const Outcome outcome = run_filter(name, {option, value});
    EXPECT_EQ(outcome.status, 1) << name;
    EXPECT_THAT(outcome.err, AllOf(HasSubstr(value), HasSubstr(has)));
    EXPECT_EQ(rows().back().text("status"), "unavailable");
    EXPECT_TRUE(std::isnan(rows().back().real("step_s")));
  }
  EXPECT_EQ(run_filter("test/good/a", {"--algorithm", "scripted"}).status, 0);
}

TEST_F(RunCommand, ADatasetThatIsNotThereIsNotReplaced) {
  const TemporaryFolder nothing;
  setenv("XDG_CACHE_HOME", nothing.path().c_str(), 1);
  setenv("MLPWATT_DATA", nothing.path().c_str(), 1);
  const Outcome outcome = run_filter("cpu/mlp_train/mnist/rectangle/1024/2");
  unsetenv("XDG_CACHE_HOME");
  unsetenv("MLPWATT_DATA");
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.err, AllOf(HasSubstr("'mnist'"), HasSubstr(nothing.path()),
                                 HasSubstr("--dataset-source synthetic")));
  EXPECT_EQ(rows().at(0).text("status"), "error");
  EXPECT_EQ(rows().at(0).text("dataset_source"), "");
}

TEST_F(RunCommand, AnInfeasibleNetworkOfTheGridAloneIsAWrongCall) {
  const std::string report = folder_.path("report.json");
  for (const char* filter : {"cpu/mlp_train/mnist/rectangle/32/2", "^cpu/mlp_train/mnist/rectangle/32/2$"}) {
    const Outcome outcome = run_filter(filter, {"--benchmark_out=" + report});
    EXPECT_EQ(outcome.status, 2);
    EXPECT_THAT(outcome.err, AllOf(HasSubstr("size 32"), HasSubstr("1024")));
    EXPECT_EQ(outcome.error_lines(), 1u) << outcome.err;
    EXPECT_EQ(outcome.out, "");
    EXPECT_FALSE(std::filesystem::exists(file()));
    EXPECT_FALSE(std::filesystem::exists(report));
  }
}

TEST_F(RunCommand, AnInfeasibleNetworkOfTheGridAmongOthersIsAnErrorOfItsRow) {
  const Outcome outcome = run_filter("^(cpu/mlp_train/mnist/rectangle/32/2|test/good/a)$");
  EXPECT_EQ(outcome.status, 1);
  ASSERT_EQ(rows().size(), 2u);
  for (const Row& row : rows())
    if (row.text("name") == "test/good/a") {
      EXPECT_EQ(row.text("status"), "ok");
    } else {
      EXPECT_EQ(row.text("status"), "error");
      EXPECT_THAT(row.text("reason"), AllOf(HasSubstr("size 32"), HasSubstr("1024")));
    }
}

// --- what must not be timed

struct Fault {
  const char* name;
  const char* status;
  const char* reason;
};

class Faults : public RunCommand, public ::testing::WithParamInterface<Fault> {};

TEST_P(Faults, EndAsSkipWithTheReasonAndStatusOne) {
  const std::string name = std::string("test/faults/") + GetParam().name;
  steps_of_untimed = 0;
  const Outcome outcome = run_filter(name, {"--benchmark_format=json"});
  EXPECT_EQ(outcome.status, 1);
  EXPECT_EQ(steps_of_untimed, 0);
  const Row row = rows().at(0);
  EXPECT_EQ(row.text("status"), GetParam().status);
  EXPECT_THAT(row.text("reason"), HasSubstr(GetParam().reason));
  for (const Column& column : runs_table().columns())
    if (column.name.starts_with("step_") || column.name.ends_with("_per_s") || column.name == "duration_s") {
      EXPECT_TRUE(column.type == Type::kReal ? std::isnan(row.real(column.name))
                                             : row.integer(column.name) == kAbsentInteger)
          << column.name;
    }
  EXPECT_EQ(row.integer("steps"), kAbsentInteger);
  EXPECT_EQ(row.text("quality"), "");
  const auto entry = outcome.json().at("benchmarks").at(0);
  EXPECT_EQ(entry["name"], name);
  EXPECT_TRUE(entry.value("error_occurred", false));
  EXPECT_THAT(entry.value("error_message", ""), HasSubstr(GetParam().reason));
  EXPECT_THAT(outcome.err, HasSubstr(std::string(GetParam().status) + ": " + name + ": "));
  EXPECT_THAT(Reader(file()).problems(), IsEmpty());
}

INSTANTIATE_TEST_SUITE_P(Run, Faults,
                         ::testing::Values(Fault{"wrong", "failed", "C(3,4) is 1, reference 2"},
                                           Fault{"unsaid", "failed", "error 0.5, bound 0.1"},
                                           Fault{"nan", "failed", "error nan exceeds the bound 1: all of it"},
                                           Fault{"nan_called_passed", "failed", "error nan"},
                                           Fault{"nan_bound", "failed", "bound nan"},
                                           Fault{"set_up", "error", "broke down in set_up; repair it"},
                                           Fault{"check", "error", "broke down in check; repair it"},
                                           Fault{"run", "error", "broke down in run; repair it"},
                                           Fault{"late", "error", "broke down in step 9; repair it"}),
                         [](const auto& tested) { return std::string(tested.param.name); });

TEST_F(RunCommand, OneFaultDoesNotStopTheOthers) {
  const Outcome outcome = run_filter("^test/(good/[ab]|faults/wrong|devices/one)$");
  EXPECT_EQ(outcome.status, 1);
  std::map<std::string, std::string> status;
  for (const Row& row : rows()) status[row.text("name")] = row.text("status");
  EXPECT_THAT(status,
              ElementsAre(::testing::Pair("test/devices/one", "unavailable"),
                          ::testing::Pair("test/faults/wrong", "failed"),
                          ::testing::Pair("test/good/a", "ok"), ::testing::Pair("test/good/b", "ok")));
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("test/good/a"), Not(HasSubstr("test/faults/wrong "))));
}

TEST_F(RunCommand, UnavailableFailsByNameAndNotAmongOthers) {
  const Outcome by_name = run_filter("test/devices/one");
  EXPECT_EQ(by_name.status, 1);
  EXPECT_THAT(by_name.err, HasSubstr("no such device in this machine"));
  EXPECT_EQ(rows().at(0).text("status"), "unavailable");
  EXPECT_EQ(run_filter("^test/devices/").status, 1) << "nothing ran";
  EXPECT_EQ(run_filter("^test/(devices|good/a)").status, 0);
  EXPECT_EQ(run_filter("^test/devices/", {"--suite"}).status, 0);
}

TEST_F(RunCommand, ARecordThatCannotBeWrittenEndsTheSitting) {
  const std::string out = folder_.path("sub/x.h5");
  std::filesystem::create_directory(folder_.path("sub"));
  during_a_good_run = [&] { std::filesystem::remove_all(folder_.path("sub")); };
  const Outcome outcome = run({"run", "--filter", "test/good/saboteur", "--window-s", "0.01", "--repetitions",
                               "3", "--counters", "none", "--out", out});
  during_a_good_run = nullptr;
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.err, AllOf(HasSubstr("mlpwatt: " + out), HasSubstr("No such file or directory"),
                                 Not(HasSubstr("[1/3]"))));
  EXPECT_EQ(outcome.out, "");
  EXPECT_EQ(run_filter("test/good/saboteur").status, 0) << "the next sitting is not affected";
}

}  // namespace
}  // namespace mlpwatt::testing

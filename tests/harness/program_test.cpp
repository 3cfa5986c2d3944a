// The command line: every wrong word ends in status 2 and one line that names it and what would be right.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "harness/record/table.h"
#include "tests/harness/program.h"
#include "tests/support/temporary_folder.h"

namespace mlpwatt::testing {
namespace {

using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;

struct WrongCall {
  const char* label;
  std::vector<std::string> args;
  std::vector<std::string> said;  ///< what the one line must contain
  int status = 2;                 ///< 1: well said, but it cannot be done
};

class WrongCalls : public ::testing::TestWithParam<WrongCall> {};

TEST_P(WrongCalls, EndInOneLineAndTheirStatus) {
  const Outcome outcome = run(GetParam().args);
  EXPECT_EQ(outcome.status, GetParam().status) << outcome.err;
  EXPECT_EQ(outcome.error_lines(), 1u) << outcome.err;
  EXPECT_TRUE(outcome.err.ends_with("\n"));
  EXPECT_TRUE(outcome.err.starts_with("mlpwatt: ")) << outcome.err;
  EXPECT_EQ(outcome.out, "");
  for (const std::string& word : GetParam().said) EXPECT_THAT(outcome.err, HasSubstr(word));
}

const std::vector<std::string> kMnist{"network", "--dataset", "mnist", "--depth", "3"};
std::vector<std::string> mnist(std::vector<std::string> more) {
  std::vector<std::string> args = kMnist;
  args.insert(args.end(), more.begin(), more.end());
  return args;
}

INSTANTIATE_TEST_SUITE_P(
    Program, WrongCalls,
    ::testing::Values(
        WrongCall{"no_command", {}, {"list", "network", "info", "--help"}},
        WrongCall{"unknown_command", {"netwrk"}, {"'netwrk'", "network"}},
        WrongCall{"unknown_option_before_command", {"--verison"}, {"'--verison'", "--version"}},
        WrongCall{"unknown_option", {"network", "--shpe", "x"}, {"'--shpe'", "--shape"}},
        WrongCall{"unknown_option_with_value", {"list", "--fliter=gemm"}, {"'--fliter'", "--filter"}},
        WrongCall{"extra_argument", {"list", "gemm"}, {"'gemm'"}},
        WrongCall{"missing_option", {"network", "--dataset", "mnist"}, {"required"}},
        WrongCall{"unknown_dataset",
                  {"network", "--dataset", "mnits", "--shape", "rectangle", "--size", "1024", "--depth", "2"},
                  {"'mnits'", "mnist"}},
        WrongCall{
            "unknown_shape", mnist({"--shape", "trapezod", "--size", "65536"}), {"'trapezod'", "trapezoid"}},
        WrongCall{
            "impossible_size", mnist({"--shape", "rectangle", "--size", "32"}), {"32", "nearest", "1024"}},
        WrongCall{"not_a_number", mnist({"--shape", "rectangle", "--size", "big"}), {"--size", "big"}},
        WrongCall{"not_positive", mnist({"--shape", "rectangle", "--size", "0"}), {"0"}},
        WrongCall{
            "shallow",
            {"network", "--dataset", "mnist", "--shape", "rectangle", "--size", "65536", "--depth", "1"},
            {"depth 1"}},
        WrongCall{"batch_out_of_range",
                  mnist({"--shape", "rectangle", "--size", "65536", "--batch", "0"}),
                  {"--batch"}},
        WrongCall{"unknown_isa", {"list", "--isa", "avx521"}, {"'avx521'", "avx512"}},
        WrongCall{"unknown_source", {"list", "--dataset-source", "fiel"}, {"'fiel'", "file"}},
        WrongCall{"bad_expression", {"list", "--filter", "("}, {"'('", "regular expression"}},
        WrongCall{"no_match", {"list", "--filter", "no_such_benchmark"}, {"'no_such_benchmark'", "nearest"}}),
    [](const auto& tested) { return std::string(tested.param.label); });

const std::string kNotWhole = "not a whole number from";

INSTANTIATE_TEST_SUITE_P(
    Network, WrongCalls,
    ::testing::Values(
        WrongCall{"no_value", {"network", "--dataset"}, {"--dataset"}},
        WrongCall{
            "given_twice", mnist({"--shape", "rectangle", "--size", "65536", "--depth", "4"}), {"--depth"}},
        WrongCall{"empty_dataset",
                  {"network", "--dataset", "", "--shape", "rectangle", "--size", "1024", "--depth", "2"},
                  {"''", "mnist"}},
        WrongCall{
            "size_with_exponent", mnist({"--shape", "rectangle", "--size", "1e5"}), {"--size", "'1e5'"}},
        WrongCall{"size_beyond_int64",
                  mnist({"--shape", "rectangle", "--size", "99999999999999999999"}),
                  {"--size", "'99999999999999999999'"}},
        WrongCall{
            "size_beyond_reason", mnist({"--shape", "rectangle", "--size", "9223372036854775807"}), {"2^50"}},
        WrongCall{"negative_size", mnist({"--shape", "rectangle", "--size", "-5"}), {"-5"}},
        WrongCall{"deep",
                  {"network", "--dataset", "mnist", "--shape", "rectangle", "--size", "65536", "--depth",
                   "100000000"},
                  {"100000000", "10000"}},
        WrongCall{
            "half_a_layer",
            {"network", "--dataset", "mnist", "--shape", "rectangle", "--size", "65536", "--depth", "2.5"},
            {"--depth", "'2.5'"}},
        WrongCall{"batch_not_a_number",
                  mnist({"--shape", "rectangle", "--size", "65536", "--batch", "many"}),
                  {"--batch", "'many'", "16777216"}},
        WrongCall{"negative_units",
                  mnist({"--shape", "rectangle", "--size", "65536", "--units", "-3"}),
                  {"--units", "'-3'", "from 0"}},
        WrongCall{"extra_argument", mnist({"--shape", "rectangle", "--size", "65536", "more"}), {"'more'"}}),
    [](const auto& tested) { return std::string(tested.param.label); });

INSTANTIATE_TEST_SUITE_P(
    ListAndInfo, WrongCalls,
    ::testing::Values(
        WrongCall{"two_commands", {"list", "info"}, {"'info'"}},
        WrongCall{"one_dash", {"list", "-quick"}, {"'-quick'", "--quick"}},
        WrongCall{"no_expression", {"list", "--filter"}, {"--filter"}},
        WrongCall{"unmatched_brace", {"list", "--filter", "a{1"}, {"'a{1'", "regular expression"}},
        WrongCall{"nothing_to_repeat", {"list", "--filter", "*"}, {"'*'", "regular expression"}},
        WrongCall{"no_quick_one", {"list", "--quick", "--filter", "grid"}, {"'grid'", "quick suite"}},
        WrongCall{"negative_threads", {"list", "--threads", "-1"}, {"--threads", "'-1'", "65536"}},
        WrongCall{"negative_seed", {"list", "--seed", "-1"}, {"--seed", "'-1'", "from 0"}},
        WrongCall{"seed_beyond_int64", {"list", "--seed", "9223372036854775808"}, {"--seed", kNotWhole}},
        WrongCall{"seed_a_word", {"list", "--seed", "x"}, {"--seed", "'x'"}},
        WrongCall{"isa_in_capitals", {"list", "--isa", "AVX2"}, {"'AVX2'", "avx2"}},
        WrongCall{"info_option", {"info", "--jsn"}, {"'--jsn'", "--json"}},
        WrongCall{"info_argument", {"info", "all"}, {"'all'"}}),
    [](const auto& tested) { return std::string(tested.param.label); });

std::vector<std::string> run_fma(std::vector<std::string> more) {
  std::vector<std::string> args{"run", "--filter", "cpu/fma/generic", "--counters", "none"};
  args.insert(args.end(), more.begin(), more.end());
  return args;
}

INSTANTIATE_TEST_SUITE_P(
    Run, WrongCalls,
    ::testing::Values(
        WrongCall{"nothing_chosen", {"run"}, {"--filter", "--quick", "--suite"}},
        WrongCall{"empty_filter", {"run", "--filter", ""}, {"--filter", "--quick", "--suite"}},
        WrongCall{"two_suites", {"run", "--quick", "--suite"}, {"--quick", "--suite"}},
        WrongCall{"no_match", {"run", "--filter", "cpu/fma/genric"}, {"'cpu/fma/genric'", "cpu/fma/generic"}},
        WrongCall{"bad_expression", {"run", "--filter", "["}, {"'['", "regular expression"}},
        WrongCall{"window_not_a_number", run_fma({"--window-s", "1x"}), {"--window-s", "'1x'"}},
        WrongCall{"window_nan", run_fma({"--window-s", "nan"}), {"--window-s", "'nan'"}},
        WrongCall{"window_infinite", run_fma({"--window-s", "inf"}), {"--window-s", "'inf'", "2592000"}},
        WrongCall{"window_zero", run_fma({"--window-s", "0"}), {"--window-s", "'0'", "1e-06"}},
        WrongCall{"window_negative", run_fma({"--benchmark_min_time=-1"}), {"--window-s", "'-1'"}},
        WrongCall{"warm_up_nan", run_fma({"--warm-up-s", "nan"}), {"--warm-up-s", "'nan'"}},
        WrongCall{"max_warm_up_negative", run_fma({"--max-warm-up-s", "-1"}), {"--max-warm-up-s", "'-1'"}},
        WrongCall{"max_window_word", run_fma({"--max-window-s", "long"}), {"--max-window-s", "'long'"}},
        WrongCall{"no_repetition", run_fma({"--repetitions", "0"}), {"--repetitions", "'0'", "from 1"}},
        WrongCall{"order_seed", run_fma({"--order-seed", "-7"}), {"--order-seed", "'-7'"}},
        WrongCall{"unknown_counter",
                  {"run", "--filter", "cpu/fma/generic", "--counters", "l1_mis"},
                  {"'l1_mis'", "l1_miss"}},
        WrongCall{"google_format", run_fma({"--benchmark_format=xml"}), {"xml", "json", "csv"}},
        WrongCall{"google_option",
                  run_fma({"--benchmark_fromat=json"}),
                  {"'--benchmark_fromat'", "--benchmark_format"}},
        WrongCall{"google_context", run_fma({"--benchmark_context=cold"}), {"'cold'", "KEY=VALUE"}},
        WrongCall{"google_time_unit", run_fma({"--benchmark_time_unit=h"}), {"h", "ms"}},
        WrongCall{"google_colour", run_fma({"--benchmark_color=perhaps"}), {"perhaps", "auto"}},
        WrongCall{"google_out",
                  run_fma({"--benchmark_out=/no-such-folder/x.json"}),
                  {"'/no-such-folder/x.json'", "cannot be written"}},
        WrongCall{"verbosity", run_fma({"--v", "loud"}), {"--v", "loud"}},
        WrongCall{"out_in_no_folder",
                  run_fma({"--out", "/no-such-folder/x.h5"}),
                  {"/no-such-folder/", "x.h5", "No such file or directory"},
                  1},
        WrongCall{"out_is_a_folder", run_fma({"--out", "/"}), {"/: ", "Is a directory"}, 1},
        WrongCall{"out_is_another_file", run_fma({"--out", "/proc/self/status"}), {"/proc/self/"}, 1}),
    [](const auto& tested) { return std::string(tested.param.label); });

INSTANTIATE_TEST_SUITE_P(
    Step, WrongCalls,
    ::testing::Values(
        WrongCall{"no_name", {"step"}, {"name"}},
        WrongCall{"unknown_name", {"step", "cpu/fma/genric"}, {"'cpu/fma/genric'", "cpu/fma/generic"}},
        WrongCall{"part_of_a_name", {"step", "cpu/fma/gener"}, {"'cpu/fma/gener'", "cpu/fma/generic"}},
        WrongCall{"an_expression", {"step", "^cpu/fma/generic$"}, {"'^cpu/fma/generic$'", "cpu/fma/generic"}},
        WrongCall{"two_names", {"step", "cpu/fma/generic", "more"}, {"'more'"}},
        WrongCall{"no_steps", {"step", "cpu/fma/generic", "--steps", "0"}, {"--steps", "'0'", "from 1"}},
        WrongCall{"half_a_step", {"step", "cpu/fma/generic", "--steps", "1.5"}, {"--steps", "'1.5'"}},
        WrongCall{"steps_beyond_int64",
                  {"step", "cpu/fma/generic", "--steps", "99999999999999999999"},
                  {"--steps", "'99999999999999999999'"}},
        WrongCall{"negative_warm_up",
                  {"step", "cpu/fma/generic", "--warm-up-steps", "-1"},
                  {"--warm-up-steps", "'-1'"}},
        WrongCall{"impossible_size", {"step", "cpu/mlp_train/mnist/rectangle/32/2"}, {"size 32", "1024"}},
        WrongCall{"unknown_algorithm",
                  {"step", "cpu/mlp_train/wine_quality_white/rectangle/64/2", "--algorithm", "fusd"},
                  {"'fusd'", "fused"}},
        WrongCall{"missing_dataset",
                  {"step", "cpu/mlp_train/connect_4/rectangle/1024/2", "--data-dir", "/no-such-folder"},
                  {"'connect_4'", "/no-such-folder", "make datasets"},
                  1}),
    [](const auto& tested) { return std::string(tested.param.label); });

INSTANTIATE_TEST_SUITE_P(
    Train, WrongCalls,
    ::testing::Values(WrongCall{"unknown_dataset",
                                {"train", "--dataset", "mnits", "--shape", "rectangle", "--size", "1024",
                                 "--depth", "2", "--epochs", "1"},
                                {"'mnits'", "mnist"}},
                      WrongCall{"impossible_size",
                                {"train", "--dataset", "mnist", "--shape", "rectangle", "--size", "32",
                                 "--depth", "2", "--epochs", "1"},
                                {"size 32", "1024"}},
                      WrongCall{"missing_dataset",
                                {"train", "--dataset", "connect_4", "--shape", "rectangle", "--size", "1024",
                                 "--depth", "2", "--epochs", "1", "--data-dir", "/no-such-folder"},
                                {"'connect_4'", "/no-such-folder", "--dataset-source synthetic"},
                                1},
                      WrongCall{"out_in_no_folder",
                                {"train", "--dataset", "wine_quality_white", "--shape", "rectangle", "--size",
                                 "64", "--depth", "2", "--epochs", "1", "--out", "/no-such-folder/x.h5"},
                                {"/no-such-folder/", "x.h5", "No such file or directory"},
                                1}),
    [](const auto& tested) { return std::string(tested.param.label); });

TEST(Program, HelpAndVersionAreNotErrors) {
  for (const std::vector<std::string>& args :
       {std::vector<std::string>{"--help"}, {"--version"}, {"network", "--help"}, {"list", "--help"}}) {
    const Outcome outcome = run(args);
    EXPECT_EQ(outcome.status, 0);
    EXPECT_NE(outcome.out, "");
    EXPECT_EQ(outcome.err, "");
  }
}

TEST(Program, CommandLineCanBeTypedAgain) {
  std::ostringstream sink;
  const Context context{sink, sink, {"run", "--filter", "^a (b|c)$", "--out", "it's.h5"}};
  EXPECT_THAT(context.command_line(), EndsWith("mlpwatt run --filter '^a (b|c)$' --out 'it'\\''s.h5'"));
}

TEST(Program, NetworkAsJson) {
  const Outcome outcome = run(
      {"network", "--dataset", "mnist", "--shape", "trapezoid", "--size", "65536", "--depth", "7", "--json"});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  const auto object = outcome.json();
  // round(s - k (s - 10) / 6) at s = 69.46, the scale whose 65515 parameters come nearest
  EXPECT_EQ(object["widths"], nlohmann::json({69, 60, 50, 40, 30, 20, 10}));
  std::int64_t parameters = 0;
  int in = object["inputs"];
  for (const int out : object["widths"]) {
    parameters += std::int64_t{in} * out + out;
    in = out;
  }
  EXPECT_EQ(object["parameters"], parameters);
  EXPECT_GT(object["flops_per_step"].get<std::int64_t>(), 6 * 255 * (parameters - 784 * 69));
  EXPECT_EQ(object["steps_per_epoch"], (70000 - 14000 + 255) / 256);
  for (const char* set : {"inter_layer", "forward_pass", "backward_pass", "dataset"}) {
    EXPECT_GT(object["working_sets"][set]["total_bytes"], 0) << set;
    EXPECT_NE(object["working_sets"][set]["level"], "") << set;
  }
  EXPECT_EQ(object["working_sets"]["forward_pass"]["total_bytes"], 4 * parameters);
}

TEST(Program, NetworkAsText) {
  const Outcome outcome =
      run({"network", "--dataset", "adult", "--shape", "rectangle", "--size", "1024", "--depth", "2"});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("widths"), HasSubstr("binary"), HasSubstr("lives in")));
}

TEST(Program, InfoAsJsonNamesTheMachine) {
  const Outcome outcome = run({"info", "--json"});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  const auto object = outcome.json();
  EXPECT_GE(object["cores"], 1);
  EXPECT_NE(object["host"], "");
  EXPECT_FALSE(object["isas"].empty());
  for (const auto& source : object["counters"]) {
    EXPECT_NE(source["status"], "");
    EXPECT_NE(source["detail"], "") << source["name"];
  }
}

TEST(Program, InfoTakesAMeterConfiguration) {
  const TemporaryFolder folder;
  const std::string path = folder.path("meters.json");
  const std::string log = folder.path("power.csv");
  std::ofstream(log) << "timestamp,node,watts\n";
  std::ofstream(path) << nlohmann::json{{"csv_log", {{"path", log}, {"node", "n1"}}}};
  const auto status_of = [](const Outcome& outcome) -> std::string {
    const nlohmann::json info = outcome.json();
    for (const auto& meter : info["meters"])
      if (meter["name"] == "csv_log") return meter["status"];
    return "";
  };
  const Outcome without = run({"info", "--json"}), with = run({"info", "--json", "--meter-config", path});
  ASSERT_EQ(with.status, 0) << with.err;
  EXPECT_EQ(status_of(without), "not configured");
  EXPECT_EQ(status_of(with), "found");
  EXPECT_THAT(run({"info", "--meter-config", path}).out, HasSubstr(log));
  const Outcome nowhere = run({"info", "--meter-config", folder.path("none.json")});
  EXPECT_EQ(nowhere.status, 2);
  EXPECT_THAT(nowhere.err, HasSubstr("none.json"));
}

TEST(Program, EveryCommandHasJson) {
  for (const Command& command : commands())
    EXPECT_THAT(run({command.name, "--help"}).out, HasSubstr("--json")) << command.name;
}

TEST(Program, TheSchemaAsJsonHasEveryColumn) {
  const Outcome outcome = run({"schema", "--json"});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  const nlohmann::json tables = outcome.json();
  for (const Table* table : all_tables()) {
    EXPECT_EQ(tables[table->group()]["dimension"], table->dimension());
    EXPECT_EQ(tables[table->group()]["columns"].size(), table->columns().size()) << table->group();
  }
  EXPECT_EQ(tables["runs"]["columns"]["step_s"]["unit"], "s");
  EXPECT_EQ(run({"schema", "--json", "--within", "x"}).status, 2);
}

TEST(Program, WhatTheEnvironmentDecidesIsPartOfTheCommand) {
  ASSERT_EQ(setenv("MLPWATT_DATA", "/data sets", 1), 0);
  std::ostringstream out, err;
  EXPECT_THAT((Context{out, err, {"run", "--quick"}}.command_line()),
              HasSubstr("MLPWATT_DATA='/data sets' mlpwatt run --quick"));
  unsetenv("MLPWATT_DATA");
}

TEST(Program, ListAsJsonIsComplete) {
  const Outcome outcome = run({"list", "--json"});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  const nlohmann::json list = outcome.json();
  for (const auto& family : list["families"]) {
    EXPECT_GT(family["benchmarks"], 0) << family["name"];
    EXPECT_NE(family["summary"], "") << family["name"];
  }
}

}  // namespace
}  // namespace mlpwatt::testing

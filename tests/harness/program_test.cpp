// The command line: every wrong word ends in status 2 and one line that names it and what would be right.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/harness/program.h"

namespace mlpwatt::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

struct WrongCall {
  const char* label;
  std::vector<std::string> args;
  std::vector<std::string> said;  ///< what the one line must contain
};

class WrongCalls : public ::testing::TestWithParam<WrongCall> {};

TEST_P(WrongCalls, EndInOneLineAndStatusTwo) {
  const Outcome outcome = run(GetParam().args);
  EXPECT_EQ(outcome.status, 2) << outcome.err;
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
  EXPECT_EQ(context.command_line(), "mlpwatt run --filter '^a (b|c)$' --out 'it'\\''s.h5'");
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

TEST(Program, ListAsJsonIsComplete) {
  const Outcome outcome = run({"list", "--json"});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  for (const auto& family : outcome.json()["families"]) {
    EXPECT_GT(family["benchmarks"], 0) << family["name"];
    EXPECT_NE(family["summary"], "") << family["name"];
  }
}

}  // namespace
}  // namespace mlpwatt::testing

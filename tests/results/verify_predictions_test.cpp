// results/verify_predictions.py against a program that answers what the test wants.

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "tests/support/shell.h"
#include "tests/support/temporary_folder.h"

namespace mlpwatt {
namespace {

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t found = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

/// The script's exit status, with what it wrote in out and err.
int verify(const testing::TemporaryFolder& folder, const std::string& program, std::string& out,
           std::string& err) {
  const std::string fake = folder.path("fake"), err_path = folder.path("err");
  std::ofstream(fake) << "#!/bin/sh\n" << program;
  std::filesystem::permissions(fake, std::filesystem::perms::owner_all);
  const testing::Shell script = testing::shell(
      "(/usr/bin/python3 results/verify_predictions.py model.h5 --mlpwatt " + fake + " 2>" + err_path + ")");
  out = script.out;
  err = testing::shell("cat " + err_path).out;
  return script.status;
}

std::string checked(const std::string& predicted, const std::string& saving, const std::string& low,
                    const std::string& high) {
  return R"("verification": {"target": "time per step", "predicted_saving": )" + predicted +
         R"(, "saving": )" + saving + R"(, "saving_low95": )" + low + R"(, "saving_high95": )" + high + "}";
}
/// The other takes `1 / (1 - saving)` times as long.
std::string answer(const std::string& predicted, const std::string& saving, const std::string& low,
                   const std::string& high) {
  return R"(echo '{"against": {"name": "other", )" + checked(predicted, saving, low, high) + "}}'\n";
}
/// The same of a recommendation and the median pick.
std::string recommendation(const std::string& predicted, const std::string& saving, const std::string& low,
                           const std::string& high) {
  return R"(echo '{"candidates": [{"shape": "trapezoid", "depth": 3, "batch": 64}, )"
         R"({"shape": "rectangle", "depth": 8, "batch": 256}], )" +
         checked(predicted, saving, low, high) + "}'\n";
}

TEST(VerifyPredictions, SaysHowOftenTheModelNamedTheCheaperOne) {
  const testing::TemporaryFolder folder;
  std::string out, err;
  // the other: predicted twice as long, measured 1.6 times; with another batch predicted 1.25 times, but
  // shorter
  const std::string program = "case \"$*\" in recommend*) " + recommendation("0.2", "-0.1", "-0.2", "0.1") +
                              "exit 1 ;;\n*--against-batch*) " + answer("0.2", "-0.25", "-0.3", "-0.2") +
                              ";;\n*) " + answer("0.5", "0.375", "0.3", "0.4") + ";; esac\n";
  EXPECT_EQ(verify(folder, program, out, err), 0) << err;
  EXPECT_EQ(count(out, "| 2.00 | 1.60 [1.43, 1.67] |"), 36u) << out;  // 12 networks, three questions
  EXPECT_EQ(count(out, "| 1.25 | 0.80 [0.77, 0.83] |"), 12u) << out;
  EXPECT_NE(out.find("another kernel: predicted / measured median 1.250 (1.25 to 1.25), sd of its logarithm "
                     "0.000; the cheaper one named in 12 of 12 that differ measurably"),
            std::string::npos)
      << out;
  EXPECT_NE(out.find("another batch: predicted / measured median 1.562"), std::string::npos) << out;
  EXPECT_NE(out.find("the cheaper one named in 0 of 12"), std::string::npos) << out;
  // a recommendation that was not cheaper is an answer, not a failure
  EXPECT_EQ(
      count(out,
            "| trapezoid depth 3 batch 64, rectangle depth 8 batch 256 | s | 1.25 | 0.91 [0.83, 1.11] |"),
      6u)
      << out;
  EXPECT_NE(out.find("a recommendation: "), std::string::npos) << out;
}

TEST(VerifyPredictions, WhatCouldNotBeAskedOrMeasuredIsALineEachAndAFailure) {
  const testing::TemporaryFolder folder;
  std::string out, err;
  const std::string program = "case \"$*\" in *mnist*) echo 'no such model' >&2; exit 1 ;;\n" +
                              std::string("recommend*sleep*) ") +
                              recommendation("0.5", "0.375", "null", "0.4") + ";;\n*sleep*) " +
                              answer("0.5", "0.375", "null", "0.4") + ";;\nrecommend*) " +
                              recommendation("0.5", "0.375", "0.3", "0.4") + ";;\n*) " +
                              answer("0.5", "0.375", "0.3", "0.4") + ";; esac\n";
  EXPECT_EQ(verify(folder, program, out, err), 1);
  EXPECT_EQ(count(err, "exit 1: no such model\n"), 14u) << err;  // three networks, four questions; two wishes
  EXPECT_EQ(count(err, ": no saving_low95\n"), 5u) << err;
  EXPECT_EQ(count(err, "\n"), 19u) << err;
  EXPECT_EQ(count(out, "| 2.00 | 1.60 "), 35u) << out;
}

}  // namespace
}  // namespace mlpwatt

// Comparing files: a difference that is there is found, one that is not is not claimed.

#include "harness/model/comparison.h"

#include <gtest/gtest.h>

#include <map>

#include "tests/harness/model/synthetic_file.h"
#include "tests/harness/program.h"
#include "tests/support/temporary_folder.h"

namespace mlpwatt::model {
namespace {

using mlpwatt::testing::run;

/// `factor` on half of the configurations' times (those of even number), noise on all.
Contents recorded(double factor, double noise, int repetitions, std::uint64_t seed) {
  RandomStream random(seed);
  Contents contents;
  for (int c = 0; c < 40; ++c)
    for (int r = 0; r < repetitions; ++r) {
      Record record;
      record.machine = mlpwatt::testing::plain_machine();
      record.run = Row(runs_table());
      record.run.set("name", "cpu/gemm/nn/" + std::to_string(c));
      record.run.set("status", "ok");
      double sum = 0;
      for (int i = 0; i < 12; ++i) sum += uniform_unit(random) - 0.5;  // close to normal
      const double time = 1e-3 * (1 + c) * (c % 2 == 0 ? factor : 1) * std::exp(noise * sum);
      record.run.set("step_s", time);
      record.run.set("step_low95_s", time * (1 - 1.96 * noise));
      record.run.set("step_high95_s", time * (1 + 1.96 * noise));
      contents.add(std::move(record));
    }
  return contents;
}

TEST(Compare, StudentsTAgreesWithTheTables) {
  EXPECT_NEAR(student_p(12.706, 1), 0.05, 1e-4);
  EXPECT_NEAR(student_p(2.776, 4), 0.05, 1e-4);
  EXPECT_NEAR(student_p(2.086, 20), 0.05, 1e-4);
  EXPECT_NEAR(student_p(1.96, 1e6), 0.05, 1e-4);
  EXPECT_NEAR(student_p(0, 5), 1, 1e-12);
  EXPECT_NEAR(student_p(-4.604, 4), 0.01, 1e-4);
}

TEST(Compare, FindsARealDifferenceAndOnlyThat) {
  for (const int repetitions : {1, 6}) {
    const Comparison c =
        compare(recorded(1, 0.02, repetitions, 1), recorded(1.3, 0.02, repetitions, 2), "step_s");
    ASSERT_EQ(c.configurations.size(), 40u);
    EXPECT_EQ(c.slower, 20) << repetitions;
    EXPECT_LE(c.faster, 1) << repetitions;
    for (const Compared& one : c.configurations) {
      const int number = std::stoi(one.name.substr(12));
      EXPECT_EQ(one.significant && one.ratio > 1.1, number % 2 == 0) << one.name;
      EXPECT_LT(one.low95, one.ratio);
      EXPECT_GT(one.high95, one.ratio);
    }
  }
}

/// Three repetitions of one network on each of so many threads, at `step_s` a step.
Contents on_threads(const std::map<int, double>& times, const std::string& algorithm) {
  Contents contents;
  for (const auto& [threads, step_s] : times)
    for (int r = 0; r < 3; ++r) {
      Record record;
      record.machine = mlpwatt::testing::plain_machine();
      record.run = mlpwatt::testing::training_row("mnist", "rectangle", 4096, 3, algorithm, threads);
      record.run.set("step_s", step_s * (1 + 0.01 * r));
      contents.add(std::move(record));
    }
  return contents;
}

TEST(Compare, ThreadsOfOneFileAreNoRepetitions) {
  const Contents a = on_threads({{1, 1e-3}, {4, 2.5e-4}}, "fused"), b = on_threads({{4, 5e-4}}, "fused");
  const Comparison c = compare(a, b, "step_s");
  ASSERT_EQ(c.configurations.size(), 1u);
  EXPECT_NE(c.configurations[0].name.find(" threads 4"), std::string::npos) << c.configurations[0].name;
  EXPECT_EQ(c.configurations[0].a.values.size(), 3u);
  EXPECT_NEAR(c.configurations[0].ratio, 2, 1e-9);
  EXPECT_EQ(compare(a, a, "step_s").configurations.size(), 2u);
  // one of each in either file: that is what is compared
  const Comparison alike =
      compare(on_threads({{1, 1e-3}}, "fused"), on_threads({{4, 5e-4}}, "blocked"), "step_s");
  ASSERT_EQ(alike.configurations.size(), 1u);
  EXPECT_NEAR(alike.configurations[0].ratio, 0.5, 1e-9);
  EXPECT_EQ(alike.configurations[0].name.find("threads"), std::string::npos);
}

TEST(Compare, TwoMachinesOfOneFileAreNoRepetitions) {
  const auto on_hosts = [](const std::map<std::string, double>& times) {
    Contents contents = on_threads({}, "fused");
    for (const auto& [host, step_s] : times) {
      Contents of_host = on_threads({{1, step_s}}, "fused");
      for (const Row& row : of_host.rows(runs_table())) {
        Record record;
        record.machine = mlpwatt::testing::plain_machine();
        record.machine.set("host", host);
        record.run = row;
        record.run.set("host", host);
        contents.add(std::move(record));
      }
    }
    return contents;
  };
  const Comparison c = compare(on_hosts({{"a", 1e-3}, {"b", 5e-3}}), on_hosts({{"b", 5e-3}}), "step_s");
  ASSERT_EQ(c.configurations.size(), 1u);
  EXPECT_NE(c.configurations[0].name.find("host b"), std::string::npos) << c.configurations[0].name;
  EXPECT_NEAR(c.configurations[0].ratio, 1, 1e-9) << "nothing of host a in it";
  // one machine a file: what is compared
  EXPECT_NEAR(compare(on_hosts({{"a", 1e-3}}), on_hosts({{"b", 5e-3}}), "step_s").configurations.at(0).ratio,
              5, 1e-9);
}

TEST(Compare, EqualFilesShowNoDifference) {
  int claimed = 0;
  for (const std::uint64_t seed : {10, 20, 30, 40, 50}) {
    const Comparison c = compare(recorded(1, 0.05, 4, seed), recorded(1, 0.05, 4, seed + 1), "step_s");
    claimed += c.faster + c.slower;
    EXPECT_LE(c.low95, 1.02);
    EXPECT_GE(c.high95, 0.98);
  }
  EXPECT_LE(claimed, 4);  // of 200
}

TEST(Compare, FlaggedEnergiesStayOutUnlessAskedFor) {
  Contents a = recorded(1, 0.02, 3, 1), b = recorded(1, 0.02, 3, 2);
  for (Contents* side : {&a, &b})
    for (Row& row : side->rows(runs_table())) {
      row.set("step_energy_j_measured", 100 * row.real("step_s"));
      row.set("energy_quality", row.text("name") == "cpu/gemm/nn/7" ? "under_sampled" : "ok");
    }
  const std::string quantity = "step_energy_j_measured";
  EXPECT_EQ(compare(a, b, quantity).configurations.size(), 39u);
  EXPECT_EQ(compare(a, b, quantity, true).configurations.size(), 40u);
  EXPECT_EQ(compare(a, b, "step_s").configurations.size(), 40u) << "their times are good";
  const mlpwatt::testing::TemporaryFolder folder;
  write_file(folder.path("a.h5"), a);
  write_file(folder.path("b.h5"), b);
  const auto counted = [&](std::vector<std::string> more) {
    std::vector<std::string> words{"compare", folder.path("a.h5"), folder.path("b.h5"), "--json"};
    words.insert(words.end(), more.begin(), more.end());
    return run(words).json()["comparisons"].at(1)["configurations"];
  };
  EXPECT_EQ(counted({}), 39);
  EXPECT_EQ(counted({"--flagged-energies"}), 40);
}

TEST(Compare, TheCommandSaysWhatCannotBeCompared) {
  const mlpwatt::testing::TemporaryFolder folder;
  write_file(folder.path("a.h5"), recorded(1, 0.02, 3, 1));
  write_file(folder.path("b.h5"), recorded(1.5, 0.02, 3, 2));
  write_file(folder.path("empty.h5"), Contents());
  const auto good = run({"compare", folder.path("a.h5"), folder.path("b.h5"), "--json"});
  ASSERT_EQ(good.status, 0) << good.err;
  EXPECT_EQ(good.json()["comparisons"][0]["significantly_more"], 20);
  const auto text = run({"compare", folder.path("a.h5"), folder.path("b.h5")});
  EXPECT_NE(text.out.find("B costs more"), std::string::npos);
  const auto nothing = run({"compare", folder.path("a.h5"), folder.path("empty.h5")});
  EXPECT_EQ(nothing.status, 1);
  EXPECT_EQ(nothing.error_lines(), 1u);
  EXPECT_EQ(run({"compare", folder.path("a.h5"), folder.path("no.h5")}).status, 2);
}

}  // namespace
}  // namespace mlpwatt::model

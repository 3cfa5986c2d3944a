// Which benchmarks a filter means, and the catalogue that it searches.

#include "harness/selection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
#include <sstream>
#include <unordered_set>

#include "harness/build_facts.h"
#include "harness/program.h"
#include "kernels/hierarchy.h"
#include "tests/harness/fakes.h"

namespace mlpwatt::testing {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// Families x/a, x/b and y/grid (3000 names, two of them quick), counting the names they show.
class Selecting : public ::testing::Test {
 protected:
  Selecting() {
    for (const char* family : {"x/a", "x/b"})
      add(family, {std::string(family) + "/1", std::string(family) + "/10", std::string(family) + "/quick"});
    std::vector<std::string> grid;
    for (int i = 0; i < 3000; ++i) grid.push_back("y/grid/" + std::to_string(i));
    grid[7] += "/quick";
    grid[2999] += "/quick";
    add("y/grid", grid);
  }
  void add(const std::string& family, const std::vector<std::string>& names) {
    families_.push_back({family, "cpu", "", [this, family, names](const RunOptions&, const auto& visit) {
                           for (const std::string& name : names) {
                             ++shown_[family];
                             Benchmark benchmark = fake_benchmark(name);
                             benchmark.quick = name.ends_with("quick");
                             visit(benchmark);
                           }
                         }});
  }
  std::vector<std::string> names(const std::string& filter, bool quick = false, bool suite = false) {
    shown_.clear();
    std::vector<std::string> found;
    for (const Benchmark& benchmark : select(families_, {}, {filter, quick, suite}))
      found.push_back(benchmark.name);
    return found;
  }
  std::vector<Family> families_;
  std::map<std::string, int> shown_;
};

TEST_F(Selecting, AnExactNameIsItselfAlone) {
  EXPECT_THAT(names("x/a/1"), ElementsAre("x/a/1"));
  EXPECT_EQ(shown_["x/a"], 1) << "stops at the first hit";
  EXPECT_EQ(shown_["y/grid"], 0);
  EXPECT_THAT(names("y/grid/299"), ElementsAre("y/grid/299"));
  EXPECT_THAT(names("x/a/"), ElementsAre("x/a/1", "x/a/10", "x/a/quick"));
}

TEST_F(Selecting, AnExpressionIsSearchedAnywhere) {
  EXPECT_THAT(names("/1$"), ElementsAre("x/a/1", "x/b/1", "y/grid/1"));
  EXPECT_THAT(names("^x/[ab]/1$"), ElementsAre("x/a/1", "x/b/1"));
  EXPECT_THAT(names("^x/a|grid/12$"), ElementsAre("x/a/1", "x/a/10", "x/a/quick", "y/grid/12"));
  EXPECT_THAT(names("(^x/a/1$|^y/grid/5$)"), ElementsAre("x/a/1", "y/grid/5"));
  EXPECT_THAT(names("^x/(a/1|b/10)$"), ElementsAre("x/a/1", "x/b/10"));
  EXPECT_THAT(names("^x/az*/1$"), ElementsAre("x/a/1"));
  EXPECT_THAT(names("^x/bz?/1$"), ElementsAre("x/b/1"));
  EXPECT_THAT(names("^y/grid/0{1}$"), ElementsAre("y/grid/0"));
  EXPECT_EQ(names("all").size(), 3006u);
}

TEST_F(Selecting, AFixedStartSkipsOtherFamilies) {
  names("^x/b/");
  EXPECT_EQ(shown_["x/a"] + shown_["y/grid"], 0);
  names("^x");
  EXPECT_EQ(shown_["y/grid"], 0);
}

TEST_F(Selecting, AMinusMeansAllBut) {
  EXPECT_THAT(names("-(grid|10|quick)"), ElementsAre("x/a/1", "x/b/1"));
  EXPECT_EQ(names("-^x/").size(), 3000u);
  EXPECT_THROW(names("-"), UsageError);
}

TEST_F(Selecting, SuitesLeaveOutGrids) {
  EXPECT_THAT(names("", true), ElementsAre("x/a/quick", "x/b/quick", "y/grid/7/quick", "y/grid/2999/quick"));
  EXPECT_THAT(names("", false, true), ElementsAre("x/a/1", "x/a/10", "x/a/quick", "x/b/1", "x/b/10",
                                                  "x/b/quick", "y/grid/7/quick", "y/grid/2999/quick"));
  EXPECT_THAT(names("^x/a", true), ElementsAre("x/a/quick"));
  EXPECT_THROW(names("x/a/1", true), UsageError) << "not a quick one";
}

TEST_F(Selecting, WhatMatchesNothingIsNamedWithTheNearest) {
  for (const auto& [filter, quick, said] :
       {std::tuple{"x/a/2", false, "x/a/1"}, {"grod", true, "quick suite"}}) {
    try {
      names(filter, quick);
      ADD_FAILURE() << filter;
    } catch (const UsageError& error) {
      EXPECT_THAT(error.what(), AllOf(HasSubstr(std::string("'") + filter + "'"), HasSubstr(said)));
    }
  }
}

// --- the real catalogue

bool of_the_product(const Family& family) { return family.backend != "test"; }

RunOptions here() {
  RunOptions options;
  options.hierarchy = read_hierarchy();
  return options;
}

TEST(Catalogue, EveryEntryIsWhole) {
  const RunOptions options = here();
  std::unordered_set<std::string> names;
  std::size_t quick = 0;
  for (const Family& family : catalogue()) {
    std::size_t entries = 0;
    std::string wrong;
    family.enumerate(options, [&](const Benchmark& benchmark) {
      ++entries;
      quick += benchmark.quick && of_the_product(family) ? 1 : 0;
      if (!names.insert(benchmark.name).second) wrong = benchmark.name + ": twice";
      if (!benchmark.name.starts_with(family.name + "/"))
        wrong = benchmark.name + ": not below " + family.name;
      if (benchmark.family != family.name) wrong = benchmark.name + ": of family " + benchmark.family;
      if (benchmark.unavailable.empty() && !benchmark.make) wrong = benchmark.name + ": cannot be made";
      if (benchmark.unavailable.find('\n') != std::string::npos)
        wrong = benchmark.name + ": reason of two lines";
    });
    EXPECT_GT(entries, 0u) << family.name << " has neither an entry nor a reason";
    EXPECT_EQ(wrong, "");
  }
  EXPECT_GT(quick, 10u);
}

TEST(Catalogue, EnumerationIsTheSameEachTimeAndCanBeLeft) {
  struct Enough {};
  const RunOptions options = here();
  for (const Family& family : catalogue()) {
    const auto first_names = [&] {
      std::vector<std::string> names;
      try {
        family.enumerate(options, [&](const Benchmark& benchmark) {
          names.push_back(benchmark.name);
          if (names.size() == 20) throw Enough{};
        });
      } catch (const Enough&) {
      }
      return names;
    };
    EXPECT_EQ(first_names(), first_names()) << family.name;
  }
}

/// Names of families registered in the files below `folder`.
std::set<std::string> registered_below(const std::string& folder, const std::string& extension) {
  static const std::regex registration(
      R"(FamilyRegistration\s+\w+\s*\{\s*\{\s*(?:\.name\s*=\s*)?"([^"]+)\")");
  std::set<std::string> names;
  for (const auto& entry :
       std::filesystem::recursive_directory_iterator(build_facts().source_dir + "/" + folder)) {
    if (entry.path().extension() != extension) continue;
    std::ostringstream text;
    text << std::ifstream(entry.path()).rdbuf();
    const std::string source = text.str();
    const bool registers = source.find("FamilyRegistration ") != std::string::npos;
    std::smatch found;
    EXPECT_EQ(std::regex_search(source, found, registration), registers) << entry.path();
    if (registers && !found.empty()) names.insert(found[1]);
  }
  return names;
}

TEST(Catalogue, EveryKernelFileOfTheSourceIsInIt) {
  std::set<std::string> cpu;
  for (const Family& family : catalogue())
    if (family.backend == "cpu") cpu.insert(family.name);
  EXPECT_EQ(registered_below("cpu", ".cpp"), cpu);
  EXPECT_GE(cpu.size(), 5u);
}

}  // namespace
}  // namespace mlpwatt::testing

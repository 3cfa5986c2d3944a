// The vocabulary, reading --counters, pass planning and the dealing of names, with sources made up here.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <stdexcept>

#include "meters/counters/counter_source.h"

namespace mlpwatt {
namespace {

using Names = std::vector<std::string>;

TEST(CounterVocabulary, NamesAreUniqueAndDescribed) {
  std::set<std::string> seen;
  for (const CounterName& entry : counter_vocabulary()) {
    EXPECT_TRUE(seen.insert(entry.name).second) << entry.name;
    EXPECT_FALSE(entry.description.empty()) << entry.name;
    EXPECT_TRUE(entry.unit == "1" || entry.unit == "B" || entry.unit == "s") << entry.name;
  }
  for (const std::string& name : default_counters()) EXPECT_EQ(seen.count(name), 1u) << name;
}

TEST(CounterVocabulary, AliasesAndNativeEventsAreRead) {
  const CounterSelection selection =
      parse_counter_selection("l1d_miss,PAPI_TOT_INS,perf::PAGE-FAULTS,l1_miss");
  EXPECT_EQ(selection.choice, CounterChoice::kAuto);
  EXPECT_EQ(selection.names, (Names{"l1_miss", "PAPI_TOT_INS", "perf::PAGE-FAULTS"}));
  EXPECT_EQ(parse_counter_selection("simulate,l2_bytes").names, Names{"l2_bytes"});
  EXPECT_EQ(parse_counter_selection("simulate").names, default_counters());
  EXPECT_TRUE(parse_counter_selection("none").names.empty());
}

TEST(CounterVocabulary, UnknownWordsNameTheNearest) {
  for (const char* bad : {"l1_mis", "", "l1_miss,", "simulated", "none,l1_miss", "papi,simulate"}) {
    try {
      parse_counter_selection(bad);
      ADD_FAILURE() << "accepted '" << bad << "'";
    } catch (const std::invalid_argument& error) {
      EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
    }
  }
  try {
    parse_counter_selection("l1_mis");
    FAIL();
  } catch (const std::invalid_argument& error) {
    EXPECT_NE(std::string(error.what()).find("nearest: l1_miss"), std::string::npos) << error.what();
  }
}

TEST(CounterVocabulary, ColumnsCarryProvenanceAndPlainCharacters) {
  EXPECT_EQ(counter_column("l1_miss", Provenance::kSimulated), "l1_miss_simulated");
  EXPECT_EQ(counter_column("perf::PAGE-FAULTS", Provenance::kMeasured), "perf_PAGE_FAULTS_measured");
}

TEST(PassPlanner, FirstPassHoldsTheMostWanted) {
  const auto four = [](const Names& set) { return set.size() <= 4; };
  const CounterPlan plan = plan_passes({"a", "b", "c", "d", "e", "f"}, four);
  ASSERT_EQ(plan.passes.size(), 2u);
  EXPECT_EQ(plan.passes[0], (Names{"a", "b", "c", "d"}));
  EXPECT_EQ(plan.passes[1], (Names{"e", "f"}));
  EXPECT_TRUE(plan.refused.empty());
}

TEST(PassPlanner, ConflictsAndImpossibleEvents) {
  // "x" and "y" need the same register; "never" fits nowhere; "wide" takes three of four registers.
  const auto fits = [](const Names& set) {
    int registers = 0, same = 0;
    for (const std::string& name : set) {
      if (name == "never") return false;
      registers += name == "wide" ? 3 : 1;
      same += name == "x" || name == "y";
    }
    return registers <= 4 && same <= 1;
  };
  const CounterPlan plan = plan_passes({"x", "never", "y", "wide", "a"}, fits);
  ASSERT_EQ(plan.passes.size(), 2u);
  EXPECT_EQ(plan.passes[0], (Names{"x", "wide"}));
  EXPECT_EQ(plan.passes[1], (Names{"y", "a"}));
  ASSERT_EQ(plan.refused.size(), 1u);
  EXPECT_EQ(plan.refused[0].name, "never");
  EXPECT_FALSE(plan.refused[0].reason.empty());
}

TEST(PassPlanner, EveryNameIsInOnePlaceOnlyWhateverFits) {
  for (std::size_t room = 0; room <= 7; ++room) {
    const Names asked{"a", "b", "c", "d", "e", "f"};
    const CounterPlan plan = plan_passes(asked, [&](const Names& set) { return set.size() <= room; });
    std::multiset<std::string> placed;
    for (const Names& pass : plan.passes) {
      EXPECT_LE(pass.size(), room);
      placed.insert(pass.begin(), pass.end());
    }
    for (const auto& refusal : plan.refused) placed.insert(refusal.name);
    EXPECT_EQ(placed, std::multiset<std::string>(asked.begin(), asked.end()));
    EXPECT_EQ(plan.passes.size(), room == 0 ? 0 : (asked.size() + room - 1) / room);
  }
}

/// Delivers `knows`, two at a time, counting 10 a step.
class Pretend : public CounterSource {
 public:
  Pretend(std::string name, Names knows, bool in_window, CounterStatus::State state, std::string* log)
      : name_(std::move(name)), knows_(std::move(knows)), in_window_(in_window), state_(state), log_(log) {}
  std::string name() const override { return name_; }
  Provenance provenance() const override {
    return in_window_ ? Provenance::kMeasured : Provenance::kSimulated;
  }
  bool in_window() const override { return in_window_; }
  CounterStatus probe() override { return {state_, "pretence", "type this", true}; }
  CounterPlan prepare(const CounterRequest& request) override {
    Names mine, others;
    for (const auto& name : request.names)
      (std::find(knows_.begin(), knows_.end(), name) != knows_.end() ? mine : others).push_back(name);
    plan_ = plan_passes(mine, [](const Names& set) { return set.size() <= 2; });
    for (const auto& name : others) plan_.refused.push_back({name, "not in my list"});
    return plan_;
  }
  void start(int pass) override {
    pass_ = pass;
    *log_ += "+" + name_ + std::to_string(pass);
  }
  std::vector<CounterValue> stop(std::int64_t steps) override {
    *log_ += "-" + name_ + std::to_string(pass_);
    std::vector<CounterValue> values;
    for (const auto& name : plan_.passes[static_cast<std::size_t>(pass_)]) {
      CounterValue value;
      value.name = name;
      value.source = name_;
      value.steps = in_window_ ? steps : 2;
      value.value = 10.0 * static_cast<double>(value.steps) + start_and_stop;
      value.provenance = provenance();
      values.push_back(value);
    }
    return values;
  }
  double start_and_stop = 0;  ///< counted by starting and stopping alone

 private:
  std::string name_;
  Names knows_;
  bool in_window_;
  CounterStatus::State state_;
  std::string* log_;
  CounterPlan plan_;
  int pass_ = -1;
};

TEST(CounterSession, DealsNamesToTheFirstSourceThatDelivers) {
  std::string log;
  std::vector<std::unique_ptr<CounterSource>> sources;
  using State = CounterStatus::State;
  sources.push_back(
      std::make_unique<Pretend>("a", Names{"l1_miss", "l2_miss", "cycles"}, true, State::kFound, &log));
  sources.push_back(
      std::make_unique<Pretend>("b", Names{"cycles", "page_faults"}, true, State::kFound, &log));
  sources.push_back(std::make_unique<Pretend>("c", Names{"stall"}, true, State::kNotPermitted, &log));
  sources.push_back(std::make_unique<Pretend>("d", Names{"l3_miss", "l1_miss"}, false, State::kFound, &log));
  CounterRequest request;
  request.names = {"l1_miss", "l2_miss", "l3_miss", "cycles", "page_faults", "stall"};
  CounterSession session(std::move(sources), request);
  EXPECT_EQ(session.passes(), 2);
  EXPECT_TRUE(session.has_aside());
  for (int pass = 0; pass < session.passes(); ++pass) {
    session.start(pass);
    session.stop(7);
  }
  // each pass after two that count nothing
  EXPECT_EQ(log, "+a0+b0-b0-a0+a0+b0-b0-a0+a0+b0-b0-a0+a1-a1+a1-a1+a1-a1");
  session.count_aside();
  const auto values = session.values();
  ASSERT_EQ(values.size(), request.names.size());
  const char* owners[] = {"a", "a", "d", "a", "b", ""};
  const int passes[] = {0, 0, 0, 1, 0, 0};
  for (std::size_t i = 0; i < values.size(); ++i) {
    EXPECT_EQ(values[i].name, request.names[i]);
    EXPECT_EQ(values[i].source, owners[i]) << values[i].name;
    EXPECT_EQ(values[i].pass, passes[i]) << values[i].name;
    EXPECT_EQ(values[i].value.has_value(), *owners[i] != 0);
    if (values[i].value) {
      EXPECT_EQ(*values[i].per_step(), 10) << values[i].name;
    }
  }
  EXPECT_EQ(values[2].provenance, Provenance::kSimulated);
  EXPECT_NE(values[5].reason.find("c: no permission: pretence; remedy: type this"), std::string::npos)
      << values[5].reason;
}

TEST(CounterSession, ACountCarriesWhatStartingAndStoppingMayHaveAdded) {
  const auto counted = [](double start_and_stop, bool in_window) {
    std::string log;
    std::vector<std::unique_ptr<CounterSource>> sources;
    auto source =
        std::make_unique<Pretend>("a", Names{"l1_miss"}, in_window, CounterStatus::State::kFound, &log);
    source->start_and_stop = start_and_stop;
    sources.push_back(std::move(source));
    CounterRequest request;
    request.names = {"l1_miss"};
    CounterSession session(std::move(sources), request);
    session.start(0);
    session.stop(5);
    session.count_aside();
    return session.values().at(0);
  };
  EXPECT_EQ(counted(0, true).standard_uncertainty, 0.0);
  EXPECT_DOUBLE_EQ(*counted(6, true).standard_uncertainty, 6 / std::sqrt(3.0));
  // made aside from the window: the source says it itself, or nobody does
  EXPECT_FALSE(counted(6, false).standard_uncertainty.has_value());
}

TEST(CounterSession, WithoutSourcesThereAreReasonsAndNoZeros) {
  CounterRequest request;
  request.names = {"l1_miss"};
  CounterSession session(std::vector<std::unique_ptr<CounterSource>>{}, request);
  EXPECT_EQ(session.passes(), 1);
  session.start(0);
  session.stop(1);
  ASSERT_EQ(session.values().size(), 1u);
  EXPECT_FALSE(session.values()[0].value.has_value());
  EXPECT_FALSE(session.values()[0].per_step().has_value());
  EXPECT_FALSE(session.values()[0].reason.empty());
}

TEST(CounterSession, NoneCountsNothing) {
  CounterSession session(parse_counter_selection("none"), {});
  EXPECT_EQ(session.passes(), 1);
  EXPECT_FALSE(session.has_aside());
  EXPECT_TRUE(session.values().empty());
}

}  // namespace
}  // namespace mlpwatt

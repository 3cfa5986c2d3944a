// The fit gives known coefficients back, says what it cannot tell, and is tested by parts left out.

#include "harness/model/fit.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "harness/model/model.h"
#include "tests/harness/model/synthetic_file.h"

namespace mlpwatt::model {
namespace {

using mlpwatt::testing::synthetic_contents;
using mlpwatt::testing::TruePrices;

const TruePrices kPrices{{"step", 2e-6}, {"layer", 5e-7}, {"flop", 3e-11},  {"L1", 0},
                         {"L2", 2e-11},  {"L3", 6e-11},   {"memory", 3e-10}};

const FittedForm& find(const Fitting& fitting, const std::string& form, const std::string& algorithm) {
  for (const FittedForm& one : fitting.forms)
    if (one.form == form && one.algorithm == algorithm && one.target == Target::kTime) return one;
  throw std::runtime_error("no fit of " + form + " " + algorithm);
}

const Coefficient& find(const FittedForm& fitted, const std::string& term) {
  for (const Coefficient& one : fitted.fit.coefficients)
    if (one.term == term) return one;
  throw std::runtime_error("no term " + term);
}

std::vector<TrainingRun> runs_of(const Contents& contents) {
  return merge_repetitions(training_runs(contents));
}

/// A model of these runs, as `mlpwatt fit` leaves it beside them.
void fit_into(Contents& contents, const std::vector<TrainingRun>& runs) {
  for (const auto& [table, rows] : rows_of(fit_all(runs, {20, 1}), runs)) contents.rows(*table) = rows;
}

const TrainingRun& largest(const std::vector<TrainingRun>& runs) {
  return *std::max_element(runs.begin(), runs.end(), [](const TrainingRun& a, const TrainingRun& b) {
    return a.work.parameters < b.work.parameters;
  });
}

TEST(ModelFit, RecoversKnownCoefficientsWithoutNoise) {
  const Fitting fitting = fit_all(runs_of(synthetic_contents("traffic", kPrices, 160, 0)), {20, 1});
  int told_apart = 0;
  for (const std::string algorithm : {"fused", "blocked"})
    for (const auto& [term, price] : kPrices) {
      const Coefficient& one = find(find(fitting, "traffic", algorithm), term);
      if (one.state == Identified::kCollinear) continue;  // said by a test below
      told_apart += one.state != Identified::kEmpty;
      EXPECT_NEAR(one.value, price, 1e-6 * price + 1e-16)
          << algorithm << ' ' << term << ' ' << static_cast<int>(one.state);
    }
  EXPECT_GE(told_apart, 12) << "of 14: a fit that tells nothing apart recovers nothing";
}

TEST(ModelFit, OneInstructionSetAtATime) {
  // the same networks with AVX2 and, fewer of them and three times as slow, with generic code
  Contents contents = synthetic_contents("traffic", kPrices, 120, 0);
  const std::vector<Row> rows = contents.rows(runs_table());
  for (std::size_t i = 0; i < rows.size() / 2; ++i) {
    Row slow = rows[i];
    slow.set("isa", "generic");
    slow.set("step_s", 3 * rows[i].real("step_s"));
    contents.rows(runs_table()).push_back(std::move(slow));
  }
  const Fitting fitting = fit_all(runs_of(contents), {20, 1});
  ASSERT_FALSE(fitting.left_out.empty());
  EXPECT_NE(fitting.left_out.front().find("of generic"), std::string::npos) << fitting.left_out.front();
  const Coefficient& flop = find(find(fitting, "traffic", "fused"), "flop");
  EXPECT_NEAR(flop.value, kPrices.at("flop"), 1e-6 * kPrices.at("flop"));
}

TEST(ModelFit, RecoversKnownCoefficientsWithinTheirIntervals) {
  // 95 % intervals of 2 x 7 coefficients: all of them, but for one in twenty over several draws.
  int inside = 0, all = 0;
  for (const std::uint64_t seed : {1, 2, 3, 4}) {
    const Fitting fitting =
        fit_all(runs_of(synthetic_contents("traffic", kPrices, 240, 0.05, 1, seed)), {200, seed});
    for (const std::string algorithm : {"fused", "blocked"})
      for (const auto& [term, price] : kPrices) {
        const Coefficient& one = find(find(fitting, "traffic", algorithm), term);
        if (one.state != Identified::kYes && one.state != Identified::kZero) continue;
        ++all;
        inside += one.low95 <= price && price <= one.high95;
      }
  }
  EXPECT_GE(all, 48);
  EXPECT_GE(inside, all * 85 / 100) << inside << " of " << all;
}

TEST(ModelFit, CollinearAndEmptyTermsAreReportedNotInvented) {
  Design design;
  design.terms = {"step", "twice", "empty", "flop", "sum"};
  design.x.resize(30, 5);
  design.y.resize(30);
  for (Eigen::Index i = 0; i < 30; ++i) {
    const double flops = 1 + static_cast<double>(i * i);
    design.x.row(i) << 1, 2, 0, flops, 3 + flops;
    design.y(i) = 4 + 5 * flops;
    design.groups.push_back(std::to_string(i));
  }
  const Fit found = fit(design, {50, 1});
  EXPECT_EQ(found.coefficients[0].state, Identified::kYes);
  EXPECT_NEAR(found.coefficients[0].value, 4, 1e-9);
  EXPECT_EQ(found.coefficients[1].state, Identified::kCollinear);
  EXPECT_NE(found.coefficients[1].reason.find("step"), std::string::npos) << found.coefficients[1].reason;
  EXPECT_TRUE(std::isnan(found.coefficients[1].value));
  EXPECT_EQ(found.coefficients[2].state, Identified::kEmpty);
  EXPECT_NEAR(found.coefficients[3].value, 5, 1e-9);
  EXPECT_EQ(found.coefficients[4].state, Identified::kCollinear);
  EXPECT_THROW(fit(design.only({0, 1})), std::invalid_argument);
}

TEST(ModelFit, ALevelThatHardlyAnyRunTouchesHasNoPrice) {
  // Two of thirty runs touch "far" by a few bytes and happen to be slow: their scatter is no price.
  Design design;
  design.terms = {"flop", "far"};
  design.x = Eigen::MatrixXd::Zero(30, 2);
  design.y.resize(30);
  for (Eigen::Index i = 0; i < 30; ++i) {
    design.x(i, 0) = static_cast<double>(1 + i);
    design.x(i, 1) = i < 2 ? 1e-3 : 0;
    design.y(i) = design.x(i, 0) * (i < 2 ? 1.3 : 1.0);
  }
  EXPECT_GT(fit_identified(design)(1), 100);
  design.need_support = {"far"};
  EXPECT_EQ(fit_identified(design)(1), 0);
  EXPECT_EQ(identify(design)[1].state, Identified::kEmpty);
}

TEST(ModelFit, ARelativeErrorWeighsSmallAndLargeAlike) {
  // Ten times the runs at large values must not buy their fit with the small ones.
  Design design;
  design.terms = {"a"};
  design.x = Eigen::MatrixXd::Ones(11, 1);
  design.x(0, 0) = 1e-6;
  design.y = Eigen::VectorXd::Ones(11);
  design.y(0) = 1e-6 * 0.5;
  const double c = fit_relative(design.x, design.y)(0);
  // minimises (2c - 1)^2 + 10 (c - 1)^2
  EXPECT_NEAR(c, 12.0 / 14.0, 1e-12);
}

TEST(CrossValidation, LeavesWholePartsOutAndTheTrueFormWins) {
  const std::vector<TrainingRun> runs = runs_of(synthetic_contents("traffic", kPrices, 200, 0.05));
  std::vector<std::size_t> rows(runs.size());
  for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = i;
  for (const std::string& kind : held_out_kinds()) {
    const Validation truth = cross_validate(runs, rows, "traffic", kind, Target::kTime);
    EXPECT_EQ(truth.predictions.size(), runs.size());
    EXPECT_LT(truth.sd, 0.09) << kind;
    EXPECT_GT(truth.sd, 0.03) << kind;  // the noise put in: no fit may hide it
    EXPECT_NEAR(truth.median_ratio, 1, 0.03) << kind;
    for (const std::string baseline : {"parameters", "flops", "roofline"})
      EXPECT_GT(cross_validate(runs, rows, baseline, kind, Target::kTime).sd, truth.sd)
          << baseline << ' ' << kind;
  }
}

TEST(CrossValidation, APartIsNeverFittedOnItself) {
  // One dataset's times are three times the model's: seen, the fit would bend; unseen, its ratio is a third.
  std::vector<TrainingRun> runs =
      runs_of(synthetic_contents("flops", {{"step", 1e-6}, {"flop", 1e-10}}, 150, 0));
  std::vector<std::size_t> rows(runs.size());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    rows[i] = i;
    if (runs[i].configuration.dataset == "mnist") runs[i].step_s *= 3;
  }
  const Validation v = cross_validate(runs, rows, "flops", "dataset", Target::kTime);
  for (const Prediction& p : v.predictions)
    if (runs[p.run].configuration.dataset == "mnist") {
      EXPECT_NEAR(p.ratio(), 1.0 / 3, 1e-6);
    }
}

TEST(Model, RepetitionsBecomeOneConfigurationAndTheirScatterIsReported) {
  const Contents contents = synthetic_contents("traffic", kPrices, 60, 0.1, 5);
  const std::vector<TrainingRun> runs = runs_of(contents);
  EXPECT_EQ(training_runs(contents).size(), 300u);
  EXPECT_LE(runs.size(), 60u);  // a configuration may be drawn twice
  EXPECT_EQ(runs.front().repetitions % 5, 0);
  const auto tables = rows_of(fit_all(runs, {20, 1}), runs);
  for (const Row& row : tables.at(&model_tests_table())) {
    EXPECT_NEAR(row.real("repeat_sd"), 0.1, 0.03);
    EXPECT_EQ(row.text("statistic"), "median");
  }
  // The quickest stands for what nobody disturbed; the scatter stays that about the median.
  const std::vector<TrainingRun> quickest = merge_repetitions(training_runs(contents), Statistic::kQuickest);
  ASSERT_EQ(quickest.size(), runs.size());
  for (std::size_t i = 0; i < runs.size(); ++i) EXPECT_LT(quickest[i].step_s, runs[i].step_s);
  const auto quickest_tables = rows_of(fit_all(quickest, {20, 1}), quickest);
  for (const Row& row : quickest_tables.at(&model_tests_table())) {
    EXPECT_NEAR(row.real("repeat_sd"), 0.1, 0.03);
    EXPECT_EQ(row.text("statistic"), "quickest");
  }
}

TEST(Model, FlaggedEnergiesAreLeftOutUnlessAskedFor) {
  Contents contents = synthetic_contents("traffic", kPrices, 4, 0);
  std::vector<Row>& rows = contents.rows(runs_table());
  for (Row& row : rows) row.set("step_energy_j_measured", 2.0);
  rows[0].set("energy_quality", "ok");
  rows[1].set("energy_quality", "under_sampled");
  rows[2].set("energy_quality", "dropout lost");
  const auto with_energy = [&](bool flagged) {
    int count = 0;
    for (const TrainingRun& run : training_runs(contents, nullptr, flagged))
      count += run.energy_j.contains("measured");
    return count;
  };
  EXPECT_EQ(with_energy(false), 2) << "the ok one, and one of a file without flags";
  EXPECT_EQ(with_energy(true), 4);
  EXPECT_EQ(training_runs(contents).size(), 4u) << "their times are as good as others";
}

TEST(Model, PredictsFromTheRowsOfTheFile) {
  Contents contents = synthetic_contents("traffic", kPrices, 160, 0.02);
  const std::vector<TrainingRun> runs = runs_of(contents);
  fit_into(contents, runs);
  const Model model(contents, "memory");
  int inside = 0;
  for (const TrainingRun& run : runs) {
    const Estimate e =
        model.predict(run.configuration, hierarchy_of(contents.rows(machine_table()).front()), Target::kTime);
    EXPECT_NEAR(e.value / run.step_s, 1, 0.25) << run.configuration.name();
    inside += e.low95 <= run.step_s && run.step_s <= e.high95;
    double total = 0;
    for (const Share& share : e.shares) total += share.cost;
    EXPECT_NEAR(total, e.value, 1e-12 * e.value);
  }
  EXPECT_GE(inside, static_cast<int>(runs.size()) * 85 / 100);
  // A price from elsewhere replaces the fitted one.
  const TrainingRun& large = largest(runs);
  const Hierarchy hierarchy = hierarchy_of(contents.rows(machine_table()).front());
  const OtherMachine quicker{{{"flop", 1e-15}}, {}};
  EXPECT_LT(model.predict(large.configuration, hierarchy, Target::kTime, &quicker).value,
            model.predict(large.configuration, hierarchy, Target::kTime).value);
  Configuration strange = large.configuration;
  strange.algorithm = "no_such";
  EXPECT_THROW(model.predict(strange, hierarchy, Target::kTime), std::invalid_argument);
  EXPECT_THROW(Model(Contents(), "empty.h5"), std::invalid_argument);
}

TEST(Model, OfSeveralMachinesTheOneAskedForAnswers) {
  // the same runs on two machines, the second one twice as slow
  Contents contents = synthetic_contents("traffic", kPrices, 80, 0);
  Row slow = contents.rows(machine_table()).front();
  slow.set("host", "slow");
  slow.set("processor", "half the clock");
  contents.rows(machine_table()).push_back(slow);
  const std::vector<Row> there = contents.rows(runs_table());
  for (Row row : there) {
    row.set("machine_row", std::int64_t{1});
    row.set("step_s", 2 * row.real("step_s"));
    contents.rows(runs_table()).push_back(std::move(row));
  }
  const std::vector<TrainingRun> runs = training_runs(contents);
  ASSERT_EQ(runs.size(), 2 * there.size());
  fit_into(contents, runs);
  const Hierarchy hierarchy = hierarchy_of(contents.rows(machine_table()).front());
  const auto time_of = [&](const std::string& machine) {
    const Model model(contents, "two.h5", machine);
    EXPECT_EQ(model.machines().size(), 2u);
    return model.predict(runs.front().configuration, hierarchy, Target::kTime).value;
  };
  EXPECT_NEAR(time_of("slow") / time_of(""), 2, 0.02);
  EXPECT_EQ(time_of("1"), time_of("slow"));
  EXPECT_EQ(time_of("0"), time_of(""));
  try {
    time_of("absent");
    FAIL() << "a machine that the file has no model of";
  } catch (const std::invalid_argument& error) {
    EXPECT_NE(std::string(error.what()).find("1 (slow, half the clock)"), std::string::npos) << error.what();
  }
  contents.rows(machine_table())[0].set("host", "slow");
  EXPECT_THROW(time_of("slow"), std::invalid_argument) << "two of that name: a row's number tells which";
}

TEST(ModelFit, SimulatedCountersGiveTheirPricesBack) {
  // Counters that saw what our loops move, so that the times that traffic made are theirs as well.
  constexpr double kLine = 64;
  Contents contents = synthetic_contents("traffic", kPrices, 160, 0);
  for (const TrainingRun& one : training_runs(contents)) {
    Row& row = contents.rows(runs_table())[static_cast<std::size_t>(one.run_row)];
    const std::vector<double>& bytes = one.work.traffic_bytes;  // L1 L2 L3 memory
    ASSERT_EQ(bytes.size(), 4u);
    row.set("l3_miss_simulated", bytes[3] / kLine);
    row.set("l2_miss_simulated", (bytes[3] + bytes[2]) / kLine);
    row.set("l1_miss_simulated", (bytes[3] + bytes[2] + bytes[1]) / kLine);
  }
  const Fitting fitting = fit_all(runs_of(contents), {20, 1});
  for (const std::string algorithm : {"fused", "blocked"}) {
    const FittedForm& fitted = find(fitting, "counters_simulated", algorithm);
    EXPECT_EQ(find(fitted, "L1").state, Identified::kEmpty) << "a hit in the first level is not counted";
    EXPECT_EQ(find(fitted, "memory").state, Identified::kYes) << algorithm;
    for (const std::string term : {"step", "layer", "flop", "L2", "L3", "memory"}) {
      const Coefficient& one = find(fitted, term);
      if (one.state == Identified::kYes) {
        EXPECT_NEAR(one.value, kPrices.at(term), 1e-6 * kPrices.at(term)) << algorithm << ' ' << term;
      }
    }
  }
  for (const TestedForm& one : fitting.tests)
    EXPECT_NE(one.validation.form, "counters_measured") << "nothing was measured here";
}

TEST(Model, EnergyIsFittedWithItsStaticPower) {
  std::vector<TrainingRun> runs = runs_of(synthetic_contents("traffic", kPrices, 160, 0));
  const Form& traffic = form("traffic");
  Eigen::VectorXd joules(8);
  joules << 1e-5, 1e-6, 2e-10, 0, 1e-10, 5e-10, 2e-9, 15;  // step layer flop L1 L2 L3 memory static
  for (TrainingRun& run : runs) {
    // not proportional to the work, or the static term could not be told from it
    run.step_s *= 1 + 0.5 * (run.configuration.depth % 3);
    run.energy_j["measured"] = joules.dot(traffic.row(run, Target::kEnergyMeasured));
  }
  const Fitting fitting = fit_all(runs, {20, 1});
  for (const FittedForm& one : fitting.forms)
    if (one.form == "traffic" && one.target == Target::kEnergyMeasured) {
      EXPECT_EQ(unit_of(traffic.terms.back(), one.target), "W");
      EXPECT_NEAR(find(one, "static").value, 15, 1e-3);
      EXPECT_NEAR(find(one, "memory").value, 2e-9, 1e-13);
    }
  EXPECT_TRUE(std::any_of(fitting.forms.begin(), fitting.forms.end(),
                          [](const FittedForm& one) { return one.target == Target::kEnergyMeasured; }));
  EXPECT_TRUE(std::none_of(fitting.forms.begin(), fitting.forms.end(),
                           [](const FittedForm& one) { return one.target == Target::kEnergyModelled; }));
}

TEST(Model, TheRooflinesRatesAreRowsOfTheModelWithIntervals) {
  std::vector<TrainingRun> runs = runs_of(synthetic_contents("traffic", kPrices, 160, 0));
  const Roofline truth{2e-11, 1e-9};
  RandomStream random(7);
  for (TrainingRun& run : runs)
    run.step_s = truth.predict(run, Target::kTime) * (1 + 0.1 * (uniform_unit(random) - 0.5));
  const Fitting fitting = fit_all(runs, {50, 1});
  int found = 0;
  const std::map<const Table*, std::vector<Row>> tables = rows_of(fitting, runs);
  for (const Row& row : tables.at(&model_table())) {
    if (row.text("form") != "roofline" || row.text("target") != "time") continue;
    ++found;
    const bool flop = row.text("term") == "flop";
    EXPECT_EQ(row.text("unit"), flop ? "s/FLOP" : "s/byte");
    EXPECT_NEAR(row.real("value"), flop ? truth.per_flop : truth.per_byte, flop ? 1e-12 : 5e-11);
    EXPECT_LE(row.real("low95"), row.real("value"));
    EXPECT_GE(row.real("high95"), row.real("value"));
    EXPECT_LT(row.real("high95") - row.real("low95"), 0.1 * row.real("value"));
  }
  EXPECT_GT(found, 0);
  EXPECT_EQ(found % 2, 0) << "two rates of each algorithm";
  // where every run is bound by arithmetic, nothing says what a byte costs
  for (TrainingRun& run : runs) {
    run.work.compulsory_bytes = 1e-3 * run.work.flops * (1 + uniform_unit(random));
    run.step_s = Roofline{1, 0}.predict(run, Target::kTime);
  }
  std::vector<std::size_t> rows(runs.size());
  for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = i;
  const Fit one_sided = fit_roofline_rates(runs, rows, Target::kTime, {5, 1});
  EXPECT_EQ(one_sided.coefficients[0].state, Identified::kYes);
  EXPECT_EQ(one_sided.coefficients[1].state, Identified::kEmpty);
}

TEST(Model, EnergyElsewherePaysForTheSecondsElsewhere) {
  Contents contents = synthetic_contents("traffic", kPrices, 160, 0);
  std::vector<TrainingRun> runs = runs_of(contents);
  for (TrainingRun& run : runs) run.energy_j["measured"] = 15 * run.step_s;  // nothing but the static term
  fit_into(contents, runs);
  // a model whose energy is that term alone: what a fit makes of joules proportional to time is another
  // question
  std::erase_if(contents.rows(model_table()), [](const Row& row) { return row.text("form") != "traffic"; });
  for (Row& row : contents.rows(model_table()))
    if (row.text("target") == "energy_measured") row.set("value", row.text("term") == "static" ? 15.0 : 0.0);
  const Model model(contents, "synthetic.h5");
  const Hierarchy hierarchy = hierarchy_of(contents.rows(machine_table()).front());
  const Configuration& large = largest(runs).configuration;
  const OtherMachine slow{{{"flop", 100 * kPrices.at("flop")}}, {}};
  const double seconds = model.predict(large, hierarchy, Target::kTime, &slow).value;
  EXPECT_GT(seconds, 10 * model.predict(large, hierarchy, Target::kTime).value);
  EXPECT_NEAR(model.predict(large, hierarchy, Target::kEnergyMeasured, &slow).value, 15 * seconds,
              1e-9 * seconds);
}

TEST(Model, WhatAFitCouldNotTellApartIsNotAnsweredForElsewhere) {
  Contents contents = synthetic_contents("traffic", kPrices, 160, 0);
  const std::vector<TrainingRun> runs = runs_of(contents);
  fit_into(contents, runs);
  std::erase_if(contents.rows(model_table()), [](const Row& row) { return row.text("form") != "traffic"; });
  for (Row& row : contents.rows(model_table()))
    if (row.text("term") == "L2") {
      row.set("value", std::nan(""));
      row.set("state", to_string(Identified::kCollinear));
    }
  const Model model(contents, "synthetic.h5");
  const Configuration& large = largest(runs).configuration;
  const Hierarchy hierarchy = hierarchy_of(contents.rows(machine_table()).front());
  const OtherMachine nothing, priced{{{"L2", 1e-11}}, {}};
  EXPECT_TRUE(model.predict(large, hierarchy, Target::kTime).inseparable.empty())
      << "here its cost is in the others";
  EXPECT_EQ(model.predict(large, hierarchy, Target::kTime, &nothing).inseparable,
            std::vector<std::string>{"L2"});
  EXPECT_TRUE(model.predict(large, hierarchy, Target::kTime, &priced).inseparable.empty());
}

TEST(CrossValidation, EnergyPaysForATimeThatWasPredictedToo) {
  // joules that are nothing but 15 W times the time, and times that scatter by a tenth: whoever knows the
  // time of an unseen run knows its joules; who predicts it does not
  std::vector<TrainingRun> runs = runs_of(synthetic_contents("traffic", kPrices, 240, 0.1));
  for (TrainingRun& run : runs) run.energy_j["measured"] = 15 * run.step_s;
  std::vector<std::size_t> rows(runs.size());
  std::iota(rows.begin(), rows.end(), std::size_t{0});
  for (const std::string& kind : held_out_kinds()) {
    const Validation time = cross_validate(runs, rows, "traffic", kind, Target::kTime),
                     energy = cross_validate(runs, rows, "traffic", kind, Target::kEnergyMeasured);
    ASSERT_FALSE(energy.predictions.empty());
    EXPECT_GT(energy.sd, 0.05) << kind;
    EXPECT_NEAR(energy.sd, time.sd, 0.3 * time.sd) << kind;
  }
}

TEST(Model, ATermThatNoRunHadHasNoPriceAndSaysSo) {
  Contents contents = synthetic_contents("traffic", kPrices, 240, 0);
  const std::vector<TrainingRun> runs = runs_of(contents);
  fit_into(contents, runs);
  // as if all had run on one thread, where nobody waits at a barrier; and no other form to fall back on
  std::erase_if(contents.rows(model_table()), [](const Row& row) { return row.text("form") != "work"; });
  for (Row& row : contents.rows(model_table()))
    if (row.text("term") == "barrier") {
      row.set("value", std::nan(""));
      row.set("state", to_string(Identified::kEmpty));
    }
  const Model model(contents, "synthetic.h5");
  Configuration one = runs.front().configuration;
  const Hierarchy hierarchy = hierarchy_of(contents.rows(machine_table()).front());
  const auto unpriced = [&](int threads, const Prices& prices) {
    one.threads = threads;
    const OtherMachine other{prices, {}};
    return model.predict(one, hierarchy, Target::kTime, &other).unpriced;
  };
  EXPECT_TRUE(unpriced(1, {}).empty());
  EXPECT_EQ(unpriced(4, {}), std::vector<std::string>{"barrier"});
  EXPECT_TRUE(unpriced(4, {{"barrier", 1e-6}}).empty()) << "a price was given";
}

TEST(Model, ADevicesCountersAreBytesOfItsOwnLevels) {
  Contents contents = synthetic_contents("traffic", kPrices, 4, 0);
  Row& row = contents.rows(runs_table()).front();
  row.set("backend", "gpu");
  row.set("family", "gpu/mlp_train");
  row.set("l1_bytes_measured", 1000.0);
  row.set("l2_bytes_measured", 400.0);
  row.set("dram_bytes_measured", 100.0);
  const TrainingRun run = training_runs(contents).front();
  EXPECT_EQ(run.counter_bytes.at("measured"), (std::vector<double>{600, 300, 0, 100}));
}

TEST(Model, ADevicesRunsLieWhereTheirRowsSay) {
  Contents contents = synthetic_contents("traffic", kPrices, 4, 0);
  Row& row = contents.rows(runs_table()).front();
  row.set("backend", "gpu");
  row.set("family", "gpu/mlp_train");
  for (const char* letter : {"l", "f", "b", "d"})
    row.set("working_set_" + std::string(letter) + "_level", *letter == 'd' ? "memory" : "L2");
  const TrainingRun run = training_runs(contents).front();
  EXPECT_EQ(run.work.placement.backward_pass, "L2");
  EXPECT_EQ(run.work.placement.dataset, "memory");
  EXPECT_GT(run.work.placement_bytes[1], 0);
  EXPECT_EQ(run.work.placement_bytes[0], 0) << "the processor's first level has nothing to do with it";
  // a row that does not say: they stay where they were worked out to be
  for (const char* letter : {"l", "f", "b", "d"})
    row.set("working_set_" + std::string(letter) + "_level", "");
  const TrainingRun silent = training_runs(contents).front();
  EXPECT_GT(std::accumulate(silent.work.placement_bytes.begin(), silent.work.placement_bytes.end(), 0.0), 0);
}

}  // namespace
}  // namespace mlpwatt::model

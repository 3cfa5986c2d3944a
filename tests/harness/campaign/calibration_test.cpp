// A calibration that is really measured, kept, and used again. How long anything took is not looked at.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "harness/campaign/planner.h"
#include "tests/harness/campaign/records.h"

namespace mlpwatt::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(Calibration, IsMeasuredKeptAndUsedAgain) {
  TemporaryFolder folder;
  PlannerOptions options;
  options.filter.datasets = {"wine_quality_white"};
  options.filter.sizes = {1024, 65536};
  options.filter.threads = {1};
  options.power.meters = "none";
  options.calibration_path = folder.path("kept/here/calibration.json");  // folders are made
  options.calibration_budget_s = 0.1;
  std::string said;
  const auto say = [&](const std::string& line) { said += line + '\n'; };
  const Planned planned = make_plan(options, say);
  EXPECT_THAT(said, HasSubstr("calibrating this machine, about 0 s\n"));
  EXPECT_THAT(said, HasSubstr("calibration: cpu/fma/"));
  EXPECT_THAT(said, HasSubstr("calibration: cpu/stream/triad/"));
  EXPECT_THAT(said, HasSubstr("calibration: cpu/mlp_train/splice/trapezoid/256/3  "));
  EXPECT_THAT(said, HasSubstr("calibration kept in " + options.calibration_path));

  // what was measured
  const Calibration kept = parse_calibration(nlohmann::json::parse(read_text(options.calibration_path)));
  const Machine machine = read_machine();
  EXPECT_EQ(kept.processor, machine.processor);
  EXPECT_EQ(kept.host, machine.host);
  EXPECT_EQ(kept.power.asked, "none");
  EXPECT_FALSE(kept.power.known());
  ASSERT_EQ(kept.models.size(), 1u);
  ASSERT_TRUE(kept.has("cpu", "", 1));
  const TimeModel& model = kept.model("cpu", "", 1);
  EXPECT_GT(model.peak_flops_per_s, 1e7);
  EXPECT_GT(model.near_bytes_per_s, 1e7);
  EXPECT_GT(model.far_bytes_per_s, 1e7);
  EXPECT_GT(model.load_s_per_cell, 0);
  EXPECT_GT(model.stretch, 0);
  EXPECT_TRUE(std::isfinite(model.step_error));
  for (const auto& coefficients : {model.step, model.overhead}) {
    double sum = 0;
    for (const double coefficient : coefficients) {
      EXPECT_GE(coefficient, 0);
      sum += coefficient;
    }
    EXPECT_GT(sum, 0);
  }

  // what it is for
  ASSERT_FALSE(planned.plan.entries.empty());
  for (const PlanEntry& entry : planned.plan.entries) {
    EXPECT_GT(entry.predicted_s, 0) << entry.benchmark;
    EXPECT_LT(entry.predicted_s, 1e4) << entry.benchmark;
  }
  const DatasetInfo& info = dataset_info("wine_quality_white");
  const auto step_s = [&](std::int64_t size) {
    return model.step_s(make_network(Shape::kRectangle, size, 3, info.features, info.outputs, info.task), 256,
                        info.observations, machine.hierarchy);
  };
  EXPECT_GT(step_s(1 << 22), step_s(1 << 10)) << "a step of 4 000 times as many parameters";

  // a second plan measures nothing and says the same
  said.clear();
  const Planned again = make_plan(options, say);
  EXPECT_THAT(said, HasSubstr("calibration of " + kept.measured_utc + " from " + options.calibration_path));
  EXPECT_THAT(said, Not(HasSubstr("calibrating")));
  EXPECT_EQ(plan_text(again.plan), plan_text(planned.plan));
  EXPECT_EQ(again.time_s, planned.time_s);
}

TEST(Calibration, AnUnreadableFileGivenByNameIsRefused) {
  TemporaryFolder folder;
  PlannerOptions options;
  options.filter.datasets = {"wine_quality_white"};
  options.calibration_path = folder.path("calibration.json");
  write_text(options.calibration_path, "{\"mlpwatt_calibration\": 0}");
  const auto say = [](const std::string&) {};
  try {
    make_plan(options, say);
    FAIL() << "it was taken";
  } catch (const std::exception& error) {
    EXPECT_THAT(error.what(), HasSubstr("--recalibrate"));
  }
  EXPECT_EQ(read_text(options.calibration_path), "{\"mlpwatt_calibration\": 0}");
}

}  // namespace
}  // namespace mlpwatt::testing

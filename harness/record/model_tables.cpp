// The columns of the fitted model: what `mlpwatt fit` leaves in a file.

#include "harness/record/table.h"

namespace mlpwatt {
namespace {

constexpr Type R = Type::kReal, I = Type::kInteger, T = Type::kText;

std::vector<Column> model_identity() {
  return {
      {"machine_row", I, "1", "machine", "Row of /machine whose runs were fitted.", "", "machine"},
      {"backend", T, "", "backend", "cpu or gpu."},
      {"target", T, "", "what is fitted", "time, energy_measured or energy_modelled, each per step."},
      {"form", T, "", "form of the model",
       "work, traffic, placement, counters_measured, counters_simulated; baselines: parameters, flops, "
       "roofline."},
  };
}

}  // namespace

const Table& model_table() {
  static const Table table(
      "model", "coefficient",
      "One row a coefficient of a fitted model. Everything here is modelled: fitted to rows of /runs.",
      [] {
        std::vector<Column> columns = model_identity();
        const std::vector<Column> own{
            {"algorithm", T, "", "algorithm", "Whose runs were fitted."},
            {"term", T, "", "term", "What the coefficient is a price of: step, layer, flop, L1, memory ..."},
            {"unit", T, "", "unit", "Of the next three columns: s/byte, J/FLOP, W ..."},
            {"value", R, "1", "coefficient", "In the unit of its row; absent when not identified.",
             "modelled"},
            {"low95", R, "1", "lower end", "Bootstrap over configurations, 95 %.", "modelled"},
            {"high95", R, "1", "upper end", "Bootstrap over configurations, 95 %.", "modelled"},
            {"state", T, "", "state", "identified, zero, unidentifiable: empty, unidentifiable: collinear."},
            {"reason", T, "", "reason", "Why it is not identified."},
            {"configurations", I, "1", "configurations", "The fit saw.", "computed"},
        };
        columns.insert(columns.end(), own.begin(), own.end());
        return columns;
      }(),
      true);
  return table;
}

const Table& model_tests_table() {
  static const Table table(
      "model_tests", "test", "One row a cross-validation: whole parts left out in turn and predicted.",
      [] {
        std::vector<Column> columns = model_identity();
        const std::vector<Column> own{
            {"held_out", T, "", "left out", "dataset, shape or size (octave): one whole part at a time."},
            {"parts", I, "1", "parts", "That were left out in turn.", "computed"},
            {"predictions", I, "1", "predictions",
             "Configurations predicted by a fit that had not seen them.", "computed"},
            {"sd_ratio", R, "1", "standard deviation of predicted/recorded", "", "modelled"},
            {"median_error", R, "1", "median relative error", "Of |predicted/recorded - 1|.", "modelled"},
            {"median_ratio", R, "1", "median of predicted/recorded", "Bias.", "modelled"},
            {"ratio_low95", R, "1", "2.5 % quantile of predicted/recorded", "", "modelled"},
            {"ratio_high95", R, "1", "97.5 % quantile of predicted/recorded", "", "modelled"},
            {"repeat_sd", R, "1", "repeatability",
             "Standard deviation of repetitions over their configuration's median: what no model of one "
             "window can beat; absent without repetitions.",
             "measured"},
            {"statistic", T, "", "statistic",
             "Which of a configuration's repetitions stands for it: median, or quickest."},
        };
        columns.insert(columns.end(), own.begin(), own.end());
        return columns;
      }(),
      true);
  return table;
}

const Table& model_predictions_table() {
  static const Table table(
      "model_predictions", "prediction",
      "One row a configuration and cross-validation: the prediction of a fit that had not seen its part.",
      [] {
        std::vector<Column> columns = model_identity();
        const std::vector<Column> own{
            {"run_row", I, "1", "run", "Row of /runs: the configuration's first repetition.", "", "runs"},
            {"held_out", T, "", "left out", "dataset, shape or size."},
            {"predicted", R, "1", "prediction", "Seconds or joules per step.", "modelled"},
            {"ratio", R, "1", "predicted/recorded", "Over the statistic of the configuration's repetitions.",
             "modelled"},
        };
        columns.insert(columns.end(), own.begin(), own.end());
        return columns;
      }(),
      true);
  return table;
}

}  // namespace mlpwatt

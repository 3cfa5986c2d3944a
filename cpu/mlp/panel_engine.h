#pragma once
// What the feature-major engines share: parameters and Adam's state in one flat layout, the data in panels.

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "cpu/aligned.h"
#include "cpu/mlp/adam_schedule.h"
#include "cpu/mlp/engine.h"
#include "cpu/mlp/fused_kernels.h"
#include "cpu/mlp/panel_data.h"
#include "cpu/mlp/parameter_layout.h"

namespace mlpwatt {

class PanelEngine : public CpuEngine {
 public:
  const char* algorithm() const override { return "fused"; }
  int threads() const override { return threads_; }
  Isa isa() const override { return kernels_.isa; }

  void set_parameters(const reference::Parameters& parameters) override {
    layout_.from_reference(parameters, weights_.data());
    std::fill_n(first_moment_.data(), first_moment_.size(), 0.0f);
    std::fill_n(second_moment_.data(), second_moment_.size(), 0.0f);
    schedule_.reset();
  }
  reference::Parameters parameters() const override { return layout_.to_reference(weights_.data()); }
  reference::Parameters first_moments() const override { return layout_.to_reference(first_moment_.data()); }

 protected:
  /// The parameters are left untouched: who will use them writes them first. @param options threads > 0
  PanelEngine(const Network& network, const Dataset& data, const EngineOptions& options)
      : network_(network),
        kernels_(fused_kernels(options.isa)),
        layout_(network, WeightOrder::kOutIn),
        schedule_(options.adam),
        threads_(options.threads),
        rows_(std::min<std::int64_t>(options.batch, data.train_rows())),
        train_(data, Split::kTrain, options.batch, kernels_.lanes, threads_),
        test_(data, Split::kTest, options.batch, kernels_.lanes, threads_),
        panels_(std::max(train_.panels_per_batch, test_.panels_per_batch)),
        weights_(AlignedFloats::untouched(layout_.size())),
        first_moment_(AlignedFloats::untouched(layout_.size())),
        second_moment_(AlignedFloats::untouched(layout_.size())) {
    train_batches_ = train_.batches;
  }

  const PanelData& data_of(Split split) const { return split == Split::kTrain ? train_ : test_; }
  /// Zeroes parameters and moments [from, to): called by the thread that will use them, so that they lie in
  /// its memory.
  void touch(std::int64_t from, std::int64_t to) {
    for (AlignedFloats* floats : {&weights_, &first_moment_, &second_moment_})
      std::fill(floats->data() + from, floats->data() + to, 0.0f);
  }
  /// @param loss, hits of each thread, each batch's weighted by its rows
  reference::Evaluation evaluation(const PanelData& data, const std::vector<double>& loss,
                                   const std::vector<double>& hits) const {
    double total = 0, right = 0;
    std::int64_t rows = 0;
    for (const int r : data.rows) rows += r;
    for (int t = 0; t < threads_; ++t) total += loss[t], right += hits[t];
    return {total / static_cast<double>(rows),
            network_.task == Task::kRegression ? std::nan("") : right / static_cast<double>(rows)};
  }

  Network network_;
  const FusedKernels& kernels_;
  ParameterLayout layout_;
  AdamSchedule schedule_;
  int threads_;
  std::int64_t rows_;  ///< of a whole batch
  PanelData train_, test_;
  int panels_;  ///< of the largest batch
  AlignedFloats weights_, first_moment_, second_moment_;
};

/// What make_fused_engine makes where splits_hidden_layer (fused_plan.h). @param options threads > 0
std::unique_ptr<CpuEngine> make_one_hidden_engine(const Network& network, const Dataset& data,
                                                  const EngineOptions& options);

}  // namespace mlpwatt

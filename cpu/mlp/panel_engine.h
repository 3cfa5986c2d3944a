#pragma once
// What the feature-major engines share: the data in panels, and what they are called.

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "cpu/mlp/flat_engine.h"
#include "cpu/mlp/fused_plan.h"
#include "cpu/mlp/panel_data.h"

namespace mlpwatt {

class PanelEngine : public FlatEngine {
 public:
  const char* algorithm() const override { return "fused"; }
  Isa isa() const override { return kernels_.isa; }

 protected:
  /// As FlatEngine. @param options threads > 0
  PanelEngine(const Network& network, const Dataset& data, const EngineOptions& options)
      : FlatEngine(network, WeightOrder::kOutIn, options,
                   choose_fused_kernels(network, options.isa, options.threads,
                                        options.whole_batch(data.train_rows()), options.hierarchy),
                   options.threads, 0),
        rows_(options.whole_batch(data.train_rows())),
        train_(data, Split::kTrain, options.batch, kernels_.lanes, threads_),
        test_(data, Split::kTest, options.batch, kernels_.lanes, threads_),
        panels_(std::max(train_.panels_per_batch, test_.panels_per_batch)) {
    train_batches_ = train_.batches;
  }

  const PanelData& data_of(Split split) const { return split == Split::kTrain ? train_ : test_; }
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

  std::int64_t rows_;  ///< of a whole batch
  PanelData train_, test_;
  int panels_;  ///< of the largest batch
};

/// What make_fused_engine makes where splits_hidden_layer (fused_plan.h). @param options threads > 0
std::unique_ptr<CpuEngine> make_one_hidden_engine(const Network& network, const Dataset& data,
                                                  const EngineOptions& options);

}  // namespace mlpwatt

#pragma once
// What all engines share: their parameters and Adam's state, each in one flat array of the same layout.

#include <algorithm>

#include "cpu/aligned.h"
#include "cpu/mlp/adam_schedule.h"
#include "cpu/mlp/engine.h"
#include "cpu/mlp/fused_kernels.h"
#include "cpu/mlp/parameter_layout.h"

namespace mlpwatt {

class FlatEngine : public CpuEngine {
 public:
  int threads() const override { return threads_; }

  void set_parameters(const reference::Parameters& parameters) override {
    layout_.from_reference(parameters, weights_.data());
    std::fill_n(first_moment_.data(), first_moment_.size(), 0.0f);
    std::fill_n(second_moment_.data(), second_moment_.size(), 0.0f);
    schedule_.reset();
  }
  reference::Parameters parameters() const override { return layout_.to_reference(weights_.data()); }
  reference::Parameters first_moments() const override { return layout_.to_reference(first_moment_.data()); }

 protected:
  /// The arrays are left untouched: who will use them writes them first.
  /// @param spare floats behind the weights, for products that read a vector past the end
  FlatEngine(const Network& network, WeightOrder order, const EngineOptions& options,
             const FusedKernels& kernels, int threads, std::int64_t spare)
      : network_(network),
        kernels_(kernels),
        layout_(network, order),
        schedule_(options.adam),
        threads_(threads),
        weights_(AlignedFloats::untouched(layout_.size() + spare)),
        first_moment_(AlignedFloats::untouched(layout_.size())),
        second_moment_(AlignedFloats::untouched(layout_.size())) {}

  /// Zeroes parameters and moments [from, to): called by the thread that will use them, so that they lie in
  /// its memory.
  void touch(std::int64_t from, std::int64_t to) {
    for (AlignedFloats* floats : {&weights_, &first_moment_, &second_moment_})
      std::fill(floats->data() + from, floats->data() + to, 0.0f);
  }

  Network network_;
  const FusedKernels& kernels_;
  ParameterLayout layout_;
  AdamSchedule schedule_;
  int threads_;
  AlignedFloats weights_, first_moment_, second_moment_;
};

}  // namespace mlpwatt

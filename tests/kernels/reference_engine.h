#pragma once
// The reference as an engine, whole or with rows left out: what checks are tested with.

#include <algorithm>
#include <memory>

#include "kernels/backend.h"

namespace mlpwatt::testing {

/// Looks at the first `share_seen` of each batch's rows only.
class ReferenceEngine : public MlpEngine {
 public:
  ReferenceEngine(const Network& network, const Dataset& data, int batch, const reference::Adam& adam,
                  double share_seen)
      : network_(network),
        data_(data),
        batch_(batch),
        adam_(adam),
        share_seen_(share_seen),
        trainer_(network, reference::initial_parameters(network, 1), adam),
        moments_(reference::make_parameters(network)) {
    train_batches_ = static_cast<int>(data.train_batches(batch));
  }
  const char* algorithm() const override { return "reference"; }
  int threads() const override { return 1; }
  double train(const int* batches, std::int64_t count) override {
    double loss = 0;
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int64_t first = std::int64_t{batches[i]} * batch_,
                         all = std::min<std::int64_t>(batch_, data_.train_rows() - first),
                         rows = std::max<std::int64_t>(
                             1, static_cast<std::int64_t>(share_seen_ * static_cast<double>(all)));
      const float* x = data_.x.data() + first * data_.info.features;
      const float* y = data_.y.data() + first * data_.info.outputs;
      trainer_.loss_and_gradients(x, y, rows, moments_);
      for (auto* layers : {&moments_.weights, &moments_.biases})
        for (auto& layer : *layers)
          for (double& value : layer) value *= 1 - adam_.beta1;
      loss += trainer_.step(x, y, rows);
    }
    return loss / static_cast<double>(count);
  }
  reference::Evaluation evaluate(Split) override { return {}; }
  void set_parameters(const reference::Parameters& p) override {
    trainer_ = reference::Trainer(network_, p, adam_);
  }
  reference::Parameters parameters() const override { return trainer_.parameters(); }
  reference::Parameters first_moments() const override { return moments_; }

 private:
  Network network_;
  Dataset data_;
  int batch_;
  reference::Adam adam_;
  double share_seen_;
  reference::Trainer trainer_;
  reference::Parameters moments_;
};

/// @param share_seen as of ReferenceEngine
inline Backend::Trainer reference_trainer(const Network& network, const Dataset& data, int batch,
                                          const reference::Adam& adam, double share_seen) {
  const auto same = [=](const Dataset& rows, int its_batch,
                        const reference::Adam& its) -> std::unique_ptr<MlpEngine> {
    return std::make_unique<ReferenceEngine>(network, rows, its_batch, its, share_seen);
  };
  return {same(data, batch, adam), {{"isa", "double"}, {"threads", "1"}, {"algorithm", "reference"}}, same};
}

}  // namespace mlpwatt::testing

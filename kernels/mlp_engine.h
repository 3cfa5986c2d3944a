#pragma once
// The contract of a training engine, whatever device it runs on: one way of running the steps of one network.
// All engines compute the same maths (kernels/reference states it); they differ in where the data lies.

#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/epochs.h"
#include "kernels/reference.h"

namespace mlpwatt {

enum class Split { kTrain, kTest };

class MlpEngine {
 public:
  virtual ~MlpEngine() = default;
  virtual const char* algorithm() const = 0;
  virtual int threads() const = 0;
  /// One optimiser step on each of these training batches, in this order. Allocates nothing.
  /// @return the mean over the steps of each batch's loss before its step
  virtual double train(const int* batches, std::int64_t count) = 0;
  /// Epochs of this engine, which has to outlive them. One whose batches lie elsewhere draws their order
  /// there.
  virtual std::unique_ptr<Epochs> epochs(std::uint64_t seed) {
    return std::make_unique<HostEpochs>(train_batches_, seed, [this](const std::vector<int>& batches) {
      return train(batches.data(), static_cast<std::int64_t>(batches.size()));
    });
  }
  /// Mean loss over a split, and the share of right answers (NaN for regression). Weighted by rows.
  virtual reference::Evaluation evaluate(Split split) = 0;

  /// In the reference's form ([out x in] weights), whatever the engine keeps. set_parameters also clears
  /// Adam's state.
  virtual void set_parameters(const reference::Parameters& parameters) = 0;
  virtual reference::Parameters parameters() const = 0;
  /// Adam's first moments. After the first step from cleared state they are (1 - beta1) times the gradient:
  /// how tests read the gradients of the very code that is timed.
  virtual reference::Parameters first_moments() const = 0;

  int train_batches() const { return train_batches_; }

 protected:
  int train_batches_ = 0;
};

}  // namespace mlpwatt

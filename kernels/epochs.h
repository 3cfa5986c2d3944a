#pragma once
// Training epoch after epoch, each over all batches in a new seeded order.

#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "kernels/random.h"

namespace mlpwatt {

/// The order is BatchOrder's, wherever it is drawn.
class Epochs {
 public:
  virtual ~Epochs() = default;
  /// The next epoch's order. Apart from train(), whose time is the epoch's.
  virtual void draw() = 0;
  /// One optimiser step on every training batch, in the order drawn last.
  /// @return the mean over the steps of each batch's loss before its step
  virtual double train() = 0;
};

/// Drawn on the host and handed over as batch numbers: for all that compute there.
class HostEpochs : public Epochs {
 public:
  using Train = std::function<double(const std::vector<int>& batches)>;
  HostEpochs(int batches, std::uint64_t seed, Train train)
      : order_(batches, seed), train_(std::move(train)) {}
  void draw() override { drawn_ = &order_.next_epoch(); }
  double train() override { return train_(*drawn_); }

 private:
  BatchOrder order_;
  Train train_;
  const std::vector<int>* drawn_ = nullptr;
};

}  // namespace mlpwatt

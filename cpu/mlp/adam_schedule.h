#pragma once
// The bias-corrected factors of successive Adam steps, without a pow() in the timed loop.

#include <cmath>

#include "cpu/gemm/epilogue.h"
#include "kernels/reference.h"

namespace mlpwatt {

class AdamSchedule {
 public:
  explicit AdamSchedule(const reference::Adam& adam) : adam_(adam) {}
  void reset() { power1_ = power2_ = 1; }
  /// Factors of the next step: lr_t = lr sqrt(1 - beta2^t) / (1 - beta1^t), t = 1, 2, ...
  AdamStep next() {
    power1_ *= adam_.beta1;
    power2_ *= adam_.beta2;
    return {static_cast<float>(adam_.learning_rate * std::sqrt(1 - power2_) / (1 - power1_)),
            static_cast<float>(adam_.beta1), static_cast<float>(adam_.beta2),
            static_cast<float>(adam_.epsilon_at(power2_))};
  }

 private:
  reference::Adam adam_;
  double power1_ = 1, power2_ = 1;
};

}  // namespace mlpwatt

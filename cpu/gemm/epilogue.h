#pragma once
// What happens to a tile of a matrix product in its last write, while it is in L1 (or registers).

#include <cstdint>

namespace mlpwatt {

/// Factors of one Adam step, already corrected for its number.
struct AdamStep {
  float learning_rate = 0;  ///< lr sqrt(1 - beta2^t) / (1 - beta1^t)
  float beta1 = 0, beta2 = 0;
  float epsilon = 0;
};

/// All pointers name element (0, 0) of matrices shaped like C with row length `ld` of their own.
struct Epilogue {
  enum class Kind {
    kStore,     ///< C = product
    kForward,   ///< C = act(product + bias) [+ addend]; act is ReLU or nothing
    kBackward,  ///< C = (product [+ addend]) where mask > 0, else 0
    kAdam,      ///< the product is a gradient: weights (C), m and v take one Adam step, it is not stored
  };
  Kind kind = Kind::kStore;
  const float* bias = nullptr;  ///< kForward: [n]
  bool relu = false;            ///< kForward
  /// kForward: added after the activation (residual input). kBackward: added before the mask (the residual's
  /// own gradient). nullptr = none.
  const float* addend = nullptr;
  std::int64_t addend_ld = 0;
  const float* mask = nullptr;  ///< kBackward: the layer's activation before its residual
  std::int64_t mask_ld = 0;
  /// kForward: the activation before the addend; kBackward: the gradient before the mask. nullptr = not
  /// wanted.
  float* before = nullptr;
  std::int64_t before_ld = 0;
  AdamStep adam;  ///< kAdam
  float* first_moment = nullptr;
  float* second_moment = nullptr;
  std::int64_t moment_ld = 0;
};

}  // namespace mlpwatt

#pragma once
// What happens to an element of a matrix product in its last write, while it is in registers: the twin of
// cpu/gemm/epilogue.h, with pointers into device memory.

#include <cstdint>

#include "gpu/device/bf16.cuh"

namespace mlpwatt::gpu {

/// Factors of one Adam step, already corrected for its number.
struct AdamStep {
  float learning_rate = 0;  ///< lr sqrt(1 - beta2^t) / (1 - beta1^t)
  float beta1 = 0, beta2 = 0;
  float epsilon = 0;
};

/// All matrices are shaped like C, row-major, with row lengths of their own.
struct Epilogue {
  enum class Kind {
    kStore,     ///< C = product
    kForward,   ///< C = act(product + bias) [+ addend]; act is ReLU or nothing
    kBackward,  ///< C = (product [+ addend]) where mask > 0, else 0
    kAdam,      ///< the product is a gradient: weights (C) and both moments take one Adam step
  };
  Kind kind = Kind::kStore;
  bool relu = false;            ///< kForward
  const float* bias = nullptr;  ///< kForward: [n]
  /// kForward: added after the activation (residual input). kBackward: added before the mask. nullptr = none.
  const float* addend = nullptr;
  std::int64_t addend_ld = 0;
  const float* mask = nullptr;  ///< kBackward: the layer's activation before its residual
  std::int64_t mask_ld = 0;
  /// kForward: the activation before the addend; kBackward: the gradient before the mask. nullptr = not
  /// wanted.
  float* before = nullptr;
  std::int64_t before_ld = 0;
  const AdamStep* adam =
      nullptr;  ///< kAdam: in device memory, so that a captured graph finds each step's own
  float* first_moment = nullptr;
  float* second_moment = nullptr;
  std::int64_t moment_ld = 0;
  Bf16* copy =
      nullptr;  ///< any kind: what C received, rounded, for the next bf16 product. nullptr = not wanted
  std::int64_t copy_ld = 0;
};

}  // namespace mlpwatt::gpu

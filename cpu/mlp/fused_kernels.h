#pragma once
// Micro-kernels of the fused engine, one table per instruction set. A panel is [features x lanes] floats,
// unit stride along the lanes: `lanes` rows of the batch, one feature after another.

#include <cstdint>

#include "cpu/gemm/epilogue.h"
#include "cpu/isa.h"
#include "kernels/network.h"

namespace mlpwatt {

/// One layer, forward, on one panel: out[o] = act(bias[o] + sum_i w[o][i] in[i]) [+ addend[o]].
struct PanelForward {
  int inputs, outputs;
  const float* weights;  ///< [outputs x inputs]
  const float* bias;     ///< [outputs]
  const float* in;       ///< panel [inputs x lanes]
  float* out;            ///< panel [outputs x lanes]
  bool relu;
  const float* addend;  ///< panel, residual input; or nullptr
  float* before;        ///< panel, the activation before the addend; or nullptr
};

/// Back through one layer: out[i] = (sum_o w[o][i] delta[o] [+ addend[i]]) where mask[i] > 0, else 0.
struct PanelBackward {
  int inputs, outputs;
  const float* weights;  ///< [outputs x inputs]
  const float* delta;    ///< panel [outputs x lanes]: gradient at this layer's pre-activation
  float* out;            ///< panel [inputs x lanes]: gradient at the layer before's pre-activation
  const float* mask;     ///< panel: the layer before's activation before its residual
  const float* addend;   ///< panel: gradient at this layer's output, when it adds its input; or nullptr
  float* before;         ///< panel: the gradient before the mask; or nullptr
};

struct FusedKernels {
  Isa isa;
  int lanes;            ///< rows of the batch in one panel
  int rows;             ///< panel rows a forward or backward tile computes at once
  int dot_rows;         ///< rows of a weight-gradient tile
  int dot_block_bytes;  ///< of inputs that stay in L1 while the weight gradient walks over delta
  void (*forward)(const PanelForward& work);
  void (*backward)(const PanelBackward& work);
  /// gradient[o][i] = sum over panels and lanes of delta[o] in[i]; bias_gradient[o] = sum of delta[o].
  /// Panels lie `delta_stride` and `in_stride` floats apart.
  void (*weight_gradient)(int inputs, int outputs, int panels, const float* delta, std::int64_t delta_stride,
                          const float* in, std::int64_t in_stride, float* gradient, float* bias_gradient);
  /// In place: logits -> gradient of the weighted loss at the logits. weight[lane] is 1/rows, or 0 for a lane
  /// beyond the batch. Returns the weighted sum of losses. `right` (may be nullptr) receives the weighted
  /// share of right answers; with gradient == false the panel is left as logits.
  float (*loss)(Task task, int outputs, float* panel, const float* target, const float* weight, bool gradient,
                float* right);
  /// weights[first..last) take one Adam step on the sum over `copies` of gradient[c * stride + i], in that
  /// order.
  void (*adam)(const AdamStep& step, std::int64_t first, std::int64_t last, const float* gradient, int copies,
               std::int64_t stride, float* weights, float* first_moment, float* second_moment);
  /// out[j] = sum over i < rows of x[i*ld + j], j < columns: the bias gradient of a batch-major layer.
  void (*column_sums)(std::int64_t rows, std::int64_t columns, const float* x, std::int64_t ld, float* out);
  /// For tests of the approximations.
  void (*exp_many)(const float* x, float* y, int count);
  void (*log_many)(const float* x, float* y, int count);
};

const FusedKernels& fused_kernels(Isa isa);
const FusedKernels& fused_kernels_avx512();
const FusedKernels& fused_kernels_avx2();
const FusedKernels& fused_kernels_avx2_nofma();
const FusedKernels& fused_kernels_generic();

}  // namespace mlpwatt

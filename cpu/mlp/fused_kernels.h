#pragma once
// Micro-kernels of the fused engine, one table per instruction set. A panel is [features x lanes] floats,
// unit stride along the lanes: `lanes` rows of the batch, one feature after another.

#include <cstdint>
#include <vector>

#include "cpu/gemm/epilogue.h"
#include "cpu/isa.h"
#include "kernels/network.h"

namespace mlpwatt {

/// One layer, forward, on `panels` panels: out[o] = act(bias[o] + sum_i w[o][i] in[i]) [+ addend[o]].
/// Panels lie `in_stride` and `out_stride` floats apart.
struct PanelForward {
  int inputs, outputs, panels;
  const float* weights;  ///< [outputs x weights_row]
  std::int64_t weights_row;
  const float* bias;  ///< [outputs]; not read with `accumulate`
  const float* in;    ///< panels [inputs x lanes]
  std::int64_t in_stride;
  float* out;  ///< panels [outputs x lanes]
  std::int64_t out_stride;
  bool relu;
  bool accumulate;         ///< `out` takes the place of the bias
  const float* addend;     ///< panels as `in`: what is added to each output's activation; or nullptr
  float* before;           ///< as `out`: the activation before that; nullptr where nothing is added
  int weight_block_bytes;  ///< of weights that stay in L2 while the panels pass by
};

/// Back through one layer: out[i] = (sum_o w[o][i] delta[o] [+ addend[i]]) where mask[i] > 0, else 0.
struct PanelBackward {
  int inputs, outputs, panels;
  const float* weights;  ///< [outputs x weights_row]
  std::int64_t weights_row;
  const float* delta;  ///< panels [outputs x lanes]: gradient at this layer's pre-activation
  std::int64_t delta_stride;
  float* out;  ///< panels [inputs x lanes]: gradient at the layer before's pre-activation
  std::int64_t out_stride;
  const float* mask;  ///< panels [inputs x lanes]: the layer before's activation before its residual
  std::int64_t mask_stride;
  const float* addend;  ///< as `delta`: gradient at this layer's output, when it adds its input; or nullptr
  float* before;        ///< as `out`: the gradient before the mask; or nullptr
  int weight_block_bytes;  ///< as forward
};

/// gradient[o][i] (+)= sum over panels and lanes of delta[o] in[i]; bias_gradient[o] (+)= sum of delta[o].
struct PanelGradient {
  int inputs, outputs, panels;
  const float* delta;
  std::int64_t delta_stride;
  const float* in;
  std::int64_t in_stride;
  float* gradient;  ///< [outputs x gradient_row]
  std::int64_t gradient_row;
  float* bias_gradient;  ///< or nullptr
  bool accumulate;
  /// What will be read as `in` next, from memory, of as many panels: fetched into L2 meanwhile; or nullptr.
  const float* next_in;
};

/// The blocks of the loops around a layer's tiles (fused_impl.h says why): sums of `depth` terms in
/// `depth_parts`, weights in blocks of `rows` rows that stay in L2, panels in groups that stay near.
struct FusedBlocks {
  int depth_parts, rows, group_panels;
};

struct FusedKernels {
  Isa isa;
  int lanes;              ///< rows of the batch in one panel
  int vector_lanes;       ///< floats of one register
  int rows;               ///< panel rows a forward or backward tile computes at once
  int narrow_panels;      ///< that a tile of one row takes together
  int dot_rows;           ///< rows of a weight-gradient tile
  int dot_block_bytes;    ///< of inputs that stay in L1 while the weight gradient walks over a block of delta
  int outer_columns;      ///< inputs of a block of turned_inputs, which stays in L1
  int outer_rows;         ///< rows of a tile of outer_gradient
  int fold_rows;          ///< rows of the batch whose dot products take as long as their sums across lanes
  int turn_outputs;       ///< outputs whose outer products take as long as turning the inputs
  int delta_block_bytes;  ///< of delta that stay in L2 while the weight gradient walks over the inputs
  void (*forward)(const PanelForward& work);
  void (*backward)(const PanelBackward& work);
  void (*weight_gradient)(const PanelGradient& work);
  /// The inputs of `work` batch-major, for outer_gradient: [block of outer_columns features][row][feature],
  /// zero beyond the inputs; turned_floats() of them.
  void (*turn_inputs)(const PanelGradient& work, float* turned);
  /// weight_gradient from turned inputs, without sums across lanes: worth the turning for a layer with many
  /// outputs.
  void (*outer_gradient)(const PanelGradient& work, const float* turned);
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
  std::int64_t turned_floats(int inputs, int panels) const {
    const std::int64_t blocks = (inputs + outer_columns - 1) / outer_columns;
    return blocks * outer_columns * panels * lanes;
  }
  /// For tests of the approximations.
  void (*exp_many)(const float* x, float* y, int count);
  void (*log_many)(const float* x, float* y, int count);
};

/// Those of an instruction set, the widest panels first.
const std::vector<const FusedKernels*>& fused_kernel_widths(Isa isa);
/// Those with the widest panels.
const FusedKernels& fused_kernels(Isa isa);
/// How a pass through a layer reads its weights, which stand [outputs x inputs].
enum class WeightWalk {
  kAlongRows,    ///< forward: a sum goes along a row
  kDownColumns,  ///< backward
};
/// @param lanes, tile_rows as in FusedKernels
/// @param rows, depth of the product whose `panels` pass by
FusedBlocks fused_blocks(WeightWalk walk, int lanes, int tile_rows, int rows, int depth, int panels,
                         int weight_block_bytes);
const FusedKernels& fused_kernels_avx512();
const FusedKernels& fused_kernels_narrow_avx512();
const FusedKernels& fused_kernels_avx2();
const FusedKernels& fused_kernels_avx2_nofma();
const FusedKernels& fused_kernels_generic();

}  // namespace mlpwatt

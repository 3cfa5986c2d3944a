#pragma once
// A split of a dataset as the feature-major engines want it, and how they space panels.

#include <cstdint>
#include <vector>

#include "cpu/aligned.h"
#include "cpu/mlp/fused_kernels.h"
#include "kernels/dataset.h"
#include "kernels/mlp_engine.h"

namespace mlpwatt {

/// One split of a dataset cut into batches of panels: [batch][panel][feature][lane], zero beyond the last
/// row.
struct PanelData {
  int batches = 0, panels_per_batch = 0;
  std::int64_t x_panel = 0, y_panel = 0;  ///< floats
  std::vector<int> rows;                  ///< of each batch

  /// @param threads that will read it: each writes its share of every batch's panels first
  PanelData(const Dataset& data, Split split, int batch, int lanes, int threads);
  int panels(int batch) const { return (rows[batch] + lanes_ - 1) / lanes_; }
  const float* x(int batch, long panel) const { return x_.data() + at(batch, panel) * x_panel; }
  std::int64_t x_bytes() const { return static_cast<std::int64_t>(x_.size()) * 4; }
  /// Of panels [first, last) of a batch, in place: FusedKernels::loss of each, their sum. @param logits
  /// panels `stride` floats apart, from panel `first` on
  double loss(const FusedKernels& kernels, Task task, int outputs, int batch, long first, long last,
              float* logits, std::int64_t stride, bool gradient, double* right) const;

 private:
  std::int64_t at(int batch, long panel) const {
    return static_cast<std::int64_t>(batch) * panels_per_batch + panel;
  }
  int lanes_;
  AlignedFloats x_, y_;
  AlignedFloats weight_;  ///< [batch][panel][lane]: 1/rows of the batch, 0 beyond
};

/// Rows of a panel's storage, so that a weight gradient, which walks over the same few features of every
/// panel, finds the panels of a batch of 256 in different sets of L1: they lie an odd multiple of a
/// 16th of 4 KiB apart, whatever the lanes. Narrow layers are in L1 as a whole.
inline int spread_rows(int width) { return width < 32 ? width : (width + 3) / 8 * 8 + 4; }

}  // namespace mlpwatt

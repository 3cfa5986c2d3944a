#include "cpu/mlp/panel_data.h"

#include <algorithm>

#include "cpu/team.h"

namespace mlpwatt {

PanelData::PanelData(const Dataset& data, Split split, int batch, int lanes, int threads) : lanes_(lanes) {
  const std::int64_t first = split == Split::kTrain ? 0 : data.train_rows();
  const std::int64_t count = split == Split::kTrain ? data.train_rows() : data.test_rows;
  const int features = data.info.features, outputs = data.info.outputs;
  batches = static_cast<int>((count + batch - 1) / batch);
  const int largest = static_cast<int>(std::min<std::int64_t>(batch, count));
  panels_per_batch = (largest + lanes - 1) / lanes;
  x_panel = static_cast<std::int64_t>(features) * lanes;
  y_panel = static_cast<std::int64_t>(outputs) * lanes;
  const std::int64_t all = static_cast<std::int64_t>(batches) * panels_per_batch;
  x_ = AlignedFloats::untouched(all * x_panel);
  y_ = AlignedFloats::untouched(all * y_panel);
  weight_ = AlignedFloats(all * lanes);
  for (int b = 0; b < batches; ++b)
    rows.push_back(
        static_cast<int>(std::min<std::int64_t>(batch, count - static_cast<std::int64_t>(b) * batch)));
  // Every thread writes the panels that it will read, so that they lie in its own memory (where all read all,
  // they lie spread over everybody's).
  run_team(threads, [&](const TeamMember& member) {
    for (int b = 0; b < batches; ++b) {
      const auto [p0, p1] = member.share(panels(b));
      for (long p = p0; p < p1; ++p) {
        const std::int64_t panel = at(b, p);
        std::fill_n(x_.data() + panel * x_panel, x_panel, 0.0f);
        std::fill_n(y_.data() + panel * y_panel, y_panel, 0.0f);
        const int here = static_cast<int>(std::min<long>(lanes, rows[b] - p * lanes));
        for (int lane = 0; lane < here; ++lane) {
          const std::int64_t row = first + static_cast<std::int64_t>(b) * batch + p * lanes + lane;
          for (int f = 0; f < features; ++f)
            x_[panel * x_panel + f * lanes + lane] = data.x[row * features + f];
          for (int o = 0; o < outputs; ++o)
            y_[panel * y_panel + o * lanes + lane] = data.y[row * outputs + o];
          weight_[panel * lanes + lane] = 1.0f / static_cast<float>(rows[b]);
        }
      }
    }
  });
}

double PanelData::loss(const FusedKernels& kernels, Task task, int outputs, int batch, long first, long last,
                       float* logits, std::int64_t stride, bool gradient, double* right) const {
  double loss = 0;
  for (long p = first; p < last; ++p, logits += stride) {
    const std::int64_t panel = at(batch, p);
    float hits = 0;
    loss += kernels.loss(task, outputs, logits, y_.data() + panel * y_panel, weight_.data() + panel * lanes_,
                         gradient, right ? &hits : nullptr);
    if (right) *right += hits;
  }
  return loss;
}

}  // namespace mlpwatt

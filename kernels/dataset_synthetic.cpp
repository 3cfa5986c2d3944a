// Stand-ins: the size and task of a PMLB dataset with made-up, learnable content.

#include <algorithm>
#include <cmath>

#include "kernels/dataset_parts.h"
#include "kernels/random.h"
#include "kernels/sha256.h"

namespace mlpwatt {

namespace {

constexpr int kTeacherWidth = 4;      // hidden units a score: enough not to be linear, cheap enough for mnist
constexpr double kNoise = 0.1;        // of a score's standard deviation
constexpr double kWrongClass = 0.05;  // share of rows whose class is drawn, not taught

float draw(RandomStream& stream) { return static_cast<float>(2 * uniform_unit(stream) - 1); }

// scores[rows x outputs]: for each output a linear term and kTeacherWidth rectified ones of the centred
// features.
std::vector<double> teacher_scores(const DatasetInfo& info, const std::vector<float>& x,
                                   RandomStream& stream) {
  const std::size_t features = static_cast<std::size_t>(info.features);
  const std::size_t outputs = static_cast<std::size_t>(info.outputs);
  const std::size_t units =
      kTeacherWidth + outputs;                   // rectified units shared by the outputs, then linear ones
  std::vector<float> weights(features * units);  // [features x units]: the inner loop runs over units
  for (float& w : weights) w = draw(stream);
  std::vector<float> mix(kTeacherWidth * outputs);
  for (float& w : mix) w = draw(stream);
  std::vector<double> scores;
  scores.reserve(static_cast<std::size_t>(info.observations) * outputs);
  std::vector<float> sums(units);
  for (std::size_t r = 0; r < static_cast<std::size_t>(info.observations); ++r) {
    std::fill(sums.begin(), sums.end(), 0.0f);
    for (std::size_t i = 0; i < features; ++i) {
      const float centred = x[r * features + i] - 0.5f;
      const float* row = &weights[i * units];
      for (std::size_t u = 0; u < units; ++u) sums[u] += centred * row[u];
    }
    for (std::size_t j = 0; j < outputs; ++j) {
      double score = sums[kTeacherWidth + j];
      for (std::size_t u = 0; u < kTeacherWidth; ++u)
        score += 2 * mix[u * outputs + j] * std::max(sums[u], 0.0f);
      scores.push_back(score);
    }
  }
  return scores;
}

// Each output's scores to mean 0 and deviation 1, so that every class wins its share of the rows.
void standardise(std::vector<double>& scores, std::size_t outputs) {
  const double rows = static_cast<double>(scores.size()) / static_cast<double>(outputs);
  for (std::size_t j = 0; j < outputs; ++j) {
    double sum = 0, squares = 0;
    for (std::size_t i = j; i < scores.size(); i += outputs) sum += scores[i];
    const double mean = sum / rows;
    for (std::size_t i = j; i < scores.size(); i += outputs)
      squares += (scores[i] - mean) * (scores[i] - mean);
    const double deviation = std::sqrt(squares / rows);
    for (std::size_t i = j; i < scores.size(); i += outputs)
      scores[i] = deviation > 0 ? (scores[i] - mean) / deviation : 0;
  }
}

// The sum of twelve uniforms less six: as good as normal here, and the same on every platform.
double noise(RandomStream& stream) {
  double sum = -6;
  for (int i = 0; i < 12; ++i) sum += uniform_unit(stream);
  return sum;
}

}  // namespace

Dataset synthetic_dataset(const DatasetInfo& info, std::uint64_t seed) {
  Dataset dataset;
  dataset.info = info;
  dataset.source = "synthetic";
  dataset.rows = info.observations;
  dataset.test_rows = test_split_rows(info.observations);
  const std::size_t rows = static_cast<std::size_t>(info.observations);
  const std::size_t outputs = static_cast<std::size_t>(info.outputs);

  RandomStream stream(seed);
  dataset.x.resize(rows * static_cast<std::size_t>(info.features));
  // Two features a draw: mnist has 55 million.
  for (std::size_t i = 0; i < dataset.x.size(); i += 2) {
    const std::uint64_t bits = stream();
    dataset.x[i] = static_cast<float>(bits >> 40) * 0x1p-24f;
    if (i + 1 < dataset.x.size()) dataset.x[i + 1] = static_cast<float>(bits >> 16 & 0xffffff) * 0x1p-24f;
  }

  std::vector<double> scores = teacher_scores(info, dataset.x, stream);
  standardise(scores, outputs);
  for (double& score : scores) score += kNoise * noise(stream);

  dataset.y.assign(rows * outputs, 0.0f);
  if (info.task == Task::kRegression) {
    const auto [low, high] = std::minmax_element(scores.begin(), scores.end());
    const double smallest = *low, range = *high - *low;
    for (std::size_t i = 0; i < scores.size(); ++i)
      dataset.y[i] = range > 0 ? static_cast<float>((scores[i] - smallest) / range) : 0.0f;
  } else {
    const std::size_t classes = info.task == Task::kBinary ? 2 : outputs;
    for (std::size_t r = 0; r < rows; ++r) {
      const double* row = &scores[r * outputs];
      std::size_t label = info.task == Task::kBinary
                              ? static_cast<std::size_t>(row[0] >= 0)
                              : static_cast<std::size_t>(std::max_element(row, row + outputs) - row);
      if (uniform_unit(stream) < kWrongClass) label = uniform_below(stream, classes);
      if (r < classes) label = r;  // every class occurs, however few the rows
      if (info.task == Task::kBinary)
        dataset.y[r] = static_cast<float>(label);
      else
        dataset.y[r * outputs + label] = 1.0f;
    }
  }

  Sha256 hash;
  hash.add(dataset.x.data(), dataset.x.size() * sizeof(float));
  hash.add(dataset.y.data(), dataset.y.size() * sizeof(float));
  dataset.checksum = "sha256:" + hash.hex();
  return dataset;
}

}  // namespace mlpwatt

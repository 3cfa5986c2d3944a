#include "kernels/network.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <random>

#include "kernels/dataset.h"

namespace mlpwatt {
namespace {

using Widths = std::vector<int>;

// Hand-computed from the study's formulas; every line names what it is there for.
TEST(NetworkWidths, HandComputed) {
  EXPECT_EQ(widths_for_scale(Shape::kRectangle, 7.4, 4, 3), (Widths{7, 7, 7, 3}));
  EXPECT_EQ(widths_for_scale(Shape::kRectangleResidual, 7.6, 3, 3), (Widths{8, 8, 3}));
  // 12 - k * (12-2)/5: 12 10 8 6 4 2
  EXPECT_EQ(widths_for_scale(Shape::kTrapezoid, 12, 6, 2), (Widths{12, 10, 8, 6, 4, 2}));
  // outputs wider than the scale: the trapezoid widens, 2 + k * 2
  EXPECT_EQ(widths_for_scale(Shape::kTrapezoid, 2, 5, 10), (Widths{2, 4, 6, 8, 10}));
  // q = (2/16)^(1/3) = 1/2
  EXPECT_EQ(widths_for_scale(Shape::kExponential, 16, 4, 2), (Widths{16, 8, 4, 2}));
  // q = (1/81)^(1/4) = 1/3
  EXPECT_EQ(widths_for_scale(Shape::kExponential, 81, 5, 1), (Widths{81, 27, 9, 3, 1}));
  // never narrower than the outputs
  EXPECT_EQ(widths_for_scale(Shape::kExponential, 3, 3, 10), (Widths{10, 10, 10}));
  EXPECT_EQ(widths_for_scale(Shape::kWideFirst2x, 20, 4, 3), (Widths{20, 10, 10, 3}));
  EXPECT_EQ(widths_for_scale(Shape::kWideFirst4x, 20, 3, 3), (Widths{20, 5, 3}));
  EXPECT_EQ(widths_for_scale(Shape::kWideFirst8x, 20, 4, 3), (Widths{20, 2, 2, 3}));  // 2.5 -> 2
  EXPECT_EQ(widths_for_scale(Shape::kWideFirst16x, 4, 4, 3), (Widths{4, 1, 1, 3}));   // 0.25 -> at least 1
}

TEST(NetworkWidths, RoundHalfToEven) {
  EXPECT_EQ(widths_for_scale(Shape::kRectangle, 2.5, 2, 1), (Widths{2, 1}));
  EXPECT_EQ(widths_for_scale(Shape::kRectangle, 3.5, 2, 1), (Widths{4, 1}));
  EXPECT_EQ(widths_for_scale(Shape::kWideFirst4x, 14, 3, 1), (Widths{14, 4, 1}));  // 3.5 -> 4
  EXPECT_EQ(widths_for_scale(Shape::kWideFirst4x, 10, 3, 1), (Widths{10, 2, 1}));  // 2.5 -> 2
}

TEST(NetworkWidths, AllShapesAreTheRectangleAtDepthTwo) {
  for (const Shape shape : all_shapes()) {
    EXPECT_EQ(widths_for_scale(shape, 5, 2, 10), (Widths{5, 10})) << shape_name(shape);
    EXPECT_EQ(canonical_shape(shape, 2), Shape::kRectangle);
    EXPECT_EQ(canonical_shape(shape, 3), shape);
    const Network network = make_network(shape, 4096, 2, 20, 10, Task::kMulticlass);
    EXPECT_EQ(network.widths, make_network(Shape::kRectangle, 4096, 2, 20, 10, Task::kMulticlass).widths);
    EXPECT_FALSE(network.residual);
  }
}

TEST(Network, ParametersOfHandComputedNetworks) {
  EXPECT_EQ((Network{4, {3, 2}}.parameters()), 4 * 3 + 3 + 3 * 2 + 2);
  EXPECT_EQ((Network{784, {75, 64, 53, 43, 32, 21, 10}}.parameters()),
            785 * 75 + 76 * 64 + 65 * 53 + 54 * 43 + 44 * 32 + 33 * 21 + 22 * 10);
}

TEST(Network, NearestSizeWins) {
  // One hidden layer, 4 inputs, 1 output: P = 6 w + 1; 32 lies between w = 5 (31) and w = 6 (37).
  EXPECT_EQ(make_network(Shape::kRectangle, 32, 2, 4, 1, Task::kRegression).widths, (Widths{5, 1}));
  EXPECT_EQ(make_network(Shape::kRectangle, 35, 2, 4, 1, Task::kRegression).widths, (Widths{6, 1}));
  // 34 is 3 from both: the smaller network.
  EXPECT_EQ(make_network(Shape::kRectangle, 34, 2, 4, 1, Task::kRegression).widths, (Widths{5, 1}));
}

TEST(Network, RejectedAtHalfOffOrMore) {
  // 1 input, 2 outputs, depth 2: P = 4 w + 2, so 6 at the least.
  EXPECT_EQ(make_network(Shape::kRectangle, 5, 2, 1, 2, Task::kMulticlass).parameters(), 6);  // off by 20 %
  EXPECT_THROW(make_network(Shape::kRectangle, 4, 2, 1, 2, Task::kMulticlass), InfeasibleNetwork);  // 50 %
  EXPECT_THROW(make_network(Shape::kRectangle, 3, 2, 1, 2, Task::kMulticlass), InfeasibleNetwork);  // 100 %
}

TEST(Network, InfeasibleNamesTheNearestSizes) {
  try {
    make_network(Shape::kTrapezoid, 32, 7, 784, 10, Task::kMulticlass);
    FAIL() << "mnist of size 32 exists";
  } catch (const InfeasibleNetwork& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find("size 32"), std::string::npos) << text;
    EXPECT_NE(text.find("trapezoid"), std::string::npos) << text;
    EXPECT_NE(text.find("exist: 1024"), std::string::npos) << text;
    EXPECT_EQ(text.find('\n'), std::string::npos);
  }
}

TEST(Network, ImpossibleNumbersAreRefused) {
  EXPECT_THROW(make_network(Shape::kRectangle, 100, 1, 4, 1, Task::kBinary), std::invalid_argument);
  EXPECT_THROW(make_network(Shape::kRectangle, 0, 2, 4, 1, Task::kBinary), std::invalid_argument);
  EXPECT_THROW(make_network(Shape::kRectangle, -5, 2, 4, 1, Task::kBinary), std::invalid_argument);
  EXPECT_THROW(make_network(Shape::kRectangle, 100, 2, 0, 1, Task::kBinary), std::invalid_argument);
  EXPECT_THROW(make_network(Shape::kRectangle, 100, 2, 4, 0, Task::kBinary), std::invalid_argument);
  EXPECT_THROW(make_network(Shape::kRectangle, std::int64_t{1} << 60, 2, 4, 1, Task::kBinary),
               std::invalid_argument);
}

TEST(Network, NamesGoRoundAndUnknownOnesNameTheNearest) {
  for (const Shape shape : all_shapes()) EXPECT_EQ(parse_shape(shape_name(shape)), shape);
  EXPECT_EQ(all_shapes().size(), 8u);
  EXPECT_EQ(all_sizes().front(), 32);
  EXPECT_EQ(all_sizes().back(), 16777216);
  EXPECT_EQ(all_sizes().size(), 20u);
  EXPECT_EQ(all_depths(), (Widths{2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 18, 20}));
  EXPECT_EQ(task_name(Task::kBinary), "binary");
  try {
    parse_shape("trapez");
    FAIL();
  } catch (const std::invalid_argument& error) {
    EXPECT_STREQ(error.what(), "unknown shape 'trapez'; nearest: trapezoid, rectangle, exponential");
  }
}

TEST(Network, ResidualLayers) {
  const Network network{5, {4, 4, 3, 3, 3}, true, Task::kMulticlass};
  EXPECT_FALSE(network.adds_input(0));  // the first layer has no hidden layer before it
  EXPECT_TRUE(network.adds_input(1));
  EXPECT_FALSE(network.adds_input(2));  // widths differ
  EXPECT_TRUE(network.adds_input(3));
  EXPECT_FALSE(network.adds_input(4));  // the output layer
  EXPECT_TRUE(make_network(Shape::kRectangleResidual, 4096, 4, 10, 3, Task::kMulticlass).residual);
  EXPECT_FALSE(make_network(Shape::kTrapezoid, 4096, 4, 10, 3, Task::kMulticlass).residual);
}

// Property: no scale of a dense sweep comes nearer than the search did, and the search's answer is a network
// of the formula.
TEST(NetworkSearch, NoScaleOfASweepComesNearer) {
  std::mt19937_64 random(20);
  for (int trial = 0; trial < 60; ++trial) {
    const Shape shape = all_shapes()[random() % 8];
    const int depth = all_depths()[random() % 14];
    const int inputs = 1 + static_cast<int>(random() % 60), outputs = 1 + static_cast<int>(random() % 12);
    const std::int64_t size = 32 + static_cast<std::int64_t>(random() % 20000);
    std::int64_t best = INT64_MAX;
    for (double scale = 0.05; scale < 400; scale += scale < 40 ? 0.0125 : 0.05) {
      const Network candidate{inputs, widths_for_scale(shape, scale, depth, outputs)};
      best = std::min<std::int64_t>(best, std::llabs(candidate.parameters() - size));
    }
    const std::string what = shape_name(shape) + " size " + std::to_string(size) + " depth " +
                             std::to_string(depth) + " inputs " + std::to_string(inputs) + " outputs " +
                             std::to_string(outputs);
    if (2 * best >= size) {
      // a little slack: the search may find what the sweep steps over
      if (2 * best > size + 20) {
        EXPECT_THROW(make_network(shape, size, depth, inputs, outputs, Task::kMulticlass), InfeasibleNetwork)
            << what;
      }
      continue;
    }
    const Network network = make_network(shape, size, depth, inputs, outputs, Task::kMulticlass);
    EXPECT_LE(std::llabs(network.parameters() - size), best) << what;
    EXPECT_EQ(network.depth(), depth);
    EXPECT_EQ(network.outputs(), outputs);
    for (const int width : network.widths) EXPECT_GE(width, 1);
  }
}

TEST(NetworkSearch, ParametersNeverFallAsTheScaleGrows) {
  std::mt19937_64 random(21);
  for (int trial = 0; trial < 40; ++trial) {
    const Shape shape = all_shapes()[random() % 8];
    const int depth = all_depths()[random() % 14], outputs = 1 + static_cast<int>(random() % 12);
    std::int64_t before = 0;
    for (double scale = 0.01; scale < 100; scale *= 1.003) {
      const std::int64_t now = Network{7, widths_for_scale(shape, scale, depth, outputs)}.parameters();
      ASSERT_GE(now, before) << shape_name(shape) << " depth " << depth << " scale " << scale;
      before = now;
    }
  }
}

// The whole grid: 13 datasets x 20 sizes x (13 depths x 8 shapes + the rectangle of depth 2) = 27300, of
// which some cannot be built. The count is this program's own and must not drift unnoticed.
TEST(NetworkSearch, DistinctConfigurationsOfTheWholeGrid) {
  std::int64_t possible = 0, asked = 0;
  for (const DatasetInfo& info : all_datasets())
    for (const Shape shape : all_shapes())
      for (const int depth : all_depths()) {
        if (canonical_shape(shape, depth) != shape) continue;
        asked += static_cast<std::int64_t>(all_sizes().size());
        const auto sizes = feasible_sizes(shape, depth, info.features, info.outputs);
        possible += static_cast<std::int64_t>(sizes.size());
        for (const std::int64_t size : sizes) {
          const Network network = make_network(shape, size, depth, info.features, info.outputs, info.task);
          ASSERT_LT(std::llabs(network.parameters() - size) * 2, size);
          ASSERT_EQ(network.depth(), depth);
        }
      }
  EXPECT_EQ(asked, 27300);
  EXPECT_EQ(possible, 25798) << "distinct feasible configurations";
}

}  // namespace
}  // namespace mlpwatt

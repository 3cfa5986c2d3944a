#pragma once
// Networks of the study: (shape, size, depth, inputs, outputs, task) -> layer widths.
// Definitions: BUTTER (arXiv:2207.12547) and BUTTER-E (arXiv:2403.08151); the size search
// and the rejection rule are in network.cpp.

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace mlpwatt {

enum class Shape {
  kRectangle,
  kTrapezoid,
  kExponential,
  kWideFirst2x,
  kWideFirst4x,
  kWideFirst8x,
  kWideFirst16x,
  kRectangleResidual,
};

/// The output layer's activation and the loss.
enum class Task {
  kMulticlass,  ///< softmax + categorical cross-entropy
  kBinary,      ///< one sigmoid output + binary cross-entropy
  kRegression,  ///< one sigmoid output + mean squared error on targets in [0, 1]
};

const std::vector<Shape>& all_shapes();        ///< in the study's order
const std::vector<std::int64_t>& all_sizes();  ///< 2^5 .. 2^24
const std::vector<int>& all_depths();          ///< 2 .. 20
const std::string& shape_name(Shape shape);    ///< "wide_first_2x" ...
const std::string& task_name(Task task);       ///< "multiclass" ...
/// Errors: std::invalid_argument naming the value and the nearest valid ones.
Shape parse_shape(const std::string& name);
/// The shape to count and name a configuration by: at depth 2 (one hidden layer) all eight coincide in the
/// rectangle.
Shape canonical_shape(Shape shape, int depth);

/// A fully connected network. Layer k maps input_width(k) -> widths[k]; every layer has a
/// bias; layers before the last apply ReLU; the last one applies what `task` says.
struct Network {
  int inputs = 0;
  std::vector<int> widths;  ///< output layer last
  bool residual = false;    ///< hidden layer k > 0 adds its input when the widths agree
  Task task = Task::kMulticlass;

  int depth() const { return static_cast<int>(widths.size()); }
  int outputs() const { return widths.back(); }
  int input_width(int layer) const { return layer == 0 ? inputs : widths[layer - 1]; }
  bool is_output(int layer) const { return layer + 1 == depth(); }
  /// True when layer adds its input to its (activated) output.
  bool adds_input(int layer) const {
    return residual && layer > 0 && !is_output(layer) && widths[layer] == widths[layer - 1];
  }
  /// Trainable parameters: sum over layers of in*out + out.
  std::int64_t parameters() const;
};

/// No network of this shape, size and depth comes within 50 % of `size` parameters.
struct InfeasibleNetwork : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

/// The network whose parameter count is nearest to `size`.
/// @param size target number of trainable parameters, > 0
/// @param depth dense layers, the output layer included; >= 2 (at 2 every shape is a rectangle)
/// Errors: InfeasibleNetwork as above, its text naming the nearest size that exists;
/// std::invalid_argument for depth < 2 or non-positive numbers.
/// Of two networks equally near to `size` the smaller is taken.
Network make_network(Shape shape, std::int64_t size, int depth, int inputs, int outputs, Task task);

/// The sizes of the grid (all_sizes) for which make_network finds a network, ascending.
std::vector<std::int64_t> feasible_sizes(Shape shape, int depth, int inputs, int outputs);

/// Widths for one real `scale` > 0 (the formula the search runs over), output layer last; for tests and
/// plots.
std::vector<int> widths_for_scale(Shape shape, double scale, int depth, int outputs);

}  // namespace mlpwatt

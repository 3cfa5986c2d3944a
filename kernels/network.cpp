#include "kernels/network.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/nearest.h"

namespace mlpwatt {

namespace {

// Widths beyond this are of no use to anyone and would overflow the counting.
constexpr double kLargestWidth = 1 << 30;
constexpr std::int64_t kLargestSize = std::int64_t{1} << 50;
constexpr int kMostLayers = 10'000;

const std::vector<std::string>& shape_names() {
  static const std::vector<std::string> names{"rectangle",      "trapezoid",         "exponential",
                                              "wide_first_2x",  "wide_first_4x",     "wide_first_8x",
                                              "wide_first_16x", "rectangle_residual"};
  return names;
}

// nearbyint rounds half to even in the default rounding mode, as the study's Python does.
int rounded_width(double width, double smallest = 1) {
  return static_cast<int>(std::clamp(std::nearbyint(width), smallest, kLargestWidth));
}

std::int64_t parameter_count(int inputs, const std::vector<int>& widths) {
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
  std::int64_t count = 0;
  std::int64_t in = inputs;
  for (const std::int64_t out : widths) {
    std::int64_t layer = 0;
    if (__builtin_mul_overflow(in + 1, out, &layer) || __builtin_add_overflow(count, layer, &count))
      return kMost;
    in = out;
  }
  return count;
}

struct Candidate {
  std::vector<int> widths;
  std::int64_t parameters = 0;
};

// Every width is a non-decreasing step function of the scale, so the parameter count is one too: the
// nearest count is on one of the two steps that enclose `size`. Bisection runs until the two scales are
// neighbouring doubles: where two widths of a trapezoid step at the same scale, rounding half to even can
// leave a network that exists at that one scale only, and it counts.
Candidate nearest_network(Shape shape, std::int64_t size, int depth, int inputs, int outputs) {
  const auto at = [&](double scale) {
    Candidate c{widths_for_scale(shape, scale, depth, outputs), 0};
    c.parameters = parameter_count(inputs, c.widths);
    return c;
  };
  double below = 1e-6, above = 1;
  Candidate smaller = at(below);
  if (smaller.parameters >= size) return smaller;
  Candidate larger = at(above);
  while (larger.parameters < size && above < kLargestWidth) {
    below = above;
    smaller = std::move(larger);
    larger = at(above *= 2);
  }
  for (;;) {
    const double middle = below + (above - below) / 2;
    if (!(below < middle && middle < above)) break;
    Candidate candidate = at(middle);
    if (candidate.parameters < size) {
      below = middle;
      smaller = std::move(candidate);
    } else {
      above = middle;
      larger = std::move(candidate);
    }
  }
  return size - smaller.parameters <= larger.parameters - size ? smaller : larger;
}

bool rejected(std::int64_t parameters, std::int64_t size) {
  return static_cast<double>(std::abs(parameters - size)) >= 0.5 * static_cast<double>(size);
}

std::string nearest_sizes(std::int64_t size, const std::vector<std::int64_t>& sizes) {
  if (sizes.empty()) return "no size of the grid exists for it";
  const auto above = std::lower_bound(sizes.begin(), sizes.end(), size);
  std::string text = "nearest sizes that exist: ";
  if (above != sizes.begin()) text += std::to_string(*(above - 1)) + (above != sizes.end() ? ", " : "");
  if (above != sizes.end()) text += std::to_string(*above);
  return text;
}

}  // namespace

const std::vector<Shape>& all_shapes() {
  static const std::vector<Shape> shapes{Shape::kRectangle,    Shape::kTrapezoid,        Shape::kExponential,
                                         Shape::kWideFirst2x,  Shape::kWideFirst4x,      Shape::kWideFirst8x,
                                         Shape::kWideFirst16x, Shape::kRectangleResidual};
  return shapes;
}

const std::vector<std::int64_t>& all_sizes() {
  static const std::vector<std::int64_t> sizes = [] {
    std::vector<std::int64_t> powers;
    for (int exponent = 5; exponent <= 24; ++exponent) powers.push_back(std::int64_t{1} << exponent);
    return powers;
  }();
  return sizes;
}

const std::vector<int>& all_depths() {
  static const std::vector<int> depths{2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 18, 20};
  return depths;
}

const std::string& shape_name(Shape shape) { return shape_names()[static_cast<std::size_t>(shape)]; }

const std::string& task_name(Task task) {
  static const std::vector<std::string> names{"multiclass", "binary", "regression"};
  return names[static_cast<std::size_t>(task)];
}

Shape parse_shape(const std::string& name) {
  const auto& names = shape_names();
  const auto found = std::find(names.begin(), names.end(), name);
  if (found == names.end()) throw std::invalid_argument(unknown_name("shape", name, names));
  return all_shapes()[static_cast<std::size_t>(found - names.begin())];
}

Shape canonical_shape(Shape shape, int depth) { return depth == 2 ? Shape::kRectangle : shape; }

std::int64_t Network::parameters() const { return parameter_count(inputs, widths); }

std::vector<int> widths_for_scale(Shape shape, double scale, int depth, int outputs) {
  const int last = depth - 1;
  const double s = scale, o = outputs;
  std::vector<int> widths;
  const auto wide_first = [&](double factor) {
    for (int k = 0; k < last; ++k) widths.push_back(rounded_width(k == 0 ? s : s / factor));
  };
  switch (canonical_shape(shape, depth)) {
    case Shape::kRectangle:
    case Shape::kRectangleResidual:
      wide_first(1);
      break;
    case Shape::kTrapezoid:
      for (int k = 0; k < last; ++k) widths.push_back(rounded_width(s - k * (s - o) / last));
      break;
    case Shape::kExponential: {
      const double q = std::pow(o / s, 1.0 / last);
      for (int k = 0; k < last; ++k) widths.push_back(rounded_width(s * std::pow(q, k), o));
      break;
    }
    case Shape::kWideFirst2x:
      wide_first(2);
      break;
    case Shape::kWideFirst4x:
      wide_first(4);
      break;
    case Shape::kWideFirst8x:
      wide_first(8);
      break;
    case Shape::kWideFirst16x:
      wide_first(16);
      break;
  }
  widths.push_back(outputs);
  return widths;
}

Network make_network(Shape shape, std::int64_t size, int depth, int inputs, int outputs, Task task) {
  if (depth < 2) throw std::invalid_argument("depth " + std::to_string(depth) + ": at least 2 layers needed");
  if (depth > kMostLayers)
    throw std::invalid_argument("depth " + std::to_string(depth) + ": at most " +
                                std::to_string(kMostLayers) + " layers");
  if (inputs < 1 || outputs < 1)
    throw std::invalid_argument("a network needs inputs and outputs, not " + std::to_string(inputs) +
                                " and " + std::to_string(outputs));
  if (size < 1 || size > kLargestSize)
    throw std::invalid_argument("size " + std::to_string(size) + ": a number of parameters from 1 to 2^50");
  Candidate nearest = nearest_network(shape, size, depth, inputs, outputs);
  if (rejected(nearest.parameters, size))
    throw InfeasibleNetwork("size " + std::to_string(size) + " is impossible for a " + shape_name(shape) +
                            " of depth " + std::to_string(depth) + " with " + std::to_string(inputs) +
                            " inputs and " + std::to_string(outputs) +
                            (outputs == 1 ? " output" : " outputs") + " (the nearest network has " +
                            std::to_string(nearest.parameters) + " parameters); " +
                            nearest_sizes(size, feasible_sizes(shape, depth, inputs, outputs)));
  Network network;
  network.inputs = inputs;
  network.widths = std::move(nearest.widths);
  network.residual = canonical_shape(shape, depth) == Shape::kRectangleResidual;
  network.task = task;
  return network;
}

std::vector<std::int64_t> feasible_sizes(Shape shape, int depth, int inputs, int outputs) {
  std::vector<std::int64_t> sizes;
  for (const std::int64_t size : all_sizes())
    if (!rejected(nearest_network(shape, size, depth, inputs, outputs).parameters, size))
      sizes.push_back(size);
  return sizes;
}

}  // namespace mlpwatt

#include "harness/campaign/sample.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <unordered_map>

#include "kernels/random.h"

namespace mlpwatt {
namespace {

/// The positive root of x^(d+1) = x + 1.
double generalised_golden_ratio(int dimensions) {
  double root = 1.5;
  for (int i = 0; i < 60; ++i) root = std::pow(1 + root, 1.0 / (dimensions + 1));
  return root;
}

/// One axis: its values in ascending order.
using Axis = std::vector<double>;

std::size_t nearest(const Axis& axis, double x) {
  const auto above = std::lower_bound(axis.begin(), axis.end(), x);
  if (above == axis.begin()) return 0;
  if (above == axis.end() || x - *(above - 1) < *above - x)
    return static_cast<std::size_t>(above - axis.begin()) - 1;
  return static_cast<std::size_t>(above - axis.begin());
}

}  // namespace

std::vector<std::size_t> space_filling_order(const std::vector<std::vector<double>>& coordinates,
                                             std::size_t count, std::uint64_t seed) {
  std::vector<std::size_t> order;
  if (coordinates.empty()) return order;
  count = std::min(count, coordinates.size());
  // Axes of one value take no part; the others are spread over their values evenly, so that a filtered grid
  // is filled as well as the whole.
  std::vector<std::size_t> used;
  std::vector<Axis> axes;
  for (std::size_t a = 0; a < coordinates[0].size(); ++a) {
    std::set<double> values;
    for (const auto& point : coordinates) values.insert(point[a]);
    if (values.size() < 2) continue;
    used.push_back(a);
    axes.emplace_back(values.begin(), values.end());
  }
  std::unordered_map<std::uint64_t, std::size_t> by_cell;
  for (std::size_t i = 0; i < coordinates.size(); ++i) {
    std::uint64_t cell = 0;
    for (std::size_t a = 0; a < axes.size(); ++a)
      cell = cell * axes[a].size() + nearest(axes[a], coordinates[i][used[a]]);
    by_cell.emplace(cell, i);
  }
  RandomStream stream(seed);
  std::vector<double> position, step;
  const double ratio = generalised_golden_ratio(static_cast<int>(axes.size()));
  for (std::size_t a = 0; a < axes.size(); ++a) {
    position.push_back(uniform_unit(stream));
    step.push_back(std::pow(ratio, -static_cast<double>(a + 1)));
  }
  std::vector<bool> taken(coordinates.size(), false);
  const std::size_t patience = 20 * count + 1000;
  for (std::size_t draw = 0; draw < patience && order.size() < count; ++draw) {
    std::uint64_t cell = 0;
    for (std::size_t a = 0; a < axes.size(); ++a) {
      position[a] = std::fmod(position[a] + step[a], 1.0);
      const auto n = static_cast<double>(axes[a].size());
      cell = cell * axes[a].size() + static_cast<std::size_t>(std::min(position[a] * n, n - 1));
    }
    const auto found = by_cell.find(cell);
    if (found == by_cell.end() || taken[found->second]) continue;
    taken[found->second] = true;
    order.push_back(found->second);
  }
  std::vector<std::size_t> rest;
  for (std::size_t i = 0; i < taken.size(); ++i)
    if (!taken[i]) rest.push_back(i);
  shuffle(rest, stream);
  for (std::size_t i = 0; i < rest.size() && order.size() < count; ++i) order.push_back(rest[i]);
  return order;
}

}  // namespace mlpwatt

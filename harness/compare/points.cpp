#include "harness/compare/points.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "harness/program.h"
#include "harness/selection.h"

namespace mlpwatt {
namespace {

constexpr int kWidest = 1 << 17;  // a peer keeps several matrices of 256 x that

std::string name_of(const std::string& dataset, Shape shape, std::int64_t size, int depth) {
  return fmt::format("/mlp_train/{}/{}/{}/{}", dataset, shape_name(shape), size, depth);
}

std::set<std::string> quick_networks() {
  // across the sizes, shallow to deep, on the datasets that ship or are small
  return {name_of("wine_quality_white", Shape::kRectangle, 1 << 8, 2),
          name_of("wine_quality_white", Shape::kRectangle, 1 << 12, 5),
          name_of("adult", Shape::kRectangle, 1 << 14, 10),
          name_of("adult", Shape::kRectangle, 1 << 16, 5),
          name_of("wine_quality_white", Shape::kRectangle, 1 << 18, 3),
          name_of("adult", Shape::kRectangle, 1 << 20, 5)};
}

std::set<std::string> sampled_networks() {
  std::set<std::string> names;
  for (const char* dataset : {"529_pollen", "sleep", "connect_4", "mnist"}) {
    const DatasetInfo& info = dataset_info(dataset);
    for (const auto& [depth, least] :
         {std::pair{2, 6}, std::pair{5, 7}, std::pair{20, 6}})  // even sizes and odd ones
      for (int power = least; power <= 24; power += 2) {
        try {
          const Network network = make_network(Shape::kRectangle, std::int64_t{1} << power, depth,
                                               info.features, info.outputs, info.task);
          if (*std::max_element(network.widths.begin(), network.widths.end()) <= kWidest)
            names.insert(name_of(dataset, Shape::kRectangle, std::int64_t{1} << power, depth));
        } catch (const InfeasibleNetwork&) {  // the grid has a hole there
        }
      }
  }
  return names;
}

}  // namespace

std::vector<Benchmark> comparison_points(const PointSelection& selection, const RunOptions& options) {
  if (!selection.only.empty() && selection.only != "gemm" && selection.only != "training")
    throw UsageError(fmt::format("--only '{}' is neither gemm nor training", selection.only));
  if (selection.quick && selection.grid) throw UsageError("--quick and --grid exclude each other");
  std::vector<Family> families;
  for (const Family& family : catalogue())
    if ((family.name == selection.device + "/gemm" && selection.only != "training") ||
        (family.name == selection.device + "/mlp_train" && selection.only != "gemm"))
      families.push_back(family);
  if (families.empty())
    throw UsageError(fmt::format("this program has nothing to compare on device '{}'", selection.device));
  std::vector<Benchmark> points = select(families, options, {selection.filter, false, false});
  if (selection.grid) return points;
  const std::set<std::string> networks = selection.quick ? quick_networks() : sampled_networks();
  std::erase_if(points, [&](const Benchmark& point) {
    if (point.family.ends_with("/gemm")) return selection.quick && !point.quick;
    return !networks.contains(point.name.substr(selection.device.size()));
  });
  if (points.empty())
    throw UsageError(fmt::format("--filter '{}' matches nothing of {}; --grid searches every configuration",
                                 selection.filter, selection.quick ? "the quick comparison" : "the sample"));
  return points;
}

}  // namespace mlpwatt

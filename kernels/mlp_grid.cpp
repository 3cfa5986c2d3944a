#include "kernels/mlp_grid.h"

#include <algorithm>

namespace mlpwatt {

void visit_mlp_grid(const std::string& family, std::span<const MlpPoint> quick,
                    const std::string& unavailable,
                    const std::function<std::unique_ptr<Kernel>(const Network&, const std::string& dataset,
                                                                const RunOptions&)>& make,
                    const std::function<void(const Benchmark&)>& visit) {
  for (const DatasetInfo& info : all_datasets())
    for (const Shape shape : all_shapes())
      for (const std::int64_t size : all_sizes())
        for (const int depth : all_depths()) {
          if (canonical_shape(shape, depth) != shape) continue;  // depth-2 duplicates
          Benchmark benchmark;
          benchmark.family = family;
          benchmark.name = family + "/" + info.name + "/" + shape_name(shape) + "/" + std::to_string(size) +
                           "/" + std::to_string(depth);
          benchmark.parameters = {{"dataset", info.name},
                                  {"shape", shape_name(shape)},
                                  {"size", size},
                                  {"depth", std::int64_t{depth}}};
          benchmark.quick = info.name == "wine_quality_white" &&
                            std::any_of(quick.begin(), quick.end(), [&](const auto& p) {
                              return p.shape == shape && p.size == size && p.depth == depth;
                            });
          benchmark.unavailable = unavailable;
          benchmark.make = [info, shape, size, depth, make](const RunOptions& options) {
            return make(make_network(shape, size, depth, info.features, info.outputs, info.task), info.name,
                        options);
          };
          visit(benchmark);
        }
}

std::optional<Network> network_of(const Benchmark& benchmark) {
  const auto& parameters = benchmark.parameters;
  if (!parameters.contains("dataset") || !parameters.contains("shape")) return std::nullopt;
  const auto text = [&](const char* key) { return std::get<std::string>(parameters.at(key)); };
  const auto number = [&](const char* key) { return std::get<std::int64_t>(parameters.at(key)); };
  const DatasetInfo& info = dataset_info(text("dataset"));
  return make_network(parse_shape(text("shape")), number("size"), static_cast<int>(number("depth")),
                      info.features, info.outputs, info.task);
}

}  // namespace mlpwatt

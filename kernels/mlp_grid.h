#pragma once
// The study's grid of networks as entries of the catalogue: the same names on every backend.

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "kernels/kernel.h"
#include "kernels/network.h"

namespace mlpwatt {

struct MlpPoint {
  Shape shape;
  std::int64_t size;
  int depth;
};

/// Visits <family>/<dataset>/<shape>/<size>/<depth> for every dataset, shape, size and depth of the study, in
/// that order, each shape once at depth 2 (canonical_shape).
/// @param family "cpu/mlp_train"
/// @param quick points of the shipped dataset that belong to the quick suite
/// @param unavailable as Benchmark::unavailable
/// @param make gets a network that exists; one that does not throws when its kernel is made, not here: the
/// search for widths is too slow for 27,300 names
void visit_mlp_grid(const std::string& family, std::span<const MlpPoint> quick,
                    const std::string& unavailable,
                    const std::function<std::unique_ptr<Kernel>(const Network&, const std::string& dataset,
                                                                const RunOptions&)>& make,
                    const std::function<void(const Benchmark&)>& visit);

/// The network that a benchmark of the grid trains; none for a benchmark of another kind.
/// Errors: InfeasibleNetwork for a hole of the grid.
std::optional<Network> network_of(const Benchmark& benchmark);

}  // namespace mlpwatt

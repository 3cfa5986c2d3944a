#pragma once
// Cache-unfriendly twins of the blocked training engine: the same engine, the same sums, blocked for caches
// that are not there. What a twin costs more than `blocked` is what blocking for the real caches saves; the
// traffic model predicts it, `mlpwatt predict --against` measures it.
//
//   twin_unblocked  blocked as if every cache were boundless: one block over all of k, nothing kept to a part
//   twin_shallow    blocked as if every cache had a sixteenth of its size: L1 and L3 see everything more
//   often

#include <memory>
#include <string>
#include <vector>

#include "cpu/mlp/engine.h"

namespace mlpwatt {

/// The names above.
const std::vector<std::string>& mlp_twins();
bool is_mlp_twin(const std::string& algorithm);

/// The hierarchy a twin is blocked for. Errors: std::invalid_argument for an unknown twin.
Hierarchy pretended_hierarchy(const std::string& twin, const Hierarchy& hierarchy);

std::unique_ptr<CpuEngine> make_mlp_twin(const std::string& twin, const Network& network, const Dataset& data,
                                         const EngineOptions& options);

}  // namespace mlpwatt

#pragma once
// The names of the training engines on a GPU, for those who have no device and no CUDA to ask.

#include <string>
#include <vector>

namespace mlpwatt::gpu {

inline const std::vector<std::string>& mlp_algorithms() {
  static const std::vector<std::string> names{"resident", "cooperative", "graph", "graph_tf32", "graph_bf16"};
  return names;
}

}  // namespace mlpwatt::gpu

#pragma once
// The training step of any network on the GPU as a kernel; the catalogue holds those of the study's grid.

#include <memory>
#include <string>

#include "kernels/kernel.h"
#include "kernels/network.h"

namespace mlpwatt::gpu {

/// @param dataset one of the study's 13, whose features and outputs the network has
/// @param options algorithm: resident, cooperative, graph, graph_tf32, graph_bf16; "" = the quickest fp32 one
std::unique_ptr<Kernel> make_mlp_train(const Network& network, const std::string& dataset,
                                       const RunOptions& options);

}  // namespace mlpwatt::gpu

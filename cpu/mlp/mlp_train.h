#pragma once
// The training step of any network as a kernel; the catalogue holds those of the study's grid.

#include <memory>
#include <string>

#include "kernels/kernel.h"
#include "kernels/network.h"

namespace mlpwatt {

/// @param dataset one of the study's 13, whose features and outputs the network has
std::unique_ptr<Kernel> make_mlp_train(const Network& network, const std::string& dataset,
                                       const RunOptions& options);

}  // namespace mlpwatt

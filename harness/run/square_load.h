#pragma once
// Loads for calibrating meters, on and off at given moments: multiply-adds on all cores, or a benchmark's
// steps.

#include <memory>

#include "kernels/kernel.h"
#include "meters/calibration.h"

namespace mlpwatt {

/// @param threads that compute while the wave is on
SquareLoad fma_load(int threads);

/// Steps of a kernel that has been set up, on the threads or the device that it has itself.
SquareLoad kernel_load(std::shared_ptr<Kernel> kernel);

}  // namespace mlpwatt

#pragma once
// A load for calibrating meters: multiply-adds on all cores, on and off at given moments.

#include "meters/calibration.h"

namespace mlpwatt {

/// @param threads that compute while the wave is on
SquareLoad fma_load(int threads);

}  // namespace mlpwatt

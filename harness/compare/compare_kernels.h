#pragma once
// Two kernels of the catalogue that compute the same thing, in turns: ours and a library's under the same
// contract, so that whatever device they run on is their own affair.

#include <string>

#include "harness/compare/comparison.h"

namespace mlpwatt {

/// Both are set up and prove themselves (Kernel::check) before any turn. A peer that is unavailable, fails or
/// throws leaves a row that says so.
/// @param peer_name of its rows: "cublas"
Comparison compare_kernels(const Benchmark& ours, const Benchmark& peer, const std::string& peer_name,
                           CompareSettings& settings, Clock& clock);

}  // namespace mlpwatt

#pragma once
// A training engine: one way of running the steps of one network on one team of threads. All engines
// compute the same maths (kernels/reference states it); they differ in where the data lies.
//
//   fused    activations feature-major, the batch on the SIMD lanes; each thread takes its rows of the batch
//            forward and backward without meeting another; the weight gradient of each layer by rows of the
//            batch or by outputs, whichever moves less (fused_plan.h); Adam; two barriers a step. More
//            threads than the batch has panels go in groups that meet after every layer. Of a network of one
//            wide hidden layer each thread takes its units instead (one_hidden_engine.cpp)
//   blocked  activations batch-major; every layer is three packed matrix products, the layer's other work in
//            their last write, and weight gradients never reach memory; a barrier or two a product

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "cpu/isa.h"
#include "kernels/dataset.h"
#include "kernels/hierarchy.h"
#include "kernels/mlp_engine.h"
#include "kernels/network.h"
#include "kernels/reference.h"

namespace mlpwatt {

struct EngineOptions {
  Isa isa = Isa::kGeneric;
  int threads = 0;        ///< 0 = chosen by the engine's cost model, at most hierarchy.cores
  std::string algorithm;  ///< "" = chosen by network; "fused" or "blocked"
  int batch = 256;
  reference::Adam adam;
  Hierarchy hierarchy;

  /// Rows of a whole batch, of a dataset with so many.
  std::int64_t whole_batch(std::int64_t train_rows) const {
    return std::min<std::int64_t>(batch, train_rows);
  }
};

/// An engine of this room: its micro-kernels have an instruction set.
class CpuEngine : public MlpEngine {
 public:
  /// Read from the tables of micro-kernels that run, not from what was asked for.
  virtual Isa isa() const = 0;
};

/// Copies what it needs of `data` into its own layout (set-up, not timed).
/// Errors: std::invalid_argument for an unknown algorithm (names the nearest ones), batch < 1, or a dataset
/// that does not fit the network.
std::unique_ptr<CpuEngine> make_engine(const Network& network, const Dataset& data,
                                       const EngineOptions& options);

std::unique_ptr<CpuEngine> make_fused_engine(const Network& network, const Dataset& data,
                                             const EngineOptions& options);
std::unique_ptr<CpuEngine> make_blocked_engine(const Network& network, const Dataset& data,
                                               const EngineOptions& options);

/// "fused" or "blocked": what make_engine takes when not told.
std::string choose_algorithm(const Network& network, const EngineOptions& options);
/// Threads the fused engine takes when not told.
int choose_fused_threads(const Network& network, std::int64_t train_rows, const EngineOptions& options);

/// What make_engine would run, without making it. @param train_rows of the dataset
struct EngineChoice {
  std::string algorithm;
  int threads = 1;
};
EngineChoice choose_engine(const Network& network, std::int64_t train_rows, const EngineOptions& options);

}  // namespace mlpwatt

#pragma once
// A training engine: one way of running the steps of one network on one team of threads. All engines
// compute the same maths (kernels/reference states it); they differ in where the data lies.
//
//   fused    activations feature-major, the batch on the SIMD lanes; each thread takes its rows of the batch
//            forward and backward without meeting another; the weight gradient of each layer by rows of the
//            batch or by outputs, whichever moves less (fused_plan.h); Adam; two barriers a step
//   blocked  activations batch-major; every layer is three packed matrix products with the layer's other work
//   in
//            their last write, weight gradients never reach memory; a barrier or two a product

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "cpu/isa.h"
#include "kernels/dataset.h"
#include "kernels/hierarchy.h"
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
};

enum class Split { kTrain, kTest };

class MlpEngine {
 public:
  virtual ~MlpEngine() = default;
  virtual const char* algorithm() const = 0;
  virtual int threads() const = 0;
  /// One optimiser step on each of these training batches, in this order. Allocates nothing.
  /// @return the mean over the steps of each batch's loss before its step
  virtual double train(const int* batches, std::int64_t count) = 0;
  /// Mean loss over a split, and the share of right answers (NaN for regression). Weighted by rows.
  virtual reference::Evaluation evaluate(Split split) = 0;

  /// In the reference's form ([out x in] weights), whatever the engine keeps. set_parameters also clears
  /// Adam's state.
  virtual void set_parameters(const reference::Parameters& parameters) = 0;
  virtual reference::Parameters parameters() const = 0;
  /// Adam's first moments. After the first step from cleared state they are (1 - beta1) times the gradient:
  /// how tests read the gradients of the very code that is timed.
  virtual reference::Parameters first_moments() const = 0;

  int train_batches() const { return train_batches_; }

 protected:
  int train_batches_ = 0;
};

/// Copies what it needs of `data` into its own layout (set-up, not timed).
/// Errors: std::invalid_argument for an unknown algorithm (names the known ones), batch < 1, or a dataset
/// that does not fit the network.
std::unique_ptr<MlpEngine> make_engine(const Network& network, const Dataset& data,
                                       const EngineOptions& options);

std::unique_ptr<MlpEngine> make_fused_engine(const Network& network, const Dataset& data,
                                             const EngineOptions& options);
std::unique_ptr<MlpEngine> make_blocked_engine(const Network& network, const Dataset& data,
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

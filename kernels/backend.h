#pragma once
// What trains a network, as commands see it: a room registers its backend, the harness asks by name and never
// includes a device's headers.

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "kernels/hierarchy.h"
#include "kernels/kernel.h"
#include "kernels/mlp_check.h"
#include "kernels/mlp_engine.h"

namespace mlpwatt {

struct Backend {
  /// A training engine, and what of Kernel::facts it knows.
  struct Trainer {
    std::unique_ptr<MlpEngine> engine;
    std::map<std::string, std::string> facts;
    /// Another engine of the same algorithm and team for other rows, another batch, another rate.
    std::function<std::unique_ptr<MlpEngine>(const Dataset&, int batch, const reference::Adam&)> same;
    MlpTolerance tolerance = kFloat32Tolerance;  ///< of a check of this engine
  };

  std::string name;                          ///< "cpu", "gpu"
  std::function<std::string()> unavailable;  ///< why it cannot be used here; "" when it can
  std::function<Hierarchy()> hierarchy;      ///< of the device; empty: the processor's, as in RunOptions
  /// Errors: std::exception, one line.
  std::function<Trainer(const Network&, const Dataset&, const RunOptions&, const reference::Adam&)>
      make_trainer;
  /// Times a training step of any network on a dataset of that name, on the grid or off it.
  std::function<std::unique_ptr<Kernel>(const Network&, const std::string& dataset, const RunOptions&)>
      make_step;
};

/// nullptr when nothing of that name was built into this program.
const Backend* find_backend(const std::string& name);
/// The same for one that has to be there and usable.
/// Errors: std::runtime_error with the reason and the remedy.
const Backend& require_backend(const std::string& name);

/// What Kernel::check is to a benchmark: another engine like `trainer`'s at the batch that is timed, against
/// the reference. @param seed of its initial parameters
Check check_trainer(const Backend::Trainer& trainer, const Network& network, const Dataset& data, int batch,
                    const reference::Adam& adam, std::uint64_t seed);

struct BackendRegistration {
  explicit BackendRegistration(Backend backend);
};

}  // namespace mlpwatt

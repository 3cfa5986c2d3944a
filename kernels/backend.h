#pragma once
// Devices other than the processor, as commands see them: a room registers its backend, the harness asks by
// name and never includes a device's headers.

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "kernels/hierarchy.h"
#include "kernels/kernel.h"
#include "kernels/mlp_engine.h"

namespace mlpwatt {

struct Backend {
  /// A training engine, and what of Kernel::facts it knows.
  struct Trainer {
    std::unique_ptr<MlpEngine> engine;
    std::map<std::string, std::string> facts;
  };

  std::string name;                          ///< "gpu"
  std::function<std::string()> unavailable;  ///< why it cannot be used here; "" when it can
  std::function<Hierarchy()> hierarchy;      ///< of the device
  /// Errors: std::exception, one line.
  std::function<Trainer(const Network&, const Dataset&, const RunOptions&, const reference::Adam&)>
      make_trainer;
};

/// nullptr when nothing of that name was built into this program.
const Backend* find_backend(const std::string& name);
/// The same for one that has to be there and usable.
/// Errors: std::runtime_error with the reason and the remedy.
const Backend& require_backend(const std::string& name);

struct BackendRegistration {
  explicit BackendRegistration(Backend backend);
};

}  // namespace mlpwatt

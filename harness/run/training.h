#pragma once
// Training one network for real: epochs of seeded batches, the loss and accuracy after each.

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "kernels/epochs.h"
#include "kernels/kernel.h"
#include "kernels/reference.h"

namespace mlpwatt {

/// Something that learns: an engine on some device, or the double-precision reference.
class Trainee {
 public:
  virtual ~Trainee() = default;
  virtual int train_batches() const = 0;
  /// Epochs of this trainee, which has to outlive them.
  virtual std::unique_ptr<Epochs> epochs(std::uint64_t seed) = 0;
  virtual reference::Evaluation evaluate_train() = 0;
  virtual reference::Evaluation evaluate_test() = 0;
  /// As Kernel::check; nothing for what is the reference itself.
  virtual std::optional<Check> check() = 0;
  /// As Kernel::facts.
  virtual std::map<std::string, std::string> facts() const = 0;
};

/// Starts from reference::initial_parameters(network, options.seed). `data` has to outlive it.
/// @param backend "cpu", "gpu" or "reference"
/// Errors: std::invalid_argument for a backend, algorithm or instruction set that does not exist;
/// std::runtime_error for a device that cannot be used here, with the reason.
std::unique_ptr<Trainee> make_trainee(const std::string& backend, const Network& network, const Dataset& data,
                                      const RunOptions& options, const reference::Adam& adam);

/// One point of the training curve; the columns of /curves.
struct Epoch {
  int epoch = 0;  ///< 1-based; 0 is the untrained network, whose train_loss is over the whole training split
  double train_loss = 0, test_loss = 0;
  double train_accuracy = 0, test_accuracy = 0;  ///< NaN for regression
  double seconds = 0, total_seconds = 0;         ///< training only
};

struct TrainingPlan {
  int epochs = 1;
  std::optional<double> target_test_loss;  ///< stop after the first epoch that reaches it
  std::uint64_t seed = 1;                  ///< of the order of batches
};

enum class TrainingEnd { kEpochs, kTarget, kDiverged, kStopped };

/// @param seen gets each point as it is made; returns false to stop
TrainingEnd train(Trainee& trainee, const TrainingPlan& plan, const std::function<double()>& clock_s,
                  const std::function<bool(const Epoch&)>& seen);

}  // namespace mlpwatt

#include "harness/run/training.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "kernels/backend.h"
#include "kernels/nearest.h"

namespace mlpwatt {
namespace {

std::map<std::string, std::string> data_facts(const Dataset& data) {
  return {{"dataset_source", data.source}, {"dataset_checksum", data.checksum}};
}

/// A backend's engine.
class EngineTrainee : public Trainee {
 public:
  EngineTrainee(const Backend& backend, const Network& network, const Dataset& data,
                const RunOptions& options, const reference::Adam& adam)
      : network_(network),
        data_(data),
        options_(options),
        adam_(adam),
        trainer_(backend.make_trainer(network, data, options, adam)) {
    trainer_.engine->set_parameters(reference::initial_parameters(network, options.seed));
  }
  int train_batches() const override { return trainer_.engine->train_batches(); }
  std::unique_ptr<Epochs> epochs(std::uint64_t seed) override { return trainer_.engine->epochs(seed); }
  reference::Evaluation evaluate_train() override { return trainer_.engine->evaluate(Split::kTrain); }
  reference::Evaluation evaluate_test() override { return trainer_.engine->evaluate(Split::kTest); }
  std::optional<Check> check() override {
    reference::Adam adam = adam_;
    // a rate that makes the loss overflow is no fault of the engine
    adam.learning_rate = reference::Adam{}.learning_rate;
    return check_trainer(trainer_, network_, data_, options_.batch, adam, options_.seed);
  }
  std::map<std::string, std::string> facts() const override {
    std::map<std::string, std::string> facts = data_facts(data_);
    facts.insert(trainer_.facts.begin(), trainer_.facts.end());
    return facts;
  }

 private:
  Network network_;
  const Dataset& data_;
  RunOptions options_;
  reference::Adam adam_;
  Backend::Trainer trainer_;
};

class ReferenceTrainee : public Trainee {
 public:
  ReferenceTrainee(const Network& network, const Dataset& data, const RunOptions& options,
                   const reference::Adam& adam)
      : data_(data),
        batch_(options.batch),
        trainer_(network, reference::initial_parameters(network, options.seed), adam) {}
  int train_batches() const override { return static_cast<int>(data_.train_batches(batch_)); }
  std::unique_ptr<Epochs> epochs(std::uint64_t seed) override {
    return std::make_unique<HostEpochs>(train_batches(), seed, [this](const std::vector<int>& batches) {
      double loss = 0;
      for (const int batch : batches) {
        const std::int64_t first = std::int64_t{batch} * batch_;
        loss += trainer_.step(x(first), y(first), std::min<std::int64_t>(batch_, data_.train_rows() - first));
      }
      return loss / static_cast<double>(batches.size());
    });
  }
  reference::Evaluation evaluate_train() override {
    return trainer_.evaluate(x(0), y(0), data_.train_rows());
  }
  reference::Evaluation evaluate_test() override {
    return trainer_.evaluate(x(data_.train_rows()), y(data_.train_rows()), data_.test_rows);
  }
  std::optional<Check> check() override { return std::nullopt; }
  std::map<std::string, std::string> facts() const override {
    std::map<std::string, std::string> facts = data_facts(data_);
    facts["isa"] = "double";
    facts["threads"] = "1";
    facts["algorithm"] = "reference";
    return facts;
  }

 private:
  const float* x(std::int64_t row) const { return data_.x.data() + row * data_.info.features; }
  const float* y(std::int64_t row) const { return data_.y.data() + row * data_.info.outputs; }
  const Dataset& data_;
  int batch_;
  reference::Trainer trainer_;
};

}  // namespace

std::unique_ptr<Trainee> make_trainee(const std::string& backend, const Network& network, const Dataset& data,
                                      const RunOptions& options, const reference::Adam& adam) {
  if (backend == "reference") return std::make_unique<ReferenceTrainee>(network, data, options, adam);
  // "gpu" is asked for by its name also where it was not built: that is said better than "unknown"
  if (find_backend(backend) != nullptr || backend == "gpu")
    return std::make_unique<EngineTrainee>(require_backend(backend), network, data, options, adam);
  throw std::invalid_argument(unknown_name("backend", backend, {"cpu", "gpu", "reference"}));
}

TrainingEnd train(Trainee& trainee, const TrainingPlan& plan, const std::function<double()>& clock_s,
                  const std::function<bool(const Epoch&)>& seen) {
  const std::unique_ptr<Epochs> epochs = trainee.epochs(plan.seed);
  Epoch point;
  const auto look = [&](bool untrained) {
    const reference::Evaluation train = trainee.evaluate_train(), test = trainee.evaluate_test();
    if (untrained) point.train_loss = train.loss;
    point.train_accuracy = train.accuracy;
    point.test_loss = test.loss;
    point.test_accuracy = test.accuracy;
  };
  look(true);
  if (!seen(point)) return TrainingEnd::kStopped;
  for (point.epoch = 1; point.epoch <= plan.epochs; ++point.epoch) {
    epochs->draw();
    const double before = clock_s();
    point.train_loss = epochs->train();
    point.seconds = clock_s() - before;
    point.total_seconds += point.seconds;
    look(false);
    const bool go_on = seen(point);
    if (!std::isfinite(point.train_loss) || !std::isfinite(point.test_loss)) return TrainingEnd::kDiverged;
    if (plan.target_test_loss && point.test_loss <= *plan.target_test_loss) return TrainingEnd::kTarget;
    if (!go_on) return TrainingEnd::kStopped;
  }
  return TrainingEnd::kEpochs;
}

}  // namespace mlpwatt

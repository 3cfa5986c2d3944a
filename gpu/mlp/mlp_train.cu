// The catalogue's gpu/mlp_train/<dataset>/<shape>/<size>/<depth>: one training step (forward, loss, backward,
// Adam) of every network of the study's grid, on the device; and the backend that commands train with.

#include "gpu/mlp/mlp_train.h"

#include <algorithm>

#include "gpu/mlp/engine.h"
#include "gpu/mlp/order.h"
#include "kernels/backend.h"
#include "kernels/mlp_grid.h"
#include "kernels/shared_dataset.h"

namespace mlpwatt::gpu {
namespace {

std::map<std::string, std::string> engine_facts(const Engine& engine) {
  std::map<std::string, std::string> facts = device_facts();
  facts["isa"] = "sm_" + std::to_string(device().capability);
  facts["threads"] = std::to_string(engine.threads());
  facts["algorithm"] = std::string(engine.algorithm()) + " " + engine.layout();
  return facts;
}

Backend::Trainer make_trainer(const Network& network, const Dataset& data, const RunOptions& options,
                              const reference::Adam& adam) {
  EngineOptions engine;
  engine.algorithm = options.algorithm;
  engine.batch = options.batch;
  engine.adam = adam;
  // other engines' teams are the device's
  if (options.algorithm == "resident" && options.threads > 0) engine.blocks = cluster_of(options.threads);
  std::unique_ptr<Engine> made = make_engine(network, data, engine);
  std::map<std::string, std::string> facts = engine_facts(*made);
  const MlpTolerance tolerance = tolerance_of(made->algorithm());
  // what it chose, for others like it
  engine.algorithm = made->algorithm();
  engine.blocks = made->blocks();
  const auto same = [engine, network](const Dataset& rows, int batch, const reference::Adam& its) mutable {
    engine.batch = batch;
    engine.adam = its;
    return make_engine(network, rows, engine);
  };
  return {std::move(made), std::move(facts), same, tolerance};
}

class MlpTrainKernel : public Kernel {
 public:
  MlpTrainKernel(const Network& network, std::string dataset, const RunOptions& options)
      : network_(network), dataset_(std::move(dataset)), options_(options) {}

  void set_up() override {
    data_ = shared_dataset(dataset_, options_.dataset);
    trainer_ = make_trainer(network_, *data_, options_, adam_);
    engine_ = static_cast<Engine*>(trainer_.engine.get());  // what make_trainer made
    engine_->set_parameters(reference::initial_parameters(network_, options_.seed));
    order_ = Buffer<int>(kOrder);
    DeviceBatchOrder(engine_->train_batches(), options_.seed).draw(order_);
  }

  Check check() override {
    return check_trainer(trainer_, network_, *data_, options_.batch, adam_, options_.seed);
  }

  void run(std::int64_t steps) override {
    while (steps > 0) {
      const std::int64_t here = std::min<std::int64_t>(steps, kOrder - next_);
      loss_ = engine_->train_on_device(order_.data() + next_, here);
      next_ = (next_ + here) % kOrder;
      steps -= here;
    }
  }

  Cost cost() const override {
    return mlp_train_epoch_mean_cost(network_, options_.batch, data_->rows, data_->train_rows());
  }

  std::map<std::string, std::string> facts() const override {
    std::map<std::string, std::string> facts = trainer_.facts;
    facts["dataset_source"] = data_->source;
    facts["dataset_checksum"] = data_->checksum;
    return facts;
  }

 private:
  static constexpr int kOrder = 4096;  // then it starts again
  Network network_;
  std::string dataset_;
  RunOptions options_;
  reference::Adam adam_;
  std::shared_ptr<const Dataset> data_;
  Backend::Trainer trainer_;
  Engine* engine_ = nullptr;  ///< the trainer's: batch numbers may lie on the device
  Buffer<int> order_;
  std::int64_t next_ = 0;
  double loss_ = 0;
};

/// The quick suite's networks: one or two sizes for each engine.
constexpr MlpPoint kQuick[] = {{Shape::kRectangle, 64, 2},      {Shape::kRectangle, 256, 4},
                               {Shape::kTrapezoid, 4096, 5},    {Shape::kRectangleResidual, 65536, 6},
                               {Shape::kRectangle, 262144, 5},  {Shape::kRectangle, 1048576, 3},
                               {Shape::kRectangle, 16777216, 5}};

void enumerate(const RunOptions&, const std::function<void(const Benchmark&)>& visit) {
  visit_mlp_grid("gpu/mlp_train", kQuick, why_unavailable(), make_mlp_train, visit);
}

const FamilyRegistration registration{
    {"gpu/mlp_train", "gpu",
     "training steps of the study's networks on the GPU: <dataset>/<shape>/<size>/<depth>", enumerate}};

const BackendRegistration backend{
    {"gpu", [] { return why_unavailable(); }, device_hierarchy, make_trainer, make_mlp_train}};

}  // namespace

std::unique_ptr<Kernel> make_mlp_train(const Network& network, const std::string& dataset,
                                       const RunOptions& options) {
  return std::make_unique<MlpTrainKernel>(network, dataset, options);
}

}  // namespace mlpwatt::gpu

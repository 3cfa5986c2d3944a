// The catalogue's cpu/mlp_train/<dataset>/<shape>/<size>/<depth>: one training step (forward, loss, backward,
// Adam) of every network of the study's grid.

#include <algorithm>

#include "cpu/mlp/engine.h"
#include "cpu/mlp/mlp_train.h"
#include "kernels/backend.h"
#include "kernels/kernel.h"
#include "kernels/mlp_grid.h"
#include "kernels/random.h"
#include "kernels/shared_dataset.h"

namespace mlpwatt {
namespace {

Backend::Trainer make_trainer(const Network& network, const Dataset& data, const RunOptions& options,
                              const reference::Adam& adam) {
  EngineOptions engine;
  engine.isa = choose_isa(options.isa);
  engine.threads = options.threads;
  engine.algorithm = options.algorithm;
  engine.batch = options.batch;
  engine.adam = adam;
  engine.hierarchy = options.hierarchy;
  std::unique_ptr<CpuEngine> made = make_engine(network, data, engine);
  // what it chose, for others like it
  engine.threads = made->threads();
  engine.algorithm = made->algorithm();
  std::map<std::string, std::string> facts{{"isa", isa_name(made->isa())},
                                           {"threads", std::to_string(made->threads())},
                                           {"algorithm", made->algorithm()}};
  const auto same = [engine, network](const Dataset& rows, int batch, const reference::Adam& its) mutable {
    engine.batch = batch;
    engine.adam = its;
    return make_engine(network, rows, engine);
  };
  return {std::move(made), std::move(facts), same};
}

class MlpTrainKernel : public Kernel {
 public:
  MlpTrainKernel(const Network& network, std::string dataset, const RunOptions& options)
      : network_(network), dataset_(std::move(dataset)), options_(options) {}

  void set_up() override {
    data_ = shared_dataset(dataset_, options_.dataset);
    trainer_ = make_trainer(network_, *data_, options_, adam_);
    trainer_.engine->set_parameters(reference::initial_parameters(network_, options_.seed));
    constexpr std::size_t kOrder = 4096;  // then it starts again
    BatchOrder order(trainer_.engine->train_batches(), options_.seed);
    while (order_.size() < kOrder) {
      const std::vector<int>& epoch = order.next_epoch();
      order_.insert(order_.end(), epoch.begin(), epoch.end());
    }
  }

  Check check() override {
    return check_trainer(trainer_, network_, *data_, options_.batch, adam_, options_.seed);
  }

  void run(std::int64_t steps) override {
    while (steps > 0) {
      const std::int64_t here =
          std::min<std::int64_t>(steps, static_cast<std::int64_t>(order_.size() - next_));
      loss_ = trainer_.engine->train(order_.data() + next_, here);
      next_ = (next_ + here) % order_.size();
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
  Network network_;
  std::string dataset_;
  RunOptions options_;
  reference::Adam adam_;
  std::shared_ptr<const Dataset> data_;
  Backend::Trainer trainer_;
  std::vector<int> order_;
  std::size_t next_ = 0;
  double loss_ = 0;
};

/// The quick suite's networks: sizes that cross each cache level, shallow to deep.
constexpr MlpPoint kQuick[] = {
    {Shape::kRectangle, 64, 2},      {Shape::kRectangle, 256, 4},           {Shape::kRectangle, 1024, 2},
    {Shape::kTrapezoid, 4096, 5},    {Shape::kRectangle, 4096, 10},         {Shape::kTrapezoid, 16384, 5},
    {Shape::kExponential, 16384, 4}, {Shape::kRectangleResidual, 65536, 6}, {Shape::kWideFirst4x, 65536, 4},
    {Shape::kRectangle, 262144, 5},  {Shape::kRectangle, 1048576, 3},       {Shape::kRectangle, 1048576, 8}};

void enumerate(const RunOptions&, const std::function<void(const Benchmark&)>& visit) {
  visit_mlp_grid("cpu/mlp_train", kQuick, "", make_mlp_train, visit);
}

const FamilyRegistration registration{
    {"cpu/mlp_train", "cpu", "training steps of the study's networks: <dataset>/<shape>/<size>/<depth>",
     enumerate}};

const BackendRegistration backend{{"cpu", [] { return std::string(); }, {}, make_trainer, make_mlp_train}};

}  // namespace

std::unique_ptr<Kernel> make_mlp_train(const Network& network, const std::string& dataset,
                                       const RunOptions& options) {
  return std::make_unique<MlpTrainKernel>(network, dataset, options);
}

}  // namespace mlpwatt

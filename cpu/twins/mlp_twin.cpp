#include "cpu/twins/mlp_twin.h"

#include <algorithm>

#include "kernels/nearest.h"

namespace mlpwatt {
namespace {

/// The blocked engine under a twin's name.
class TwinEngine : public CpuEngine {
 public:
  TwinEngine(std::string twin, std::unique_ptr<CpuEngine> engine)
      : twin_(std::move(twin)), engine_(std::move(engine)) {
    train_batches_ = engine_->train_batches();
  }
  const char* algorithm() const override { return twin_.c_str(); }
  int threads() const override { return engine_->threads(); }
  Isa isa() const override { return engine_->isa(); }
  double train(const int* batches, std::int64_t count) override { return engine_->train(batches, count); }
  reference::Evaluation evaluate(Split split) override { return engine_->evaluate(split); }
  void set_parameters(const reference::Parameters& parameters) override {
    engine_->set_parameters(parameters);
  }
  reference::Parameters parameters() const override { return engine_->parameters(); }
  reference::Parameters first_moments() const override { return engine_->first_moments(); }

 private:
  std::string twin_;
  std::unique_ptr<CpuEngine> engine_;
};

}  // namespace

const std::vector<std::string>& mlp_twins() {
  static const std::vector<std::string> names{"twin_unblocked", "twin_shallow"};
  return names;
}

bool is_mlp_twin(const std::string& algorithm) {
  return std::find(mlp_twins().begin(), mlp_twins().end(), algorithm) != mlp_twins().end();
}

Hierarchy pretended_hierarchy(const std::string& twin, const Hierarchy& hierarchy) {
  if (!is_mlp_twin(twin)) throw std::invalid_argument(unknown_name("training twin", twin, mlp_twins()));
  constexpr std::int64_t kBoundless = std::int64_t{1} << 40, kShallower = 16;
  Hierarchy pretended = hierarchy;
  for (CacheLevel& level : pretended.levels)
    level.capacity_bytes = twin == "twin_unblocked"
                               ? kBoundless
                               : std::max<std::int64_t>(1024, level.capacity_bytes / kShallower);
  return pretended;
}

std::unique_ptr<CpuEngine> make_mlp_twin(const std::string& twin, const Network& network, const Dataset& data,
                                         const EngineOptions& options) {
  EngineOptions pretended = options;
  pretended.algorithm = "blocked";
  pretended.hierarchy = pretended_hierarchy(twin, options.hierarchy);
  return std::make_unique<TwinEngine>(twin, make_blocked_engine(network, data, pretended));
}

}  // namespace mlpwatt

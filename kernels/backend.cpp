#include "kernels/backend.h"

#include <algorithm>
#include <stdexcept>
#include <vector>

namespace mlpwatt {

namespace {
std::vector<Backend>& registered() {
  static std::vector<Backend> backends;
  return backends;
}
}  // namespace

const Backend* find_backend(const std::string& name) {
  const auto& backends = registered();
  const auto found =
      std::find_if(backends.begin(), backends.end(), [&](const Backend& b) { return b.name == name; });
  return found == backends.end() ? nullptr : &*found;
}

const Backend& require_backend(const std::string& name) {
  const Backend* backend = find_backend(name);
  if (backend == nullptr)
    throw std::runtime_error(
        "backend " + name +
        " is not in this program: build it where nvcc is found (PATH, CUDA_HOME or NVCC=)");
  if (const std::string reason = backend->unavailable(); !reason.empty())
    throw std::runtime_error("backend " + name + " cannot be used here: " + reason);
  return *backend;
}

Check check_trainer(const Backend::Trainer& trainer, const Network& network, const Dataset& data, int batch,
                    const reference::Adam& adam, std::uint64_t seed) {
  const MlpCheckPlan plan = plan_mlp_check(network, data, batch);
  const std::unique_ptr<MlpEngine> tried = trainer.same(plan.engine_data, plan.batch, adam);
  return check_engine(*tried, network, plan.followed, plan.rows, adam, seed, plan.steps, trainer.tolerance);
}

BackendRegistration::BackendRegistration(Backend backend) { registered().push_back(std::move(backend)); }

}  // namespace mlpwatt

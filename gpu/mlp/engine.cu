#include "gpu/mlp/engine.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <stdexcept>

#include "gpu/mlp/algorithms.h"
#include "gpu/mlp/evaluate.h"
#include "gpu/mlp/order.h"

namespace mlpwatt::gpu {
namespace {

/// Steps enqueued at once: the ring of batch numbers on the device has this many.
constexpr std::int64_t kMostSteps = 4096;

class DeviceEpochs : public Epochs {
 public:
  DeviceEpochs(Engine& engine, std::uint64_t seed)
      : engine_(engine),
        order_(engine.train_batches(), seed),
        batches_(static_cast<std::size_t>(engine.train_batches())) {}
  void draw() override { order_.draw(batches_); }
  double train() override {
    return engine_.train_on_device(batches_.data(), static_cast<std::int64_t>(batches_.size()));
  }

 private:
  Engine& engine_;
  DeviceBatchOrder order_;
  Buffer<int> batches_;
};

}  // namespace

Precision precision_of(const std::string& algorithm) {
  if (algorithm == "graph_tf32") return Precision::kTf32;
  if (algorithm == "graph_bf16") return Precision::kBf16;
  return Precision::kFp32;
}

MlpTolerance tolerance_of(const std::string& algorithm) {
  // Rounding of single factors, 2^-11 and 2^-8, times what layers make of it; Adam turns a wrong sign of a
  // small gradient into a whole step.
  switch (precision_of(algorithm)) {
    case Precision::kTf32:
      return {2e-2, 2e-3, 0.3};
    case Precision::kBf16:
      return {1e-1, 2e-2, 0.6};
    case Precision::kFp32:
      break;
  }
  return kFloat32Tolerance;
}

DeviceData::DeviceData(const Dataset& data, int batch_rows)
    : plan(make_record_plan(data.info)),
      records(make_records(data, plan, batch_rows)),
      train_rows(data.train_rows()),
      test_rows(data.test_rows),
      features(data.info.features),
      outputs(data.info.outputs),
      batch(batch_rows) {}

Engine::Engine(const Network& network, std::shared_ptr<const DeviceData> data, const EngineOptions& options,
               Rows rows)
    : plan_(make_plan(network, rows)),
      data_(std::move(data)),
      options_(options),
      w_(static_cast<std::size_t>(plan_.parameters)),
      m_(static_cast<std::size_t>(plan_.parameters)),
      v_(static_cast<std::size_t>(plan_.parameters)),
      factors_(adam_factors(options.adam)),
      staged_(static_cast<std::size_t>(kMostSteps)) {
  train_batches_ = static_cast<int>((data_->train_rows + options.batch - 1) / options.batch);
}

void Engine::set_parameters(const reference::Parameters& parameters) {
  w_.upload(to_flat(plan_, parameters));
  const std::vector<float> zeros(static_cast<std::size_t>(plan_.parameters), 0.0f);
  m_.upload(zeros);
  v_.upload(zeros);
  taken_ = 0;
}

double Engine::train_on_device(const int* batches, std::int64_t count) {
  host_losses_.resize(losses_.size());  // the first time only
  double loss = 0;
  for (std::int64_t done = 0; done < count;) {
    const int here = static_cast<int>(std::min(kMostSteps, count - done));
    enqueue(batches + done, here);
    synchronise();
    copy_to_host(host_losses_.data(), losses_.data(), losses_.bytes());
    for (const double part : host_losses_) loss += part;
    taken_ += here;
    done += here;
  }
  return loss / static_cast<double>(count);
}

RemainingFactors Engine::remaining_factors() const {
  const std::int64_t last = static_cast<std::int64_t>(factors_.size()) - 1, from = std::min(taken_, last);
  return {factors_.data() + from, static_cast<int>(last - from + 1)};
}

double Engine::train(const int* batches, std::int64_t count) {
  double loss = 0;
  for (std::int64_t done = 0; done < count;) {
    const std::int64_t here = std::min(kMostSteps, count - done);
    copy_to_device(staged_.data(), batches + done, static_cast<std::size_t>(here) * sizeof(int));
    loss += train_on_device(staged_.data(), here) * static_cast<double>(here);
    done += here;
  }
  return loss / static_cast<double>(count);
}

std::unique_ptr<Epochs> Engine::epochs(std::uint64_t seed) {
  return std::make_unique<DeviceEpochs>(*this, seed);
}

reference::Evaluation Engine::evaluate(Split split) {
  const bool train = split == Split::kTrain;
  return evaluate_rows(plan_, *data_, w_.data(), train ? 0 : data_->train_rows,
                       train ? data_->train_rows : data_->test_rows);
}

std::vector<Candidate> candidates(const Network& network, const DatasetInfo& info,
                                  const EngineOptions& options) {
  std::vector<Candidate> ways;
  const auto wanted = [&](const char* name) {
    return options.algorithm.empty() || options.algorithm == name;
  };
  if (wanted("resident")) {
    for (const int blocks : kClusterSizes)
      if ((options.blocks == 0 || options.blocks == blocks) &&
          resident_refusal(network, info, options, blocks).empty())
        ways.push_back({"resident", blocks});
  }
  if (wanted("cooperative")) ways.push_back({"cooperative", options.blocks});
  for (const char* graph : {"graph", "graph_tf32", "graph_bf16"})
    if (options.algorithm == graph || (options.algorithm.empty() && precision_of(graph) == Precision::kFp32))
      ways.push_back({graph, 0});
  return ways;
}

Candidate quickest(const std::vector<Candidate>& ways,
                   const std::function<double(const Candidate&)>& seconds) {
  std::string reason = "no engine can run this network here";
  Candidate best;
  double best_s = std::numeric_limits<double>::infinity();
  for (const Candidate& way : ways) {
    try {
      const double step_s = seconds(way);
      if (step_s < best_s) best_s = step_s, best = way;
    } catch (const std::exception& error) {  // e.g. a cluster of 16 that the driver does not grant
      reason = error.what();
    }
  }
  if (best.algorithm.empty()) throw std::runtime_error(reason);
  return best;
}

namespace {

std::unique_ptr<Engine> make(const Network& network, std::shared_ptr<const DeviceData> data,
                             EngineOptions options, const Candidate& way) {
  options.blocks = way.blocks;
  options.algorithm = way.algorithm;
  if (way.algorithm == "resident") return make_resident_engine(network, std::move(data), options);
  if (way.algorithm == "cooperative") return make_cooperative_engine(network, std::move(data), options);
  return make_graph_engine(network, std::move(data), options);
}

/// Seconds of a step: as many steps as take some milliseconds, after as many to warm up.
double step_seconds(Engine& engine, const Network& network) {
  constexpr double kLong_s = 3e-3;
  constexpr int kMost = 1024;
  engine.set_parameters(reference::initial_parameters(network, 1));
  std::vector<int> batches(kMost);
  for (int i = 0; i < kMost; ++i) batches[static_cast<std::size_t>(i)] = i % engine.train_batches();
  engine.train(batches.data(), 4);  // loads the kernels
  for (int steps = 4;; steps *= 4) {
    const auto start = std::chrono::steady_clock::now();
    engine.train(batches.data(), steps);  // returns when the device has finished
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (seconds >= kLong_s || steps >= kMost) return seconds / steps;
  }
}

}  // namespace

std::unique_ptr<Engine> make_engine(const Network& network, const Dataset& data,
                                    const EngineOptions& options) {
  if (options.batch < 1)
    throw std::invalid_argument("batch must be at least 1, not " + std::to_string(options.batch));
  if (data.info.features != network.inputs || data.info.outputs != network.outputs())
    throw std::invalid_argument("dataset " + data.info.name + " has " + std::to_string(data.info.features) +
                                " features and " + std::to_string(data.info.outputs) +
                                " outputs; the network wants " + std::to_string(network.inputs) + " and " +
                                std::to_string(network.outputs()));
  const std::vector<std::string>& known = mlp_algorithms();
  if (!options.algorithm.empty() && std::find(known.begin(), known.end(), options.algorithm) == known.end()) {
    std::string names;
    for (const std::string& name : known) names += (names.empty() ? "" : ", ") + name;
    throw std::invalid_argument("unknown algorithm '" + options.algorithm + "'; gpu/mlp_train has " + names);
  }
  const std::vector<Candidate> ways = candidates(network, data.info, options);
  if (ways.empty()) {
    std::string reason;  // only the resident engine refuses
    for (const int blocks : kClusterSizes) {
      const std::string why = resident_refusal(network, data.info, options, blocks);
      if ((options.blocks == 0 || options.blocks == blocks) && !why.empty()) reason = why;
    }
    throw std::invalid_argument(reason);
  }
  const auto on_device = std::make_shared<const DeviceData>(data, options.batch);
  // An emulated device has no speed to compare.
  if (ways.size() == 1 || !why_unavailable().empty()) return make(network, on_device, options, ways[0]);
  const Candidate best = quickest(ways, [&](const Candidate& way) {
    return step_seconds(*make(network, on_device, options, way), network);
  });
  return make(network, on_device, options, best);
}

}  // namespace mlpwatt::gpu

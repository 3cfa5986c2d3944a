#pragma once
// The training engines on a GPU: the same maths as cpu/mlp (kernels/reference states it), the same contract.
// They differ in where the data lies between two steps, and in what has to happen between two layers.
//
// - resident, for the smallest networks: one thread-block cluster of 1 to 16 multiprocessors holds weights,
//   Adam's state and activations in shared memory; a warp takes its rows of the batch through all layers and
//   back without meeting another; one cluster barrier a step.
// - cooperative: one persistent kernel over the whole device, weights in L2; a grid barrier between two
// layers.
// - graph, for the largest: one fused kernel per layer operation, captured as a CUDA graph; matrix products
// of
//   gpu/gemm, on tensor cores where asked (graph_tf32, graph_bf16).
//
// Each runs many steps per call, reads its batches straight from the dataset in device memory, and adds up in
// a fixed order: two runs with the same seed and engine give the same bits. A resident engine's order depends
// on its cluster, the quickest size of which is measured: asked for with its threads (256 a block) it is the
// same each time.

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "gpu/gemm/gemm.h"
#include "gpu/mlp/plan.h"
#include "gpu/runtime.h"
#include "kernels/mlp_check.h"
#include "kernels/mlp_engine.h"

namespace mlpwatt::gpu {

/// Products' precision by the algorithm's name: graph_tf32 and graph_bf16; all others compute in fp32.
/// Parameters, moments and sums are float32 always.
Precision precision_of(const std::string& algorithm);
/// What the check against the reference allows: tf32 and bf16 round every factor, to 11 and 8 bits.
MlpTolerance tolerance_of(const std::string& algorithm);

struct EngineOptions {
  std::string algorithm;  ///< "" = the quickest fp32 one in a short calibration
  int batch = 256;
  reference::Adam adam;
  int blocks = 0;  ///< resident: of the cluster; cooperative: of the grid; 0 = chosen
};

/// One dataset on the device; engines of one network share it.
struct DeviceData {
  DeviceData(const Dataset& data, int batch);
  RecordPlan plan;
  Buffer<float> records;
  std::int64_t train_rows = 0, test_rows = 0;
  int features = 0, outputs = 0, batch = 0;
};

class Engine : public MlpEngine {
 public:
  int threads() const override { return threads_; }
  double train(const int* batches, std::int64_t count) override;
  /// The same for batch numbers that lie in device memory already.
  double train_on_device(const int* batches, std::int64_t count);
  /// Drawn on the device: no batch number passes through the host.
  std::unique_ptr<Epochs> epochs(std::uint64_t seed) override;
  reference::Evaluation evaluate(Split split) override;
  void set_parameters(const reference::Parameters& parameters) override;
  reference::Parameters parameters() const override { return from_flat(plan_, w_.download()); }
  reference::Parameters first_moments() const override { return from_flat(plan_, m_.download()); }
  /// EngineOptions::blocks that make the same again.
  int blocks() const { return options_.blocks; }
  /// How it runs, for the record: "cluster of 8, 256 threads".
  virtual std::string layout() const = 0;

 protected:
  Engine(const Network& network, std::shared_ptr<const DeviceData> data, const EngineOptions& options,
         Rows rows);
  /// Enqueues the steps; afterwards losses_ holds partial sums of the batches' losses.
  virtual void enqueue(const int* batches, int count) = 0;
  RemainingFactors remaining_factors() const;

  NetworkPlan plan_;
  std::shared_ptr<const DeviceData> data_;
  EngineOptions options_;
  int threads_ = 0;
  Buffer<float> w_, m_, v_;
  Buffer<AdamFactors> factors_;
  Buffer<double> losses_;
  std::int64_t taken_ = 0;  ///< steps since set_parameters

 private:
  Buffer<int> staged_;
  std::vector<double> host_losses_;
};

/// Copies what it needs of `data` to the device (set-up, not timed).
/// Errors: std::invalid_argument for an unknown algorithm, a batch < 1, a network that the algorithm forced
/// cannot hold, or a dataset that does not fit the network; DeviceError.
std::unique_ptr<Engine> make_engine(const Network& network, const Dataset& data,
                                    const EngineOptions& options);

std::unique_ptr<Engine> make_resident_engine(const Network& network, std::shared_ptr<const DeviceData> data,
                                             const EngineOptions& options);
std::unique_ptr<Engine> make_cooperative_engine(const Network& network,
                                                std::shared_ptr<const DeviceData> data,
                                                const EngineOptions& options);
std::unique_ptr<Engine> make_graph_engine(const Network& network, std::shared_ptr<const DeviceData> data,
                                          const EngineOptions& options);
/// Blocks that a resident engine's cluster may have.
inline constexpr int kClusterSizes[] = {1, 2, 4, 8, 16};
/// EngineOptions::blocks of the resident engine with so many threads in all.
/// Errors: std::invalid_argument when no cluster has that many.
int cluster_of(int threads);
/// Why the resident engine cannot take this network on clusters of `blocks`; "" when it can.
std::string resident_refusal(const Network& network, const DatasetInfo& info, const EngineOptions& options,
                             int blocks);

/// One way to run, for the calibration.
struct Candidate {
  std::string algorithm;
  int blocks = 0;
};
/// Every way that the device and the options allow, smallest networks' first.
std::vector<Candidate> candidates(const Network& network, const DatasetInfo& info,
                                  const EngineOptions& options);
/// The quickest of them. @param seconds of a step run in this way; may throw, which rules a candidate out
/// Errors: std::runtime_error with the last reason when none can run.
Candidate quickest(const std::vector<Candidate>& ways,
                   const std::function<double(const Candidate&)>& seconds);

}  // namespace mlpwatt::gpu

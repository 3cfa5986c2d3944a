#include "kernels/cost.h"

#include <algorithm>
#include <stdexcept>

namespace mlpwatt {

namespace {

constexpr std::int64_t kFloatBytes = 4;

// Of one row's output activation and loss, value and gradient with respect to the last layer's sums.
// Exponentials, logarithms and divisions are left aside.
void add_loss(Task task, std::int64_t rows, std::int64_t outputs, Cost& cost) {
  const std::int64_t cells = rows * outputs;
  switch (task) {
    case Task::kMulticlass:
      // softmax: o-1 compares for the maximum, o subtractions of it, o-1 adds of the exponentials
      cost.adds += rows * (outputs - 1) + cells + rows * (outputs - 1);
      // loss += y log p;  gradient = (p - y) / rows
      cost.multiplies += cells + cells;
      cost.adds += cells + cells;
      break;
    case Task::kBinary:
      // sigmoid: 1 + exp;  loss += y log p + (1 - y) log(1 - p);  gradient = (p - y) / rows
      cost.multiplies += 2 * cells + cells;
      cost.adds += cells + 4 * cells + cells;
      break;
    case Task::kRegression:
      // sigmoid: 1 + exp;  d = p - y;  loss += d d;  gradient = d p (1 - p) (2 / rows)
      cost.multiplies += cells + 3 * cells;
      cost.adds += cells + 2 * cells + cells;
      break;
  }
}

// m = b1 m + (1-b1) g;  v = b2 v + (1-b2) g g;  w -= lr_t m / (sqrt(v) + eps)
constexpr std::int64_t kAdamMultiplies = 6;
constexpr std::int64_t kAdamAdds = 4;

WorkingSets working_sets(const Network& network, std::int64_t batch, std::int64_t dataset_rows) {
  std::int64_t widest = 0;
  std::int64_t nodes = network.inputs;
  for (int k = 0; k < network.depth(); ++k) {
    const std::int64_t in = network.input_width(k), out = network.widths[k];
    widest = std::max(widest, in + out);
    nodes += out;
  }
  const std::int64_t parameters = network.parameters();
  WorkingSets sets;
  sets.inter_layer.distributed_bytes = kFloatBytes * batch * widest;
  sets.forward_pass.replicated_bytes = kFloatBytes * parameters;
  sets.backward_pass.replicated_bytes = 2 * kFloatBytes * parameters;
  sets.backward_pass.distributed_bytes = kFloatBytes * batch * nodes - sets.inter_layer.distributed_bytes;
  sets.dataset.distributed_bytes = kFloatBytes * dataset_rows * (network.inputs + network.outputs());
  return sets;
}

}  // namespace

Cost gemm_cost(std::int64_t m, std::int64_t n, std::int64_t k) {
  Cost cost;
  cost.multiplies = m * n * k;
  cost.adds = m * n * k;  // the first one adds to zero: what a fused multiply-add does
  cost.compulsory_read_bytes = kFloatBytes * (m * k + k * n);
  cost.compulsory_write_bytes = kFloatBytes * m * n;
  return cost;
}

Cost mlp_train_cost(const Network& network, int batch, std::int64_t dataset_rows) {
  const std::int64_t rows = batch;
  const std::int64_t parameters = network.parameters();
  Cost cost;
  for (int k = 0; k < network.depth(); ++k) {
    const std::int64_t in = network.input_width(k), out = network.widths[k];
    const std::int64_t products = rows * in * out, cells = rows * out;
    // forward: sums and bias;  backward: weight gradient, bias gradient, input gradient but for the first
    // layer
    const std::int64_t passes = k > 0 ? 3 : 2;
    cost.multiplies += passes * products;
    cost.adds += passes * products + 2 * cells;
    if (!network.is_output(k)) cost.adds += 2 * cells;  // ReLU's compare, and its mask's on the way back
    if (network.adds_input(k)) cost.adds += 2 * cells;  // the input added, and its gradient
    cost.study_backward_macs += 2 * cells + passes * products - products;
  }
  add_loss(network.task, rows, network.outputs(), cost);
  cost.multiplies += kAdamMultiplies * parameters;
  cost.adds += kAdamAdds * parameters;

  cost.study_forward_macs = rows * parameters;
  // The study's formula per row: 2 out + in out + [k>0] in out, times the batch; then P (1 + B).
  cost.study_backward_macs += parameters * (1 + rows);

  // Weights and both moments are read and written; gradients and activations are nobody's input or output.
  cost.batch_bytes = kFloatBytes * rows * (network.inputs + network.outputs());
  cost.compulsory_read_bytes = cost.batch_bytes + kFloatBytes * 3 * parameters;
  cost.compulsory_write_bytes = kFloatBytes * 3 * parameters;
  cost.working_sets = working_sets(network, rows, dataset_rows);
  return cost;
}

Cost mlp_train_epoch_mean_cost(const Network& network, int batch, std::int64_t dataset_rows,
                               std::int64_t train_rows) {
  const std::int64_t whole = train_rows / batch, rest = train_rows % batch;
  if (whole == 0) return mlp_train_cost(network, static_cast<int>(rest), dataset_rows);
  const Cost full = mlp_train_cost(network, batch, dataset_rows);
  if (rest == 0) return full;
  const Cost last = mlp_train_cost(network, static_cast<int>(rest), dataset_rows);
  const auto mean = [&](std::int64_t Cost::*member) {
    return (whole * full.*member + last.*member) / (whole + 1);
  };
  Cost cost = full;
  for (std::int64_t Cost::*member :
       {&Cost::multiplies, &Cost::adds, &Cost::study_forward_macs, &Cost::study_backward_macs,
        &Cost::compulsory_read_bytes, &Cost::compulsory_write_bytes, &Cost::batch_bytes})
    cost.*member = mean(member);
  return cost;
}

Placement place(const WorkingSets& sets, const Hierarchy& hierarchy, int units) {
  if (units < 1) throw std::invalid_argument("place: at least one unit needed");
  std::size_t level = 0;
  double occupied_bytes = 0, cumulative_bytes = 0;
  if (!hierarchy.levels.empty()) cumulative_bytes = static_cast<double>(hierarchy.levels[0].capacity_bytes);
  // All bytes are of one instance of the level under trial: N_i instances serve the units, so an instance
  // holds the replicated bytes once and an N_i-th of the distributed ones.
  const auto settle = [&](const WorkingSet& set) -> std::string {
    while (level < hierarchy.levels.size()) {
      const CacheLevel& cache = hierarchy.levels[level];
      const int shared = std::max(1, cache.shared_by_cores);
      const int instances = (units + shared - 1) / shared;
      const double cached_bytes =
          static_cast<double>(set.replicated_bytes) + static_cast<double>(set.distributed_bytes) / instances;
      if (occupied_bytes + cached_bytes <= cumulative_bytes) {
        occupied_bytes += cached_bytes;
        return cache.name;
      }
      // Too large: the level is given up for full, and the sets after this one go no nearer.
      occupied_bytes = cumulative_bytes;
      if (++level < hierarchy.levels.size())
        cumulative_bytes += static_cast<double>(hierarchy.levels[level].capacity_bytes);
    }
    return "memory";
  };
  Placement placement;
  placement.inter_layer = settle(sets.inter_layer);
  placement.forward_pass = settle(sets.forward_pass);
  placement.backward_pass = settle(sets.backward_pass);
  placement.dataset = settle(sets.dataset);
  return placement;
}

}  // namespace mlpwatt

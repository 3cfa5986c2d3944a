#pragma once
// What one unit of work costs in principle: floating-point operations, compulsory bytes, working sets,
// and the level of a Hierarchy each set lives in. Two countings stand side by side: ours
// (every multiply and every add) and the study's (multiply-accumulates as STUDY counts them).

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/hierarchy.h"
#include "kernels/network.h"

namespace mlpwatt {

/// One of the study's working sets. Distributed bytes are split over the units (cores, SMs);
/// replicated bytes are needed by every unit.
struct WorkingSet {
  std::int64_t replicated_bytes = 0;
  std::int64_t distributed_bytes = 0;
  std::int64_t total_bytes() const { return replicated_bytes + distributed_bytes; }
};

struct WorkingSets {
  WorkingSet inter_layer;    ///< l
  WorkingSet forward_pass;   ///< f
  WorkingSet backward_pass;  ///< b
  WorkingSet dataset;        ///< d
};

struct Cost {
  std::int64_t multiplies = 0;
  std::int64_t adds = 0;  ///< adds, subtracts and compares of the maths, divisions and roots aside
  std::int64_t study_forward_macs = 0;  ///< the study's counting; 0 where it has none
  std::int64_t study_backward_macs = 0;
  std::int64_t compulsory_read_bytes = 0;   ///< each input and state once
  std::int64_t compulsory_write_bytes = 0;  ///< each output and state once
  /// Of the reads the training batch: another part of working set d every step, so that it comes from where d
  /// lives.
  std::int64_t batch_bytes = 0;
  WorkingSets working_sets;  ///< zero where the study defines none

  std::int64_t flops() const { return multiplies + adds; }
  std::int64_t compulsory_bytes() const { return compulsory_read_bytes + compulsory_write_bytes; }
};

/// C[m x n] = A[m x k] B[k x n], float32.
Cost gemm_cost(std::int64_t m, std::int64_t n, std::int64_t k);

/// One training step (forward, loss, backward without the first layer's input gradient, Adam) on
/// `batch` rows, float32. `dataset_rows` sizes working set d.
Cost mlp_train_cost(const Network& network, int batch, std::int64_t dataset_rows);

/// The mean step of an epoch over `train_rows` rows, whose last batch may be partial; whole operations,
/// rounded down.
Cost mlp_train_epoch_mean_cost(const Network& network, int batch, std::int64_t dataset_rows,
                               std::int64_t train_rows);

/// Where the working sets live, by the study's rule: in the order l, f, b, d each goes to the first level
/// whose cumulative per-unit capacity still holds it.
struct Placement {
  std::string inter_layer, forward_pass, backward_pass, dataset;  ///< "L1", "L2", ..., "memory"
};
/// @param units cores (or SMs) the distributed sets are split over, >= 1
Placement place(const WorkingSets& sets, const Hierarchy& hierarchy, int units);

}  // namespace mlpwatt

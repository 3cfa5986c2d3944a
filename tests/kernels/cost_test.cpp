#include "kernels/cost.h"

#include <gtest/gtest.h>

#include <random>

namespace mlpwatt {
namespace {

// Counts by walking the very loops of a training step, one operation at a time.
struct Tally {
  std::int64_t multiplies = 0, adds = 0, forward_macs = 0, backward_macs = 0;
};

Tally tally_step(const Network& network, int batch) {
  Tally t;
  for (int row = 0; row < batch; ++row) {
    for (int k = 0; k < network.depth(); ++k)
      for (int j = 0; j < network.widths[k]; ++j) {
        for (int i = 0; i < network.input_width(k); ++i) ++t.multiplies, ++t.adds, ++t.forward_macs;
        ++t.adds, ++t.forward_macs;           // bias
        if (!network.is_output(k)) ++t.adds;  // ReLU
        if (network.adds_input(k)) ++t.adds;  // residual
      }
    const int outputs = network.outputs();
    if (network.task == Task::kMulticlass) {
      for (int j = 1; j < outputs; ++j) ++t.adds;                  // largest
      for (int j = 0; j < outputs; ++j) ++t.adds;                  // minus the largest
      for (int j = 1; j < outputs; ++j) ++t.adds;                  // sum of the exponentials
      for (int j = 0; j < outputs; ++j) ++t.multiplies, ++t.adds;  // loss += y log p
      for (int j = 0; j < outputs; ++j) ++t.multiplies, ++t.adds;  // (p - y) * (1 / rows)
    } else if (network.task == Task::kBinary) {
      t.adds += 1;                     // 1 + exp
      t.multiplies += 2, t.adds += 4;  // loss += y * log p + (1 - y) * log(1 - p)
      ++t.multiplies, ++t.adds;        // (p - y) * (1 / rows)
    } else {
      t.adds += 1;                     // 1 + exp
      t.adds += 2, t.multiplies += 1;  // d = p - y; loss += d * d
      t.adds += 1, t.multiplies += 3;  // d * p * (1 - p) * (2 / rows)
    }
    for (int k = network.depth() - 1; k >= 0; --k)
      for (int j = 0; j < network.widths[k]; ++j) {
        for (int i = 0; i < network.input_width(k); ++i) {
          ++t.multiplies, ++t.adds, ++t.backward_macs;             // weight gradient
          if (k > 0) ++t.multiplies, ++t.adds, ++t.backward_macs;  // input gradient
        }
        ++t.adds;                             // bias gradient
        t.backward_macs += 2;                 // the study's "2 out"
        if (!network.is_output(k)) ++t.adds;  // ReLU's mask
        if (network.adds_input(k)) ++t.adds;  // residual's gradient
      }
  }
  for (std::int64_t p = 0; p < network.parameters(); ++p) {
    t.multiplies += 6, t.adds += 4;  // Adam
    t.backward_macs += 1 + batch;    // the study's P (1 + B)
  }
  return t;
}

TEST(Cost, TrainingStepEqualsADirectCount) {
  std::mt19937_64 random(4);
  for (int trial = 0; trial < 60; ++trial) {
    const Task task = static_cast<Task>(trial % 3);
    const Shape shape = all_shapes()[random() % 8];
    const int depth = 2 + static_cast<int>(random() % 6), batch = 1 + static_cast<int>(random() % 9);
    const int inputs = 1 + static_cast<int>(random() % 9);
    const int outputs = task == Task::kMulticlass ? 2 + static_cast<int>(random() % 4) : 1;
    const Network network{inputs,
                          widths_for_scale(shape, 1 + static_cast<double>(random() % 12), depth, outputs),
                          shape == Shape::kRectangleResidual, task};
    const Tally tally = tally_step(network, batch);
    const Cost cost = mlp_train_cost(network, batch, 100);
    const std::string what = shape_name(shape) + " " + task_name(task) + " depth " + std::to_string(depth);
    EXPECT_EQ(cost.multiplies, tally.multiplies) << what;
    EXPECT_EQ(cost.adds, tally.adds) << what;
    EXPECT_EQ(cost.study_forward_macs, tally.forward_macs) << what;
    EXPECT_EQ(cost.study_backward_macs, tally.backward_macs) << what;
    EXPECT_EQ(cost.flops(), tally.multiplies + tally.adds);
  }
}

TEST(Cost, GemmEqualsADirectCount) {
  std::int64_t products = 0;
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 5; ++j)
      for (int l = 0; l < 7; ++l) ++products;
  const Cost cost = gemm_cost(3, 5, 7);
  EXPECT_EQ(cost.multiplies, products);
  EXPECT_EQ(cost.adds, products);
  EXPECT_EQ(cost.compulsory_read_bytes, 4 * (3 * 7 + 7 * 5));
  EXPECT_EQ(cost.compulsory_write_bytes, 4 * 3 * 5);
  EXPECT_EQ(gemm_cost(100000, 100000, 1000).flops(), 20000000000000);  // beyond 32 bits
}

TEST(Cost, WorkingSetsByHand) {
  const Network network{3, {5, 4, 2}};  // P = 20 + 24 + 10 = 54; nodes 14
  const Cost cost = mlp_train_cost(network, 10, 70);
  const WorkingSets& sets = cost.working_sets;
  EXPECT_EQ(sets.inter_layer.distributed_bytes, 4 * 10 * 9);
  EXPECT_EQ(sets.inter_layer.replicated_bytes, 0);
  EXPECT_EQ(sets.forward_pass.replicated_bytes, 4 * 54);
  EXPECT_EQ(sets.forward_pass.distributed_bytes, 0);
  EXPECT_EQ(sets.backward_pass.replicated_bytes, 8 * 54);
  EXPECT_EQ(sets.backward_pass.distributed_bytes, 4 * 10 * 14 - 360);
  EXPECT_EQ(sets.dataset.distributed_bytes, 4 * 70 * 5);
  EXPECT_EQ(cost.study_forward_macs, 10 * 54);
  // B (2*5+15 + 2*4+20+20 + 2*2+8+8) + P (1 + B) = 10 * 93 + 54 * 11
  EXPECT_EQ(cost.study_backward_macs, 930 + 594);
  EXPECT_EQ(cost.compulsory_read_bytes, 4 * (10 * 5 + 3 * 54));
  EXPECT_EQ(cost.compulsory_write_bytes, 4 * 3 * 54);
}

Hierarchy two_levels(std::int64_t first, std::int64_t second, int second_shared) {
  Hierarchy hierarchy;
  hierarchy.levels = {{"L1", first, 64, 8, 1}, {"L2", second, 64, 8, second_shared}};
  return hierarchy;
}

WorkingSets sets_of(WorkingSet l, WorkingSet f, WorkingSet b, WorkingSet d) { return {l, f, b, d}; }

std::string placed(const WorkingSets& sets, const Hierarchy& hierarchy, int units) {
  const Placement p = place(sets, hierarchy, units);
  return p.inter_layer + " " + p.forward_pass + " " + p.backward_pass + " " + p.dataset;
}

TEST(Placement, FillsInTheOrderLFBD) {
  const Hierarchy h = two_levels(100, 1000, 1);
  // l + f = 100 fill L1 exactly; b begins where L1 ends, b + d reach 1100 exactly
  EXPECT_EQ(placed(sets_of({0, 60}, {40, 0}, {500, 0}, {0, 500}), h, 1), "L1 L1 L2 L2");
  EXPECT_EQ(placed(sets_of({0, 60}, {41, 0}, {500, 0}, {0, 459}), h, 1),
            "L1 L2 L2 L2");  // 100 + 41 + 500 + 459
  EXPECT_EQ(placed(sets_of({0, 60}, {41, 0}, {500, 0}, {0, 460}), h, 1), "L1 L2 L2 memory");
  EXPECT_EQ(placed(sets_of({0, 101}, {0, 0}, {0, 1000}, {0, 0}), h, 1), "L2 L2 memory memory");
  EXPECT_EQ(placed(sets_of({0, 2000}, {1, 0}, {1, 0}, {1, 0}), h, 1), "memory memory memory memory");
}

TEST(Placement, DistributedBytesAreSplitReplicatedAreNot) {
  const Hierarchy h = two_levels(100, 1000, 1);
  EXPECT_EQ(placed(sets_of({0, 400}, {}, {}, {}), h, 4), "L1 L1 L1 L1");
  EXPECT_EQ(placed(sets_of({0, 404}, {}, {}, {}), h, 4), "L2 L2 L2 L2");
  EXPECT_EQ(placed(sets_of({0, 0}, {101, 0}, {}, {}), h, 4), "L1 L2 L2 L2");
}

TEST(Placement, ASharedLevelHoldsTheReplicatedBytesOnce) {
  // Four cores before one L2: it must hold all of the distributed bytes, and one copy of the others.
  const Hierarchy h = two_levels(100, 1000, 4);
  EXPECT_EQ(placed(sets_of({0, 1000}, {}, {}, {}), h, 4), "L2 L2 L2 L2");
  EXPECT_EQ(placed(sets_of({0, 1001}, {}, {}, {}), h, 4), "memory memory memory memory");
  EXPECT_EQ(placed(sets_of({0, 2000}, {}, {}, {}), h, 8), "L2 L2 L2 L2");  // two of them for eight cores
}

TEST(Placement, WithoutCachesAllIsInMemory) {
  EXPECT_EQ(placed(sets_of({0, 1}, {1, 0}, {1, 0}, {1, 0}), Hierarchy{}, 1), "memory memory memory memory");
  EXPECT_THROW(place({}, Hierarchy{}, 0), std::invalid_argument);
}

}  // namespace
}  // namespace mlpwatt

#pragma once
// What the fused engine decides before it runs, from the network and the caches alone, so that its traffic
// model can ask as well: whose work each layer's weight gradient is, and which parts of the data stay in L2.

#include <cstdint>
#include <vector>

#include "cpu/mlp/fused_kernels.h"
#include "kernels/hierarchy.h"
#include "kernels/network.h"

namespace mlpwatt {

struct FusedPlan {
  /// The team falls into so many groups (group_of). A group takes its panels of the batch together, each
  /// member its outputs of every layer, on the way back its inputs, and they meet after every layer. A thread
  /// by itself, who meets nobody there, is the rule as long as there are panels for all.
  int groups = 1;
  /// Of each layer's weight gradient, one of two ways:
  ///   false  by rows of the batch: every group makes a gradient of its own rows while they are in its
  ///          caches; the copies meet in Adam. What it costs is a copy of the gradient a group.
  ///   true   by outputs: when all threads have made their deltas, each takes its outputs over the whole
  ///          batch, Adam at once, and the gradient never leaves L2. What it costs is reading the other
  ///          groups' activations.
  std::vector<bool> by_outputs;
  /// Panels that go forward and backward before the next ones come; all of a group's, unless threads go by
  /// themselves and the layer that reads the data has so few outputs that reading it a second time, from L3,
  /// would be what the step waits for.
  int chunk_panels = 0;
  int weight_block_bytes = 0;    ///< of a layer's weights that stay in L2 while the panels pass by
  int gradient_block_bytes = 0;  ///< of a gradient by outputs, between the product and Adam
  /// Of each layer's weight gradient, whether its inputs are turned batch-major first, for a product without
  /// sums across lanes.
  std::vector<bool> turned;

  /// What of a gradient by outputs is made and consumed together: so many outputs that the inputs, which come
  /// by once a block from L3, are no load on it, and as many inputs as then fit.
  struct GradientBlock {
    int outputs, inputs;
  };
  GradientBlock gradient_block(int inputs, const FusedKernels& kernels) const;
};

/// A thread's place in a team of `groups` groups.
struct GroupPlace {
  int group;     ///< which of the groups
  int id, size;  ///< which of its members
};
/// Neighbours go together; groups as equal as they go. @param groups at most `threads`
GroupPlace group_of(int thread, int threads, int groups);

/// What a group has of a batch's panels and of the team, shared out as group_of and TeamMember::share do.
struct GroupShape {
  std::int64_t panels;
  int members;
};
/// The shapes that there are, each once.
std::vector<GroupShape> group_shapes(int threads, int groups, std::int64_t panels);

/// Bytes of a layer's weights that stay in L2 while the panels pass by.
int fused_weight_block_bytes(const Hierarchy& hierarchy);

/// @param rows of a batch
FusedPlan make_fused_plan(const Network& network, const FusedKernels& kernels, int threads, std::int64_t rows,
                          const Hierarchy& hierarchy);

/// The width of the panels: the widest, unless narrower ones leave fewer lanes empty or give more threads
/// panels of their own. @param rows of a batch
const FusedKernels& choose_fused_kernels(const Network& network, Isa isa, int threads, std::int64_t rows,
                                         const Hierarchy& hierarchy);

/// Threads that pay, at most hierarchy.cores. @param rows of a batch
int threads_that_pay(const Network& network, Isa isa, std::int64_t rows, const Hierarchy& hierarchy);

/// Whether one_hidden_engine.cpp runs it: one hidden layer, wide, between few inputs and few outputs.
/// @param rows of a batch
bool splits_hidden_layer(const Network& network, int threads, std::int64_t rows, const Hierarchy& hierarchy);

/// Hidden units are shared out by cache lines of their biases; the rows of their weights are then whole
/// lines, too, and of the output layer's rows neighbours share a line at most.
inline constexpr int kUnitsOfALine = 16;

struct OneHiddenPlan {
  /// The activations of a thread's units are kept from forward to backward, for the L2 that holds them or
  /// because the L3 brings them sooner than they could be computed again.
  bool keeps_hidden = false;
  int near_units = 0, near_panels = 0;  ///< forward: units and panels that go together, in L1
  int block_units = 0;                  ///< backward: units that go together over the whole batch, in L2
  int weight_block_bytes = 0;           ///< as FusedPlan
};

/// @param rows of a batch
OneHiddenPlan make_one_hidden_plan(const Network& network, const FusedKernels& kernels, int threads,
                                   std::int64_t rows, const Hierarchy& hierarchy);

}  // namespace mlpwatt

#pragma once
// Where everything of one network lies on the device: the shapes that kernels get as an argument, and the
// conversion of parameters from and to the reference's form.

#include <cstdint>
#include <vector>

#include "kernels/dataset.h"
#include "kernels/network.h"
#include "kernels/reference.h"

namespace mlpwatt::gpu {

/// The study's deepest network has 20; a kernel gets all layers as an argument.
inline constexpr int kMostLayers = 32;

constexpr int round_up(int n, int to) { return (n + to - 1) / to * to; }

/// Weights lie as W[in][out]: row i holds what input i gives to every output, so that neighbouring lanes take
/// neighbouring outputs. Rows are padded to `ld` floats, inputs to in4 rows, so that both directions can be
/// read by 16 bytes without a tail; the padding is zero and stays zero (a zero gradient moves nothing). Row
/// in4 is the bias.
struct LayerPlan {
  int in = 0, out = 0;
  int in4 = 0;         ///< in, to a multiple of 4
  int ld = 0;          ///< floats from row to row
  int weights = 0;     ///< offset of W in the flat parameters
  int adds_input = 0;  ///< residual
};

struct NetworkPlan {
  int depth = 0;
  int task = 0;  ///< of Task
  int inputs = 0, outputs = 0;
  int parameters = 0;  ///< floats, padding and biases included
  LayerPlan layers[kMostLayers];
};

enum class Rows {
  kPacked,        ///< ld is a multiple of 4
  kTensor,        ///< of 8: rows of bf16 copies are multiples of 16 bytes, too
  kConflictFree,  ///< and not one of 16, so that a read down a column of W meets at most 2-way bank conflicts
};

/// Errors: std::invalid_argument for more than kMostLayers layers or more parameters than 31 bits address.
NetworkPlan make_plan(const Network& network, Rows rows);

std::vector<float> to_flat(const NetworkPlan& plan, const reference::Parameters& parameters);
reference::Parameters from_flat(const NetworkPlan& plan, const std::vector<float>& flat);

/// Rows of the dataset as records [x, padded to 4 | y, padded to 4 | padding]: a block's share of a batch is
/// one contiguous piece of memory, whose rows start at different banks once it lies in shared memory as it
/// is.
struct RecordPlan {
  int y = 0;       ///< offset of the targets in a record
  int record = 0;  ///< floats of a record, an odd multiple of 4
};
RecordPlan make_record_plan(const DatasetInfo& info);
/// All rows of the dataset, and `spare` zero rows behind them, so that a partial batch may be read as a whole
/// one.
std::vector<float> make_records(const Dataset& data, const RecordPlan& plan, int spare);

/// Of Adam what changes from step to step, as kernels read it: in one load.
struct alignas(8) AdamFactors {
  float rate = 0;  ///< lr sqrt(1 - beta2^t) / (1 - beta1^t)
  float epsilon = 0;
};
/// Of the steps 1, 2, ... up to where they no longer change.
std::vector<AdamFactors> adam_factors(const reference::Adam& adam);
/// Those of the steps to come, in device memory: the next step's first; beyond `left` they no longer change.
struct RemainingFactors {
  const AdamFactors* first = nullptr;
  int left = 0;
};

}  // namespace mlpwatt::gpu

#pragma once
// Where each layer's weights and biases lie in an engine's flat arrays of parameters, gradients and moments.

#include <cstdint>
#include <vector>

#include "kernels/network.h"
#include "kernels/reference.h"

namespace mlpwatt {

enum class WeightOrder {
  kOutIn,  ///< [out x in], as the reference
  kInOut,  ///< [in x out]
};

class ParameterLayout {
 public:
  ParameterLayout(const Network& network, WeightOrder order);
  std::int64_t weights(int layer) const { return weights_[layer]; }
  /// Floats from one row of the weights to the next. kOutIn: the inputs, and a cache line more where rows
  /// would lie a multiple of 512 bytes apart, which would crowd the walk down a column into a few sets of L1
  /// and L2.
  std::int64_t row(int layer) const;
  std::int64_t biases(int layer) const { return biases_[layer]; }
  std::int64_t size() const { return size_; }  ///< floats, padding between layers included

  void from_reference(const reference::Parameters& parameters, float* flat) const;
  reference::Parameters to_reference(const float* flat) const;

 private:
  template <typename Visit>
  void each_weight(const Visit& visit) const;
  Network network_;
  WeightOrder order_;
  std::vector<std::int64_t> weights_, biases_;
  std::int64_t size_ = 0;
};

}  // namespace mlpwatt

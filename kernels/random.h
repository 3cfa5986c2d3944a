#pragma once
// Random numbers that are the same on every platform: the C++ standard fixes std::mt19937_64 but
// leaves std::shuffle and the distributions to each library.

#include <cstdint>
#include <random>
#include <utility>
#include <vector>

namespace mlpwatt {

using RandomStream = std::mt19937_64;

/// Uniform in [0, 1), 53 random bits.
inline double uniform_unit(RandomStream& stream) { return static_cast<double>(stream() >> 11) * 0x1p-53; }

/// An operand of a product: an integer in -4 .. 4, whose products' sums are exact in float32, or uniform in
/// [-1, 1).
inline float operand_value(RandomStream& stream, bool integers) {
  const std::uint64_t bits = stream();
  return integers ? static_cast<float>(static_cast<int>(bits % 9) - 4)
                  : static_cast<float>(static_cast<double>(bits >> 11) * 0x1p-52 - 1.0);
}

/// Uniform in 0 .. bound-1, without bias.
/// @param bound > 0
inline std::uint64_t uniform_below(RandomStream& stream, std::uint64_t bound) {
  const std::uint64_t biased = (0 - bound) % bound;  // 2^64 mod bound values would be drawn once too often
  std::uint64_t value = stream();
  while (value < biased) value = stream();
  return value % bound;
}

/// Fisher-Yates.
template <class T>
void shuffle(std::vector<T>& items, RandomStream& stream) {
  for (std::size_t i = items.size(); i > 1; --i) std::swap(items[i - 1], items[uniform_below(stream, i)]);
}

/// The batches of an epoch in a new seeded order each time, as the study's training does with rows; the rows
/// themselves were shuffled once, by the split.
class BatchOrder {
 public:
  BatchOrder(int batches, std::uint64_t seed) : order_(static_cast<std::size_t>(batches)), stream_(seed) {
    for (int i = 0; i < batches; ++i) order_[static_cast<std::size_t>(i)] = i;
  }
  const std::vector<int>& next_epoch() {
    shuffle(order_, stream_);
    return order_;
  }

 private:
  std::vector<int> order_;
  RandomStream stream_;
};

}  // namespace mlpwatt

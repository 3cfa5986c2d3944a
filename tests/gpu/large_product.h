#pragma once
// A matrix product too large for a second one in double: its operands are functions of the position, so that
// only C crosses the bus, and C is proven by n^2 operations instead of n^3.

#include <cstdint>
#include <string>
#include <vector>

#include "gpu/device/bf16.cuh"
#include "gpu/gemm/gemm.h"
#include "kernels/random.h"

namespace mlpwatt::gpu {

/// An operand's elements. Exact in every precision: integers -4 .. 4, whose sums are exact in fp32 up to k of
/// a million, or multiples of 1/128 in -1 .. 1, whose sums round.
struct Values {
  std::uint64_t seed = 0;
  bool integers = true;
  __host__ __device__ float at(std::int64_t row, std::int64_t column) const {
    // splitmix64's mixing of a number that is the position's own
    std::uint64_t z =
        seed + 0x9e3779b97f4a7c15ull * static_cast<std::uint64_t>(row << 32 | (column & 0xffffffff));
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    const auto bits = static_cast<std::uint32_t>(z >> 33);
    return integers ? static_cast<float>(static_cast<int>(bits % 9) - 4)
                    : static_cast<float>(static_cast<int>(bits % 257) - 128) * 0x1p-7f;
  }
};

class LargeProduct {
 public:
  /// Operands in device memory, rows aligned to 16 bytes.
  LargeProduct(const GemmProblem& problem, Precision precision, bool integers, std::uint64_t seed);
  /// Runs it into a C of guard values, and fetches that.
  void run(const GemmChoice& choice);

  /// Every element, of integers: in each row of C the sum over j of C(i,j) x(j) is that of A (B x), exactly,
  /// for an x without zeros; a single wrong element in a row cannot hide. And nothing is written between the
  /// rows.
  /// @return the first wrong element, "" when all are right
  std::string first_wrong() const;
  /// One element of every `tile` x `tile` of C, at random, and the four corners, against double sums.
  std::string first_wrong_sample(RandomStream& random, std::int64_t tile) const;

  /// C(i,j), for tests of the check itself.
  float& at(std::int64_t i, std::int64_t j) { return c_[static_cast<std::size_t>(i * ldc_ + j)]; }
  const GemmProblem& problem() const { return problem_; }

 private:
  float a(std::int64_t i, std::int64_t k) const {
    return problem_.layout == GemmLayout::kTN ? values_a_.at(k, i) : values_a_.at(i, k);
  }
  float b(std::int64_t k, std::int64_t j) const {
    return problem_.layout == GemmLayout::kNT ? values_b_.at(j, k) : values_b_.at(k, j);
  }
  double exact(std::int64_t i, std::int64_t j) const;
  /// "" when C(i,j) is that far from its sum at most.
  std::string wrong(std::int64_t i, std::int64_t j, double bound) const;

  GemmProblem problem_;
  Precision precision_;
  Values values_a_, values_b_;
  std::int64_t lda_, ldb_, ldc_;
  Buffer<float> a32_, b32_, on_device_;
  Buffer<Bf16> a16_, b16_;
  std::vector<float> c_;
};

}  // namespace mlpwatt::gpu

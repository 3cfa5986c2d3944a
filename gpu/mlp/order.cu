#include "gpu/mlp/order.h"

#include "gpu/device/cuda.cuh"

namespace mlpwatt::gpu {
namespace {

constexpr int kState = 312;

/// std::mt19937_64 and Fisher-Yates as kernels/random.h, by one thread: each number depends on the one
/// before, and a whole ring of orders is made once per run..
__global__ void shuffle_batches(int batches, unsigned long long seed, int entries, int* order, int* work) {
  using State = unsigned long long[kState];
  MLPWATT_SHARED(State, state);
  if (threadIdx.x != 0) return;
  constexpr unsigned long long kLower = 0x7fffffffull;
  state[0] = seed;
  for (int i = 1; i < kState; ++i)
    state[i] = 6364136223846793005ull * (state[i - 1] ^ (state[i - 1] >> 62)) + static_cast<unsigned>(i);
  int at = kState;
  const auto draw = [&] {
    if (at == kState) {
      for (int i = 0; i < kState; ++i) {
        const unsigned long long mixed = (state[i] & ~kLower) | (state[(i + 1) % kState] & kLower);
        state[i] =
            state[(i + 156) % kState] ^ (mixed >> 1) ^ ((mixed & 1) != 0 ? 0xb5026f5aa96619e9ull : 0ull);
      }
      at = 0;
    }
    unsigned long long y = state[at++];
    y ^= (y >> 29) & 0x5555555555555555ull;
    y ^= (y << 17) & 0x71d67fffeda60000ull;
    y ^= (y << 37) & 0xfff7eee000000000ull;
    return y ^ (y >> 43);
  };
  for (int i = 0; i < batches; ++i) work[i] = i;
  for (int done = 0; done < entries;) {
    for (int i = batches; i > 1; --i) {
      const unsigned long long bound = static_cast<unsigned>(i);
      const unsigned long long biased = (0 - bound) % bound;
      unsigned long long value = draw();
      while (value < biased) value = draw();
      const int other = static_cast<int>(value % bound);
      const int kept = work[i - 1];
      work[i - 1] = work[other];
      work[other] = kept;
    }
    for (int i = 0; i < batches && done < entries; ++i) order[done++] = work[i];
  }
}

}  // namespace

Buffer<int> make_order(int batches, std::uint64_t seed, int entries) {
  Buffer<int> order(static_cast<std::size_t>(entries)), work(static_cast<std::size_t>(batches));
  launch({.block = 32}, shuffle_batches, batches, static_cast<unsigned long long>(seed), entries,
         order.data(), work.data());
  synchronise();
  return order;
}

}  // namespace mlpwatt::gpu

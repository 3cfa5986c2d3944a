#include "gpu/mlp/order.h"

#include <numeric>
#include <vector>

#include "gpu/device/cuda.cuh"

namespace mlpwatt::gpu {
namespace {

constexpr int kState = 312;  // words of std::mt19937_64
constexpr int kThreads = 128;
using Word = unsigned long long;
constexpr std::size_t kStateBytes = kState * sizeof(Word);

/// std::mt19937_64 and Fisher-Yates as kernels/random.h. All threads copy, one draws and swaps: each draw
/// depends on the one before, and each swap on all before it. How long that is: one draw and one swap for
/// every step of the epoch, neither of which grows with the network, while the step has a launch or a barrier
/// at least, its rows, and a pass over every weight. The order's share of the whole is therefore largest with
/// the smallest networks at batches of one row, where an epoch has as many steps as the dataset has rows, and
/// falls from there. It is drawn before the epoch's clock starts, as the host's is: an epoch's seconds leave
/// it out, the joules of the whole training have it in.
__global__ void shuffle_batches(Word* generator, int* kept, int batches, int in_shared, int entries,
                                int* order) {
  Word* const state = &shared_as<Word>();
  // behind the state where it fits: a swap's reads and writes wait for one another, and gpu/chase shows how
  // much further away L2 and device memory are
  int* const shuffled = in_shared != 0 ? &shared_as<int>(kStateBytes) : kept;
  for (int i = threadIdx.x; i < kState; i += kThreads) state[i] = generator[i];
  if (in_shared != 0)
    for (int i = threadIdx.x; i < batches; i += kThreads) shuffled[i] = kept[i];
  int at = static_cast<int>(generator[kState]);
  const auto draw = [&] {
    constexpr Word kLower = 0x7fffffffull;
    if (at == kState) {
      for (int i = 0; i < kState; ++i) {
        const Word mixed = (state[i] & ~kLower) | (state[(i + 1) % kState] & kLower);
        state[i] =
            state[(i + 156) % kState] ^ (mixed >> 1) ^ ((mixed & 1) != 0 ? 0xb5026f5aa96619e9ull : 0ull);
      }
      at = 0;
    }
    Word y = state[at++];
    y ^= (y >> 29) & 0x5555555555555555ull;
    y ^= (y << 17) & 0x71d67fffeda60000ull;
    y ^= (y << 37) & 0xfff7eee000000000ull;
    return y ^ (y >> 43);
  };
  for (int done = 0; done < entries; done += batches) {
    __syncthreads();
    if (threadIdx.x == 0) {
      for (int i = batches; i > 1; --i) {
        const Word bound = static_cast<unsigned>(i), biased = (0 - bound) % bound;
        Word value = draw();
        while (value < biased) value = draw();
        const int other = static_cast<int>(value % bound), last = shuffled[i - 1];
        shuffled[i - 1] = shuffled[other];
        shuffled[other] = last;
      }
    }
    __syncthreads();
    for (int i = threadIdx.x; i < batches && done + i < entries; i += kThreads) order[done + i] = shuffled[i];
  }
  for (int i = threadIdx.x; i < kState; i += kThreads) generator[i] = state[i];
  if (in_shared != 0)
    for (int i = threadIdx.x; i < batches; i += kThreads) kept[i] = shuffled[i];
  if (threadIdx.x == 0) generator[kState] = static_cast<Word>(at);
}

/// As std::mt19937_64 seeds itself.
std::vector<Word> seeded(std::uint64_t seed) {
  std::vector<Word> state(kState + 1);
  state[0] = seed;
  for (int i = 1; i < kState; ++i)
    state[i] = 6364136223846793005ull * (state[i - 1] ^ (state[i - 1] >> 62)) + static_cast<unsigned>(i);
  state[kState] = kState;
  return state;
}

std::vector<int> in_order(int batches) {
  std::vector<int> numbers(static_cast<std::size_t>(batches));
  std::iota(numbers.begin(), numbers.end(), 0);
  return numbers;
}

}  // namespace

DeviceBatchOrder::DeviceBatchOrder(int batches, std::uint64_t seed)
    : generator_(seeded(seed)), shuffled_(in_order(batches)) {}

void DeviceBatchOrder::draw(const Buffer<int>& order) {
  const std::size_t all = kStateBytes + shuffled_.bytes();
  const bool fits = all <= static_cast<std::size_t>(device().shared_block_bytes);
  launch({.block = kThreads, .shared_bytes = fits ? all : kStateBytes}, shuffle_batches, generator_.data(),
         shuffled_.data(), static_cast<int>(shuffled_.size()), static_cast<int>(fits),
         static_cast<int>(order.size()), order.data());
  synchronise();
}

}  // namespace mlpwatt::gpu

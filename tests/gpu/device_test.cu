// The device layer of gpu/device against plain loops, and the emulator against kernels that break the rules:
// what it is there to catch, it must catch.

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "gpu/device/async_copy.cuh"
#include "gpu/device/cluster.cuh"
#include "gpu/device/grid.cuh"
#include "gpu/device/mma.cuh"
#include "gpu/device/warp.cuh"
#include "gpu/device/wgmma_tf32.cuh"
#include "gpu/runtime.h"

namespace mlpwatt::gpu {
namespace {

std::vector<float> small_integers(std::size_t size, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<float> values(size);
  for (float& v : values) v = static_cast<float>(static_cast<int>(random() % 9) - 4);
  return values;
}

std::vector<Bf16> as_bf16(const std::vector<float>& values) {
  std::vector<Bf16> result;
  for (const float v : values) result.push_back(to_bf16(v));
  return result;
}

// ---- reductions and barriers
// -------------------------------------------------------------------------------

/// One block: out[0] = sum of 256 values, through shuffles and shared memory.
template <bool Barrier>
__global__ void block_sum(const float* values, float* out) {
  using Partials = float[8];
  MLPWATT_SHARED(Partials, partial);
  const float sum = warp_sum(values[threadIdx.x]);
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = sum;
  if (Barrier) __syncthreads();
  if (threadIdx.x == 0) {
    float total = 0;
    for (int w = 0; w < 8; ++w) total += partial[w];
    out[0] = total;
  }
}

TEST(GpuDevice, ABlockSumGoesThroughShufflesAndSharedMemory) {
  const Buffer<float> values(small_integers(256, 1)), out(1);
  float want = 0;
  for (const float v : values.download()) want += v;
  launch({.block = 256}, block_sum<true>, values.data(), out.data());
  synchronise();
  EXPECT_EQ(out.download()[0], want);
}

/// Clusters of 4: every block adds up what the others hold in their shared memory.
__global__ void cluster_sum(float* out) {
  float* mine = &shared_as<float>();
  if (threadIdx.x == 0) *mine = static_cast<float>(blockIdx.x + 1);
  sync_cluster();
  if (threadIdx.x == 0) {
    float total = 0;
    for (unsigned r = 0; r < cluster_size(); ++r) total += *map_shared(mine, r);
    out[blockIdx.x] = total;
  }
  sync_cluster();  // nobody leaves while others read
}

TEST(GpuDevice, BlocksOfAClusterReadEachOthersSharedMemory) {
  if (device().capability < 90) GTEST_SKIP() << "no clusters before compute capability 9.0";
  const Buffer<float> out(8);
  launch({.grid = 8, .block = 64, .cluster = 4, .shared_bytes = 16}, cluster_sum, out.data());
  synchronise();
  const std::vector<float> got = out.download();
  for (int b = 0; b < 8; ++b) EXPECT_EQ(got[b], b < 4 ? 10.0f : 26.0f) << "block " << b;
}

/// All blocks write, meet, and read the next one's value, `rounds` times.
__global__ void relay(float* values, GridCounter* counter, int rounds) {
  for (int round = 0; round < rounds; ++round) {
    const float next = __ldcg(values + (blockIdx.x + 1) % gridDim.x);
    sync_grid(counter);
    if (threadIdx.x == 0) __stcg(values + blockIdx.x, next);
    sync_grid(counter);
  }
}

TEST(GpuDevice, TheGridBarrierOrdersAllBlocks) {
  const Buffer<float> values(std::vector<float>{0, 1, 2, 3});
  const Buffer<GridCounter> counter(std::vector<GridCounter>{0});
  for (int again = 0; again < 2; ++again) {  // the counter is not zeroed between launches
    launch({.grid = 4, .block = 64, .cooperative = true}, relay, values.data(), counter.data(), 3);
    synchronise();
  }
  EXPECT_EQ(values.download(), (std::vector<float>{2, 3, 0, 1}));
}

// ---- asynchronous copies
// -----------------------------------------------------------------------------------

template <bool Wait>
__global__ void copied(const float* from, float* out) {
  float* tile = &shared_as<float>();
  copy_async<16>(tile + 4 * threadIdx.x, from + 4 * threadIdx.x, threadIdx.x < 30);
  copy_commit();
  if (Wait) copy_wait<0>();
  __syncthreads();
  for (int i = 0; i < 4; ++i) out[4 * threadIdx.x + i] = tile[4 * threadIdx.x + i];
}

TEST(GpuDevice, AsyncCopiesArriveAndMaskedOnesAreZero) {
  const std::vector<float> values = small_integers(128, 3);
  const Buffer<float> from(values), out(128);
  launch({.block = 32, .shared_bytes = 512}, copied<true>, from.data(), out.data());
  synchronise();
  const std::vector<float> got = out.download();
  for (int i = 0; i < 128; ++i) EXPECT_EQ(got[i], i < 120 ? values[i] : 0.0f) << i;
}

/// One tensor copy of 64 rows x 128 bytes of bf16 or float, read back through the swizzle.
template <bool Wait, typename T = Bf16>
__global__ void tiled(const __grid_constant__ TensorMap map, float* out, int row, int column) {
  struct Shared {
    unsigned char tile[64 * 128];
    Mbarrier barrier;
  };
  Shared& shared = shared_as<Shared>();
  if (threadIdx.x == 0) {
    mbarrier_init(shared.barrier, 1);
    mbarrier_init_fence();
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    mbarrier_arrive_expect(shared.barrier, 64 * 128);
    copy_tile(shared.tile, map, shared.barrier, row, column);
  }
  if (Wait) mbarrier_wait(shared.barrier, 0);
  constexpr int kBytes = sizeof(T), kColumns = 128 / kBytes;
  for (int e = threadIdx.x; e < 64 * kColumns; e += blockDim.x) {
    const int r = e / kColumns, at = e % kColumns * kBytes;
    out[e] =
        to_float(*reinterpret_cast<const T*>(shared.tile + r * 128 + ((at / 16 ^ r % 8) * 16 + at % 16)));
  }
}

TEST(GpuDevice, TensorCopiesFillOutsideTheMatrixWithZeros) {
  if (device().capability < 90) GTEST_SKIP() << "no tensor copies before compute capability 9.0";
  const std::vector<float> values = small_integers(100 * 72, 4);
  const Buffer<Bf16> matrix(as_bf16(values));
  const Buffer<float> out(64 * 64);
  launch({.block = 64, .shared_bytes = 64 * 128 + 64}, tiled<true>,
         make_tensor_map(matrix.data(), 2, 100, 72, 144, 64), out.data(), 64, 64);
  synchronise();
  const std::vector<float> got = out.download();
  for (int r = 0; r < 64; ++r)
    for (int c = 0; c < 64; ++c)
      ASSERT_EQ(got[r * 64 + c], 64 + r < 100 && 64 + c < 72 ? values[(64 + r) * 72 + 64 + c] : 0.0f)
          << r << " " << c;
}

/// Two blocks, each of which asks for one half of 64 rows x 64 columns of bf16, for both; and says to both
/// that it has read them, before either half is overwritten.
__global__ void shared_copies(const __grid_constant__ TensorMap map, float* out) {
#if defined(MLPWATT_SM90A)
  struct Shared {
    unsigned char tile[64 * 128];
    Mbarrier full, empty;
  };
  Shared& shared = shared_as<Shared>();
  const int half = static_cast<int>(cluster_rank()) * 32;
  if (threadIdx.x == 0) {
    mbarrier_init(shared.full, 1);
    mbarrier_init(shared.empty, cluster_size());
    mbarrier_init_fence();
  }
  sync_cluster();
  for (int round = 0; round < 3; ++round) {
    if (threadIdx.x == 0) {
      mbarrier_wait(shared.empty, round % 2 ^ 1);
      mbarrier_arrive_expect(shared.full, sizeof shared.tile);
      copy_tile_to_all(shared.tile + half * 128, map, shared.full, 64 * round + half, 0, 3);
    }
    mbarrier_wait(shared.full, round % 2);
    float* to = out + (round * 2 + static_cast<int>(cluster_rank())) * 64 * 64;
    for (int e = threadIdx.x; e < 64 * 64; e += blockDim.x) {
      const int r = e / 64, c = e % 64;
      to[e] = to_float(
          *reinterpret_cast<const Bf16*>(shared.tile + r * 128 + ((c / 8 ^ r % 8) * 16 + c % 8 * 2)));
    }
    __syncthreads();
    if (threadIdx.x == 0)
      for (unsigned rank = 0; rank < cluster_size(); ++rank) mbarrier_arrive_at(shared.empty, rank);
  }
  __syncwarp();
  sync_cluster();
#endif
}

TEST(GpuDevice, ATensorCopyMayGoToAllBlocksOfACluster) {
  if (device().capability != 90) GTEST_SKIP() << "built for compute capability 9.0 only";
  const std::vector<float> values = small_integers(3 * 64 * 64, 19);
  const Buffer<Bf16> matrix(as_bf16(values));
  const Buffer<float> out(3 * 2 * 64 * 64);
  launch({.grid = 2, .block = 64, .cluster = 2, .shared_bytes = 64 * 128 + 64}, shared_copies,
         make_tensor_map(matrix.data(), 2, 3 * 64, 64, 128, 32), out.data());
  synchronise();
  const std::vector<float> got = out.download();
  for (int round = 0; round < 3; ++round)
    for (int rank = 0; rank < 2; ++rank)
      for (int e = 0; e < 64 * 64; ++e)
        ASSERT_EQ(got[(round * 2 + rank) * 64 * 64 + e], values[round * 64 * 64 + e]) << round << " " << rank;
}

TEST(GpuDevice, TensorCopiesRoundFloatsToTf32WhereAsked) {
  if (device().capability < 90) GTEST_SKIP() << "no tensor copies before compute capability 9.0";
  std::vector<float> values(64 * 32);
  std::mt19937 random(9);
  for (float& v : values) v = static_cast<float>(static_cast<double>(random()) * 0x1p-31 - 1.0);
  const std::pair<float, float> chosen[] = {{1.0f + 0x1p-11f, 1.0f},              // a tie goes to even
                                            {1.0f + 0x1.8p-10f, 1.0f + 0x1p-9f},  // upwards when that is even
                                            {1.0f + 0x1.02p-11f, 1.0f + 0x1p-10f},  // above a tie
                                            {2.0f - 0x1p-23f, 2.0f},                // into the exponent
                                            {-1.0f - 0x1.8p-11f, -1.0f - 0x1p-10f},
                                            {INFINITY, INFINITY}};
  for (std::size_t i = 0; i < std::size(chosen); ++i) values[i] = chosen[i].first;
  values[std::size(chosen)] = std::numeric_limits<float>::quiet_NaN();
  const Buffer<float> matrix(values), out(values.size());
  launch({.block = 64, .shared_bytes = 64 * 128 + 64}, tiled<true, float>,
         make_tensor_map(matrix.data(), 4, 64, 32, 128, 64, true), out.data(), 0, 0);
  synchronise();
  const std::vector<float> got = out.download();
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (i < std::size(chosen)) {
      EXPECT_EQ(got[i], chosen[i].second) << i;
    } else if (i == std::size(chosen)) {
      EXPECT_TRUE(std::isnan(got[i]));
    } else {
      std::uint32_t bits;
      std::memcpy(&bits, &got[i], 4);
      ASSERT_EQ(bits & 0x1fffu, 0u) << i << " " << values[i];
      ASSERT_LE(std::abs(got[i] - values[i]), 0x1p-11f * std::abs(values[i])) << i;
    }
  }
}

// ---- tensor cores
// ------------------------------------------------------------------------------------------

__global__ void one_mma_tf32(const float* a, const float* b, float* c) {
  const int g = threadIdx.x / 4, t = threadIdx.x % 4;
  float d[4] = {1, 1, 1, 1};
  const std::uint32_t fa[4] = {to_tf32(a[g * 8 + t]), to_tf32(a[(g + 8) * 8 + t]), to_tf32(a[g * 8 + t + 4]),
                               to_tf32(a[(g + 8) * 8 + t + 4])};
  const std::uint32_t fb[2] = {to_tf32(b[t * 8 + g]), to_tf32(b[(t + 4) * 8 + g])};
  mma_tf32(d, fa, fb);
  for (int i = 0; i < 4; ++i) c[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = d[i];
}

/// A [16 x 16], B [16 x 8] both row-major in shared memory, fetched by ldmatrix (B transposed on the way).
__global__ void one_mma_bf16(const Bf16* a, const Bf16* b, float* c) {
  struct Shared {
    alignas(16) Bf16 a[16 * 16], b[16 * 16];
  };
  Shared& shared = shared_as<Shared>();
  const int lane = threadIdx.x, g = lane / 4, t = lane % 4;
  for (int e = lane; e < 256; e += 32) {
    shared.a[e] = a[e];
    shared.b[e] = e % 16 < 8 ? b[e / 16 * 8 + e % 16] : Bf16{0};
  }
  __syncwarp();
  std::uint32_t fa[4], fb[4];
  load_tiles<false>(fa, &shared.a[lane % 16 * 16 + lane / 16 * 8]);
  load_tiles<true>(fb, &shared.b[lane % 16 * 16 + lane / 16 * 8]);
  float d[4] = {1, 1, 1, 1};
  const std::uint32_t first[2] = {fb[0], fb[1]};
  mma_bf16(d, fa, first);
  for (int i = 0; i < 4; ++i) c[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = d[i];
}

TEST(GpuDevice, OneTensorCoreTileEqualsThePlainLoop) {
  for (const int k_total : {8, 16}) {
    const std::vector<float> a = small_integers(16 * k_total, 5), b = small_integers(k_total * 8, 6);
    const Buffer<float> c(16 * 8);
    if (k_total == 8) {
      const Buffer<float> da(a), db(b);
      launch({.block = 32}, one_mma_tf32, da.data(), db.data(), c.data());
      synchronise();
    } else {
      const Buffer<Bf16> da(as_bf16(a)), db(as_bf16(b));
      launch({.block = 32, .shared_bytes = 1024}, one_mma_bf16, da.data(), db.data(), c.data());
      synchronise();
    }
    const std::vector<float> got = c.download();
    for (int i = 0; i < 16; ++i)
      for (int j = 0; j < 8; ++j) {
        float want = 1;
        for (int k = 0; k < k_total; ++k) want += a[i * k_total + k] * b[k * 8 + j];
        ASSERT_EQ(got[i * 8 + j], want) << k_total << ": " << i << " " << j;
      }
  }
}

TEST(GpuDevice, RoundingToTf32AndBf16IsToNearest) {
  EXPECT_EQ(to_float(to_bf16(1.0f + 0x1p-8f)), 1.0f);              // a tie goes to even
  EXPECT_EQ(to_float(to_bf16(1.0f + 0x1.8p-7f)), 1.0f + 0x1p-6f);  // upwards when that is even
  EXPECT_EQ(to_float(to_bf16(1.0f + 0x1.02p-8f)), 1.0f + 0x1p-7f);
  EXPECT_TRUE(std::isnan(to_float(to_bf16(NAN))));
  EXPECT_EQ(to_float(to_bf16(INFINITY)), INFINITY);
}

#if defined(MLPWATT_EMULATED) || defined(__CUDACC__)
/// D[64 x 64] = A B over k = 32 for one warpgroup; operands come by tensor copies, either way round.
template <bool MnMajorA, bool MnMajorB>
__global__ void one_wgmma(const __grid_constant__ TensorMap map_a, const __grid_constant__ TensorMap map_b,
                          float* c) {
#if defined(MLPWATT_SM90A)
  struct Shared {
    unsigned char a[64 * 128], b[64 * 128];
    Mbarrier barrier;
  };
  Shared& shared = shared_as<Shared>();
  if (threadIdx.x == 0) {
    mbarrier_init(shared.barrier, 1);
    mbarrier_init_fence();
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    // k-major boxes are 64 rows of 64 k (those past 32 are zeros), mn-major ones 64 k of 64
    mbarrier_arrive_expect(shared.barrier, 2 * 64 * 128);
    copy_tile(shared.a, map_a, shared.barrier, 0, 0);
    copy_tile(shared.b, map_b, shared.barrier, 0, 0);
  }
  mbarrier_wait(shared.barrier, 0);
  float d[32];
  wgmma_fence();
  const Operand a = make_operand(shared.a, 1024, 0), b = make_operand(shared.b, 1024, 0);
  for (int k = 0; k < 2; ++k)
    wgmma_bf16<64, MnMajorA, MnMajorB>(d, advance(a, k * (MnMajorA ? 2048 : 32)),
                                       advance(b, k * (MnMajorB ? 2048 : 32)), k > 0);
  wgmma_commit();
  wgmma_wait<0>();
  const int r = threadIdx.x;
  for (int i = 0; i < 32; ++i)
    c[(16 * (r / 32) + r % 32 / 4 + 8 * (i / 2 % 2)) * 64 + 8 * (i / 4) + 2 * (r % 4) + i % 2] = d[i];
#endif
}

template <bool MnMajorA, bool MnMajorB>
void try_wgmma() {
  const int k_total = 32;
  const std::vector<float> a = small_integers(64 * k_total, 7), b = small_integers(64 * k_total, 8);
  const Buffer<Bf16> da(as_bf16(a)), db(as_bf16(b));
  const Buffer<float> c(64 * 64);
  const auto map = [&](const Buffer<Bf16>& x, bool mn_major) {
    return mn_major ? make_tensor_map(x.data(), 2, k_total, 64, 128, 64)
                    : make_tensor_map(x.data(), 2, 64, k_total, 2 * k_total, 64);
  };
  launch({.block = 128, .shared_bytes = 2 * 64 * 128 + 64}, one_wgmma<MnMajorA, MnMajorB>, map(da, MnMajorA),
         map(db, MnMajorB), c.data());
  synchronise();
  const std::vector<float> got = c.download();
  for (int i = 0; i < 64; ++i)
    for (int j = 0; j < 64; ++j) {
      float want = 0;
      for (int k = 0; k < k_total; ++k)
        want += a[MnMajorA ? k * 64 + i : i * k_total + k] * b[MnMajorB ? k * 64 + j : j * k_total + k];
      ASSERT_EQ(got[i * 64 + j], want) << i << " " << j;
    }
}

TEST(GpuDevice, OneWarpgroupProductEqualsThePlainLoopInEveryLayout) {
  if (device().capability != 90) GTEST_SKIP() << "wgmma is compute capability 9.0 only";
  try_wgmma<false, false>();
  try_wgmma<false, true>();
  try_wgmma<true, false>();
  try_wgmma<true, true>();
}

/// D[64 x 128] = A B over k = 32 for one warpgroup; A from shared memory, or from registers that `Early`
/// overwrites before the products are waited for.
template <bool FromRegisters, bool Early>
__global__ void one_wgmma_tf32(const __grid_constant__ TensorMap map_a,
                               const __grid_constant__ TensorMap map_b, const float* a, float* c) {
#if defined(MLPWATT_SM90A)
  struct Shared {
    unsigned char a[64 * 128], b[128 * 128];
    Mbarrier barrier;
  };
  Shared& shared = shared_as<Shared>();
  if (threadIdx.x == 0) {
    mbarrier_init(shared.barrier, 1);
    mbarrier_init_fence();
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    mbarrier_arrive_expect(shared.barrier, sizeof shared.a + sizeof shared.b);
    copy_tile(shared.a, map_a, shared.barrier, 0, 0);
    copy_tile(shared.b, map_b, shared.barrier, 0, 0);
  }
  mbarrier_wait(shared.barrier, 0);
  const int r = threadIdx.x, row = 16 * (r / 32) + r % 32 / 4;
  std::uint32_t fragments[4][4];
  for (int i = 0; i < 4; ++i)
    for (int e = 0; e < 4; ++e)
      fragments[i][e] = __float_as_uint(a[(row + e % 2 * 8) * 32 + 8 * i + r % 4 + e / 2 * 4]);
  float d[64];
  wgmma_fence();
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const Operand b = advance(make_operand(shared.b, 1024, 0), 32 * i);
    if constexpr (FromRegisters)
      wgmma_tf32<128>(d, fragments[i], b, i > 0);
    else
      wgmma_tf32<128>(d, advance(make_operand(shared.a, 1024, 0), 32 * i), b, i > 0);
  }
  wgmma_commit();
  if constexpr (Early) fragments[3][2] = 0;
  wgmma_wait<0>();
  for (int i = 0; i < 64; ++i) c[(row + 8 * (i / 2 % 2)) * 128 + 8 * (i / 4) + 2 * (r % 4) + i % 2] = d[i];
#endif
}

template <bool FromRegisters, bool Early = false>
void try_wgmma_tf32() {
  const std::vector<float> a = small_integers(64 * 32, 17), b = small_integers(128 * 32, 18);
  const Buffer<float> da(a), db(b), c(64 * 128);
  launch({.block = 128, .shared_bytes = (64 + 128) * 128 + 64}, one_wgmma_tf32<FromRegisters, Early>,
         make_tensor_map(da.data(), 4, 64, 32, 128, 64), make_tensor_map(db.data(), 4, 128, 32, 128, 128),
         static_cast<const float*>(da.data()), c.data());
  synchronise();
  const std::vector<float> got = c.download();
  for (int i = 0; i < 64; ++i)
    for (int j = 0; j < 128; ++j) {
      float want = 0;
      for (int k = 0; k < 32; ++k) want += a[i * 32 + k] * b[j * 32 + k];
      ASSERT_EQ(got[i * 128 + j], want) << i << " " << j;
    }
}

TEST(GpuDevice, ATf32WarpgroupProductTakesItsLeftOperandFromSharedMemoryOrRegisters) {
  if (device().capability != 90) GTEST_SKIP() << "wgmma is compute capability 9.0 only";
  try_wgmma_tf32<false>();
  try_wgmma_tf32<true>();
}
#endif

// ---- streams and graphs
// ------------------------------------------------------------------------------------

__global__ void add_one(float* x) { x[threadIdx.x] += 1; }

TEST(GpuDevice, ACapturedGraphRunsWhenItIsLaunchedOnly) {
  const Buffer<float> x(std::vector<float>(32, 0.0f));
  Stream stream;
  stream.begin_capture();
  for (int i = 0; i < 3; ++i) launch({.block = 32, .stream = stream.handle()}, add_one, x.data());
  const Graph graph = stream.end_capture();
  EXPECT_EQ(x.download()[7], 0.0f);
  graph.launch(stream.handle());
  graph.launch(stream.handle());
  stream.synchronise();
  EXPECT_EQ(x.download()[7], 6.0f);
}

#if defined(MLPWATT_EMULATED)
// ---- what the emulator is there to catch
// -------------------------------------------------------------------

std::string violation_of(const std::function<void()>& act) {
  try {
    act();
  } catch (const emulation::Violation& violation) {
    return violation.what();
  }
  return "";
}

TEST(GpuEmulator, AMissingBlockBarrierShowsInSomeOrder) {
  const Buffer<float> values(small_integers(256, 1)), out(1);
  float want = 0;
  for (const float v : values.download()) want += v;
  int wrong = 0;
  emulation::run_in_orders([&](unsigned) {
    launch({.block = 256}, block_sum<false>, values.data(), out.data());
    wrong += !(out.download()[0] == want);
  });
  EXPECT_GT(wrong, 0);
}

TEST(GpuEmulator, AMissingWaitForACopyIsNaN) {
  const Buffer<float> from(small_integers(128, 3)), out(128);
  launch({.block = 32, .shared_bytes = 512}, copied<false>, from.data(), out.data());
  EXPECT_TRUE(std::isnan(out.download()[0]));
  const Buffer<Bf16> matrix(as_bf16(small_integers(64 * 64, 4)));
  const Buffer<float> tile(64 * 64);
  launch({.block = 64, .shared_bytes = 64 * 128 + 64}, tiled<false>,
         make_tensor_map(matrix.data(), 2, 64, 64, 128, 64), tile.data(), 0, 0);
  EXPECT_TRUE(std::isnan(tile.download()[0]));
}

TEST(GpuEmulator, ARegisterOperandChangedBeforeItsProductEndsIsNoticed) {
  const std::string said = violation_of([] { try_wgmma_tf32<true, true>(); });
  EXPECT_NE(said.find("changed before the product was waited for"), std::string::npos) << said;
}

__global__ void divergent(int kind, float* x) {
  if (kind == 0 && threadIdx.x >= 8) return;
  if (kind == 1 && threadIdx.x >= 8)
    __syncthreads();
  else
    __syncthreads();
  if (kind == 2 && threadIdx.x < 16) x[threadIdx.x] = __shfl_sync(kAllLanes, 1.0f, 0);
  if (kind == 3) x[threadIdx.x] = __shfl_sync(0xffffu, 1.0f, 0);
  if (kind == 4) (&shared_as<float>())[threadIdx.x + 1] = 0;
  if (kind == 5) x[threadIdx.x + 1] = 0;
  if (kind == 6) x[threadIdx.x] = *map_shared(&shared_as<float>(), 1);
  if (kind == 7)
    while (x[0] != 5.0f) __nanosleep(20);
  if (kind == 8) copy_async<16>(&shared_as<float>() + 1, x);
  if (kind == 9) copy_async<16>(&shared_as<float>() + 29 + 4, x);
}

TEST(GpuEmulator, SaysWhatADeviceForbids) {
  const Buffer<float> x(32);
  const std::pair<int, const char*> cases[] = {
      {0, "have left the kernel"},        {1, "divergent barrier"},   {2, "deadlock"},
      {3, "leaves out the calling lane"}, {4, "outside the block's"}, {5, "past the end of a device buffer"},
      {6, "is not in the cluster"},       {7, "wait at a loop"},      {8, "not aligned to its size"},
      {9, "not in shared memory"},
  };
  for (const auto& each : cases) {
    const int kind = each.first;
    const char* words = each.second;
    const std::string said =
        violation_of([&] { launch({.block = 32, .shared_bytes = 128}, divergent, kind, x.data()); });
    EXPECT_NE(said.find(words), std::string::npos) << kind << ": " << said;
  }
  EXPECT_EQ(violation_of([&] { launch({.block = 32, .shared_bytes = 128}, divergent, 10, x.data()); }), "");
  EXPECT_NE(violation_of([&] { launch({.grid = 3, .block = 32, .cluster = 2}, add_one, x.data()); }), "");
  EXPECT_NE(violation_of([&] { launch({.block = 32, .shared_bytes = 300 << 10}, add_one, x.data()); }), "");
}
#endif

}  // namespace
}  // namespace mlpwatt::gpu

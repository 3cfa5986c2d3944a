#pragma once
// Hopper's tensor cores as functions of a warpgroup (128 threads): D[64 x N] += A[64 x 16] B[16 x N], bf16
// operands read from shared memory by the tensor cores themselves, fp32 sums in registers, asynchronously.
// Thread r of the warpgroup holds d[i] = D(16 (r / 32) + r % 32 / 4 + 8 (i / 2 % 2), 8 (i / 4) + 2 (r % 4) +
// i % 2). Order of use: wgmma_fence, wgmma_bf16 ..., wgmma_commit, wgmma_wait; d is not touched in between.

#include "gpu/device/cuda.cuh"

namespace mlpwatt::gpu {

/// Where an operand lies in shared memory: rows of 128 bytes, 128-byte swizzle as copy_tile leaves them, in
/// atoms of 8 rows (1024 bytes, aligned to it).
///   k-major  (a row = one m or n, 64 k along it): group_bytes from 8 rows to the next 8; the k-th step of 16
///   starts
///            32 k bytes further on.
///   mn-major (a row = one k, 64 m or n along it): group_bytes from 8 k to the next 8, repeat_bytes from 64 m
///   or n to
///            the next 64.
struct Operand {
#if defined(__CUDACC__)
  std::uint64_t descriptor;
#else
  const unsigned char* base;
  unsigned group_bytes, repeat_bytes;
#endif
};

__device__ __forceinline__ Operand make_operand(const void* start, unsigned group_bytes,
                                                unsigned repeat_bytes) {
#if defined(__CUDACC__)
  constexpr std::uint64_t kSwizzle128 = std::uint64_t{1} << 62;
  return {kSwizzle128 | static_cast<std::uint64_t>(group_bytes >> 4) << 32 |
          static_cast<std::uint64_t>(repeat_bytes >> 4) << 16 | (shared_address(start) & 0x3ffff) >> 4};
#else
  return {static_cast<const unsigned char*>(start), group_bytes, repeat_bytes};
#endif
}
/// The same operand `bytes` (a multiple of 16) further on.
__device__ __forceinline__ Operand advance(Operand operand, unsigned bytes) {
#if defined(__CUDACC__)
  return {operand.descriptor + (bytes >> 4)};
#else
  return {operand.base + bytes, operand.group_bytes, operand.repeat_bytes};
#endif
}

/// The swizzle works on address bits: tiles must begin where it does. Ends the kernel where dynamic shared
/// memory does not.
__device__ __forceinline__ void require_swizzle_alignment(const void* shared) {
#if defined(__CUDACC__)
  if ((shared_address(shared) & 1023) != 0) __trap();
#else
  if (reinterpret_cast<std::uintptr_t>(shared) % 1024 != 0) __trap();
#endif
}

/// Before the first wgmma_bf16, and whenever d was touched since the last.
__device__ __forceinline__ void wgmma_fence() {
#if defined(__CUDACC__) && defined(MLPWATT_SM90A)
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#endif
}
__device__ __forceinline__ void wgmma_commit() {
#if !defined(__CUDACC__)
  emulation::warpgroup_collective(nullptr, "wgmma_commit", emulation::Where::current(),
                                  [](void* const*) { emulation::warpgroup_commit(); });
#elif defined(MLPWATT_SM90A)
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
#endif
}
/// Waits until at most InFlight groups are under way.
template <int InFlight>
__device__ __forceinline__ void wgmma_wait() {
#if !defined(__CUDACC__)
  emulation::warpgroup_collective(nullptr, "wgmma_wait", emulation::Where::current(),
                                  [](void* const*) { emulation::warpgroup_wait(InFlight); });
#elif defined(MLPWATT_SM90A)
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(InFlight) : "memory");
#endif
}

/// Hands registers over between the warpgroups of a block: producers need few, consumers many.
template <int Registers>
__device__ __forceinline__ void keep_registers() {
#if defined(__CUDACC__) && defined(MLPWATT_SM90A)
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(Registers));
#endif
}
template <int Registers>
__device__ __forceinline__ void claim_registers() {
#if defined(__CUDACC__) && defined(MLPWATT_SM90A)
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(Registers));
#endif
}

#if !defined(__CUDACC__)
namespace emulated {
using emulation::require_shared;
/// Element (mn, k) of an operand, k < 16.
template <bool MnMajor>
float element(const Operand& operand, int mn, int k) {
  const unsigned offset = MnMajor ? static_cast<unsigned>(mn / 64) * operand.repeat_bytes +
                                        static_cast<unsigned>(k / 8) * operand.group_bytes +
                                        static_cast<unsigned>(k % 8 * 128 + mn % 64 * 2)
                                  : static_cast<unsigned>(mn / 8) * operand.group_bytes +
                                        static_cast<unsigned>(mn % 8 * 128 + k * 2);
  std::uintptr_t address = reinterpret_cast<std::uintptr_t>(operand.base) + offset;
  address ^= (address >> 7 & 7) << 4;
  require_shared(reinterpret_cast<const void*>(address), 2, "an operand of wgmma");
  std::uint16_t bits;
  std::memcpy(&bits, reinterpret_cast<const void*>(address), 2);
  return __uint_as_float(static_cast<unsigned>(bits) << 16);
}
}  // namespace emulated
#endif

#if defined(__CUDACC__)
// A product's N / 2 sums a thread as operands of PTX: their numbers, which come first, and the registers.
#define MLPWATT_SUM_NAMES_32                              \
  "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15" \
  ",%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
#define MLPWATT_SUM_NAMES_64                                         \
  MLPWATT_SUM_NAMES_32                                               \
  ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47" \
  ",%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
#define MLPWATT_SUM_NAMES_96                                         \
  MLPWATT_SUM_NAMES_64                                               \
  ",%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79" \
  ",%80,%81,%82,%83,%84,%85,%86,%87,%88,%89,%90,%91,%92,%93,%94,%95"
#define MLPWATT_SUM_NAMES_128                                                    \
  MLPWATT_SUM_NAMES_96                                                           \
  ",%96,%97,%98,%99,%100,%101,%102,%103,%104,%105,%106,%107,%108,%109,%110,%111" \
  ",%112,%113,%114,%115,%116,%117,%118,%119,%120,%121,%122,%123,%124,%125,%126,%127"
#define MLPWATT_SUMS_8_FROM(d, i)                                                             \
  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), \
      "+f"(d[i + 6]), "+f"(d[i + 7])
#define MLPWATT_SUMS_32_FROM(d, i)                                                          \
  MLPWATT_SUMS_8_FROM(d, i), MLPWATT_SUMS_8_FROM(d, i + 8), MLPWATT_SUMS_8_FROM(d, i + 16), \
      MLPWATT_SUMS_8_FROM(d, i + 24)
#define MLPWATT_SUMS_32(d) MLPWATT_SUMS_32_FROM(d, 0)
#define MLPWATT_SUMS_64(d) MLPWATT_SUMS_32(d), MLPWATT_SUMS_32_FROM(d, 32)
#define MLPWATT_SUMS_96(d) MLPWATT_SUMS_64(d), MLPWATT_SUMS_32_FROM(d, 64)
#define MLPWATT_SUMS_128(d) MLPWATT_SUMS_96(d), MLPWATT_SUMS_32_FROM(d, 96)
#endif

/// d = a b, or d += a b with `accumulate`. MnMajorA: A is stored with m along its rows; MnMajorB: B with n.
template <int N, bool MnMajorA, bool MnMajorB>
__device__ __forceinline__ void wgmma_bf16(float (&d)[N / 2], Operand a, Operand b, bool accumulate) {
  static_assert(N == 64 || N == 128 || N == 192 || N == 256);
#if !defined(__CUDACC__)
  struct Thread {
    float* d;
    Operand a, b;
    bool accumulate;
  } mine{d, a, b, accumulate};
  emulation::warpgroup_collective(&mine, "wgmma_bf16", emulation::Where::current(), [](void* const* threads) {
    std::vector<float*> sums;
    for (int r = 0; r < 128; ++r) sums.push_back(static_cast<Thread*>(threads[r])->d);
    const Thread first = *static_cast<Thread*>(threads[0]);
    // Reads its operands when it is waited for: who overwrites them earlier, or reads d earlier, sees it.
    emulation::warpgroup_issue([sums, first] {
      std::vector<float> am(64 * 16), bm(16 * N);
      for (int k = 0; k < 16; ++k) {
        for (int m = 0; m < 64; ++m) am[m * 16 + k] = emulated::element<MnMajorA>(first.a, m, k);
        for (int n = 0; n < N; ++n) bm[k * N + n] = emulated::element<MnMajorB>(first.b, n, k);
      }
      for (int r = 0; r < 128; ++r)
        for (int i = 0; i < N / 2; ++i) {
          const int row = 16 * (r / 32) + r % 32 / 4 + 8 * (i / 2 % 2),
                    column = 8 * (i / 4) + 2 * (r % 4) + i % 2;
          float sum = first.accumulate ? sums[r][i] : 0;
          for (int k = 0; k < 16; ++k) sum += am[row * 16 + k] * bm[k * N + column];
          sums[r][i] = sum;
        }
    });
  });
#elif defined(MLPWATT_SM90A)
  const int scale = accumulate;
  if constexpr (N == 64)
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" MLPWATT_SUM_NAMES_32
        "}, %32, %33, p, 1, 1, "
        "%35, %36;\n}"
        : MLPWATT_SUMS_32(d)
        : "l"(a.descriptor), "l"(b.descriptor), "r"(scale), "n"(MnMajorA ? 1 : 0), "n"(MnMajorB ? 1 : 0));
  else if constexpr (N == 128)
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" MLPWATT_SUM_NAMES_64
        "}, %64, %65, p, 1, 1, "
        "%67, %68;\n}"
        : MLPWATT_SUMS_64(d)
        : "l"(a.descriptor), "l"(b.descriptor), "r"(scale), "n"(MnMajorA ? 1 : 0), "n"(MnMajorB ? 1 : 0));
  else if constexpr (N == 192)
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %98, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n192k16.f32.bf16.bf16 {" MLPWATT_SUM_NAMES_96
        "}, %96, %97, p, 1, 1, "
        "%99, %100;\n}"
        : MLPWATT_SUMS_96(d)
        : "l"(a.descriptor), "l"(b.descriptor), "r"(scale), "n"(MnMajorA ? 1 : 0), "n"(MnMajorB ? 1 : 0));
  else if constexpr (N == 256)
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %130, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 {" MLPWATT_SUM_NAMES_128
        "}, %128, %129, p, 1, 1, "
        "%131, %132;\n}"
        : MLPWATT_SUMS_128(d)
        : "l"(a.descriptor), "l"(b.descriptor), "r"(scale), "n"(MnMajorA ? 1 : 0), "n"(MnMajorB ? 1 : 0));
#endif
}

}  // namespace mlpwatt::gpu

#pragma once
// tf32 products of a warpgroup: D[64 x N] += A[64 x 8] B[8 x N], as in wgmma.cuh. The tensor cores read
// floats and ignore their low 13 bits. There is no mn-major form: B lies k-major in shared memory, and so
// does A, unless it comes from registers: then from any layout that threads can read.

#include "gpu/device/wgmma.cuh"

namespace mlpwatt::gpu {

#if !defined(__CUDACC__)
namespace emulated {
inline float as_tf32(std::uint32_t bits) { return __uint_as_float(bits & ~0x1fffu); }

/// Element (mn, k) of a k-major operand, k < 8.
inline float element_tf32(const Operand& operand, int mn, int k) {
  std::uintptr_t address = reinterpret_cast<std::uintptr_t>(operand.base) +
                           static_cast<unsigned>(mn / 8) * operand.group_bytes +
                           static_cast<unsigned>(mn % 8 * 128 + k * 4);
  address ^= (address >> 7 & 7) << 4;
  require_shared(reinterpret_cast<const void*>(address), 4, "an operand of wgmma");
  std::uint32_t bits;
  std::memcpy(&bits, reinterpret_cast<const void*>(address), 4);
  return as_tf32(bits);
}

/// What a thread brings to one product. It is read when the product is waited for: who overwrites operands
/// earlier, or reads d earlier, sees it.
struct Tf32Thread {
  float* d;
  const std::uint32_t* fragment;  ///< of A; nullptr: A is in shared memory
  Operand a, b;
  bool accumulate;
  std::uint32_t issued[4];  ///< the fragment's words when the product was issued
};

template <int N>
void multiply_tf32(const std::vector<Tf32Thread>& threads) {
  std::vector<float> am(64 * 8), bm(8 * N);
  const Tf32Thread& first = threads[0];
  for (int r = 0; r < 128; ++r)
    for (int e = 0; e < 4; ++e) {
      const int m = 16 * (r / 32) + r % 32 / 4 + e % 2 * 8, k = r % 4 + e / 2 * 4;
      if (first.fragment != nullptr && threads[r].fragment[e] != threads[r].issued[e])
        emulation::violation("a register operand of wgmma was changed before the product was waited for");
      am[m * 8 + k] =
          first.fragment != nullptr ? as_tf32(threads[r].fragment[e]) : element_tf32(first.a, m, k);
    }
  for (int k = 0; k < 8; ++k)
    for (int n = 0; n < N; ++n) bm[k * N + n] = element_tf32(first.b, n, k);
  for (int r = 0; r < 128; ++r)
    for (int i = 0; i < N / 2; ++i) {
      const int row = 16 * (r / 32) + r % 32 / 4 + 8 * (i / 2 % 2),
                column = 8 * (i / 4) + 2 * (r % 4) + i % 2;
      float sum = first.accumulate ? threads[r].d[i] : 0;
      for (int k = 0; k < 8; ++k) sum += am[row * 8 + k] * bm[k * N + column];
      threads[r].d[i] = sum;
    }
}

template <int N>
void issue_tf32(Tf32Thread mine, emulation::Where where) {
  if (mine.fragment != nullptr) std::memcpy(mine.issued, mine.fragment, sizeof mine.issued);
  emulation::warpgroup_collective(&mine, "wgmma_tf32", where, [](void* const* deposits) {
    std::vector<Tf32Thread> threads;
    for (int r = 0; r < 128; ++r) threads.push_back(*static_cast<Tf32Thread*>(deposits[r]));
    emulation::warpgroup_issue([threads] { multiply_tf32<N>(threads); });
  });
}
}  // namespace emulated
#endif

/// d = a b, or d += a b with `accumulate`; both operands k-major in shared memory.
template <int N>
__device__ __forceinline__ void wgmma_tf32(float (&d)[N / 2], Operand a, Operand b, bool accumulate) {
  static_assert(N == 128 || N == 256);
#if !defined(__CUDACC__)
  emulated::issue_tf32<N>({d, nullptr, a, b, accumulate, {}}, emulation::Where::current());
#elif defined(MLPWATT_SM90A)
  const int scale = accumulate;
  if constexpr (N == 128)
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n128k8.f32.tf32.tf32 {" MLPWATT_SUM_NAMES_64
        "}, %64, %65, p, 1, 1;\n}"
        : MLPWATT_SUMS_64(d)
        : "l"(a.descriptor), "l"(b.descriptor), "r"(scale));
  else
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %130, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n256k8.f32.tf32.tf32 {" MLPWATT_SUM_NAMES_128
        "}, %128, %129, p, 1, 1;\n}"
        : MLPWATT_SUMS_128(d)
        : "l"(a.descriptor), "l"(b.descriptor), "r"(scale));
#endif
}

/// The same with A in registers: every warp holds the fragment of its 16 rows as mma_tf32 (mma.cuh) takes it.
/// It is not touched before the product was waited for, and wgmma_fence comes after it was written.
template <int N>
__device__ __forceinline__ void wgmma_tf32(float (&d)[N / 2], const std::uint32_t (&a)[4], Operand b,
                                           bool accumulate) {
  static_assert(N == 128 || N == 256);
#if !defined(__CUDACC__)
  emulated::issue_tf32<N>({d, a, {}, b, accumulate, {}}, emulation::Where::current());
#elif defined(MLPWATT_SM90A)
  const int scale = accumulate;
  if constexpr (N == 128)
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %69, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n128k8.f32.tf32.tf32 {" MLPWATT_SUM_NAMES_64
        "}, {%64, %65, %66, %67}, %68, p, 1, 1;\n}"
        : MLPWATT_SUMS_64(d)
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b.descriptor), "r"(scale));
  else
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %133, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n256k8.f32.tf32.tf32 {" MLPWATT_SUM_NAMES_128
        "}, {%128, %129, %130, %131}, %132, p, 1, 1;\n}"
        : MLPWATT_SUMS_128(d)
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b.descriptor), "r"(scale));
#endif
}

}  // namespace mlpwatt::gpu

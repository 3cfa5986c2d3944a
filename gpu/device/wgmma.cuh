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

#if !defined(__CUDACC__)
namespace emulated {
/// Element (mn, k) of a k-major operand of 4-byte elements, k < 8, as tf32.
inline float element_tf32(const Operand& operand, int mn, int k) {
  std::uintptr_t address = reinterpret_cast<std::uintptr_t>(operand.base) +
                           static_cast<unsigned>(mn / 8) * operand.group_bytes +
                           static_cast<unsigned>(mn % 8 * 128 + k * 4);
  address ^= (address >> 7 & 7) << 4;
  require_shared(reinterpret_cast<const void*>(address), 4, "an operand of wgmma");
  unsigned bits;
  std::memcpy(&bits, reinterpret_cast<const void*>(address), 4);
  return __uint_as_float(bits & ~0x1fffu);
}
}  // namespace emulated
#endif

/// d += a b over k = 8 for N = 128, float operands read as tf32, both k-major.
__device__ __forceinline__ void wgmma_tf32(float (&d)[64], Operand a, Operand b) {
#if !defined(__CUDACC__)
  struct Thread {
    float* d;
    Operand a, b;
  } mine{d, a, b};
  emulation::warpgroup_collective(&mine, "wgmma_tf32", emulation::Where::current(), [](void* const* threads) {
    std::vector<float*> sums;
    for (int r = 0; r < 128; ++r) sums.push_back(static_cast<Thread*>(threads[r])->d);
    const Thread first = *static_cast<Thread*>(threads[0]);
    emulation::warpgroup_issue([sums, first] {
      for (int r = 0; r < 128; ++r)
        for (int i = 0; i < 64; ++i) {
          const int row = 16 * (r / 32) + r % 32 / 4 + 8 * (i / 2 % 2),
                    column = 8 * (i / 4) + 2 * (r % 4) + i % 2;
          for (int k = 0; k < 8; ++k)
            sums[r][i] +=
                emulated::element_tf32(first.a, row, k) * emulated::element_tf32(first.b, column, k);
        }
    });
  });
#elif defined(MLPWATT_SM90A)
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n128k8.f32.tf32.tf32 {"
      "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
      "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
      "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,"
      "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
      "}, %64, %65, 1, 1, 1;"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]),
        "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]),
        "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]),
        "+f"(d[23]), "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]),
        "+f"(d[30]), "+f"(d[31]), "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35]), "+f"(d[36]),
        "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), "+f"(d[40]), "+f"(d[41]), "+f"(d[42]), "+f"(d[43]),
        "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]), "+f"(d[48]), "+f"(d[49]), "+f"(d[50]),
        "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]), "+f"(d[56]), "+f"(d[57]),
        "+f"(d[58]), "+f"(d[59]), "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63])
      : "l"(a.descriptor), "l"(b.descriptor));
#endif
}

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
        "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {"
        "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
        "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
        "}, %32, %33, p, 1, 1, %35, %36;\n}"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]),
          "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]),
          "+f"(d[15]), "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]),
          "+f"(d[22]), "+f"(d[23]), "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]),
          "+f"(d[29]), "+f"(d[30]), "+f"(d[31])
        : "l"(a.descriptor), "l"(b.descriptor), "r"(scale), "n"(MnMajorA ? 1 : 0), "n"(MnMajorB ? 1 : 0));
  else if constexpr (N == 128)
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
        "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
        "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
        "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,"
        "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
        "}, %64, %65, p, 1, 1, %67, %68;\n}"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]),
          "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]),
          "+f"(d[15]), "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]),
          "+f"(d[22]), "+f"(d[23]), "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]),
          "+f"(d[29]), "+f"(d[30]), "+f"(d[31]), "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35]),
          "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), "+f"(d[40]), "+f"(d[41]), "+f"(d[42]),
          "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]), "+f"(d[48]), "+f"(d[49]),
          "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]), "+f"(d[56]),
          "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63])
        : "l"(a.descriptor), "l"(b.descriptor), "r"(scale), "n"(MnMajorA ? 1 : 0), "n"(MnMajorB ? 1 : 0));
  else if constexpr (N == 192)
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %98, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n192k16.f32.bf16.bf16 {"
        "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
        "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
        "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,"
        "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63,"
        "%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79,"
        "%80,%81,%82,%83,%84,%85,%86,%87,%88,%89,%90,%91,%92,%93,%94,%95"
        "}, %96, %97, p, 1, 1, %99, %100;\n}"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]),
          "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]),
          "+f"(d[15]), "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]),
          "+f"(d[22]), "+f"(d[23]), "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]),
          "+f"(d[29]), "+f"(d[30]), "+f"(d[31]), "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35]),
          "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), "+f"(d[40]), "+f"(d[41]), "+f"(d[42]),
          "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]), "+f"(d[48]), "+f"(d[49]),
          "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]), "+f"(d[56]),
          "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63]),
          "+f"(d[64]), "+f"(d[65]), "+f"(d[66]), "+f"(d[67]), "+f"(d[68]), "+f"(d[69]), "+f"(d[70]),
          "+f"(d[71]), "+f"(d[72]), "+f"(d[73]), "+f"(d[74]), "+f"(d[75]), "+f"(d[76]), "+f"(d[77]),
          "+f"(d[78]), "+f"(d[79]), "+f"(d[80]), "+f"(d[81]), "+f"(d[82]), "+f"(d[83]), "+f"(d[84]),
          "+f"(d[85]), "+f"(d[86]), "+f"(d[87]), "+f"(d[88]), "+f"(d[89]), "+f"(d[90]), "+f"(d[91]),
          "+f"(d[92]), "+f"(d[93]), "+f"(d[94]), "+f"(d[95])
        : "l"(a.descriptor), "l"(b.descriptor), "r"(scale), "n"(MnMajorA ? 1 : 0), "n"(MnMajorB ? 1 : 0));
  else if constexpr (N == 256)
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %130, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 {"
        "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
        "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
        "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,"
        "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63,"
        "%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79,"
        "%80,%81,%82,%83,%84,%85,%86,%87,%88,%89,%90,%91,%92,%93,%94,%95,"
        "%96,%97,%98,%99,%100,%101,%102,%103,%104,%105,%106,%107,%108,%109,%110,%111,"
        "%112,%113,%114,%115,%116,%117,%118,%119,%120,%121,%122,%123,%124,%125,%126,%127"
        "}, %128, %129, p, 1, 1, %131, %132;\n}"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]),
          "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]),
          "+f"(d[15]), "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]),
          "+f"(d[22]), "+f"(d[23]), "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]),
          "+f"(d[29]), "+f"(d[30]), "+f"(d[31]), "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35]),
          "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), "+f"(d[40]), "+f"(d[41]), "+f"(d[42]),
          "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]), "+f"(d[48]), "+f"(d[49]),
          "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]), "+f"(d[56]),
          "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63]),
          "+f"(d[64]), "+f"(d[65]), "+f"(d[66]), "+f"(d[67]), "+f"(d[68]), "+f"(d[69]), "+f"(d[70]),
          "+f"(d[71]), "+f"(d[72]), "+f"(d[73]), "+f"(d[74]), "+f"(d[75]), "+f"(d[76]), "+f"(d[77]),
          "+f"(d[78]), "+f"(d[79]), "+f"(d[80]), "+f"(d[81]), "+f"(d[82]), "+f"(d[83]), "+f"(d[84]),
          "+f"(d[85]), "+f"(d[86]), "+f"(d[87]), "+f"(d[88]), "+f"(d[89]), "+f"(d[90]), "+f"(d[91]),
          "+f"(d[92]), "+f"(d[93]), "+f"(d[94]), "+f"(d[95]), "+f"(d[96]), "+f"(d[97]), "+f"(d[98]),
          "+f"(d[99]), "+f"(d[100]), "+f"(d[101]), "+f"(d[102]), "+f"(d[103]), "+f"(d[104]), "+f"(d[105]),
          "+f"(d[106]), "+f"(d[107]), "+f"(d[108]), "+f"(d[109]), "+f"(d[110]), "+f"(d[111]), "+f"(d[112]),
          "+f"(d[113]), "+f"(d[114]), "+f"(d[115]), "+f"(d[116]), "+f"(d[117]), "+f"(d[118]), "+f"(d[119]),
          "+f"(d[120]), "+f"(d[121]), "+f"(d[122]), "+f"(d[123]), "+f"(d[124]), "+f"(d[125]), "+f"(d[126]),
          "+f"(d[127])
        : "l"(a.descriptor), "l"(b.descriptor), "r"(scale), "n"(MnMajorA ? 1 : 0), "n"(MnMajorB ? 1 : 0));
#endif
}

}  // namespace mlpwatt::gpu

#pragma once
// CUDA C++ for the host compiler: the words of the language (threadIdx, __shared__ barriers, shuffles,
// atomics) with which the .cu files of gpu/ compile under g++, unchanged, and run on the emulator
// (emulator.h). What needs PTX on a device (async copies, tensor cores, clusters) goes through
// gpu/device/*.cuh, whose host branch calls the emulator.

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <type_traits>
#include <vector>

#include "tests/emulation/emulator.h"

#define MLPWATT_EMULATED 1

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __restrict__ __restrict
#define __launch_bounds__(...)
#define __grid_constant__
#define __constant__
#define __align__(n) alignas(n)

struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(8) int2 {
  int x, y;
};
struct alignas(16) int4 {
  int x, y, z, w;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline int2 make_int2(int x, int y) { return {x, y}; }
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

using dim3 = mlpwatt::emulation::Dim3;
#define threadIdx (::mlpwatt::emulation::here->thread)
#define blockIdx (::mlpwatt::emulation::here->block)
#define blockDim (::mlpwatt::emulation::here->block_dim)
#define gridDim (::mlpwatt::emulation::here->grid_dim)
inline constexpr int warpSize = 32;

/// A queue of launches; they run at once, or are kept while a graph is captured.
struct EmulatedStream {
  bool capturing = false;
  std::vector<std::function<void()>> captured;
};
using cudaStream_t = EmulatedStream*;

using std::max;
using std::min;

// ---- barriers, votes, shuffles
// -----------------------------------------------------------------------------
inline void __syncthreads(mlpwatt::emulation::Where where = mlpwatt::emulation::Where::current()) {
  mlpwatt::emulation::sync_block(where);
}
inline int __syncthreads_count(int predicate,
                               mlpwatt::emulation::Where where = mlpwatt::emulation::Where::current()) {
  return mlpwatt::emulation::sync_block_count(predicate != 0, where);
}
inline int __syncthreads_or(int predicate,
                            mlpwatt::emulation::Where where = mlpwatt::emulation::Where::current()) {
  return mlpwatt::emulation::sync_block_count(predicate != 0, where) > 0;
}
inline void __syncwarp(unsigned mask = 0xffffffffu,
                       mlpwatt::emulation::Where where = mlpwatt::emulation::Where::current()) {
  mlpwatt::emulation::warp_collective(mask, nullptr, "__syncwarp", where, [](void* const*, unsigned) {});
}
inline unsigned __ballot_sync(unsigned mask, int predicate,
                              mlpwatt::emulation::Where where = mlpwatt::emulation::Where::current()) {
  struct Lane {
    bool set;
    unsigned ballot;
  } mine{predicate != 0, 0};
  mlpwatt::emulation::warp_collective(mask, &mine, "__ballot_sync", where,
                                      [](void* const* lanes, unsigned who) {
                                        unsigned ballot = 0;
                                        for (int l = 0; l < 32; ++l)
                                          if ((who >> l & 1) && static_cast<Lane*>(lanes[l])->set)
                                            ballot |= 1u << l;
                                        for (int l = 0; l < 32; ++l)
                                          if (who >> l & 1) static_cast<Lane*>(lanes[l])->ballot = ballot;
                                      });
  return mine.ballot;
}
inline int __any_sync(unsigned mask, int predicate,
                      mlpwatt::emulation::Where where = mlpwatt::emulation::Where::current()) {
  return __ballot_sync(mask, predicate, where) != 0;
}
inline int __all_sync(unsigned mask, int predicate,
                      mlpwatt::emulation::Where where = mlpwatt::emulation::Where::current()) {
  return __ballot_sync(mask, predicate, where) == mask;
}

namespace mlpwatt::emulation {
/// All shuffles: lane l gets the value of lane source(l), its own when that lane is not in the mask's
/// segment.
template <typename T, typename Source>
T shuffle(unsigned mask, T value, const char* name, Where where, Source source) {
  struct Lane {
    T value;
    T result;
    int source;
  } mine{value, value, source(static_cast<int>(here->lane))};
  warp_collective(mask, &mine, name, where, [](void* const* lanes, unsigned who) {
    for (int l = 0; l < 32; ++l)
      if (who >> l & 1) {
        Lane* lane = static_cast<Lane*>(lanes[l]);
        if (!(who >> lane->source & 1)) {
          violation("a shuffle reads lane " + std::to_string(lane->source) + ", which is not in its mask");
        }
        lane->result = static_cast<Lane*>(lanes[lane->source])->value;
      }
  });
  return mine.result;
}
}  // namespace mlpwatt::emulation

template <typename T>
T __shfl_sync(unsigned mask, T value, int from, int width = 32,
              mlpwatt::emulation::Where where = mlpwatt::emulation::Where::current()) {
  return mlpwatt::emulation::shuffle(mask, value, "__shfl_sync", where,
                                     [=](int l) { return l / width * width + (from & (width - 1)); });
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32,
                  mlpwatt::emulation::Where where = mlpwatt::emulation::Where::current()) {
  return mlpwatt::emulation::shuffle(mask, value, "__shfl_xor_sync", where, [=](int l) {
    const int other = l ^ bits;
    return other / width == l / width ? other : l;
  });
}
template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32,
                   mlpwatt::emulation::Where where = mlpwatt::emulation::Where::current()) {
  return mlpwatt::emulation::shuffle(mask, value, "__shfl_down_sync", where, [=](int l) {
    const int other = l + static_cast<int>(delta);
    return other / width == l / width ? other : l;
  });
}
template <typename T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32,
                 mlpwatt::emulation::Where where = mlpwatt::emulation::Where::current()) {
  return mlpwatt::emulation::shuffle(mask, value, "__shfl_up_sync", where, [=](int l) {
    const int other = l - static_cast<int>(delta);
    return other >= l / width * width ? other : l;
  });
}

// ---- memory
// ------------------------------------------------------------------------------------------------
inline void __threadfence() {}
inline void __threadfence_block() {}
inline void __threadfence_system() {}
inline void __nanosleep(unsigned, mlpwatt::emulation::Where where = mlpwatt::emulation::Where::current()) {
  mlpwatt::emulation::spin("a loop", where);
}

template <typename T>
T __ldg(const T* address) {
  return *address;
}
template <typename T>
T __ldcg(const T* address) {
  return *address;
}
template <typename T>
T __ldca(const T* address) {
  return *address;
}
template <typename T>
T __ldcs(const T* address) {
  return *address;
}
template <typename T>
void __stcg(T* address, std::type_identity_t<T> value) {
  *address = value;
}
template <typename T>
void __stcs(T* address, std::type_identity_t<T> value) {
  *address = value;
}

// Fibers switch at collectives only, so plain code between them is atomic.
template <typename T>
T atomicAdd(T* address, std::type_identity_t<T> value) {
  const T old = *address;
  *address = old + value;
  return old;
}
template <typename T>
T atomicMax(T* address, std::type_identity_t<T> value) {
  const T old = *address;
  *address = std::max(old, value);
  return old;
}
template <typename T>
T atomicMin(T* address, std::type_identity_t<T> value) {
  const T old = *address;
  *address = std::min(old, value);
  return old;
}
template <typename T>
T atomicExch(T* address, std::type_identity_t<T> value) {
  const T old = *address;
  *address = value;
  return old;
}
template <typename T>
T atomicCAS(T* address, std::type_identity_t<T> expected, std::type_identity_t<T> value) {
  const T old = *address;
  if (old == expected) *address = value;
  return old;
}
template <typename T>
T atomicOr(T* address, std::type_identity_t<T> value) {
  const T old = *address;
  *address = old | value;
  return old;
}
/// Counts up to `limit`, then wraps to 0.
inline unsigned atomicInc(unsigned* address, unsigned limit) {
  const unsigned old = *address;
  *address = old >= limit ? 0 : old + 1;
  return old;
}

// ---- arithmetic
// --------------------------------------------------------------------------------------------
inline unsigned __float_as_uint(float x) { return std::bit_cast<unsigned>(x); }
inline float __uint_as_float(unsigned x) { return std::bit_cast<float>(x); }
inline int __float_as_int(float x) { return std::bit_cast<int>(x); }
inline float __int_as_float(int x) { return std::bit_cast<float>(x); }
inline int __popc(unsigned x) { return std::popcount(x); }
inline int __clz(int x) { return std::countl_zero(static_cast<unsigned>(x)); }
inline int __ffs(int x) { return x == 0 ? 0 : std::countr_zero(static_cast<unsigned>(x)) + 1; }
inline float __expf(float x) { return std::exp(x); }
inline float __logf(float x) { return std::log(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __fsqrt_rn(float x) { return std::sqrt(x); }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline unsigned __umulhi(unsigned a, unsigned b) {
  return static_cast<unsigned>(static_cast<std::uint64_t>(a) * b >> 32);
}
[[noreturn]] inline void __trap() { mlpwatt::emulation::violation("__trap()"); }

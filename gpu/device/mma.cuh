#pragma once
// Tensor cores as functions of a warp (mma.sync): d += a b for one small tile, held in fragments over the
// lanes. With g = lane / 4 and t = lane % 4:
//   m16n8k8  tf32: a = (g, t) (g+8, t) (g, t+4) (g+8, t+4)              b = (t, g) (t+4, g)
//   m16n8k16 bf16: a = (g, 2t..) (g+8, 2t..) (g, 2t+8..) (g+8, 2t+8..)  b = (2t.., g) (2t+8.., g), two to a
//   register both:          d = (g, 2t) (g, 2t+1) (g+8, 2t) (g+8, 2t+1)
// Positions are (row, k) of a, (k, column) of b, (row, column) of d.

#include "gpu/device/bf16.cuh"
#include "gpu/device/cuda.cuh"

namespace mlpwatt::gpu {

/// Rounds to tf32 (10 bits of mantissa), to nearest, ties away from zero. Without it mma cuts bits off.
__device__ __forceinline__ std::uint32_t to_tf32(float x) {
#if defined(__CUDACC__)
  std::uint32_t result;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(result) : "f"(x));
  return result;
#else
  const std::uint32_t bits = __float_as_uint(x);
  return (bits & 0x7f800000u) == 0x7f800000u ? bits : (bits + 0x1000u) & ~0x1fffu;
#endif
}

__device__ __forceinline__ void mma_tf32(float (&d)[4], const std::uint32_t (&a)[4],
                                         const std::uint32_t (&b)[2]) {
#if defined(__CUDACC__)
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  struct Lane {
    float* d;
    const std::uint32_t *a, *b;
  } mine{d, a, b};
  emulation::warp_collective(
      0xffffffffu, &mine, "mma_tf32", emulation::Where::current(), [](void* const* lanes, unsigned) {
        float am[16][8], bm[8][8];
        const auto value = [](std::uint32_t bits) { return __uint_as_float(bits & ~0x1fffu); };
        for (int l = 0; l < 32; ++l) {
          const Lane& lane = *static_cast<Lane*>(lanes[l]);
          const int g = l / 4, t = l % 4;
          for (int i = 0; i < 4; ++i) am[g + i % 2 * 8][t + i / 2 * 4] = value(lane.a[i]);
          for (int i = 0; i < 2; ++i) bm[t + i * 4][g] = value(lane.b[i]);
        }
        for (int l = 0; l < 32; ++l) {
          const Lane& lane = *static_cast<Lane*>(lanes[l]);
          const int g = l / 4, t = l % 4;
          for (int i = 0; i < 4; ++i)
            for (int k = 0; k < 8; ++k) lane.d[i] += am[g + i / 2 * 8][k] * bm[k][2 * t + i % 2];
        }
      });
#endif
}

__device__ __forceinline__ void mma_bf16(float (&d)[4], const std::uint32_t (&a)[4],
                                         const std::uint32_t (&b)[2]) {
#if defined(__CUDACC__)
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  struct Lane {
    float* d;
    const std::uint32_t *a, *b;
  } mine{d, a, b};
  emulation::warp_collective(0xffffffffu, &mine, "mma_bf16", emulation::Where::current(),
                             [](void* const* lanes, unsigned) {
                               float am[16][16], bm[16][8];
                               const auto half = [](std::uint32_t pair, int h) {
                                 return __uint_as_float(h == 0 ? pair << 16 : pair & 0xffff0000u);
                               };
                               for (int l = 0; l < 32; ++l) {
                                 const Lane& lane = *static_cast<Lane*>(lanes[l]);
                                 const int g = l / 4, t = l % 4;
                                 for (int h = 0; h < 2; ++h) {
                                   for (int i = 0; i < 4; ++i)
                                     am[g + i % 2 * 8][2 * t + h + i / 2 * 8] = half(lane.a[i], h);
                                   for (int i = 0; i < 2; ++i) bm[2 * t + h + i * 8][g] = half(lane.b[i], h);
                                 }
                               }
                               for (int l = 0; l < 32; ++l) {
                                 const Lane& lane = *static_cast<Lane*>(lanes[l]);
                                 const int g = l / 4, t = l % 4;
                                 for (int i = 0; i < 4; ++i)
                                   for (int k = 0; k < 16; ++k)
                                     lane.d[i] += am[g + i / 2 * 8][k] * bm[k][2 * t + i % 2];
                               }
                             });
#endif
}

/// Four 8 x 8 tiles of 2-byte elements from shared memory: lane l passes the address of row l % 8 (16 bytes,
/// aligned) of tile l / 8; result[i] of lane l is elements 2(l % 4), +1 of row l / 4 of tile i. With
/// Transpose, of column l / 4.
template <bool Transpose>
__device__ __forceinline__ void load_tiles(std::uint32_t (&result)[4], const void* row) {
#if defined(__CUDACC__)
  if constexpr (Transpose)
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(result[0]), "=r"(result[1]), "=r"(result[2]), "=r"(result[3])
                 : "r"(shared_address(row))
                 : "memory");
  else
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(result[0]), "=r"(result[1]), "=r"(result[2]), "=r"(result[3])
                 : "r"(shared_address(row))
                 : "memory");
#else
  emulation::require_shared(row, 16, "a row of ldmatrix");
  if (reinterpret_cast<std::uintptr_t>(row) % 16 != 0)
    emulation::violation("a row of ldmatrix is not aligned");
  struct Lane {
    std::uint32_t* result;
    const void* row;
  } mine{result, row};
  emulation::warp_collective(
      0xffffffffu, &mine, "ldmatrix", emulation::Where::current(), [](void* const* lanes, unsigned) {
        const auto element = [&](int tile, int r, int c) {
          return static_cast<const std::uint16_t*>(static_cast<Lane*>(lanes[tile * 8 + r])->row)[c];
        };
        for (int l = 0; l < 32; ++l)
          for (int tile = 0; tile < 4; ++tile) {
            const int r = l / 4, c = l % 4 * 2;
            const std::uint32_t low = Transpose ? element(tile, c, r) : element(tile, r, c);
            const std::uint32_t high = Transpose ? element(tile, c + 1, r) : element(tile, r, c + 1);
            static_cast<Lane*>(lanes[l])->result[tile] = high << 16 | low;
          }
      });
#endif
}

}  // namespace mlpwatt::gpu

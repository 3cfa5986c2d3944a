#pragma once
// One tile of each product that a layer needs, by one block of 256 threads, fp32: what the cooperative
// engine's persistent kernel loops over.
//
// - forward: out[r][j] = relu(sum_i in[r][i] W[i][j] + b[j]) (+ in[r][j] where the layer is residual)
// - backward: dout[r][i] = sum_j delta[r][j] W[i][j] (+ dout of the layer above where that is residual), then
//   delta of the layer below = dout where its sum was positive
// - update: dW[i][j] = sum_r in[r][i] delta[r][j], straight into Adam: the gradient never leaves registers
//
// Operands come from L2 (other blocks wrote them: never through L1) by 16-byte async copies into three
// buffers in shared memory, so that two tiles of the reduction are on their way while one is multiplied: the
// reductions are short (a batch of 256 is eight steps of 32), and an L2 access costs as much as a step's
// arithmetic.

#include "gpu/device/async_copy.cuh"
#include "gpu/device/cuda.cuh"
#include "gpu/mlp/maths.cuh"
#include "gpu/mlp/plan.h"

namespace mlpwatt::gpu {

inline constexpr int kTileThreads = 256;
inline constexpr int kTileDepth = 32;  ///< of the reduction, per buffer
inline constexpr int kTileBuffers = 3;

/// Threads lie 16 x 16 over the tile; each holds Size/16 x Size/16 sums. 64 for large layers (16
/// multiply-adds for 8 floats read), 32 where 64 would leave multiprocessors without a tile.
template <int Size>
struct TileShape {
  static constexpr int kSize = Size;
  static constexpr int kEach = Size / 16;
  static_assert(Size == 32 || Size == 64, "each thread's sums are read and written by 8 or 16 bytes");
};

/// An operand's buffer: along the reduction ([Size][depth]) or across it ([depth][Size]). Four floats of
/// padding keep both the 16-byte copies aligned and neighbouring rows in different banks.
template <class Shape, bool Along>
struct TileOperand {
  static constexpr int kLd = (Along ? kTileDepth : Shape::kSize) + 4;
  static constexpr int kRows = Along ? Shape::kSize : kTileDepth;
  float values[kTileBuffers][kRows * kLd];
};

/// The largest of the three products' needs.
template <class Shape>
struct TileShared {
  static constexpr int kOperand = sizeof(TileOperand<Shape, true>) > sizeof(TileOperand<Shape, false>)
                                      ? sizeof(TileOperand<Shape, true>)
                                      : sizeof(TileOperand<Shape, false>);
  alignas(16) unsigned char a[kOperand];
  alignas(16) unsigned char b[kOperand];
  template <bool Along>
  __device__ TileOperand<Shape, Along>& operand_a() {
    return *reinterpret_cast<TileOperand<Shape, Along>*>(a);
  }
  template <bool Along>
  __device__ TileOperand<Shape, Along>& operand_b() {
    return *reinterpret_cast<TileOperand<Shape, Along>*>(b);
  }
};

/// Starts the copies of one buffer. `from` is the operand's first element in this tile and step.
/// @param size valid lines across, @param depth valid length along the reduction; the rest becomes zero. What
/// is counted in the direction of memory is a multiple of 4 (rows are padded).
template <class Shape, bool Along>
__device__ __forceinline__ void stage(TileOperand<Shape, Along>& operand, int buffer, const float* from,
                                      int ld, int size, int depth) {
  constexpr int kLine = (Along ? kTileDepth : Shape::kSize) / 4;  // 16-byte pieces in the direction of memory
  constexpr int kPieces = TileOperand<Shape, Along>::kRows * kLine;
#pragma unroll
  for (int first = 0; first < kPieces; first += kTileThreads) {
    const int piece = first + static_cast<int>(threadIdx.x);
    const int row = piece / kLine, column = piece % kLine * 4;
    const bool valid = Along ? row < size && column < depth : row < depth && column < size;
    copy_async<16>(&operand.values[buffer][row * TileOperand<Shape, Along>::kLd + column],
                   valid ? from + static_cast<std::int64_t>(row) * ld + column : from, valid);
  }
}

/// Four successive steps of the reduction of one thread's lines of an operand, into registers.
template <class Shape, bool Along>
__device__ __forceinline__ void fetch(const float* buffer, int k, int lane, float (&into)[4][Shape::kEach]) {
  constexpr int kLd = TileOperand<Shape, Along>::kLd;
#pragma unroll
  for (int c = 0; c < (Along ? Shape::kEach : 4); ++c) {
    if constexpr (Along) {  // lines 16 apart: 36 floats from one to the next, so 8 lanes meet 8 different
                            // banks
      const float4 four = *reinterpret_cast<const float4*>(buffer + (lane + 16 * c) * kLd + k);
      into[0][c] = four.x, into[1][c] = four.y, into[2][c] = four.z, into[3][c] = four.w;
    } else if constexpr (Shape::kEach == 4) {
      const float4 four = *reinterpret_cast<const float4*>(buffer + (k + c) * kLd + 4 * lane);
      into[c][0] = four.x, into[c][1] = four.y, into[c][2] = four.z, into[c][3] = four.w;
    } else {
      const float2 two = *reinterpret_cast<const float2*>(buffer + (k + c) * kLd + 2 * lane);
      into[c][0] = two.x, into[c][1] = two.y;
    }
  }
}

/// Number in the tile of a thread's line c.
template <class Shape, bool Along>
__device__ __forceinline__ int line_of(int lane, int c) {
  return Along ? lane + 16 * c : Shape::kEach * lane + c;
}

struct Operand {
  const float* values;
  int ld;
  int size;  ///< lines from `values` on; a multiple of 4 when they lie in the direction of memory
};

/// sums += A B over the whole reduction. `depth` is a multiple of 4 where an operand lies along it.
/// @param each called with the B lines of every step of the reduction, by threads of the tile's first row
template <class Shape, bool AlongA, bool AlongB, typename Each>
__device__ __forceinline__ void tile_product(TileShared<Shape>& shared, const Operand& a, const Operand& b,
                                             int depth, float (&sums)[Shape::kEach][Shape::kEach],
                                             Each each) {
  auto& sa = shared.template operand_a<AlongA>();
  auto& sb = shared.template operand_b<AlongB>();
  const int tn = static_cast<int>(threadIdx.x) % 16, tm = static_cast<int>(threadIdx.x) / 16;
  const int steps = (depth + kTileDepth - 1) / kTileDepth;
  const auto start = [&](int step) {
    const int k = step * kTileDepth;
    if (k < depth) {
      stage<Shape, AlongA>(sa, step % kTileBuffers,
                           a.values + (AlongA ? k : static_cast<std::int64_t>(k) * a.ld), a.ld, a.size,
                           depth - k);
      stage<Shape, AlongB>(sb, step % kTileBuffers,
                           b.values + (AlongB ? k : static_cast<std::int64_t>(k) * b.ld), b.ld, b.size,
                           depth - k);
    }
    copy_commit();  // also when empty: the count of groups is what the wait goes by
  };
  __syncthreads();  // whoever still reads the tile before
#pragma unroll
  for (int ahead = 0; ahead < kTileBuffers - 1; ++ahead) start(ahead);
  for (int step = 0; step < steps; ++step) {
    copy_wait<kTileBuffers - 2>();
    __syncthreads();  // this step's buffer is full for all, the one before is free for the next copies
    start(step + kTileBuffers - 1);
    const float* pa = sa.values[step % kTileBuffers];
    const float* pb = sb.values[step % kTileBuffers];
#pragma unroll 1  // unrolled further, the update of the 64-tile does not fit 128 registers (two blocks a
                  // multiprocessor)
    for (int k = 0; k < kTileDepth; k += 4) {
      float va[4][Shape::kEach], vb[4][Shape::kEach];
      fetch<Shape, AlongA>(pa, k, tm, va);
      fetch<Shape, AlongB>(pb, k, tn, vb);
#pragma unroll
      for (int kk = 0; kk < 4; ++kk) {
        each(vb[kk]);
#pragma unroll
        for (int m = 0; m < Shape::kEach; ++m)
#pragma unroll
          for (int n = 0; n < Shape::kEach; ++n) sums[m][n] += va[kk][m] * vb[kk][n];
      }
    }
  }
  copy_wait<0>();
}

/// Loads and stores of the 2 or 4 neighbouring columns of a thread, past L1.
template <int Count>
__device__ __forceinline__ void load_columns(const float* from, float (&into)[Count]) {
  if constexpr (Count == 4) {
    const float4 four = __ldcg(reinterpret_cast<const float4*>(from));
    into[0] = four.x, into[1] = four.y, into[2] = four.z, into[3] = four.w;
  } else {
    const float2 two = __ldcg(reinterpret_cast<const float2*>(from));
    into[0] = two.x, into[1] = two.y;
  }
}
template <int Count>
__device__ __forceinline__ void store_columns(float* to, const float (&values)[Count]) {
  if constexpr (Count == 4)
    __stcg(reinterpret_cast<float4*>(to), make_float4(values[0], values[1], values[2], values[3]));
  else
    __stcg(reinterpret_cast<float2*>(to), make_float2(values[0], values[1]));
}

/// What one layer's products read and write. Row lengths: `in_ld` of its input, layer.ld of everything at its
/// output.
struct LayerOperands {
  LayerPlan layer;
  const float* in = nullptr;  ///< [rows x in_ld]
  int in_ld = 0;
  float *w = nullptr, *m = nullptr, *v = nullptr;  ///< at layer.weights
  float* out = nullptr;                            ///< [rows x ld] activated; the last layer's sums
  float* mask = nullptr;   ///< [rows x ld] 1 where the sum was positive; residual layers only, else nullptr
  float* delta = nullptr;  ///< [rows x ld] gradient at the sums
  float* dout =
      nullptr;  ///< [rows x ld] gradient at the output; below a residual layer and of it, else nullptr
};

__host__ __device__ constexpr int tiles_of(int n, int size) { return (n + size - 1) / size; }

template <class Shape>
__device__ __forceinline__ int forward_tiles(const LayerPlan& layer, int rows) {
  return tiles_of(rows, Shape::kSize) * tiles_of(layer.ld, Shape::kSize);
}
/// @param activate hidden layer: relu and the residual input; else the sums themselves
template <class Shape>
__device__ __forceinline__ void forward_tile(TileShared<Shape>& shared, const LayerOperands& op, int rows,
                                             int tile, bool activate) {
  constexpr int kEach = Shape::kEach;
  const int columns = tiles_of(op.layer.ld, Shape::kSize);
  const int m0 = tile / columns * Shape::kSize, n0 = tile % columns * Shape::kSize;
  float sums[kEach][kEach] = {};
  tile_product<Shape, true, false>(
      shared, {op.in + static_cast<std::int64_t>(m0) * op.in_ld, op.in_ld, rows - m0},
      {op.w + n0, op.layer.ld, op.layer.ld - n0}, op.layer.in4, sums, [](const float(&)[kEach]) {});
  const int tn = static_cast<int>(threadIdx.x) % 16, tm = static_cast<int>(threadIdx.x) / 16;
  const int n = n0 + kEach * tn;
  if (n >= op.layer.ld) return;
  float bias[kEach];
  load_columns(op.w + static_cast<std::int64_t>(op.layer.in4) * op.layer.ld + n, bias);
#pragma unroll
  for (int c = 0; c < kEach; ++c) {
    const int row = m0 + line_of<Shape, true>(tm, c);
    if (row >= rows) continue;
    const std::int64_t at = static_cast<std::int64_t>(row) * op.layer.ld + n;
    float values[kEach];
#pragma unroll
    for (int j = 0; j < kEach; ++j) values[j] = sums[c][j] + bias[j];
    if (activate) {
      float positive[kEach];
#pragma unroll
      for (int j = 0; j < kEach; ++j) {
        positive[j] = values[j] > 0 ? 1.0f : 0.0f;
        values[j] = relu(values[j]);
      }
      if (op.mask != nullptr) {
        store_columns(op.mask + at, positive);
        float skipped[kEach];
        load_columns(op.in + static_cast<std::int64_t>(row) * op.in_ld + n, skipped);
#pragma unroll
        for (int j = 0; j < kEach; ++j) values[j] += skipped[j];
      }
    }
    store_columns(op.out + at, values);
  }
}

/// `below` is the layer whose output this one reads.
template <class Shape>
__device__ __forceinline__ int backward_tiles(const LayerPlan& layer, int rows) {
  return tiles_of(rows, Shape::kSize) * tiles_of(layer.in, Shape::kSize);
}
template <class Shape>
__device__ __forceinline__ void backward_tile(TileShared<Shape>& shared, const LayerOperands& op,
                                              const LayerOperands& below, int rows, int tile) {
  constexpr int kEach = Shape::kEach;
  const int columns = tiles_of(op.layer.in, Shape::kSize);
  const int m0 = tile / columns * Shape::kSize, n0 = tile % columns * Shape::kSize;
  float sums[kEach][kEach] = {};
  tile_product<Shape, true, true>(
      shared, {op.delta + static_cast<std::int64_t>(m0) * op.layer.ld, op.layer.ld, rows - m0},
      {op.w + static_cast<std::int64_t>(n0) * op.layer.ld, op.layer.ld, op.layer.in - n0}, op.layer.ld, sums,
      [](const float(&)[kEach]) {});
  const int tn = static_cast<int>(threadIdx.x) % 16, tm = static_cast<int>(threadIdx.x) / 16;
  const int ld = below.layer.ld;
#pragma unroll
  for (int c = 0; c < kEach; ++c) {
    const int row = m0 + line_of<Shape, true>(tm, c);
    if (row >= rows) continue;
#pragma unroll
    for (int d = 0; d < kEach; ++d) {
      const int n = n0 + line_of<Shape, true>(tn, d);  // neighbouring lanes, neighbouring columns
      if (n >= ld) continue;
      const std::int64_t at = static_cast<std::int64_t>(row) * ld + n;
      float gradient = sums[c][d];
      if (op.layer.adds_input != 0) gradient += __ldcg(op.dout + at);
      if (below.dout != nullptr) __stcg(below.dout + at, n < below.layer.out ? gradient : 0.0f);
      const bool positive = below.mask != nullptr ? __ldcg(below.mask + at) > 0 : __ldcg(below.out + at) > 0;
      __stcg(below.delta + at, positive && n < below.layer.out ? gradient : 0.0f);
    }
  }
}

template <class Shape>
__device__ __forceinline__ int update_tiles(const LayerPlan& layer) {
  return tiles_of(layer.in4, Shape::kSize) * tiles_of(layer.ld, Shape::kSize);
}
template <class Shape>
__device__ __forceinline__ void update_tile(TileShared<Shape>& shared, const LayerOperands& op, int rows,
                                            int tile, const AdamFactors& factors, const AdamConstants& adam) {
  constexpr int kEach = Shape::kEach;
  const int columns = tiles_of(op.layer.ld, Shape::kSize);
  const int m0 = tile / columns * Shape::kSize, n0 = tile % columns * Shape::kSize;
  const int tn = static_cast<int>(threadIdx.x) % 16, tm = static_cast<int>(threadIdx.x) / 16;
  // The bias's gradient is the sum of delta's columns, which pass by here anyway.
  const bool sums_bias = m0 == 0 && tm == 0;
  float sums[kEach][kEach] = {}, bias[kEach] = {};
  tile_product<Shape, false, false>(shared, {op.in + m0, op.in_ld, op.layer.in4 - m0},
                                    {op.delta + n0, op.layer.ld, op.layer.ld - n0}, rows, sums,
                                    [&](const float(&line)[kEach]) {
                                      if (!sums_bias) return;
#pragma unroll
                                      for (int j = 0; j < kEach; ++j) bias[j] += line[j];
                                    });
  const int n = n0 + kEach * tn;
  if (n >= op.layer.ld) return;
  const auto step = [&](int i, const float(&gradient)[kEach]) {
    const std::int64_t at = static_cast<std::int64_t>(i) * op.layer.ld + n;
    float w[kEach], m[kEach], v[kEach];
    load_columns(op.w + at, w);
    load_columns(op.m + at, m);
    load_columns(op.v + at, v);
#pragma unroll
    for (int j = 0; j < kEach; ++j) adam_step(w[j], m[j], v[j], gradient[j], factors, adam);
    store_columns(op.w + at, w);
    store_columns(op.m + at, m);
    store_columns(op.v + at, v);
  };
#pragma unroll
  for (int c = 0; c < kEach; ++c) {
    const int i = m0 + line_of<Shape, false>(tm, c);
    if (i < op.layer.in4) step(i, sums[c]);
  }
  if (sums_bias) step(op.layer.in4, bias);
}

}  // namespace mlpwatt::gpu

#pragma once
// The resident engine's kernel: many training steps by one cluster that keeps everything on the chip.
//
// One step of block c of C, which takes the rows c*R .. (c+1)*R of each batch:
// 1. forward, loss, backward: a warp takes its own rows through all layers and back. Rows do not depend on
// each
//    other, so nothing but __syncwarp stands between two layers.
// 2. __syncthreads: the first time that warps meet.
// 3. gradients of all layers at once, summed over the block's rows, into this block's partial sums.
// 4. cluster barrier.
// 5. sum of the C partials through distributed shared memory, and Adam.
// 6. __syncthreads: the new weights are there for 1.
//
// For few parameters every block does 5 for all of them, redundantly and in the same order: C times the
// (tiny) work buys a second cluster barrier and the sending of weights away. The partial sums alternate
// between two buffers, so a block that is ahead by one step writes where nobody reads. For more parameters
// ("slices") each block owns 1/C of them, with their moments, sends the new weights to the others, and a
// second cluster barrier ends the step.
//
// What a step of the smallest networks costs is latency: two block barriers and one cluster barrier, per
// layer two dependent passes of shared-memory loads and a few multiply-adds, one trip through distributed
// shared memory. Hence one output per thread rather than register tiles where rows x width would not fill the
// block (kRows = 1), batches and their numbers fetched a step ahead, and no division or root of full
// precision.

#include "gpu/device/async_copy.cuh"
#include "gpu/device/cluster.cuh"
#include "gpu/device/cuda.cuh"
#include "gpu/device/warp.cuh"
#include "gpu/mlp/maths.cuh"
#include "gpu/mlp/plan.h"

namespace mlpwatt::gpu {

inline constexpr int kResidentThreads = 256;
inline constexpr int kResidentWarps = kResidentThreads / 32;

/// A 4 x 4 piece of one layer's weight gradient. Offsets and row lengths in floats of shared memory (which
/// has fewer than 2^16); the piece of a bias reads a row of ones that does not advance, and writes one row.
struct alignas(16) GradientTile {
  std::uint16_t in, in_ld, delta, delta_ld, gradient, gradient_ld, rows, from_batch;
};
static_assert(sizeof(GradientTile) == 16);

struct ResidentLayer {
  LayerPlan plan;
  int act = 0, delta = 0;  ///< offsets in shared memory, [rows x act_ld]; the last layer's are the same
  int act_ld = 0;          ///< an odd multiple of 4: 8 rows read by 16 bytes meet 8 different banks
};

/// Everything but pointers; offsets in floats of shared memory.
struct ResidentPlan {
  NetworkPlan network;
  RecordPlan record;
  ResidentLayer layers[kMostLayers];
  int batch = 0;
  int warp_rows = 0;   ///< rows of a warp, a multiple of groups * the kernel's kRows
  int block_rows = 0;  ///< warps * warp_rows
  int groups = 0;  ///< row groups of a warp at the same time, a power of 2; 32 / groups lanes share a group
  int x = 0, x_buffers = 1;
  int gradient = 0, gradient_buffers = 1;
  int m = 0, v = 0;
  int slice = 0;  ///< parameters whose moments this block holds; all of them = everywhere
  int dout = 0, dout_ld = 0;
  int ones = 0;
  int tiles = 0, tile_count = 0;
  int split = 1;  ///< lanes that share a gradient tile: 1, 4 or 16
  int residual = 0;
  int floats = 0;  ///< of shared memory in all
};

struct ResidentArguments {
  const float* records;
  std::int64_t train_rows;
  const int* batches;
  int count;
  const GradientTile* tiles;
  float *w, *m, *v;
  const AdamFactors* factors;  ///< of the steps taken so far, and on
  int factors_left;            ///< beyond it they no longer change
  double* losses;
  AdamConstants adam;
};

__device__ __forceinline__ float4 load4(const float* from) { return *reinterpret_cast<const float4*>(from); }
__device__ __forceinline__ void store4(float* to, const float4& value) {
  *reinterpret_cast<float4*>(to) = value;
}
__device__ __forceinline__ void add_product(float4& sum, float factor, const float4& by) {
  sum.x += factor * by.x, sum.y += factor * by.y, sum.z += factor * by.z, sum.w += factor * by.w;
}
__device__ __forceinline__ float dot(const float4& a, const float4& b) {
  return a.x * b.x + a.y * b.y + a.z * b.z + a.w * b.w;
}

/// A lane's place in its warp: which rows, and which features among the lanes of the same rows.
struct LanePlace {
  int group, feature, lanes;
};

/// out[r][j .. j+4) for kRows rows of this lane: per 4 inputs one 16-byte read of each row's activations (the
/// same address for all lanes of a group: a broadcast) and four of weights (neighbouring lanes, neighbouring
/// 16 bytes) feed 16 kRows multiply-adds.
template <int kRows>
__device__ __forceinline__ void resident_forward(float* shared, const ResidentLayer& layer, const float* in,
                                                 int in_ld, int row, const LanePlace& lane, bool hidden) {
  const LayerPlan& shape = layer.plan;
  const float* weights = shared + shape.weights;
  for (int j = 4 * lane.feature; j < shape.out; j += 4 * lane.lanes) {
    float4 sums[kRows];
#pragma unroll
    for (int r = 0; r < kRows; ++r) sums[r] = load4(weights + shape.in4 * shape.ld + j);
#pragma unroll 2
    for (int i = 0; i < shape.in4; i += 4) {
      const float* w = weights + i * shape.ld + j;
      const float4 w0 = load4(w), w1 = load4(w + shape.ld), w2 = load4(w + 2 * shape.ld),
                   w3 = load4(w + 3 * shape.ld);
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        const float4 a = load4(in + (row + r) * in_ld + i);
        add_product(sums[r], a.x, w0);
        add_product(sums[r], a.y, w1);
        add_product(sums[r], a.z, w2);
        add_product(sums[r], a.w, w3);
      }
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      float4 out = sums[r];
      const int at = (row + r) * layer.act_ld + j;
      if (hidden) {
        if (shape.adds_input != 0) {
          // delta is free until the backward pass: it keeps where the sums were positive, which the
          // activation plus its addend no longer tells.
          store4(shared + layer.delta + at, make_float4(out.x > 0 ? 1.0f : 0.0f, out.y > 0 ? 1.0f : 0.0f,
                                                        out.z > 0 ? 1.0f : 0.0f, out.w > 0 ? 1.0f : 0.0f));
        }
        out = make_float4(relu(out.x), relu(out.y), relu(out.z), relu(out.w));
        if (shape.adds_input != 0) add_product(out, 1.0f, load4(in + (row + r) * in_ld + j));
      }
      store4(shared + layer.act + at, out);
    }
  }
}

/// The gradient one layer down. Lanes take features one apart (not four): then both W, read down its column
/// by 16 bytes, and the results lie in different banks.
template <int kRows>
__device__ __forceinline__ void resident_backward(float* shared, const ResidentPlan& plan,
                                                  const ResidentLayer& layer, const ResidentLayer& below,
                                                  int row, const LanePlace& lane) {
  const LayerPlan& shape = layer.plan;
  const float* weights = shared + shape.weights;
  for (int first = lane.feature; first < shape.in4; first += 4 * lane.lanes) {
    float sums[kRows][4] = {};
    const float* w[4];
#pragma unroll
    for (int c = 0; c < 4; ++c) w[c] = weights + min(first + c * lane.lanes, shape.in4) * shape.ld;
#pragma unroll 2
    for (int j = 0; j < shape.out; j += 4) {
      const float4 w0 = load4(w[0] + j), w1 = load4(w[1] + j), w2 = load4(w[2] + j), w3 = load4(w[3] + j);
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        const float4 d = load4(shared + layer.delta + (row + r) * layer.act_ld + j);
        sums[r][0] += dot(d, w0);
        sums[r][1] += dot(d, w1);
        sums[r][2] += dot(d, w2);
        sums[r][3] += dot(d, w3);
      }
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r)
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        const int i = first + c * lane.lanes;
        if (i >= shape.in4) continue;
        const int at = (row + r) * below.act_ld + i;
        float gradient = sums[r][c];
        if (plan.residual != 0) {
          // by the very lane that wrote it for the layer above: equal widths, equal places
          float& dout = shared[plan.dout + (row + r) * plan.dout_ld + i];
          if (shape.adds_input != 0) gradient += dout;
          dout = gradient;
        }
        const float positive = shared[(below.plan.adds_input != 0 ? below.delta : below.act) + at];
        shared[below.delta + at] = positive > 0 && i < shape.in ? gradient : 0.0f;
      }
  }
}

/// Adds the 16 sums of a tile over kSplit lanes. Halving: at each of log2 kSplit steps a lane gives away one
/// half of what it holds and adds up the other, 15 shuffles for 16 lanes instead of 64; in the end it holds
/// 16 / kSplit sums from `first` on.
template <int kSplit>
__device__ __forceinline__ int halve(float (&sums)[16], int lane) {
  int first = 0;
#pragma unroll
  for (int bit = kSplit / 2, width = 16; bit > 0; bit /= 2, width /= 2) {
    const bool upper = (lane & bit) != 0;
#pragma unroll
    for (int e = 0; e < 8; ++e) {
      if (e >= width / 2) continue;
      const float given = upper ? sums[e] : sums[e + width / 2];
      const float kept = upper ? sums[e + width / 2] : sums[e];
      sums[e] = kept + __shfl_xor_sync(kAllLanes, given, bit);
    }
    if (upper) first += width / 2;
  }
  return first;
}

/// Weight gradients of all layers over this block's rows: kSplit lanes share a 4 x 4 piece and take every
/// kSplit-th row, so that a network of a few dozen pieces still occupies the block.
template <int kSplit>
__device__ __forceinline__ void resident_gradients(float* shared, const ResidentPlan& plan, int rows, int x,
                                                   float* gradient) {
  constexpr int kGroups = kResidentThreads / kSplit;
  const int group = static_cast<int>(threadIdx.x) / kSplit, lane = static_cast<int>(threadIdx.x) % kSplit;
  const GradientTile* tiles = reinterpret_cast<const GradientTile*>(shared + plan.tiles);
  for (int first = 0; first < plan.tile_count; first += kGroups) {
    // Shuffles want whole warps: beyond the end one goes along with the last tile and writes nothing.
    const bool mine = first + group < plan.tile_count;
    const GradientTile tile = tiles[mine ? first + group : plan.tile_count - 1];
    const float* in = shared + tile.in + (tile.from_batch != 0 ? x : 0);
    const float* delta = shared + tile.delta;
    float sums[16] = {};
#pragma unroll 4
    for (int r = lane; r < rows; r += kSplit) {
      const float4 a = load4(in + r * tile.in_ld), d = load4(delta + r * tile.delta_ld);
      const float av[4] = {a.x, a.y, a.z, a.w}, dv[4] = {d.x, d.y, d.z, d.w};
#pragma unroll
      for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j) sums[4 * i + j] += av[i] * dv[j];
    }
    const int at = halve<kSplit>(sums, lane);
    float* to = gradient + tile.gradient;
    if constexpr (kSplit == 16) {
      if (mine && at / 4 < tile.rows) to[at / 4 * tile.gradient_ld + at % 4] = sums[0];
    } else {
#pragma unroll
      for (int i = 0; i < 4 / kSplit; ++i) {
        const int row = at / 4 + i;
        if (mine && row < tile.rows)
          store4(to + row * tile.gradient_ld,
                 make_float4(sums[4 * i], sums[4 * i + 1], sums[4 * i + 2], sums[4 * i + 3]));
      }
    }
  }
}

template <int kRows>
__global__ void __launch_bounds__(kResidentThreads, 1)
    resident_steps(const __grid_constant__ ResidentPlan plan,
                   const __grid_constant__ ResidentArguments arguments) {
  float* shared = &shared_as<float>();
  const int thread = static_cast<int>(threadIdx.x), warp = thread / 32;
  const int blocks = static_cast<int>(gridDim.x);  // one cluster is the whole grid
  const int rank = blocks > 1 ? static_cast<int>(cluster_rank()) : 0;
  const NetworkPlan& network = plan.network;
  const int parameters = network.parameters;
  const bool everywhere = plan.slice == parameters;
  const int slice_first = everywhere ? 0 : min(rank * plan.slice, parameters);
  const int slice_end = everywhere ? parameters : min(slice_first + plan.slice, parameters);
  const int lanes = 32 / plan.groups;
  const LanePlace lane{thread % 32 / lanes, thread % lanes, lanes};
  const int record_pieces = plan.record.record / 4;

  const auto meet = [&] {
    if (blocks > 1)
      sync_cluster();
    else
      __syncthreads();
  };
  /// Rows of a batch, and of them those of this block.
  const auto rows_of = [&](int batch) {
    return static_cast<int>(min(static_cast<std::int64_t>(plan.batch),
                                arguments.train_rows - static_cast<std::int64_t>(batch) * plan.batch));
  };
  const auto my_rows_of = [&](int batch) {
    return max(0, min(plan.block_rows, rows_of(batch) - rank * plan.block_rows));
  };
  /// Starts fetching this block's records of a batch; rows that the batch does not have become zeros. Device
  /// memory holds them as shared memory will, so this is one straight copy.
  const auto fetch = [&](int batch, int x) {
    const float* from =
        arguments.records +
        (static_cast<std::int64_t>(batch) * plan.batch + rank * plan.block_rows) * plan.record.record;
    const int valid = my_rows_of(batch) * record_pieces, all = plan.block_rows * record_pieces;
    for (int piece = thread; piece < all; piece += kResidentThreads)
      copy_async<16>(shared + plan.x + x + 4 * piece, piece < valid ? from + 4 * piece : arguments.records,
                     piece < valid);
    copy_commit();
  };

  // ---- everything onto the chip
  for (int p = thread; p < parameters; p += kResidentThreads) shared[p] = arguments.w[p];
  for (int p = slice_first + thread; p < slice_end; p += kResidentThreads) {
    shared[plan.m + p - slice_first] = arguments.m[p];
    shared[plan.v + p - slice_first] = arguments.v[p];
  }
  for (int t = thread; t < plan.tile_count; t += kResidentThreads)
    reinterpret_cast<GradientTile*>(shared + plan.tiles)[t] = arguments.tiles[t];
  // Rows of weights end in padding that no gradient tile covers; its partial sums stay zero.
  for (int p = thread; p < plan.gradient_buffers * parameters; p += kResidentThreads)
    shared[plan.gradient + p] = 0.0f;
  if (thread < 4) shared[plan.ones + thread] = thread == 0 ? 1.0f : 0.0f;
  int batch = arguments.batches[0];
  int next = arguments.count > 1 ? arguments.batches[1] : 0;
  fetch(batch, 0);
  copy_wait<0>();
  meet();  // also: every block's shared memory is there before others read it

  double loss = 0;
  int x = 0;
  for (int step = 0; step < arguments.count; ++step) {
    // Asked for now, needed after the gradients, or in the next step.
    const AdamFactors factors = factors_of(arguments.factors, arguments.factors_left, step);
    const int after_next = step + 2 < arguments.count ? __ldg(arguments.batches + step + 2) : 0;
    const bool more = step + 1 < arguments.count;
    const int other_x = plan.x_buffers > 1 ? plan.block_rows * plan.record.record - x : 0;
    if (more && plan.x_buffers > 1) fetch(next, other_x);  // nobody reads that one since the last barrier

    // ---- a warp's rows through all layers and back
    const int rows = rows_of(batch);
    const float scale = 1.0f / static_cast<float>(rows);
    const int depth = network.depth;
    for (int group = lane.group * kRows; group < plan.warp_rows; group += plan.groups * kRows) {
      const int row = warp * plan.warp_rows + group;
      for (int k = 0; k < depth; ++k) {
        const float* in = k == 0 ? shared + plan.x + x : shared + plan.layers[k - 1].act;
        const int in_ld = k == 0 ? plan.record.record : plan.layers[k - 1].act_ld;
        resident_forward<kRows>(shared, plan.layers[k], in, in_ld, row, lane, k + 1 < depth);
        __syncwarp();
      }
      // One lane a row: at most ten exponentials, independent of each other.
      const ResidentLayer& last = plan.layers[depth - 1];
      for (int r = lane.feature; r < kRows; r += lane.lanes) {
        float* z = shared + last.act + (row + r) * last.act_ld;
        if (rank * plan.block_rows + row + r < rows) {
          const float* y = shared + plan.x + x + (row + r) * plan.record.record + plan.record.y;
          loss += row_loss(network.task, z, y, network.outputs, scale, z) * scale;
        } else {
          for (int j = 0; j < network.outputs; ++j) z[j] = 0.0f;
        }
      }
      __syncwarp();
      for (int k = depth - 1; k > 0; --k) {
        resident_backward<kRows>(shared, plan, plan.layers[k], plan.layers[k - 1], row, lane);
        __syncwarp();
      }
    }
    __syncthreads();

    // ---- gradients over the block's rows
    float* partial = shared + plan.gradient + (plan.gradient_buffers > 1 ? step % 2 * parameters : 0);
    const int my_rows = my_rows_of(batch);
    if (plan.split == 1)
      resident_gradients<1>(shared, plan, my_rows, plan.x + x, partial);
    else if (plan.split == 4)
      resident_gradients<4>(shared, plan, my_rows, plan.x + x, partial);
    else
      resident_gradients<16>(shared, plan, my_rows, plan.x + x, partial);
    meet();
    if (more && plan.x_buffers == 1) fetch(next, 0);

    // ---- the sum over the cluster, in the order of the ranks whoever adds it up, and Adam
    for (int p = slice_first + 4 * thread; p < slice_end; p += 4 * kResidentThreads) {
      float4 gradient = load4(blocks > 1 ? map_shared(partial + p, 0) : partial + p);
#pragma unroll 4
      for (int c = 1; c < blocks; ++c)
        add_product(gradient, 1.0f, load4(map_shared(partial + p, static_cast<unsigned>(c))));
      float4 w = load4(shared + p), m = load4(shared + plan.m + p - slice_first),
             v = load4(shared + plan.v + p - slice_first);
      adam_step(w, m, v, gradient, factors, arguments.adam);
      store4(shared + plan.m + p - slice_first, m);
      store4(shared + plan.v + p - slice_first, v);
      if (everywhere)
        store4(shared + p, w);
      else
        for (int c = 0; c < blocks; ++c) store4(map_shared(shared + p, static_cast<unsigned>(c)), w);
    }
    copy_wait<0>();
    if (everywhere)
      __syncthreads();
    else
      meet();
    x = other_x;
    batch = next;
    next = after_next;
  }

  // ---- and back
  arguments.losses[rank * kResidentThreads + thread] = loss;
  if (rank == 0)
    for (int p = thread; p < parameters; p += kResidentThreads) arguments.w[p] = shared[p];
  if (rank == 0 || !everywhere)
    for (int p = slice_first + thread; p < slice_end; p += kResidentThreads) {
      arguments.m[p] = shared[plan.m + p - slice_first];
      arguments.v[p] = shared[plan.v + p - slice_first];
    }
  meet();  // nobody leaves while others may still read its partial sums
}

}  // namespace mlpwatt::gpu

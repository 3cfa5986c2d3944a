#pragma once
// Matrix products on the device in the three layouts that training needs, with the layer's next operation
// fused into the last write: the twin of cpu/gemm/gemm.h.
//
//   GemmPlan plan({GemmLayout::kNN, 256, 512, 784}, Precision::kFp32);
//   launch_gemm(stream, plan, {.a = x, .lda = 784, .b = w, .ldb = 512, .c = y, .ldc = 512}, epilogue);

#include <cstdint>
#include <string>
#include <vector>

#include "gpu/gemm/epilogue.h"
#include "gpu/runtime.h"

namespace mlpwatt::gpu {

/// Of C[m x n] = op(A) op(B), all stored row-major.
enum class GemmLayout {
  kNN,  ///< A [m x k], B [k x n]: forward, Y = X W
  kNT,  ///< A [m x k], B [n x k]: input gradient, dX = dY W^T
  kTN,  ///< A [k x m], B [k x n]: weight gradient, dW = X^T dY
};
const char* layout_name(GemmLayout layout);  ///< "nn" "nt" "tn"

enum class Precision {
  kFp32,  ///< float operands, fp32 multiply-adds
  /// Float operands, fp32 sums. Every kernel rounds every factor to nearest tf32 on its way to the tensor
  /// cores (which would cut off the bits they ignore): mma.sync's in registers, ties away from zero; wgmma's
  /// in the tensor copy, ties to even.
  kTf32,
  kBf16,  ///< Bf16 operands, fp32 sums
};
const char* precision_name(Precision precision);  ///< "fp32" "tf32" "bf16"

/// Dimensions at least 1, below 2^31.
struct GemmProblem {
  GemmLayout layout = GemmLayout::kNN;
  std::int64_t m = 0, n = 0, k = 0;
};

/// Row lengths are of the stored matrices, in elements. a and b are float, or Bf16 for Precision::kBf16. Any
/// alignment of the element works; 16-byte aligned bases and row lengths that are multiples of 16 bytes are
/// quicker.
struct GemmOperands {
  const void* a = nullptr;
  std::int64_t lda = 0;
  const void* b = nullptr;
  std::int64_t ldb = 0;
  float* c = nullptr;
  std::int64_t ldc = 0;
};

struct GemmArguments;  // what a kernel gets: gpu/gemm/arguments.h

/// One compiled kernel: a precision, a tile, all three layouts.
struct GemmVariant {
  std::string name;  ///< "simt_128x128x16"
  Precision precision = Precision::kFp32;
  int tile_m = 0, tile_n = 0, tile_k = 0;
  /// Tiles that the blocks of a cluster take, along m and n: those along m share loads of B, along n of A.
  int cluster_m = 1, cluster_n = 1;
  int threads = 0, stages = 0;
  std::size_t shared_bytes = 0;
  /// Lowest and highest compute capability it runs on.
  int from_capability = 80, to_capability = 999;
  bool needs_aligned_operands =
      false;           ///< refuses others: bases and row lengths must be multiples of 16 bytes
  bool splits = true;  ///< may divide k among blocks
  /// kTN: first turns A to [m x k], in memory of the plan and by a kernel of its own.
  bool turns_a = false;
  /// Whether this program has the kernel's code for the device, where that needs more than its capability (a
  /// build for sm_90 has no warpgroup products, for sm_90a it has); nullptr = always.
  bool (*is_compiled)() = nullptr;
  void (*launch)(cudaStream_t stream, GemmLayout layout, const GemmArguments& arguments) = nullptr;
};

/// All of them, those that this device cannot run included.
const std::vector<GemmVariant>& gemm_variants();

struct GemmChoice {
  const GemmVariant* variant = nullptr;
  int splits = 1;  ///< blocks along k of each tile
};
/// "simt_64x64x16 split 4"
std::string describe(const GemmChoice& choice);

/// The tile and split expected to be quickest: enough blocks to fill the device, each as large as that
/// allows.
/// @param aligned operands are as needs_aligned_operands asks
GemmChoice choose_gemm(const GemmProblem& problem, Precision precision, bool aligned);
/// Every choice worth trying for this problem on this device, the expected one first.
std::vector<GemmChoice> gemm_choices(const GemmProblem& problem, Precision precision, bool aligned);

/// A choice with the memory it needs; may be launched any number of times, one at a time.
class GemmPlan {
 public:
  /// Errors: std::invalid_argument for dimensions < 1.
  GemmPlan(const GemmProblem& problem, Precision precision, bool aligned = true);
  GemmPlan(const GemmProblem& problem, const GemmChoice& choice);

  const GemmProblem& problem() const { return problem_; }
  const GemmChoice& choice() const { return choice_; }
  /// Of a launch: one, or one more where A is turned first.
  int kernels() const { return turned_.size() > 0 ? 2 : 1; }

 private:
  friend void launch_gemm(cudaStream_t, const GemmPlan&, const GemmOperands&, const Epilogue&);
  GemmProblem problem_;
  GemmChoice choice_;
  Buffer<float> partial_;      ///< one tile of sums for each block, when k is split
  Buffer<unsigned> arrivals_;  ///< of each tile; zero between launches
  Buffer<float> turned_;       ///< A as [m x k], where the variant turns it
};

/// Puts the product into the stream; may be captured. The order of every sum is fixed by the plan: results
/// are bit-identical from launch to launch. Errors: std::invalid_argument when the plan needs aligned
/// operands and these are not; DeviceError.
void launch_gemm(cudaStream_t stream, const GemmPlan& plan, const GemmOperands& operands,
                 const Epilogue& epilogue = {});

/// Whether two choices add up each element in the same order, so that their products are equal to the bit:
/// the same kind of kernel, steps of k and splits. (A tile's height and width only say who computes an
/// element.)
bool same_sums(const GemmChoice& x, const GemmChoice& y);

/// kSameSums: only tiles that give the bits of choose_gemm's, which depends on nothing but the problem and
/// the device.
enum class Tuning { kAny, kSameSums };
/// The quickest of gemm_choices on these operands, by the device's own clock (captured launches, epilogue
/// kStore: C is overwritten). On the emulator: the first of them.
GemmChoice tune_gemm(const GemmProblem& problem, Precision precision, const GemmOperands& operands,
                     Tuning tuning = Tuning::kAny);

}  // namespace mlpwatt::gpu

#pragma once
// What a matrix product's kernel gets, by value.

#include <cstdint>

#include "gpu/device/async_copy.cuh"
#include "gpu/gemm/epilogue.h"

namespace mlpwatt::gpu {

struct GemmArguments {
  const void* a = nullptr;
  const void* b = nullptr;
  float* c = nullptr;
  std::int64_t lda = 0, ldb = 0, ldc = 0;
  int m = 0, n = 0, k = 0;
  int tiles_m = 0, tiles_n = 0;
  int splits = 1;
  int k_chunk = 0;  ///< k of one split, a multiple of the tile's; the last may have less
  bool vector_a = false, vector_b = false;  ///< 16-byte copies of A, of B
  bool vector_c = false;                    ///< 16-byte accesses of everything the epilogue touches
  float* partial = nullptr;
  unsigned* arrivals = nullptr;
  float* turned = nullptr;  ///< of GemmVariant::turns_a: room for A as [m x k]
  std::int64_t turned_ld = 0;
  Epilogue epilogue;
};

}  // namespace mlpwatt::gpu

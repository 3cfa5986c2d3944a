#pragma once
// cuBLAS as something to compare with: loaded at run time where it is found, never linked, used by no kernel
// of ours.

#include <string>

#include "gpu/gemm/gemm.h"

namespace mlpwatt::gpu {

class Cublas {
 public:
  /// Why it cannot be used here; "" when it can.
  static const std::string& why_unavailable();
  /// Products in this stream. Errors: DeviceError.
  Cublas(cudaStream_t stream, Precision precision);
  ~Cublas();
  Cublas(const Cublas&) = delete;
  Cublas& operator=(const Cublas&) = delete;
  /// Precision::kFp32 with tf32 off, kTf32 with it on, kBf16 with fp32 sums. May be captured.
  void gemm(const GemmProblem& problem, const GemmOperands& operands);
  std::string version() const;  ///< "cublas 13.0.2"

 private:
  void* handle_ = nullptr;
  Buffer<unsigned char> workspace_;
  Precision precision_;
};

}  // namespace mlpwatt::gpu

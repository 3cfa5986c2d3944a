#pragma once
// The BLAS libraries of this machine, loaded at run time side by side. Each is opened with RTLD_LOCAL, so
// that one's sgemm_ never stands in for another's; none is needed to build or run anything else.

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "cpu/gemm/gemm.h"

namespace mlpwatt {

/// The library cannot do this product at all: no error of it, no time of it.
struct UnsupportedProduct : std::runtime_error {
  using std::runtime_error::runtime_error;
};

class Blas {
 public:
  virtual ~Blas() = default;
  /// C = op(A) op(B), row-major and contiguous: as Gemm with the smallest row lengths. On use_threads()
  /// threads. Errors: UnsupportedProduct; std::runtime_error when the library reports a failure.
  virtual void gemm(const GemmProblem& problem, const float* a, const float* b, float* c) = 0;
  virtual void use_threads(int threads) = 0;

  const std::string& name() const { return name_; }        ///< "openblas": of its rows
  const std::string& library() const { return library_; }  ///< "OpenBLAS 0.3.21"
  const std::string& path() const { return path_; }        ///< of the file that was loaded

 protected:
  std::string name_, library_, path_;
};

struct BlasLibraries {
  std::vector<std::unique_ptr<Blas>> found;
  std::vector<std::pair<std::string, std::string>> absent;  ///< name and reason
};

/// OpenBLAS, BLIS, oneDNN, libxsmm and MKL, wherever the loader finds them, then in `folder`/lib (what `make
/// peers` made). Loaded once for the life of the process: libraries with threads of their own cannot be
/// unloaded safely.
BlasLibraries& blas_libraries(const std::string& folder);

}  // namespace mlpwatt

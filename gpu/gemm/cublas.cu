#include "gpu/gemm/cublas.h"

#include <dlfcn.h>

namespace mlpwatt::gpu {
namespace {

// The few calls and constants we need, as cublas_api.h has them (stable since cuBLAS 11).
constexpr int kNoTranspose = 0, kTranspose = 1;
constexpr int kFloat = 0, kBfloat16 = 14;            // cudaDataType_t
constexpr int kComputeFp32 = 68, kComputeTf32 = 77;  // cublasComputeType_t
constexpr int kDefaultMath = 0, kDefaultAlgorithm = -1;
constexpr std::size_t kWorkspaceBytes = std::size_t{32} << 20;  // what NVIDIA recommends for Hopper

struct Library {
  int (*create)(void** handle) = nullptr;
  int (*destroy)(void* handle) = nullptr;
  int (*set_stream)(void* handle, cudaStream_t stream) = nullptr;
  int (*set_workspace)(void* handle, void* workspace, std::size_t bytes) = nullptr;
  int (*set_math_mode)(void* handle, int mode) = nullptr;
  int (*get_version)(void* handle, int* version) = nullptr;
  int (*gemm)(void* handle, int transpose_a, int transpose_b, int m, int n, int k, const void* alpha,
              const void* a, int type_a, int lda, const void* b, int type_b, int ldb, const void* beta,
              void* c, int type_c, int ldc, int compute, int algorithm) = nullptr;
  std::string missing;
};

const Library& library() {
  static const Library loaded = [] {
    Library l;
    void* file = nullptr;
    for (const char* name : {"libcublas.so.13", "libcublas.so.12", "libcublas.so.11", "libcublas.so"})
      if (file == nullptr) file = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (file == nullptr) {
      l.missing = "libcublas.so not found (LD_LIBRARY_PATH may name its folder)";
      return l;
    }
    const auto find = [&](auto& function, const char* name) {
      function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(file, name));
      if (function == nullptr && l.missing.empty()) l.missing = std::string("libcublas has no ") + name;
    };
    find(l.create, "cublasCreate_v2");
    find(l.destroy, "cublasDestroy_v2");
    find(l.set_stream, "cublasSetStream_v2");
    find(l.set_workspace, "cublasSetWorkspace_v2");
    find(l.set_math_mode, "cublasSetMathMode");
    find(l.get_version, "cublasGetVersion_v2");
    find(l.gemm, "cublasGemmEx");
    return l;
  }();
  return loaded;
}

void check_cublas(int status, const char* doing) {
  if (status != 0)
    throw DeviceError(std::string(doing) + " failed: cuBLAS status " + std::to_string(status) +
                      " (cublasStatus_t in its documentation)");
}

}  // namespace

const std::string& Cublas::why_unavailable() { return library().missing; }

Cublas::Cublas(cudaStream_t stream, Precision precision) : precision_(precision) {
  if (!why_unavailable().empty()) throw DeviceError(why_unavailable());
  const Library& l = library();
  check_cublas(l.create(&handle_), "making a cuBLAS handle");
  check_cublas(l.set_stream(handle_, stream), "giving cuBLAS a stream");
  // its own workspace cannot be used in a captured graph
  workspace_ = Buffer<unsigned char>(kWorkspaceBytes);
  check_cublas(l.set_workspace(handle_, workspace_.data(), workspace_.size()), "giving cuBLAS a workspace");
  check_cublas(l.set_math_mode(handle_, kDefaultMath), "setting cuBLAS's math mode");
}

Cublas::~Cublas() {
  if (handle_ != nullptr) library().destroy(handle_);
}

void Cublas::gemm(const GemmProblem& p, const GemmOperands& o) {
  // cuBLAS is column-major: our row-major C = op(A) op(B) is its C^T = op(B)^T op(A)^T.
  static const float one = 1, zero = 0;
  const int type = precision_ == Precision::kBf16 ? kBfloat16 : kFloat;
  check_cublas(
      library().gemm(handle_, p.layout == GemmLayout::kNT ? kTranspose : kNoTranspose,
                     p.layout == GemmLayout::kTN ? kTranspose : kNoTranspose, static_cast<int>(p.n),
                     static_cast<int>(p.m), static_cast<int>(p.k), &one, o.b, type, static_cast<int>(o.ldb),
                     o.a, type, static_cast<int>(o.lda), &zero, o.c, kFloat, static_cast<int>(o.ldc),
                     precision_ == Precision::kTf32 ? kComputeTf32 : kComputeFp32, kDefaultAlgorithm),
      "a product by cuBLAS");
}

std::string Cublas::version() const {
  int v = 0;
  library().get_version(handle_, &v);
  return "cublas " + std::to_string(v / 10000) + "." + std::to_string(v % 10000 / 100) + "." +
         std::to_string(v % 100);
}

}  // namespace mlpwatt::gpu

#include "harness/compare/blas.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <link.h>
#include <omp.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <optional>
#include <stdexcept>
#include <tuple>

#include "cpu/isa.h"
#include "cpu/team.h"

namespace mlpwatt {
namespace {

/// A library and its symbols; what is missing is said by name.
class Library {
 public:
  /// Errors: std::runtime_error when none of the files can be loaded.
  Library(const std::vector<std::string>& files, const std::string& folder) {
    std::string reason;
    for (const std::string& where : {std::string(), folder + "/lib/"})
      for (const std::string& file : files) {
        handle_ = dlopen((where + file).c_str(), RTLD_NOW | RTLD_LOCAL);
        if (handle_ != nullptr) return;
        // a file that is there and cannot be loaded is the better reason
        const std::string error = dlerror();
        if (reason.empty() || error.find("No such file") == std::string::npos) reason = error;
      }
    throw std::runtime_error(fmt::format("{} not found ({})", fmt::join(files, ", "), reason));
  }
  template <typename Function>
  Function* symbol(const char* name) const {
    void* address = dlsym(handle_, name);
    if (address == nullptr)
      throw std::runtime_error(
          fmt::format("{} has no {}", static_cast<const link_map*>(handle_)->l_name, name));
    return reinterpret_cast<Function*>(address);
  }
  /// The file that `function` came from.
  template <typename Function>
  static std::string path_of(Function* function) {
    Dl_info info{};
    if (dladdr(reinterpret_cast<void*>(function), &info) == 0) return "";
    std::error_code unresolved;  // a distribution's name is a link to the build that was chosen
    const std::filesystem::path file = std::filesystem::canonical(info.dli_fname, unresolved);
    return unresolved ? info.dli_fname : file.string();
  }

 private:
  void* handle_ = nullptr;  // never closed: see blas_libraries
};

bool has_avx512() {
  const std::vector<Isa> isas = available_isas();
  return std::find(isas.begin(), isas.end(), Isa::kAvx512) != isas.end();
}

/// Whether a call comes back, tried by a child: libraries may end their process instead.
bool returns(const std::function<void()>& call) {
  const pid_t child = fork();
  if (child == 0) {
    constexpr unsigned kLongest_s = 10;
    alarm(kLongest_s);
    const rlimit no_core{0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    if (const int nowhere = open("/dev/null", O_WRONLY); nowhere >= 0) dup2(nowhere, STDERR_FILENO);
    call();
    _exit(0);
  }
  int status = 0;
  while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return child > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

struct Dimensions {
  std::int64_t lda, ldb, ldc;
  char a_transposed, b_transposed;
};
Dimensions dimensions(const GemmProblem& p) {
  const bool ta = p.layout == GemmLayout::kTN, tb = p.layout == GemmLayout::kNT;
  return {ta ? p.m : p.k, tb ? p.k : p.n, p.n, ta ? 'T' : 'N', tb ? 'T' : 'N'};
}

/// Libraries with the Fortran interface, 32-bit integers.
class FortranBlas : public Blas {
 public:
  using Sgemm = void(const char*, const char*, const int*, const int*, const int*, const float*, const float*,
                     const int*, const float*, const int*, const float*, float*, const int*);
  void gemm(const GemmProblem& p, const float* a, const float* b, float* c) override {
    // Column-major sees our matrices transposed: C^T = op(B)^T op(A)^T.
    const Dimensions d = dimensions(p);
    const int m = static_cast<int>(p.n), n = static_cast<int>(p.m), k = static_cast<int>(p.k);
    const int lda = static_cast<int>(d.ldb), ldb = static_cast<int>(d.lda), ldc = static_cast<int>(d.ldc);
    const float one = 1, zero = 0;
    sgemm_(&d.b_transposed, &d.a_transposed, &m, &n, &k, &one, b, &lda, a, &ldb, &zero, c, &ldc);
  }

 protected:
  void load(const Library& library) {
    sgemm_ = library.symbol<Sgemm>("sgemm_");
    path_ = Library::path_of(sgemm_);
  }

 private:
  Sgemm* sgemm_ = nullptr;
};

class OpenBlas : public FortranBlas {
 public:
  explicit OpenBlas(const std::string& folder) {
    name_ = "openblas";
    // Its idle threads spin for 2^26 cycles, into the next contestant's turn; 2^20 is still far longer than
    // the gap between two products of one turn.
    setenv("OPENBLAS_THREAD_TIMEOUT", "20", 0);
    // A processor newer than the library is taken for one without AVX-512, five times slower; its kernels of
    // single precision are the same for all that have it.
    if (has_avx512()) setenv("OPENBLAS_CORETYPE", "SkylakeX", 0);
    const Library library({"libopenblas.so.0", "libopenblas.so"}, folder);
    load(library);
    set_threads_ = library.symbol<void(int)>("openblas_set_num_threads");
    const std::string config = library.symbol<const char*()>("openblas_get_config")();
    library_ = config.substr(0, config.find(' ', config.find(' ') + 1)) + " " +
               library.symbol<const char*()>("openblas_get_corename")();
  }
  void use_threads(int threads) override { set_threads_(threads); }

 private:
  void (*set_threads_)(int) = nullptr;
};

class Blis : public FortranBlas {
 public:
  explicit Blis(const std::string& folder) {
    name_ = "blis";
    const Library library({"libblis.so.4", "libblis.so.5", "libblis.so"}, folder);
    load(library);
    set_threads_ = library.symbol<void(std::int64_t)>("bli_thread_set_num_threads");
    library_ = std::string("BLIS ") + library.symbol<const char*()>("bli_info_get_version_str")();
    // The same of BLIS, which goes by the processor's name; a kind that this build lacks would end the
    // program.
    auto* const init = library.symbol<void()>("bli_init");
    auto* const kind_name = library.symbol<const char*(int)>("bli_arch_string");
    const auto be_skx = [] { setenv("BLIS_ARCH_TYPE", "0", 0); };
    if (has_avx512() && kind_name(0) == std::string("skx") && returns([&] { be_skx(), init(); })) be_skx();
    init();
    library_ += std::string(" ") + kind_name(library.symbol<int()>("bli_arch_query_id")());
    // How it makes its threads decides its time on small products.
    for (const char* threading : {"openmp", "pthread", "serial"})
      if (path().find(threading) != std::string::npos) library_ += std::string(" ") + threading;
  }
  void use_threads(int threads) override { set_threads_(threads); }

 private:
  void (*set_threads_)(std::int64_t) = nullptr;
};

class Mkl : public FortranBlas {
 public:
  explicit Mkl(const std::string& folder) {
    name_ = "mkl";
    // Its threads and ours then come from one OpenMP library.
    setenv("MKL_THREADING_LAYER", "GNU", 0);
    const Library library({"libmkl_rt.so.3", "libmkl_rt.so.2", "libmkl_rt.so"}, folder);
    load(library);
    set_threads_ = library.symbol<void(int)>("MKL_Set_Num_Threads");
    char text[256] = "";
    library.symbol<void(char*, int)>("MKL_Get_Version_String")(text, sizeof text - 1);
    const std::string version =
        text;  // "Intel(R) oneAPI Math Kernel Library Version 2026.2-Product Build ..."
    const std::size_t at = version.find("Version ");
    library_ = "MKL " + (at == std::string::npos
                             ? version
                             : version.substr(at + 8, version.find_first_of("- ", at + 8) - at - 8));
  }
  void use_threads(int threads) override { set_threads_(threads); }

 private:
  void (*set_threads_)(int) = nullptr;
};

class OneDnn : public Blas {
 public:
  explicit OneDnn(const std::string& folder) {
    name_ = "onednn";
    const Library library({"libdnnl.so.3", "libdnnl.so.2", "libdnnl.so"}, folder);
    sgemm_ = library.symbol<Sgemm>("dnnl_sgemm");
    path_ = Library::path_of(sgemm_);
    struct Version {
      int major, minor, patch;
    };
    const auto* version = library.symbol<const Version*()>("dnnl_version")();
    library_ = fmt::format("oneDNN {}.{}.{}", version->major, version->minor, version->patch);
  }
  void use_threads(int threads) override { omp_set_num_threads(threads); }
  void gemm(const GemmProblem& p, const float* a, const float* b, float* c) override {
    const Dimensions d = dimensions(p);
    if (const int status =
            sgemm_(d.a_transposed, d.b_transposed, p.m, p.n, p.k, 1, a, d.lda, b, d.ldb, 0, c, d.ldc);
        status != 0)
      throw std::runtime_error(fmt::format("dnnl_sgemm returned {}", status));
  }

 private:
  using Sgemm = int(char, char, std::int64_t, std::int64_t, std::int64_t, float, const float*, std::int64_t,
                    const float*, std::int64_t, float, float*, std::int64_t);
  Sgemm* sgemm_ = nullptr;
};

/// Small products through its generated kernels, larger ones through the tiled product that it offers to a
/// caller's own threads; both are column-major.
class Libxsmm : public Blas {
 public:
  explicit Libxsmm(const std::string& folder) {
    name_ = "libxsmm";
    const Library library({"libxsmm.so.1", "libxsmm.so"}, folder);
    library.symbol<void()>("libxsmm_init")();
    sgemm_ = library.symbol<FortranBlas::Sgemm>("libxsmm_sgemm");
    handle_init_ = library.symbol<HandleInit>("libxsmm_gemm_handle_init");
    scratch_size_ = library.symbol<std::size_t(const void*)>("libxsmm_gemm_handle_get_scratch_size");
    thread_ = library.symbol<Thread>("libxsmm_gemm_thread");
    path_ = Library::path_of(sgemm_);
    library_ = std::string("libxsmm ") + library.symbol<const char*()>("libxsmm_get_target_arch")();
  }
  void use_threads(int threads) override { threads_ = threads; }
  void gemm(const GemmProblem& p, const float* a, const float* b, float* c) override {
    const Dimensions d = dimensions(p);
    const int m = static_cast<int>(p.n), n = static_cast<int>(p.m), k = static_cast<int>(p.k);
    const int lda = static_cast<int>(d.ldb), ldb = static_cast<int>(d.lda), ldc = static_cast<int>(d.ldc);
    const float one = 1, zero = 0;
    constexpr std::int64_t kLargestGenerated = 64 * 64 * 64;  // its own default threshold
    if (p.layout == GemmLayout::kNN && p.m * p.n * p.k <= kLargestGenerated) {
      sgemm_(&d.b_transposed, &d.a_transposed, &m, &n, &k, &one, b, &lda, a, &ldb, &zero, c, &ldc);
      return;
    }
    const auto wanted = std::tuple(p.layout, p.m, p.n, p.k, threads_);
    if (prepared_ != wanted) {  // as its callers do: once for many products of a shape
      prepared_.reset();
      handle_ = handle_init_(blob_, kFloat32, kFloat32, &d.b_transposed, &d.a_transposed, &m, &n, &k, &lda,
                             &ldb, &ldc, &one, &zero, 0, threads_);
      if (handle_ == nullptr) throw UnsupportedProduct("libxsmm has no kernel for this shape");
      const std::size_t bytes = scratch_size_(handle_);
      if (bytes / sizeof(float) + 1 > scratch_.size()) scratch_ = AlignedFloats(bytes / sizeof(float) + 1);
      prepared_ = wanted;
    }
    run_team(threads_, [&](const TeamMember& member) {
      thread_(handle_, scratch_.data(), b, a, c, member.id, member.size);
    });
  }

 private:
  static constexpr int kFloat32 = 1;  // libxsmm_gemm_precision
  using HandleInit = const void*(void*, int, int, const char*, const char*, const int*, const int*,
                                 const int*, const int*, const int*, const int*, const void*, const void*,
                                 int, int);
  using Thread = void(const void*, void*, const void*, const void*, void*, int, int);
  FortranBlas::Sgemm* sgemm_ = nullptr;
  HandleInit* handle_init_ = nullptr;
  std::size_t (*scratch_size_)(const void*) = nullptr;
  Thread* thread_ = nullptr;
  alignas(64) char blob_[128];
  const void* handle_ = nullptr;  ///< in blob_, for prepared_
  std::optional<std::tuple<GemmLayout, std::int64_t, std::int64_t, std::int64_t, int>> prepared_;
  AlignedFloats scratch_;
  int threads_ = 1;
};

template <typename Kind>
void look_for(const std::string& name, const std::string& folder, BlasLibraries& libraries) {
  try {
    libraries.found.push_back(std::make_unique<Kind>(folder));
  } catch (const std::exception& error) {
    libraries.absent.emplace_back(name, error.what());
  }
}

}  // namespace

BlasLibraries& blas_libraries(const std::string& folder) {
  static BlasLibraries libraries = [&] {
    BlasLibraries all;
    look_for<OpenBlas>("openblas", folder, all);
    look_for<Blis>("blis", folder, all);
    look_for<OneDnn>("onednn", folder, all);
    look_for<Libxsmm>("libxsmm", folder, all);
    look_for<Mkl>("mkl", folder, all);
    return all;
  }();
  return libraries;
}

}  // namespace mlpwatt

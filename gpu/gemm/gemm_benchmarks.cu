// The catalogue's gpu/gemm/<precision>/<layout>/<M>x<N>x<K>: squares and the three products of training
// layers, and gpu/gemm_cublas/...: the same products by cuBLAS, where it can be loaded, to compare with.

#include "gpu/gemm/gemm_benchmarks.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "gpu/gemm/cublas.h"
#include "gpu/gemm/gemm.h"
#include "kernels/random.h"
#include "kernels/reference.h"

namespace mlpwatt::gpu {
namespace {

/// Rows of C that check() recomputes: all of a small matrix, a spread of a large one.
std::vector<std::int64_t> checked_rows(const GemmProblem& p) {
  constexpr std::int64_t kWork = 20'000'000;  // multiply-adds of the scalar reference, ~20 ms
  const std::int64_t count =
      std::clamp<std::int64_t>(kWork / (p.n * p.k), std::min<std::int64_t>(2, p.m), p.m);
  std::vector<std::int64_t> rows;
  for (std::int64_t i = 0; i < count; ++i) rows.push_back(count == 1 ? 0 : i * (p.m - 1) / (count - 1));
  return rows;
}

/// What the precision keeps of a value, so that only sums round.
float as_operand(Precision precision, float x) {
  std::uint32_t bits;
  __builtin_memcpy(&bits, &x, 4);
  if (precision == Precision::kBf16) return to_float(to_bf16(x));
  if (precision == Precision::kTf32) bits = (bits + 0x1000u) & ~0x1fffu;
  __builtin_memcpy(&x, &bits, 4);
  return x;
}

class ProductKernel : public Kernel {
 public:
  ProductKernel(const GemmProblem& problem, Precision precision, const RunOptions& options)
      : problem_(problem), precision_(precision), options_(options) {}

  void set_up() override {
    const auto [layout, m, n, k] = problem_;
    lda_ = layout == GemmLayout::kTN ? m : k;
    ldb_ = layout == GemmLayout::kNT ? k : n;
    c_ = Buffer<float>(static_cast<std::size_t>(m * n));
    fill(false);
    stream_ = std::make_unique<Stream>();
    prepare();
    // One launch of a small product costs the host more than the device: steps go in captured groups.
    stream_->begin_capture();
    for (int i = 0; i < kStepsPerGraph; ++i) enqueue();
    graph_ = stream_->end_capture();
  }

  Check check() override {
    // Small integers: every sum is exact in float32, so the product must agree to the bit.
    fill(true);
    run(1);
    Check check = compare(0.0, "small integers");
    if (check.passed) {
      // Random values in [-1, 1]: rounding of k products grows at most like k eps times the sum of
      // magnitudes.
      fill(false);
      run(1);
      check = compare(1.0, "random values");
    }
    return check;
  }

  void run(std::int64_t steps) override {
    for (std::int64_t s = 0; s < steps / kStepsPerGraph; ++s) graph_.launch(stream_->handle());
    for (std::int64_t s = 0; s < steps % kStepsPerGraph; ++s) enqueue();
    stream_->synchronise();
  }

  Cost cost() const override {
    Cost cost = gemm_cost(problem_.m, problem_.n, problem_.k);
    if (precision_ == Precision::kBf16) cost.compulsory_read_bytes /= 2;
    return cost;
  }

  std::map<std::string, std::string> facts() const override {
    std::map<std::string, std::string> facts = device_facts();
    facts["isa"] = "sm_" + std::to_string(device().capability);
    facts["threads"] = std::to_string(device().multiprocessors);
    facts["algorithm"] = algorithm();
    return facts;
  }

 protected:
  virtual void prepare() = 0;
  virtual void enqueue() = 0;
  virtual std::string algorithm() const = 0;

  GemmOperands operands() const {
    const bool bf16 = precision_ == Precision::kBf16;
    return {.a = bf16 ? static_cast<const void*>(a16_.data()) : a32_.data(),
            .lda = lda_,
            .b = bf16 ? static_cast<const void*>(b16_.data()) : b32_.data(),
            .ldb = ldb_,
            .c = c_.data(),
            .ldc = problem_.n};
  }

  GemmProblem problem_;
  Precision precision_;
  RunOptions options_;
  std::int64_t lda_ = 0, ldb_ = 0;
  std::unique_ptr<Stream> stream_;
  Buffer<float> c_;

 private:
  static constexpr int kStepsPerGraph = 32;

  /// New values in the same device memory: the captured launches read them too.
  void fill(bool integers) {
    RandomStream stream(options_.seed);
    const auto values = [&](std::int64_t size) {
      std::vector<float> all(static_cast<std::size_t>(size));
      for (float& x : all) {
        x = operand_value(stream, integers);
        if (!integers) x = as_operand(precision_, x);
      }
      return all;
    };
    const auto place = [](Buffer<float>& buffer, const std::vector<float>& all) {
      if (buffer.size() == 0) buffer = Buffer<float>(all.size());
      buffer.upload(all);
    };
    const auto place_rounded = [](Buffer<Bf16>& buffer, const std::vector<float>& all) {
      if (buffer.size() == 0) buffer = Buffer<Bf16>(all.size());
      std::vector<Bf16> rounded;
      rounded.reserve(all.size());
      for (const float x : all) rounded.push_back(to_bf16(x));
      buffer.upload(rounded);
    };
    a_ = values(problem_.m * problem_.k);
    b_ = values(problem_.k * problem_.n);
    if (precision_ == Precision::kBf16) {
      place_rounded(a16_, a_);
      place_rounded(b16_, b_);
    } else {
      place(a32_, a_);
      place(b32_, b_);
    }
  }

  Check compare(double roundings, const char* what) const {
    const auto [layout, m, n, k] = problem_;
    const bool ta = layout == GemmLayout::kTN, tb = layout == GemmLayout::kNT;
    std::vector<double> want(static_cast<std::size_t>(n));
    std::vector<float> got(static_cast<std::size_t>(n));
    Check worst{true, "", 0, roundings * static_cast<double>(k) * 0x1p-23};
    for (const std::int64_t i : checked_rows(problem_)) {
      copy_to_host(got.data(), c_.data() + i * n, got.size() * sizeof(float));
      reference::gemm(ta, tb, 1, static_cast<int>(n), static_cast<int>(k), 1.0,
                      a_.data() + (ta ? i : i * lda_), static_cast<int>(lda_), b_.data(),
                      static_cast<int>(ldb_), 0.0, want.data(), static_cast<int>(n));
      for (std::int64_t j = 0; j < n; ++j) {
        const double error = std::abs(got[static_cast<std::size_t>(j)] - want[static_cast<std::size_t>(j)]) /
                             std::sqrt(static_cast<double>(k));
        if (!(error <= worst.error)) worst.error = error;
        if (!(error <= worst.bound)) {
          char text[200];
          std::snprintf(text, sizeof text,
                        "%s: C(%ld,%ld) is %.9g, reference %.9g, error/sqrt(k) %.3g > %.3g", what,
                        static_cast<long>(i), static_cast<long>(j),
                        static_cast<double>(got[static_cast<std::size_t>(j)]),
                        want[static_cast<std::size_t>(j)], error, worst.bound);
          return {false, text, error, worst.bound};
        }
      }
    }
    return worst;
  }

  Graph graph_;
  std::vector<float> a_, b_;
  Buffer<float> a32_, b32_;
  Buffer<Bf16> a16_, b16_;
};

/// Ours: the variant asked for by --algorithm, or the quickest of all on this device.
class OurProduct : public ProductKernel {
 public:
  using ProductKernel::ProductKernel;

 protected:
  void prepare() override {
    GemmChoice choice = tune_gemm(problem_, precision_, operands());
    if (!options_.algorithm.empty()) {
      const auto all = gemm_choices(problem_, precision_, lda_ % 8 == 0 && ldb_ % 8 == 0);
      const auto found = std::find_if(
          all.begin(), all.end(), [&](const GemmChoice& c) { return c.variant->name == options_.algorithm; });
      if (found == all.end())
        throw std::invalid_argument("gpu/gemm has no " + std::string(precision_name(precision_)) +
                                    " variant '" + options_.algorithm + "' for this product here, e.g. " +
                                    all.front().variant->name);
      choice = *found;
    }
    plan_ = std::make_unique<GemmPlan>(problem_, choice);
  }
  void enqueue() override { launch_gemm(stream_->handle(), *plan_, operands()); }
  std::string algorithm() const override { return describe(plan_->choice()); }

 private:
  std::unique_ptr<GemmPlan> plan_;
};

class CublasProduct : public ProductKernel {
 public:
  using ProductKernel::ProductKernel;

 protected:
  void prepare() override { cublas_ = std::make_unique<Cublas>(stream_->handle(), precision_); }
  void enqueue() override { cublas_->gemm(problem_, operands()); }
  std::string algorithm() const override { return cublas_->version(); }

 private:
  std::unique_ptr<Cublas> cublas_;
};

template <typename Product>
void enumerate(const std::string& family, const std::string& unavailable, bool quick_ones,
               const std::function<void(const Benchmark&)>& visit) {
  std::set<std::string> seen;
  const auto add = [&](Precision precision, GemmLayout layout, std::int64_t m, std::int64_t n, std::int64_t k,
                       bool quick) {
    const GemmProblem problem{layout, m, n, k};
    Benchmark benchmark;
    benchmark.name = family + "/" + precision_name(precision) + "/" + layout_name(layout) + "/" +
                     std::to_string(m) + "x" + std::to_string(n) + "x" + std::to_string(k);
    if (!seen.insert(benchmark.name).second) return;
    benchmark.family = family;
    benchmark.parameters = {{"m", m},
                            {"n", n},
                            {"k", k},
                            {"layout", std::string(layout_name(layout))},
                            {"precision", std::string(precision_name(precision))}};
    benchmark.unavailable = unavailable;
    benchmark.quick = quick && quick_ones && unavailable.empty();
    benchmark.make = [problem, precision](const RunOptions& o) -> std::unique_ptr<Kernel> {
      return std::make_unique<Product>(problem, precision, o);
    };
    visit(benchmark);
  };
  for (const Precision precision : {Precision::kFp32, Precision::kTf32, Precision::kBf16}) {
    for (const std::int64_t n : {64, 256, 1024, 2048, 4096, 8192})
      add(precision, GemmLayout::kNN, n, n, n, n == 1024 || n == 4096);
    // (inputs, outputs) of layers from the grid: mnist's first, narrow, odd, square and the widest
    const std::pair<std::int64_t, std::int64_t> layers[] = {
        {13, 5},    {42, 16},   {64, 64},     {97, 97},     {784, 64},
        {784, 512}, {512, 512}, {1024, 1024}, {2048, 2048}, {4096, 4096}};
    for (const auto& [in, out] : layers) {
      const bool quick = in == 512 && precision == Precision::kFp32;
      add(precision, GemmLayout::kNN, 256, out, in, quick);
      add(precision, GemmLayout::kNT, 256, in, out, quick);
      add(precision, GemmLayout::kTN, in, out, 256, quick);
    }
  }
}

const FamilyRegistration ours{
    {"gpu/gemm", "gpu", "matrix products fp32 (register tiles), tf32 and bf16 (tensor cores): nn, nt, tn",
     [](const RunOptions&, const std::function<void(const Benchmark&)>& visit) {
       enumerate<OurProduct>("gpu/gemm", why_unavailable(), true, visit);
     }}};

const FamilyRegistration theirs{
    {"gpu/gemm_cublas", "gpu",
     "the same products by cuBLAS, loaded where it is found, to compare with gpu/gemm",
     [](const RunOptions&, const std::function<void(const Benchmark&)>& visit) {
       const std::string& reason = why_unavailable().empty() ? Cublas::why_unavailable() : why_unavailable();
       enumerate<CublasProduct>("gpu/gemm_cublas", reason, false, visit);
     }}};

}  // namespace

std::unique_ptr<Kernel> make_product_kernel(const GemmProblem& problem, Precision precision,
                                            const RunOptions& options) {
  return std::make_unique<OurProduct>(problem, precision, options);
}

}  // namespace mlpwatt::gpu

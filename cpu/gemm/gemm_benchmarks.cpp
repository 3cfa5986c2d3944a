// The catalogue's cpu/gemm/<layout>/<M>x<N>x<K>: square sizes and the three products of training layers.

#include <algorithm>
#include <cmath>
#include <set>

#include "cpu/gemm/blocking_search.h"
#include "cpu/gemm/gemm.h"
#include "cpu/gemm/gemm_kernel.h"
#include "kernels/kernel.h"
#include "kernels/random.h"
#include "kernels/reference.h"

namespace mlpwatt {
namespace {

/// Rows of C that check() recomputes: all of a small matrix, a spread of a large one.
std::vector<std::int64_t> checked_rows(const GemmProblem& p) {
  constexpr std::int64_t kWork = 20'000'000;  // multiply-adds of the scalar reference, ~20 ms
  const std::int64_t count = std::clamp<std::int64_t>(kWork / (p.n * p.k), 2, p.m);
  std::vector<std::int64_t> rows;
  for (std::int64_t i = 0; i < count; ++i) rows.push_back(count == 1 ? 0 : i * (p.m - 1) / (count - 1));
  return rows;
}

class GemmKernel : public Kernel {
 public:
  GemmKernel(GemmProblem problem, const RunOptions& options)
      : problem_(problem),
        options_(options),
        threads_(gemm_threads(problem, choose_isa(options.isa), options)),
        gemm_(problem, choose_isa(options.isa), threads_, options.hierarchy) {}

  void set_up() override {
    const auto [layout, m, n, k] = problem_;
    // readable past the last row's end by one vector, as the unpacked path asks
    a_ = AlignedFloats(m * k + gemm_.kernels().lanes);
    b_ = AlignedFloats(k * n + gemm_.kernels().lanes);
    c_ = AlignedFloats(m * n);
    lda_ = layout == GemmLayout::kTN ? m : k;
    ldb_ = layout == GemmLayout::kNT ? k : n;
    fill(false);
  }

  Check check() override {
    // Small integers: every sum is exact in float32, so the product must agree to the bit.
    fill(true);
    run(1);
    Check check = check_product(product(), 0.0, "small integers");
    if (!check.passed) return check;
    // Random values in [-1, 1]: rounding of k products grows at most like k eps times the sum of magnitudes.
    fill(false);
    run(1);
    return check_product(product(), 1.0, "random values");
  }

  void run(std::int64_t steps) override {
    run_team(threads_, [&](const TeamMember& member) {
      for (std::int64_t s = 0; s < steps; ++s) {
        gemm_.run(member, a_.data(), lda_, b_.data(), ldb_, c_.data(), problem_.n);
        member.wait();
      }
    });
  }

  Cost cost() const override { return gemm_cost(problem_.m, problem_.n, problem_.k); }

  std::map<std::string, std::string> facts() const override {
    const GemmBlocking& b = gemm_.blocking();
    return {{"isa", isa_name(gemm_.kernels().isa)},
            {"threads", std::to_string(threads_)},
            {"algorithm", "blocked " + describe_blocking(b, threads_)}};
  }

 private:
  void fill(bool integers) {
    RandomStream stream(options_.seed);
    for (std::int64_t i = 0; i < problem_.m * problem_.k; ++i) a_[i] = operand_value(stream, integers);
    for (std::int64_t i = 0; i < problem_.k * problem_.n; ++i) b_[i] = operand_value(stream, integers);
  }

  ProductInMemory product() const {
    return {problem_, a_.data(), lda_, b_.data(), ldb_, c_.data(), problem_.n};
  }

  GemmProblem problem_;
  RunOptions options_;
  int threads_;
  Gemm gemm_;
  AlignedFloats a_, b_, c_;
  std::int64_t lda_ = 0, ldb_ = 0;
};

void enumerate(const RunOptions&, const std::function<void(const Benchmark&)>& visit) {
  std::set<std::string> seen;
  const auto add = [&](GemmLayout layout, std::int64_t m, std::int64_t n, std::int64_t k, bool quick) {
    const GemmProblem problem{layout, m, n, k};
    Benchmark benchmark;
    benchmark.name = std::string("cpu/gemm/") + layout_name(layout) + "/" + std::to_string(m) + "x" +
                     std::to_string(n) + "x" + std::to_string(k);
    if (!seen.insert(benchmark.name).second) return;
    benchmark.family = "cpu/gemm";
    benchmark.parameters = {{"m", m}, {"n", n}, {"k", k}, {"layout", std::string(layout_name(layout))}};
    benchmark.quick = quick;
    benchmark.make = [problem](const RunOptions& o) { return make_gemm_kernel(problem, o); };
    visit(benchmark);
  };
  for (const std::int64_t n : {32, 64, 128, 256, 512, 1024, 2048})
    add(GemmLayout::kNN, n, n, n, n == 64 || n == 256 || n == 1024);
  // (inputs, outputs) of layers from the grid: mnist's first, narrow, odd, square and the widest
  const std::pair<std::int64_t, std::int64_t> layers[] = {{13, 5},      {42, 16},    {64, 64},   {97, 97},
                                                          {784, 64},    {784, 512},  {512, 512}, {1024, 1024},
                                                          {2048, 2048}, {4096, 4096}};
  for (const auto& [in, out] : layers) {
    const bool quick = in == 512;
    add(GemmLayout::kNN, 256, out, in, quick);
    add(GemmLayout::kNT, 256, in, out, quick);
    add(GemmLayout::kTN, in, out, 256, quick);
  }
}

const FamilyRegistration registration{
    {"cpu/gemm", "cpu",
     "packed, blocked matrix products: nn (forward), nt (input gradient), tn (weight gradient)", enumerate}};

}  // namespace

const char* layout_name(GemmLayout layout) {
  return layout == GemmLayout::kNN ? "nn" : layout == GemmLayout::kNT ? "nt" : "tn";
}

Check check_product(const ProductInMemory& product, double roundings, const char* what) {
  const auto [layout, m, n, k] = product.problem;
  const bool ta = layout == GemmLayout::kTN, tb = layout == GemmLayout::kNT;
  std::vector<double> want(n);
  Check worst{true, "", 0, roundings * static_cast<double>(k) * 0x1p-23};
  for (const std::int64_t i : checked_rows(product.problem)) {
    const float* a = product.a + (ta ? i : i * product.lda);
    reference::gemm(ta, tb, 1, static_cast<int>(n), static_cast<int>(k), 1.0, a,
                    static_cast<int>(product.lda), product.b, static_cast<int>(product.ldb), 0.0, want.data(),
                    static_cast<int>(n));
    for (std::int64_t j = 0; j < n; ++j) {
      const double got = product.c[i * product.ldc + j];
      // values are at most 1 in magnitude, so the bound is k roundings of a sum of at most k: relative to
      // sqrt(k)
      const double error = std::abs(got - want[j]) / std::sqrt(static_cast<double>(k));
      if (!(error <= worst.error)) worst.error = error;
      if (!(error <= worst.bound)) {
        char text[200];
        std::snprintf(text, sizeof text, "%s: C(%ld,%ld) is %.9g, reference %.9g, error/sqrt(k) %.3g > %.3g",
                      what, static_cast<long>(i), static_cast<long>(j), got, want[j], error, worst.bound);
        return {false, text, error, worst.bound};
      }
    }
  }
  return worst;
}

int gemm_threads(const GemmProblem& problem, Isa isa, const RunOptions& options) {
  if (options.threads > 0) return options.threads;
  return choose_gemm_threads(problem, micro_kernels(isa), options.hierarchy.cores, options.hierarchy);
}

std::unique_ptr<Kernel> make_gemm_kernel(const GemmProblem& problem, const RunOptions& options) {
  return std::make_unique<GemmKernel>(problem, options);
}

}  // namespace mlpwatt

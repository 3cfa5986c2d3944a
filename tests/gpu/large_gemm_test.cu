// Matrix products of up to 8192 a side on a device; on the emulator the same code over small ones, and proof
// that the check would see what is wrong.

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/gpu/large_product.h"
#include "tests/gpu/small_shapes.h"

namespace mlpwatt::gpu {
namespace {

constexpr float kGuard = -12345.5f;  // no sum of integers

template <typename T>
__global__ void fill(T* to, std::int64_t rows, std::int64_t columns, std::int64_t ld, Values values) {
  const std::int64_t stride = std::int64_t{gridDim.x} * blockDim.x;
  for (std::int64_t e = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x; e < rows * columns; e += stride)
    to[e / columns * ld + e % columns] = from_float<T>(values.at(e / columns, e % columns));
}

template <typename T>
Buffer<T> filled(std::int64_t rows, std::int64_t columns, std::int64_t ld, const Values& values) {
  Buffer<T> matrix(static_cast<std::size_t>(rows * ld));
  launch({.grid = static_cast<unsigned>(4 * device().multiprocessors), .block = 256}, fill<T>, matrix.data(),
         rows, columns, ld, values);
  synchronise();
  return matrix;
}

/// Not the columns themselves, and a multiple of 16 bytes in every format.
std::int64_t padded(std::int64_t columns) { return (columns + 7) / 8 * 8 + 8; }

}  // namespace

LargeProduct::LargeProduct(const GemmProblem& problem, Precision precision, bool integers, std::uint64_t seed)
    : problem_(problem),
      precision_(precision),
      values_a_{seed, integers},
      values_b_{seed + 1, integers},
      lda_(padded(problem.layout == GemmLayout::kTN ? problem.m : problem.k)),
      ldb_(padded(problem.layout == GemmLayout::kNT ? problem.k : problem.n)),
      ldc_(padded(problem.n)) {
  const bool ta = problem.layout == GemmLayout::kTN, tb = problem.layout == GemmLayout::kNT;
  const std::int64_t a_rows = ta ? problem.k : problem.m, a_columns = ta ? problem.m : problem.k;
  const std::int64_t b_rows = tb ? problem.n : problem.k, b_columns = tb ? problem.k : problem.n;
  if (precision == Precision::kBf16) {
    a16_ = filled<Bf16>(a_rows, a_columns, lda_, values_a_);
    b16_ = filled<Bf16>(b_rows, b_columns, ldb_, values_b_);
  } else {
    a32_ = filled<float>(a_rows, a_columns, lda_, values_a_);
    b32_ = filled<float>(b_rows, b_columns, ldb_, values_b_);
  }
  c_.assign(static_cast<std::size_t>(problem.m * ldc_), kGuard);
  on_device_ = Buffer<float>(c_.size());
}

void LargeProduct::run(const GemmChoice& choice) {
  c_.assign(c_.size(), kGuard);
  on_device_.upload(c_);
  const bool bf16 = precision_ == Precision::kBf16;
  const GemmPlan plan(problem_, choice);
  launch_gemm(nullptr, plan,
              {.a = bf16 ? static_cast<const void*>(a16_.data()) : a32_.data(),
               .lda = lda_,
               .b = bf16 ? static_cast<const void*>(b16_.data()) : b32_.data(),
               .ldb = ldb_,
               .c = on_device_.data(),
               .ldc = ldc_});
  synchronise();
  copy_to_host(c_.data(), on_device_.data(), on_device_.bytes());
}

double LargeProduct::exact(std::int64_t i, std::int64_t j) const {
  double sum = 0;
  for (std::int64_t k = 0; k < problem_.k; ++k) sum += static_cast<double>(a(i, k)) * b(k, j);
  return sum;
}

std::string LargeProduct::wrong(std::int64_t i, std::int64_t j, double bound) const {
  const double want = exact(i, j), got = c_[static_cast<std::size_t>(i * ldc_ + j)];
  if (std::abs(got - want) <= bound) return "";
  return "C(" + std::to_string(i) + "," + std::to_string(j) + ") is " + std::to_string(got) + ", not " +
         std::to_string(want);
}

std::string LargeProduct::first_wrong() const {
  const std::int64_t m = problem_.m, n = problem_.n, k_all = problem_.k;
  // all of these are integers far below 2^53: exact in any order
  const Values of_x{99, true};
  std::vector<double> x(static_cast<std::size_t>(n)), bx(static_cast<std::size_t>(k_all));
  for (std::int64_t j = 0; j < n; ++j) {
    const float value = of_x.at(0, j);
    x[static_cast<std::size_t>(j)] = value == 0 ? 5 : value;
  }
#pragma omp parallel for
  for (std::int64_t k = 0; k < k_all; ++k) {
    double sum = 0;
    for (std::int64_t j = 0; j < n; ++j) sum += b(k, j) * x[static_cast<std::size_t>(j)];
    bx[static_cast<std::size_t>(k)] = sum;
  }
  std::int64_t first = m;
#pragma omp parallel for reduction(min : first)
  for (std::int64_t i = 0; i < m; ++i) {
    const float* row = c_.data() + i * ldc_;
    double want = 0, got = 0;
    for (std::int64_t k = 0; k < k_all; ++k) want += a(i, k) * bx[static_cast<std::size_t>(k)];
    for (std::int64_t j = 0; j < n; ++j) got += row[j] * x[static_cast<std::size_t>(j)];
    bool right = got == want;
    for (std::int64_t j = n; j < ldc_; ++j) right = right && row[j] == kGuard;
    if (!right) first = std::min(first, i);
  }
  if (first == m) return "";
  for (std::int64_t j = 0; j < n; ++j)
    if (const std::string said = wrong(first, j, 0); !said.empty()) return said;
  return "written outside C, behind row " + std::to_string(first);
}

std::string LargeProduct::first_wrong_sample(RandomStream& random, std::int64_t tile) const {
  const std::int64_t m = problem_.m, n = problem_.n;
  std::vector<std::pair<std::int64_t, std::int64_t>> samples{{0, 0}, {0, n - 1}, {m - 1, 0}, {m - 1, n - 1}};
  const auto any = [&](std::int64_t from, std::int64_t end) {
    const std::int64_t size = std::min(tile, end - from);
    return from + static_cast<std::int64_t>(uniform_below(random, static_cast<std::uint64_t>(size)));
  };
  for (std::int64_t i = 0; i < m; i += tile)
    for (std::int64_t j = 0; j < n; j += tile) samples.emplace_back(any(i, m), any(j, n));
  // operands are exact, so only the sums round: k of them, of magnitude sqrt(k)
  const double bound = static_cast<double>(problem_.k) * 0x1p-23 * std::sqrt(static_cast<double>(problem_.k));
  const auto count = static_cast<std::int64_t>(samples.size());
  std::int64_t first = count;
#pragma omp parallel for reduction(min : first) schedule(dynamic, 16)
  for (std::int64_t s = 0; s < count; ++s) {
    const auto& [i, j] = samples[static_cast<std::size_t>(s)];
    if (!wrong(i, j, bound).empty()) first = std::min(first, s);
  }
  if (first == count) return "";
  const auto& [i, j] = samples[static_cast<std::size_t>(first)];
  return wrong(i, j, bound);
}

namespace {

std::string describe(const GemmProblem& p, const GemmChoice& choice) {
  return std::string(layout_name(p.layout)) + " " + std::to_string(p.m) + "x" + std::to_string(p.n) + "x" +
         std::to_string(p.k) + " " + describe(choice);
}

/// Sides of every order of magnitude alike.
GemmProblem any_problem(RandomStream& random, GemmLayout layout) {
  const double least = small_shapes() ? 40 : 256, most = small_shapes() ? 320 : 8192;
  const auto side = [&] {
    return static_cast<std::int64_t>(least * std::pow(most / least, uniform_unit(random)));
  };
  return {layout, side(), side(), side()};
}

void expect_right(LargeProduct& product, const GemmChoice& choice) {
  product.run(choice);
  ASSERT_EQ(product.first_wrong(), "") << describe(product.problem(), choice);
}

/// About three, none of them without a step of k.
int splits_of(std::int64_t k, int tile_k) {
  const std::int64_t steps = (k + tile_k - 1) / tile_k, share = (steps + 2) / 3;
  return static_cast<int>((steps + share - 1) / share);
}

bool runs_here(const GemmVariant& v) {
  return device().capability >= v.from_capability && device().capability <= v.to_capability &&
         (v.is_compiled == nullptr || v.is_compiled());
}

TEST(GpuLargeGemm, EveryVariantIsRightInEveryElement) {
  RandomStream random(21);
  for (const GemmVariant& v : gemm_variants()) {
    if (!runs_here(v)) continue;
    for (const GemmLayout layout : {GemmLayout::kNN, GemmLayout::kNT, GemmLayout::kTN}) {
      LargeProduct product(any_problem(random, layout), v.precision, true, random());
      expect_right(product, {&v, 1});
      if (v.splits) expect_right(product, {&v, splits_of(product.problem().k, v.tile_k)});
    }
  }
}

TEST(GpuLargeGemm, TheChosenPlanIsRightInEveryElement) {
  RandomStream random(22);
  for (const Precision precision : {Precision::kFp32, Precision::kTf32, Precision::kBf16})
    for (int i = 0; i < (small_shapes() ? 1 : 9); ++i) {
      const auto layout = static_cast<GemmLayout>(i % 3);
      const GemmProblem problem =
          i == 0 && !small_shapes() ? GemmProblem{layout, 8192, 8192, 8192} : any_problem(random, layout);
      LargeProduct product(problem, precision, true, random());
      expect_right(product, choose_gemm(problem, precision, true));
    }
}

TEST(GpuLargeGemm, RoundingSumsStayWithinTheirBound) {
  RandomStream random(23);
  for (const Precision precision : {Precision::kFp32, Precision::kTf32, Precision::kBf16})
    for (const GemmLayout layout : {GemmLayout::kNN, GemmLayout::kNT, GemmLayout::kTN}) {
      const GemmProblem problem = any_problem(random, layout);
      const GemmChoice choice = choose_gemm(problem, precision, true);
      LargeProduct product(problem, precision, false, random());
      product.run(choice);
      ASSERT_EQ(product.first_wrong_sample(random, 64), "") << describe(problem, choice);
    }
}

// ---- what the check is there to see, it must see

TEST(GpuLargeGemm, OneWrongElementIsFoundWhereverItIs) {
  RandomStream random(24);
  for (const GemmLayout layout : {GemmLayout::kNN, GemmLayout::kNT, GemmLayout::kTN}) {
    const GemmProblem problem{layout, 70, 45, 33};
    LargeProduct product(problem, Precision::kFp32, true, 5);
    expect_right(product, choose_gemm(problem, Precision::kFp32, true));
    for (int trial = 0; trial < 200; ++trial) {
      const auto i = static_cast<std::int64_t>(uniform_below(random, 70)),
                 j = static_cast<std::int64_t>(uniform_below(random, 45));
      const float right = product.at(i, j);
      product.at(i, j) = trial % 2 == 0 ? right + 1 : std::numeric_limits<float>::quiet_NaN();
      ASSERT_EQ(product.first_wrong().substr(0, 4 + std::to_string(i).size() + std::to_string(j).size()),
                "C(" + std::to_string(i) + "," + std::to_string(j) + ")");
      product.at(i, j) = right;
    }
    product.at(3, 45) = 0;  // in the gap between two rows
    EXPECT_EQ(product.first_wrong(), "written outside C, behind row 3");
  }
}

TEST(GpuLargeGemm, AWrongTileIsFoundBySamples) {
  const GemmProblem problem{GemmLayout::kNN, 100, 90, 30};
  LargeProduct product(problem, Precision::kFp32, false, 6);
  product.run(choose_gemm(problem, Precision::kFp32, true));
  RandomStream random(25);
  ASSERT_EQ(product.first_wrong_sample(random, 16), "");
  for (std::int64_t i = 0; i < problem.m; i += 16)
    for (std::int64_t j = 0; j < problem.n; j += 16) {
      std::vector<float> kept;
      for (std::int64_t e = 0; e < 256; ++e)
        if (i + e / 16 < problem.m && j + e % 16 < problem.n) {
          float& element = product.at(i + e / 16, j + e % 16);
          kept.push_back(element);
          element += 1e-3f;
        }
      ASSERT_NE(product.first_wrong_sample(random, 16), "") << i << " " << j;
      std::size_t next = 0;
      for (std::int64_t e = 0; e < 256; ++e)
        if (i + e / 16 < problem.m && j + e % 16 < problem.n)
          product.at(i + e / 16, j + e % 16) = kept[next++];
    }
  EXPECT_EQ(product.first_wrong_sample(random, 16), "");
}

/// A product that left out its last steps of k, took the other operand's values or another layout.
TEST(GpuLargeGemm, AnotherProductIsNoneOfThis) {
  const GemmProblem problem{GemmLayout::kNN, 48, 48, 48};
  LargeProduct product(problem, Precision::kFp32, true, 7), other(problem, Precision::kFp32, true, 8);
  const GemmChoice choice = choose_gemm(problem, Precision::kFp32, true);
  product.run(choice);
  other.run(choice);
  for (std::int64_t i = 0; i < 48; ++i)
    for (std::int64_t j = 0; j < 48; ++j) product.at(i, j) = other.at(i, j);
  EXPECT_NE(product.first_wrong(), "");
  RandomStream random(26);
  EXPECT_NE(product.first_wrong_sample(random, 16), "");
}

}  // namespace
}  // namespace mlpwatt::gpu

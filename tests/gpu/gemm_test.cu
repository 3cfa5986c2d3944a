// Every compiled matrix product against the scalar double reference: layouts, epilogues, splits, alignments,
// over shapes made from the tile, inside guard bands.

#include "gpu/gemm/gemm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "gpu/gemm/arguments.h"
#include "kernels/reference.h"
#include "tests/gpu/small_shapes.h"

namespace mlpwatt::gpu {
namespace {

constexpr float kGuard = -12345.5f;

/// A rows x cols matrix on the device with row length ld >= cols, guard values in the gaps and a band behind
/// it.
struct Guarded {
  std::int64_t rows, cols, ld;
  int shift;  // floats that the first element lies behind a 16-byte boundary
  std::vector<float> host;
  Buffer<float> device;
  static constexpr int kBand = 64;
  Guarded(std::int64_t r, std::int64_t c, std::int64_t pad, int shift_)
      : rows(r),
        cols(c),
        ld(c + pad),
        shift(shift_),
        host(static_cast<std::size_t>(r * ld + shift_ + 2 * kBand), kGuard) {}
  float& at(std::int64_t i, std::int64_t j) {
    return host[static_cast<std::size_t>(kBand + shift + i * ld + j)];
  }
  void upload() { device = Buffer<float>(host); }
  void download() { host = device.download(); }
  float* data() const { return device.data() + kBand + shift; }
  bool guards_intact() const {
    for (std::size_t s = 0; s < host.size(); ++s) {
      const std::int64_t e = static_cast<std::int64_t>(s) - kBand - shift;
      if (!(e >= 0 && e < rows * ld && e % ld < cols) && host[s] != kGuard) return false;
    }
    return true;
  }
};

struct Case {
  GemmProblem problem;
  GemmChoice choice;
  bool aligned;
};

std::string describe(const Case& c) {
  return std::string(layout_name(c.problem.layout)) + " " + std::to_string(c.problem.m) + "x" +
         std::to_string(c.problem.n) + "x" + std::to_string(c.problem.k) + " " + describe(c.choice) +
         (c.aligned ? " aligned" : " unaligned");
}

/// What a variant's tensor cores see of a value.
float as_operand(Precision precision, float x) {
  if (precision == Precision::kBf16) return to_float(to_bf16(x));
  if (precision == Precision::kFp32) return x;
  std::uint32_t bits;
  std::memcpy(&bits, &x, 4);
  bits = (bits + 0x1000u) & ~0x1fffu;
  std::memcpy(&x, &bits, 4);
  return x;
}

/// Operands on the device and their product in double.
struct Operands {
  Guarded a, b;
  Buffer<Bf16> a16, b16;
  std::vector<double> product;
  bool bf16;

  GemmOperands with(Guarded& c) const {
    return {.a = bf16 ? static_cast<const void*>(a16.data() + Guarded::kBand + a.shift) : a.data(),
            .lda = a.ld,
            .b = bf16 ? static_cast<const void*>(b16.data() + Guarded::kBand + b.shift) : b.data(),
            .ldb = b.ld,
            .c = c.data(),
            .ldc = c.ld};
  }
};

/// Row lengths that keep, or break, 16-byte alignment.
std::int64_t pad(std::int64_t columns, bool aligned) {
  return aligned ? (columns + 7) / 8 * 8 - columns + 8 : (columns % 2 == 0 ? 3 : 2);
}

/// Of elements that `value` gives.
template <typename Value>
Operands operands_of(const Case& c, Value value) {
  const GemmProblem& p = c.problem;
  const bool ta = p.layout == GemmLayout::kTN, tb = p.layout == GemmLayout::kNT;
  const std::int64_t a_cols = ta ? p.m : p.k, b_cols = tb ? p.k : p.n;
  const int shift = c.aligned ? 0 : 1;
  Operands o{Guarded(ta ? p.k : p.m, a_cols, pad(a_cols, c.aligned), shift),
             Guarded(tb ? p.n : p.k, b_cols, pad(b_cols, c.aligned), shift),
             {},
             {},
             std::vector<double>(static_cast<std::size_t>(p.m * p.n)),
             c.choice.variant->precision == Precision::kBf16};
  for (Guarded* g : {&o.a, &o.b})
    for (std::int64_t i = 0; i < g->rows; ++i)
      for (std::int64_t j = 0; j < g->cols; ++j) g->at(i, j) = value();
  reference::gemm(ta, tb, static_cast<int>(p.m), static_cast<int>(p.n), static_cast<int>(p.k), 1.0,
                  &o.a.at(0, 0), static_cast<int>(o.a.ld), &o.b.at(0, 0), static_cast<int>(o.b.ld), 0.0,
                  o.product.data(), static_cast<int>(p.n));
  const auto rounded = [](const std::vector<float>& values) {
    std::vector<Bf16> result;
    for (const float v : values) result.push_back(to_bf16(v));
    return Buffer<Bf16>(result);
  };
  if (o.bf16) {
    o.a16 = rounded(o.a.host);
    o.b16 = rounded(o.b.host);
  } else {
    o.a.upload();
    o.b.upload();
  }
  return o;
}

/// Small integers, or values in [-1, 1) that the variant's precision has.
Operands make_operands(const Case& c, std::mt19937_64& random, bool integers) {
  return operands_of(c, [&] {
    return integers ? static_cast<float>(static_cast<int>(random() % 9) - 4)
                    : as_operand(c.choice.variant->precision,
                                 static_cast<float>(static_cast<double>(random() >> 11) * 0x1p-52 - 1.0));
  });
}

/// Shapes around the tile's edges and far from them, every layout, split and alignment of every variant in
/// turn.
std::vector<Case> cases(unsigned seed, int of_each) {
  std::mt19937 random(seed);
  std::vector<Case> all;
  for (const GemmVariant& v : gemm_variants()) {
    if (device().capability < v.from_capability || device().capability > v.to_capability) continue;
    const int m[] = {1, 2, 17, v.tile_m - 1, v.tile_m, v.tile_m + 1, 2 * v.tile_m + 3};
    const int n[] = {1, 5, 31, v.tile_n - 1, v.tile_n, v.tile_n + 1, 2 * v.tile_n + 3};
    const int k[] = {1, 3, 13, v.tile_k - 1, v.tile_k, v.tile_k + 1, v.stages * v.tile_k + 7};
    for (int i = 0; i < of_each; ++i) {
      Case c;
      c.problem.layout = static_cast<GemmLayout>(i % 3);
      c.problem.m = m[random() % std::size(m)];
      c.problem.n = n[random() % std::size(n)];
      c.problem.k = k[random() % std::size(k)];
      c.aligned = v.needs_aligned_operands || random() % 2 == 0;
      const std::int64_t steps = (c.problem.k + v.tile_k - 1) / v.tile_k;
      const std::int64_t share = i % 2 == 0 ? steps : (steps + 2) / 3;
      c.choice = {&v, static_cast<int>((steps + share - 1) / share)};
      all.push_back(c);
    }
  }
  return all;
}

double largest_error(Guarded& got, const std::vector<double>& want) {
  double worst = 0;
  for (std::int64_t i = 0; i < got.rows; ++i)
    for (std::int64_t j = 0; j < got.cols; ++j) {
      const double error = std::abs(got.at(i, j) - want[static_cast<std::size_t>(i * got.cols + j)]);
      if (std::isnan(error)) return error;
      worst = std::max(worst, error);
    }
  return worst;
}

void run_case(const Case& c, const Operands& o, Guarded& out, const Epilogue& epilogue = {}) {
  const GemmPlan plan(c.problem, c.choice);
  launch_gemm(nullptr, plan, o.with(out), epilogue);
  synchronise();
  out.download();
}

Guarded result_of(const Case& c) {
  return Guarded(c.problem.m, c.problem.n, pad(c.problem.n, c.aligned), c.aligned ? 0 : 1);
}

/// Cases of each variant; few where every access is watched (the emulator, or compute-sanitizer).
int of_each() { return small_shapes() ? 9 : 120; }

TEST(GpuGemm, SmallIntegersAgreeToTheBit) {
  std::mt19937_64 random(7);
  for (const Case& c : cases(11, of_each())) {
    const Operands o = make_operands(c, random, true);
    Guarded out = result_of(c);
    out.upload();
    run_case(c, o, out);
    ASSERT_EQ(largest_error(out, o.product), 0.0) << describe(c);
    ASSERT_TRUE(out.guards_intact()) << describe(c) << " wrote outside C";
  }
}

TEST(GpuGemm, RandomValuesStayWithinTheRoundingBound) {
  std::mt19937_64 random(8);
  for (const Case& c : cases(12, of_each() / 3)) {
    const Operands o = make_operands(c, random, false);
    Guarded out = result_of(c);
    out.upload();
    run_case(c, o, out);
    // operands are exact in the variant's format, so only fp32 sums round: k of them, of magnitude sqrt(k)
    const double bound =
        static_cast<double>(c.problem.k) * 0x1p-23 * std::sqrt(static_cast<double>(c.problem.k));
    const double error = largest_error(out, o.product);
    ASSERT_FALSE(!(error <= bound)) << describe(c) << " error " << error << " bound " << bound;
  }
}

/// Cut off instead of rounded, factors shrink and so do sums of positive products.
TEST(GpuGemm, FloatsAreRoundedToTf32WithoutBias) {
  std::mt19937_64 random(15);
  for (const GemmVariant& v : gemm_variants()) {
    if (v.precision != Precision::kTf32 || device().capability < v.from_capability ||
        device().capability > v.to_capability)
      continue;
    for (const GemmLayout layout : {GemmLayout::kNN, GemmLayout::kNT, GemmLayout::kTN}) {
      const Case c{{layout, 33, 40, 512}, {&v, 1}, true};
      const Operands o = operands_of(
          c, [&] { return static_cast<float>(0.5 + static_cast<double>(random() >> 11) * 0x1p-53); });
      Guarded out = result_of(c);
      out.upload();
      run_case(c, o, out);
      double sum = 0, want = 0;
      for (std::int64_t i = 0; i < c.problem.m; ++i)
        for (std::int64_t j = 0; j < c.problem.n; ++j) {
          sum += out.at(i, j);
          want += o.product[static_cast<std::size_t>(i * c.problem.n + j)];
        }
      // cut off: half a unit of 2^-10 for each of two factors; to nearest: what random roundings leave over
      EXPECT_LT(std::abs(sum / want - 1), 0x1p-14) << describe(c);
    }
  }
}

TEST(GpuGemm, EveryEpilogueMatchesItsFormula) {
  std::mt19937_64 random(9);
  for (const Case& c : cases(13, of_each() / 3)) {
    const std::int64_t m = c.problem.m, n = c.problem.n;
    const Operands o = make_operands(c, random, true);
    const int shift = c.aligned ? 0 : 1;
    const auto matrix = [&](std::int64_t rows, auto value) {
      Guarded g(rows, n, pad(n, c.aligned), shift);
      for (std::int64_t i = 0; i < rows; ++i)
        for (std::int64_t j = 0; j < n; ++j) g.at(i, j) = static_cast<float>(value());
      g.upload();
      return g;
    };
    Guarded bias = matrix(1, [&] { return static_cast<int>(random() % 7) - 3; });
    Guarded addend = matrix(m, [&] { return static_cast<int>(random() % 7) - 3; });
    Guarded mask = matrix(m, [&] { return static_cast<int>(random() % 3) - 1; });
    const auto product = [&](std::int64_t i, std::int64_t j) {
      return o.product[static_cast<std::size_t>(i * n + j)];
    };
    std::vector<double> want(static_cast<std::size_t>(m * n)), want_before(want.size());
    const auto expect = [&](const Epilogue& epilogue, Guarded& before, const char* what) {
      Guarded out = result_of(c);
      out.upload();
      run_case(c, o, out, epilogue);
      ASSERT_EQ(largest_error(out, want), 0.0) << what << " " << describe(c);
      ASSERT_TRUE(out.guards_intact()) << what << " " << describe(c);
      if (epilogue.before == nullptr) return;
      before.download();
      ASSERT_EQ(largest_error(before, want_before), 0.0) << what << " before, " << describe(c);
      ASSERT_TRUE(before.guards_intact()) << what << " " << describe(c);
    };
    for (const bool residual : {false, true}) {
      Guarded before = matrix(m, [] { return 0; });
      Epilogue e;
      if (residual) {
        e.addend = addend.data();
        e.addend_ld = addend.ld;
        e.before = before.data();
        e.before_ld = before.ld;
      }
      e.kind = Epilogue::Kind::kForward;
      e.bias = bias.data();
      e.relu = true;
      for (std::int64_t i = 0; i < m; ++i)
        for (std::int64_t j = 0; j < n; ++j) {
          const std::size_t at = static_cast<std::size_t>(i * n + j);
          want_before[at] = std::max(0.0, product(i, j) + bias.at(0, j));
          want[at] = want_before[at] + (residual ? addend.at(i, j) : 0.0f);
        }
      expect(e, before, "forward");
      e.kind = Epilogue::Kind::kBackward;
      e.mask = mask.data();
      e.mask_ld = mask.ld;
      for (std::int64_t i = 0; i < m; ++i)
        for (std::int64_t j = 0; j < n; ++j) {
          const std::size_t at = static_cast<std::size_t>(i * n + j);
          want_before[at] = product(i, j) + (residual ? addend.at(i, j) : 0.0f);
          want[at] = mask.at(i, j) > 0 ? want_before[at] : 0.0;
        }
      expect(e, before, "backward");
    }
    // Adam: weights, both moments, and the rounded copy of the weights
    Guarded weights = matrix(m, [&] { return static_cast<int>(random() % 7) - 3; });
    Guarded first = matrix(m, [&] { return random() % 5; });
    Guarded second = matrix(m, [&] { return 1 + random() % 5; });  // away from 0: a step is then of order lr
    const AdamStep step{0.125f, 0.5f, 0.75f, 1e-7f};
    const Buffer<AdamStep> step_on_device(std::vector<AdamStep>{step});
    const Buffer<Bf16> copy(static_cast<std::size_t>(m * n));
    Epilogue e;
    e.kind = Epilogue::Kind::kAdam;
    e.adam = step_on_device.data();
    e.first_moment = first.data();
    e.second_moment = second.data();
    e.moment_ld = first.ld;
    e.copy = copy.data();
    e.copy_ld = n;
    std::vector<double> want_first(want.size()), want_second(want.size());
    for (std::int64_t i = 0; i < m; ++i)
      for (std::int64_t j = 0; j < n; ++j) {
        const std::size_t at = static_cast<std::size_t>(i * n + j);
        const double gradient = product(i, j);
        want_first[at] = 0.5 * first.at(i, j) + 0.5 * gradient;
        want_second[at] = 0.75 * second.at(i, j) + 0.25 * gradient * gradient;
        want[at] = weights.at(i, j) - 0.125 * want_first[at] / (std::sqrt(want_second[at]) + 1e-7);
      }
    run_case(c, o, weights, e);
    first.download();
    second.download();
    ASSERT_EQ(largest_error(first, want_first), 0.0) << describe(c);
    ASSERT_EQ(largest_error(second, want_second), 0.0) << describe(c);
    const double error = largest_error(weights, want);
    ASSERT_FALSE(!(error <= 1e-5)) << describe(c) << " " << error;
    ASSERT_TRUE(weights.guards_intact() && first.guards_intact() && second.guards_intact()) << describe(c);
    const std::vector<Bf16> copied = copy.download();
    for (std::int64_t i = 0; i < m; ++i)
      for (std::int64_t j = 0; j < n; ++j)
        ASSERT_EQ(to_float(copied[static_cast<std::size_t>(i * n + j)]), to_float(to_bf16(weights.at(i, j))));
  }
}

/// Random shapes with the plan's own choice, as a training step would ask.
TEST(GpuGemm, TheChosenPlanIsRightForTrainingShapes) {
  std::mt19937_64 random(10);
  for (int i = 0; i < (small_shapes() ? 12 : 300); ++i) {
    Case c;
    c.problem.layout = static_cast<GemmLayout>(i % 3);
    const std::int64_t limit = small_shapes() ? 70 : 500;
    c.problem.m = 1 + static_cast<std::int64_t>(random() % limit);
    c.problem.n = 1 + static_cast<std::int64_t>(random() % limit);
    c.problem.k = 1 + static_cast<std::int64_t>(random() % (2 * limit));
    c.aligned = random() % 2 == 0;
    c.choice = choose_gemm(c.problem, static_cast<Precision>(i / 3 % 3), c.aligned);
    const Operands o = make_operands(c, random, true);
    Guarded out = result_of(c);
    out.upload();
    run_case(c, o, out);
    ASSERT_EQ(largest_error(out, o.product), 0.0) << describe(c);
  }
}

TEST(GpuGemm, LaunchesAgainGiveTheSameBits) {
  std::mt19937_64 random(11);
  for (const GemmVariant& v : gemm_variants()) {
    if (device().capability < v.from_capability || device().capability > v.to_capability) continue;
    // split; and in as many steps that every stage is filled more than once
    for (const auto& [steps, splits] : {std::pair{4, 4}, {2 * v.stages + 1, 1}}) {
      const Case c{{GemmLayout::kTN, v.tile_m + 1, v.tile_n / 2, steps * v.tile_k}, {&v, splits}, true};
      const Operands o = make_operands(c, random, false);
      const GemmPlan plan(c.problem, c.choice);
      std::vector<float> first;
      const auto again = [&](unsigned) {
        Guarded out = result_of(c);
        out.upload();
        launch_gemm(nullptr, plan, o.with(out));
        synchronise();
        out.download();
        if (first.empty()) first = out.host;
        EXPECT_EQ(out.host, first) << describe(c);
      };
#if defined(MLPWATT_EMULATED)
      emulation::run_in_orders(again);  // and whatever order threads and blocks run in
#else
      for (unsigned round = 0; round < 5; ++round) again(round);
#endif
    }
  }
}

/// What an engine may choose among by timing: tiles whose products are equal to the bit.
TEST(GpuGemm, ChoicesWithTheSameSumsGiveTheSameBits) {
  std::mt19937_64 random(12);
  int compared = 0;
  for (const Precision precision : {Precision::kFp32, Precision::kTf32, Precision::kBf16})
    for (const GemmProblem& problem :
         {GemmProblem{GemmLayout::kTN, 97, 66, 256}, GemmProblem{GemmLayout::kNN, 70, 130, 41}}) {
      const std::vector<GemmChoice> choices = gemm_choices(problem, precision, true);
      for (const GemmChoice& first : choices) {
        const Operands o = make_operands({problem, first, true}, random, false);
        std::vector<float> want;
        for (const GemmChoice& choice : choices) {
          if (!same_sums(first, choice)) continue;
          const Case c{problem, choice, true};
          Guarded out = result_of(c);
          out.upload();
          launch_gemm(nullptr, GemmPlan(problem, choice), o.with(out));
          synchronise();
          out.download();
          if (want.empty()) want = out.host;
          EXPECT_EQ(out.host, want) << describe(c) << " against " << describe(first);
          ++compared;
        }
      }
    }
  EXPECT_GT(compared, 20);
}

/// An engine's products, chosen anew each time it is made, do not depend on which was quicker just then.
TEST(GpuGemm, TuningForTheSameSumsGivesTheSameBitsEveryTime) {
  std::mt19937_64 random(13);
  const GemmProblem problem{GemmLayout::kTN, 65, 48, 256};
  const GemmChoice chosen = choose_gemm(problem, Precision::kFp32, true);
  const Operands o = make_operands({problem, chosen, true}, random, false);
  for (int i = 0; i < 3; ++i) {
    Guarded out = result_of({problem, chosen, true});
    out.upload();
    EXPECT_TRUE(same_sums(tune_gemm(problem, Precision::kFp32, o.with(out), Tuning::kSameSums), chosen));
  }
}

/// The factors are read when the product runs, the turned copy of TN's included.
TEST(GpuGemm, ACapturedProductReadsItsOperandsAnew) {
  std::mt19937_64 random(16);
  for (const GemmVariant& v : gemm_variants()) {
    if (!v.turns_a || device().capability < v.from_capability || device().capability > v.to_capability)
      continue;
    const Case c{{GemmLayout::kTN, 35, 37, 41}, {&v, 1}, true};
    Operands o = make_operands(c, random, true);
    Guarded out = result_of(c);
    out.upload();
    const GemmPlan plan(c.problem, c.choice);
    EXPECT_EQ(plan.kernels(), 2);
    Stream stream;
    stream.begin_capture();
    launch_gemm(stream.handle(), plan, o.with(out));
    const Graph graph = stream.end_capture();
    for (int round = 0; round < 2; ++round) {
      graph.launch(stream.handle());
      stream.synchronise();
      out.download();
      ASSERT_EQ(largest_error(out, o.product), 0.0) << describe(c) << " round " << round;
      for (float& x : o.a.host) x = x == kGuard ? x : -2 * x;
      for (double& x : o.product) x *= -2;
      copy_to_device(o.a.device.data(), o.a.host.data(), o.a.host.size() * sizeof(float));
    }
  }
}

void expect_nan_goes_through(const GemmProblem& problem, const GemmChoice& choice) {
  std::mt19937_64 random(14);
  const Case c{problem, choice, true};
  Operands o = make_operands(c, random, false);
  o.a.at(3, 2) = std::numeric_limits<float>::quiet_NaN();
  o.a.upload();
  Guarded out = result_of(c);
  out.upload();
  const Buffer<float> bias(std::vector<float>(64, 0.0f));
  Epilogue epilogue;
  epilogue.kind = Epilogue::Kind::kForward;
  epilogue.bias = bias.data();
  epilogue.relu = true;
  launch_gemm(nullptr, GemmPlan(problem, choice), o.with(out), epilogue);
  synchronise();
  out.download();
  for (int j = 0; j < 8; ++j) {
    EXPECT_TRUE(std::isnan(out.at(3, j)))
        << describe(c) << ": a poisoned row must be seen, not become dead units";
    EXPECT_FALSE(std::isnan(out.at(2, j))) << describe(c);
  }
}

TEST(GpuGemm, ReluLetsNanThrough) {
  const GemmProblem problem{GemmLayout::kNN, 8, 8, 8};
  for (const Precision precision : {Precision::kFp32, Precision::kTf32})
    for (const GemmChoice& choice : gemm_choices(problem, precision, true))
      expect_nan_goes_through(problem, choice);
}

TEST(GpuGemm, ChoicesFitTheProblem) {
  for (const Precision precision : {Precision::kFp32, Precision::kTf32, Precision::kBf16})
    for (const GemmProblem p : {GemmProblem{GemmLayout::kNN, 1, 1, 1},
                                {GemmLayout::kTN, 784, 64, 256},
                                {GemmLayout::kNT, 256, 4096, 4096},
                                {GemmLayout::kNN, 8192, 8192, 8192}}) {
      const std::vector<GemmChoice> choices = gemm_choices(p, precision, true);
      ASSERT_FALSE(choices.empty());
      for (const GemmChoice& choice : choices) {
        EXPECT_EQ(choice.variant->precision, precision);
        EXPECT_LE(choice.variant->shared_bytes, static_cast<std::size_t>(device().shared_block_bytes));
        EXPECT_GE(choice.splits, 1);
        // no split is left without work
        const std::int64_t steps = (p.k + choice.variant->tile_k - 1) / choice.variant->tile_k;
        const std::int64_t share = (steps + choice.splits - 1) / choice.splits;
        EXPECT_LT(share * (choice.splits - 1), steps) << describe(choice);
      }
    }
  EXPECT_THROW(GemmPlan({GemmLayout::kNN, 0, 1, 1}, Precision::kFp32), std::invalid_argument);
}

TEST(GpuGemm, AVariantThatNeedsAlignmentRefusesOthers) {
  const Buffer<Bf16> x(64 * 64);
  const Buffer<float> c(64 * 64);
  for (const GemmVariant& v : gemm_variants()) {
    if (!v.needs_aligned_operands || device().capability != 90) continue;
    const GemmPlan plan({GemmLayout::kNN, 8, 8, 8}, GemmChoice{&v, 1});
    EXPECT_THROW(launch_gemm(nullptr, plan,
                             {.a = x.data(), .lda = 9, .b = x.data(), .ldb = 8, .c = c.data(), .ldc = 8}),
                 std::invalid_argument);
  }
}

TEST(GpuGemm, LargeProductsAreExpectedQuickestByWgmmaOnHopper) {
  if (device().capability != 90) GTEST_SKIP() << "wgmma is compute capability 9.0 only";
  for (const GemmVariant& v : gemm_variants())
    if (v.is_compiled && !v.is_compiled()) GTEST_SKIP() << "built without wgmma";
  for (const Precision precision : {Precision::kTf32, Precision::kBf16})
    for (const GemmLayout layout : {GemmLayout::kNN, GemmLayout::kNT, GemmLayout::kTN}) {
      const GemmProblem large{layout, 8192, 8192, 8192};
      const GemmChoice first = choose_gemm(large, precision, true);
      EXPECT_EQ(first.variant->name.find("wgmma_"), 0u) << describe(first);
      // it takes tensor copies; and mma.sync adds up in another order
      const GemmChoice unaligned = choose_gemm(large, precision, false);
      EXPECT_FALSE(unaligned.variant->needs_aligned_operands) << describe(unaligned);
      EXPECT_FALSE(same_sums(first, unaligned)) << describe(unaligned);
    }
}

/// What the tests above are made of must notice a kernel that masks or sums wrongly.
TEST(GpuGemm, ABrokenKernelIsNoticed) {
  using Mutation = void (*)(GemmArguments&);
  const std::pair<const char*, Mutation> mutations[] = {
      {"one product left out", [](GemmArguments& g) { --g.k, --g.k_chunk; }},
      {"a column too many", [](GemmArguments& g) { ++g.n; }},
      {"a row too few", [](GemmArguments& g) { --g.m; }},
      {"operands swapped", [](GemmArguments& g) { std::swap(g.a, g.b); }},
  };
  static GemmVariant broken;
  static Mutation mutate;
  static void (*real)(cudaStream_t, GemmLayout, const GemmArguments&);
  broken = gemm_variants().front();
  real = broken.launch;
  broken.launch = [](cudaStream_t stream, GemmLayout layout, const GemmArguments& g) {
    GemmArguments wrong = g;
    mutate(wrong);
    real(stream, layout, wrong);
  };
  std::mt19937_64 random(12);
  for (const auto& [what, mutation] : mutations) {
    mutate = mutation;
    const Case c{{GemmLayout::kNN, 24, 24, 24}, {&broken, 1}, false};
    const Operands o = make_operands(c, random, true);
    Guarded out = result_of(c);
    out.upload();
    run_case(c, o, out);
    EXPECT_TRUE(!(largest_error(out, o.product) == 0.0) || !out.guards_intact()) << what;
  }
}

}  // namespace
}  // namespace mlpwatt::gpu

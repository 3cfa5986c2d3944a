// The matrix product against the scalar double reference: every layout, instruction set, epilogue and team
// size, over shapes made from the blocking constants, inside guard bands.

#include "cpu/gemm/gemm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <tuple>
#include <vector>

#include "cpu/gemm/blocking_search.h"
#include "cpu/gemm/gemm_kernel.h"
#include "kernels/kernel.h"
#include "kernels/random.h"
#include "kernels/reference.h"

namespace mlpwatt {
namespace {

constexpr float kGuard = -12345.5f;

/// A rows x cols matrix with row length ld > cols, guard values in every gap and around it.
struct Guarded {
  std::int64_t rows, cols, ld;
  std::vector<float> storage;
  static constexpr int kBand = 64;
  Guarded(std::int64_t r, std::int64_t c, std::int64_t pad)
      : rows(r), cols(c), ld(c + pad), storage(r * (c + pad) + 2 * kBand, kGuard) {}
  float* data() { return storage.data() + kBand; }
  const float* data() const { return storage.data() + kBand; }
  float& at(std::int64_t i, std::int64_t j) { return data()[i * ld + j]; }
  bool guards_intact() const {
    for (std::size_t s = 0; s < storage.size(); ++s) {
      const std::int64_t e = static_cast<std::int64_t>(s) - kBand;
      const bool inside = e >= 0 && e < rows * ld && e % ld < cols;
      if (!inside && storage[s] != kGuard) return false;
    }
    return true;
  }
};

struct Case {
  GemmProblem problem;
  Isa isa;
  int threads;
  unsigned pick = 0;  ///< 0: the blocking that the model chooses; else one of all candidates
};

GemmBlocking blocking_of(const Case& c);

std::string describe(const Case& c) {
  return std::string("layout ") + std::to_string(static_cast<int>(c.problem.layout)) + " " +
         std::to_string(c.problem.m) + "x" + std::to_string(c.problem.n) + "x" + std::to_string(c.problem.k) +
         " " + isa_name(c.isa) + " threads " + std::to_string(c.threads) + " " +
         describe_blocking(blocking_of(c), c.threads);
}

Hierarchy small_hierarchy() {
  // Small caches make small problems cross every blocking boundary.
  Hierarchy h;
  h.cores = 3;
  h.levels = {{"L1", 8 << 10}, {"L2", 32 << 10}, {"L3", 1 << 20}};
  return h;
}

GemmBlocking blocking_of(const Case& c) {
  const auto all = all_gemm_blockings(c.problem, micro_kernels(c.isa), c.threads, small_hierarchy());
  return all[c.pick % all.size()];
}

struct Operands {
  Guarded a, b;
  std::vector<double> product;
};

Operands make_operands(const GemmProblem& p, std::mt19937_64& random, bool integers) {
  const bool ta = p.layout == GemmLayout::kTN, tb = p.layout == GemmLayout::kNT;
  Operands o{Guarded(ta ? p.k : p.m, ta ? p.m : p.k, 3), Guarded(tb ? p.n : p.k, tb ? p.k : p.n, 5),
             std::vector<double>(p.m * p.n)};
  for (Guarded* g : {&o.a, &o.b})
    for (std::int64_t i = 0; i < g->rows; ++i)
      for (std::int64_t j = 0; j < g->cols; ++j) g->at(i, j) = operand_value(random, integers);
  reference::gemm(ta, tb, p.m, p.n, p.k, 1.0, o.a.data(), o.a.ld, o.b.data(), o.b.ld, 0.0, o.product.data(),
                  p.n);
  return o;
}

void run_case(const Case& c, const Operands& o, Guarded& out, const Epilogue& epilogue = {}) {
  Gemm gemm(c.problem, c.isa, c.threads, blocking_of(c));
  ASSERT_EQ(gemm.kernels().isa, c.isa) << "another instruction set ran";
  run_team(c.threads, [&](const TeamMember& member) {
    gemm.run(member, o.a.data(), o.a.ld, o.b.data(), o.b.ld, out.data(), out.ld, epilogue);
  });
}

/// Largest |got - want|; NaN when any difference is NaN.
double largest_error(Guarded& got, const std::vector<double>& want) {
  double worst = 0;
  for (std::int64_t i = 0; i < got.rows; ++i)
    for (std::int64_t j = 0; j < got.cols; ++j) {
      const double error = std::abs(got.at(i, j) - want[i * got.cols + j]);
      if (std::isnan(error)) return error;
      worst = std::max(worst, error);
    }
  return worst;
}

std::vector<std::int64_t> sizes_around(std::int64_t boundary) {
  return {boundary - 1, boundary, boundary + 1};
}

std::vector<Case> all_cases(unsigned seed, int count) {
  std::mt19937_64 random(seed);
  std::vector<Case> cases;
  for (const Isa isa : available_isas()) {
    const MicroKernels& kernels = micro_kernels(isa);
    const GemmBlocking blocking =
        choose_gemm_blocking({GemmLayout::kNN, 999, 999, 999}, kernels, 1, small_hierarchy());
    std::vector<std::int64_t> ms = {1, 2, 3, 7, 13, 31}, ns = {1, 3, 5, 17, 97}, ks = {1, 2, 11, 61};
    for (const int most : kernels.most_rows)
      for (const int strips : {1, 2})
        for (const auto s : sizes_around(strips * most)) ms.push_back(s);
    for (int vectors = 1; vectors <= MicroKernels::kMostVectors + 1; ++vectors)
      for (const auto s : sizes_around(vectors * kernels.lanes)) ns.push_back(s);
    const bool b_stays = blocking.resident == GemmBlocking::Resident::kB;
    for (const auto s : sizes_around(blocking.strips_in_l2 * (b_stays ? blocking.mr : blocking.nr)))
      (b_stays ? ms : ns).push_back(s);
    for (const auto s : sizes_around(blocking.kc)) ks.push_back(s);
    ks.push_back(2 * blocking.kc + 1);
    for (int i = 0; i < count; ++i) {
      GemmProblem p;
      p.layout = static_cast<GemmLayout>(random() % 3);
      p.m = std::max<std::int64_t>(1, ms[random() % ms.size()]);
      p.n = std::max<std::int64_t>(1, ns[random() % ns.size()]);
      p.k = std::max<std::int64_t>(1, ks[random() % ks.size()]);
      cases.push_back({p, isa, static_cast<int>(1 + random() % 4),
                       static_cast<unsigned>(random() % 4 == 0 ? 0 : random())});
    }
  }
  return cases;
}

TEST(Gemm, SmallIntegersAgreeToTheBit) {
  std::mt19937_64 random(7);
  for (const Case& c : all_cases(11, 250)) {
    Operands o = make_operands(c.problem, random, true);
    Guarded out(c.problem.m, c.problem.n, 7);
    run_case(c, o, out);
    ASSERT_EQ(largest_error(out, o.product), 0.0) << describe(c);
    ASSERT_TRUE(out.guards_intact()) << describe(c) << " wrote outside C";
  }
}

TEST(Gemm, RandomFloatsStayWithinTheRoundingBound) {
  std::mt19937_64 random(8);
  for (const Case& c : all_cases(12, 120)) {
    Operands o = make_operands(c.problem, random, false);
    Guarded out(c.problem.m, c.problem.n, 7);
    run_case(c, o, out);
    const double bound = c.problem.k * 0x1p-23 * std::sqrt(static_cast<double>(c.problem.k));
    const double error = largest_error(out, o.product);
    ASSERT_FALSE(!(error <= bound)) << describe(c) << " error " << error << " bound " << bound;
  }
}

TEST(Gemm, EveryEpilogueMatchesItsFormula) {
  std::mt19937_64 random(9);
  for (const Case& c : all_cases(13, 100)) {
    const auto [layout, m, n, k] = c.problem;
    Operands o = make_operands(c.problem, random, true);
    std::vector<float> bias(n);
    Guarded addend(m, n, 2), mask(m, n, 1), moment1(m, n, 4), moment2(m, n, 4), before(m, n, 6);
    for (auto& b : bias) b = static_cast<float>(static_cast<int>(random() % 7) - 3);
    for (std::int64_t i = 0; i < m; ++i)
      for (std::int64_t j = 0; j < n; ++j) {
        addend.at(i, j) = static_cast<float>(static_cast<int>(random() % 7) - 3);
        mask.at(i, j) = static_cast<float>(static_cast<int>(random() % 3) - 1);
        moment1.at(i, j) = static_cast<float>(random() % 5);
        moment2.at(i, j) = static_cast<float>(1 + random() % 5);  // away from 0: a step is then of order lr
      }
    for (const bool residual : {false, true}) {
      Epilogue forward;
      forward.kind = Epilogue::Kind::kForward;
      forward.bias = bias.data();
      forward.relu = true;
      Epilogue backward;
      backward.kind = Epilogue::Kind::kBackward;
      backward.mask = mask.data();
      backward.mask_ld = mask.ld;
      if (residual)
        for (Epilogue* e : {&forward, &backward}) {
          e->addend = addend.data();
          e->addend_ld = addend.ld;
          e->before = before.data();
          e->before_ld = before.ld;
        }
      std::vector<double> want(m * n), want_before(m * n);
      Guarded out(m, n, 7);
      for (std::int64_t e = 0; e < m * n; ++e) {
        want_before[e] = std::max(0.0, o.product[e] + bias[e % n]);
        want[e] = want_before[e] + (residual ? addend.at(e / n, e % n) : 0);
      }
      run_case(c, o, out, forward);
      ASSERT_EQ(largest_error(out, want), 0.0) << "forward " << describe(c);
      if (residual) {
        ASSERT_EQ(largest_error(before, want_before), 0.0) << "forward before " << describe(c);
      }
      for (std::int64_t e = 0; e < m * n; ++e) {
        want_before[e] = o.product[e] + (residual ? addend.at(e / n, e % n) : 0);
        want[e] = mask.at(e / n, e % n) > 0 ? want_before[e] : 0;
      }
      run_case(c, o, out, backward);
      ASSERT_EQ(largest_error(out, want), 0.0) << "backward " << describe(c);
      if (residual) {
        ASSERT_EQ(largest_error(before, want_before), 0.0) << "backward before " << describe(c);
      }
      ASSERT_TRUE(out.guards_intact() && before.guards_intact()) << describe(c);
    }
    if (layout != GemmLayout::kTN) continue;  // only weight gradients end in Adam
    Epilogue adam;
    adam.kind = Epilogue::Kind::kAdam;
    adam.adam = {0.01f, 0.9f, 0.999f, 1e-7f};
    adam.first_moment = moment1.data();
    adam.second_moment = moment2.data();
    adam.moment_ld = moment1.ld;
    Guarded weights(m, n, 7);
    std::vector<double> want(m * n);
    for (std::int64_t e = 0; e < m * n; ++e) {
      const double g = o.product[e];
      const double m1 = 0.9f * moment1.at(e / n, e % n) + (1 - 0.9f) * g;
      const double v1 = 0.999f * moment2.at(e / n, e % n) + (1 - 0.999f) * g * g;
      weights.at(e / n, e % n) = 1.0f;
      want[e] = 1.0 - 0.01f * m1 / (std::sqrt(v1) + 1e-7f);
    }
    run_case(c, o, weights, adam);
    const double error = largest_error(weights, want);
    ASSERT_FALSE(!(error <= 2e-6)) << "adam " << describe(c) << " error " << error;
    ASSERT_TRUE(weights.guards_intact() && moment1.guards_intact() && moment2.guards_intact()) << describe(c);
  }
}

TEST(Gemm, RerunsAreBitEqualForEveryTeam) {
  std::mt19937_64 random(10);
  const GemmProblem problem{GemmLayout::kTN, 67, 129, 301};
  const Operands o = make_operands(problem, random, false);
  for (const int threads : {1, 2, 3, 4})
    for (const unsigned pick : {0u, 7u, 23u}) {
      Guarded first(problem.m, problem.n, 1);
      run_case({problem, available_isas().back(), threads, pick}, o, first);
      for (int repeat = 0; repeat < 3; ++repeat) {
        Guarded again(problem.m, problem.n, 1);
        run_case({problem, available_isas().back(), threads, pick}, o, again);
        ASSERT_EQ(first.storage, again.storage) << threads << " threads";
      }
    }
}

/// All heights and widths of all register tiles, one by one: sums of small integers, accumulated or not, with
/// A along the tile or across it, and not a float beyond the tile.
TEST(GemmThreads, AProductOfAMicrosecondStaysOnOneCoreAndALargeOneTakesAll) {
  for (const Isa isa : available_isas()) {
    const auto chosen = [&](std::int64_t n, int cores) {
      return choose_gemm_threads({GemmLayout::kNN, n, n, n}, micro_kernels(isa), cores, small_hierarchy());
    };
    for (const int cores : {1, 2, 3, 8, 12}) {
      EXPECT_EQ(chosen(8, cores), 1) << isa_name(isa);
      EXPECT_EQ(chosen(960, cores), cores) << isa_name(isa);
      int before = 1;
      for (const std::int64_t n : {8, 16, 32, 64, 128, 256, 960}) {
        const int threads = chosen(n, cores);
        EXPECT_GE(threads, before) << isa_name(isa) << ' ' << n << " of " << cores;
        EXPECT_LE(threads, cores);
        before = threads;
      }
    }
  }
  RunOptions two;
  two.hierarchy = small_hierarchy();
  two.hierarchy.cores = 2;
  const auto threads = [&](std::int64_t n) {
    return make_gemm_kernel({GemmLayout::kNN, n, n, n}, two)->facts().at("threads");
  };
  EXPECT_EQ(threads(8), "1");
  EXPECT_EQ(threads(960), "2");
  two.threads = 2;
  EXPECT_EQ(threads(8), "2") << "asked for";
}

TEST(MicroKernel, EveryTileIsExactInsideItsBounds) {
  constexpr int kDepth = 13, kLd = 80;
  std::mt19937_64 random(3);
  for (const Isa isa : available_isas()) {
    const MicroKernels& kernels = micro_kernels(isa);
    std::vector<float> a(64 * kDepth), b(kDepth * kLd);
    for (float& x : a) x = static_cast<float>(static_cast<int>(random() % 9) - 4);
    for (float& x : b) x = static_cast<float>(static_cast<int>(random() % 9) - 4);
    for (int columns = 1; columns <= MicroKernels::kMostVectors * kernels.lanes; ++columns)
      for (int rows = 1; rows <= kernels.most_rows[(columns - 1) / kernels.lanes]; ++rows)
        for (const bool along : {false, true})
          for (const bool accumulate : {false, true})
            for (const int k : {0, 1, 2, 3, 4, 5, kDepth}) {
              std::vector<float> c((rows + 1) * kLd, 2.0f);
              const std::int64_t a_row = along ? 1 : kDepth, a_col = along ? 64 : 1;
              kernels.tile(rows, columns, k, a.data(), a_row, a_col, b.data(), kLd, c.data(), kLd,
                           accumulate);
              for (int i = 0; i <= rows; ++i)
                for (int j = 0; j < kLd; ++j) {
                  float want = 2;
                  if (i < rows && j < columns) {
                    want = accumulate ? 2 : 0;
                    for (int p = 0; p < k; ++p) want += a[i * a_row + p * a_col] * b[p * kLd + j];
                  }
                  ASSERT_EQ(c[i * kLd + j], want) << isa_name(isa) << ' ' << rows << 'x' << columns << " k "
                                                  << k << " at " << i << ',' << j;
                }
            }
  }
}

/// The weight gradient cut along k for teams of 1 to 4, parts that do not divide it, and deeper than a block.
TEST(Gemm, PartsOfKAddUpToTheProduct) {
  std::mt19937_64 random(5);
  for (const Isa isa : available_isas())
    for (const auto& [m, n, k] : {std::tuple{13, 5, 256}, {42, 16, 255}, {7, 33, 65}, {1, 1, 1}, {5, 3, 17}})
      for (int threads = 1; threads <= 4; ++threads)
        for (int parts = 1; parts <= threads; ++parts) {
          if (threads % parts != 0) continue;
          for (const std::int64_t kc : {16, 64, 1000})
            for (const bool packs : {false, true}) {
              const GemmProblem problem{GemmLayout::kTN, m, n, k};
              const Operands o = make_operands(problem, random, true);
              GemmBlocking blocking;
              blocking.kc = kc;
              blocking.depth_parts = parts;
              blocking.pack_a = blocking.pack_b = packs;
              Gemm gemm(problem, isa, threads, blocking);
              Guarded out(m, n, 3);
              run_team(threads, [&](const TeamMember& member) {
                gemm.run(member, o.a.data(), o.a.ld, o.b.data(), o.b.ld, out.data(), out.ld);
              });
              ASSERT_EQ(largest_error(out, o.product), 0.0)
                  << isa_name(isa) << ' ' << m << 'x' << n << 'x' << k << ' '
                  << describe_blocking(blocking, threads);
              ASSERT_TRUE(out.guards_intact());
            }
        }
}

TEST(Gemm, ABlockingThatDoesNotExistIsRefused) {
  const GemmProblem problem{GemmLayout::kTN, 8, 8, 8};
  const auto make = [&](auto&& change, int threads = 2) {
    GemmBlocking blocking;
    blocking.kc = 8;
    change(blocking);
    Gemm(problem, Isa::kGeneric, threads, blocking);
  };
  EXPECT_NO_THROW(make([](GemmBlocking&) {}));
  EXPECT_THROW(make([](GemmBlocking& b) { b.kc = 0; }), std::invalid_argument);
  EXPECT_THROW(make([](GemmBlocking& b) { b.depth_parts = 3; }), std::invalid_argument);
  EXPECT_THROW(make([](GemmBlocking& b) { b.team_rows = 2, b.depth_parts = 2; }), std::invalid_argument);
  EXPECT_THROW(make([](GemmBlocking& b) { b.mr = 9; }), std::invalid_argument);
  EXPECT_THROW(make([](GemmBlocking& b) { b.nr = 6; }), std::invalid_argument);
  EXPECT_THROW(make([](GemmBlocking& b) { b.nr = 16; }), std::invalid_argument);
}

TEST(Gemm, NanIsNeverSwallowed) {
  std::mt19937_64 random(10);
  const GemmProblem problem{GemmLayout::kNN, 9, 9, 9};
  for (const Isa isa : available_isas()) {
    Operands o = make_operands(problem, random, true);
    o.a.at(4, 4) = std::numeric_limits<float>::quiet_NaN();
    std::vector<float> bias(problem.n, 0);
    Epilogue forward;
    forward.kind = Epilogue::Kind::kForward;
    forward.bias = bias.data();
    forward.relu = true;
    Guarded out(problem.m, problem.n, 1);
    run_case({problem, isa, 1}, o, out, forward);
    EXPECT_TRUE(std::isnan(out.at(4, 0))) << "ReLU swallowed a NaN on " << isa_name(isa);
    EXPECT_FALSE(largest_error(out, o.product) <= 1e30) << "a NaN passed the comparison";
  }
}

/// The checker of the catalogue's products, shown right ones and then one wrong cell at a time.
TEST(Gemm, TheCheckOfAProductCatchesOneWrongCell) {
  std::mt19937_64 random(12);
  for (const GemmLayout layout : {GemmLayout::kNN, GemmLayout::kNT, GemmLayout::kTN})
    for (const bool integers : {true, false}) {
      const GemmProblem problem{layout, 5, 7, 9};
      const Operands o = make_operands(problem, random, integers);
      Guarded out(problem.m, problem.n, 3);
      for (std::int64_t i = 0; i < problem.m; ++i)
        for (std::int64_t j = 0; j < problem.n; ++j)
          out.at(i, j) = static_cast<float>(o.product[i * problem.n + j]);
      const ProductInMemory product{problem, o.a.data(), o.a.ld, o.b.data(), o.b.ld, out.data(), out.ld};
      const double roundings = integers ? 0 : 1;
      const Check right = check_product(product, roundings, "these");
      EXPECT_TRUE(right.passed) << layout_name(layout) << ": " << right.detail;
      for (const auto& [i, j] : {std::pair{0, 0}, {2, 3}, {4, 6}}) {
        float& cell = out.at(i, j);
        const float kept = cell;
        for (const float wrong :
             {kept + 1e-3f, -kept - 1, std::numeric_limits<float>::quiet_NaN(),
              std::numeric_limits<float>::infinity(), integers ? std::nextafter(kept, 99.0f) : kept + 1}) {
          cell = wrong;
          const Check check = check_product(product, roundings, "these");
          EXPECT_FALSE(check.passed) << layout_name(layout) << ' ' << kept << " became " << wrong;
          EXPECT_NE(check.detail.find("these: C(" + std::to_string(i) + "," + std::to_string(j) + ")"),
                    std::string::npos)
              << check.detail;
        }
        cell = kept;
      }
    }
}

TEST(Gemm, TheCatalogueChecksWhatItTimes) {
  RunOptions options;
  options.hierarchy = small_hierarchy();
  options.threads = 2;
  int checked = 0;
  for (const Family& family : catalogue())
    if (family.name == "cpu/gemm" || family.name == "cpu/fma")
      family.enumerate(options, [&](const Benchmark& benchmark) {
        const auto n = benchmark.parameters.find("n");
        if (n != benchmark.parameters.end() && std::get<std::int64_t>(n->second) > 256) return;
        auto kernel = benchmark.make(options);
        kernel->set_up();
        const Check check = kernel->check();
        EXPECT_TRUE(check.passed) << benchmark.name << ": " << check.detail;
        kernel->run(2);
        ++checked;
      });
  EXPECT_GT(checked, 10);
}

TEST(Isa, AForcedOneIsNeverReplaced) {
  EXPECT_THROW(choose_isa("avx1024"), std::invalid_argument);
  for (const Isa isa : available_isas()) EXPECT_EQ(choose_isa(isa_name(isa)), isa);
}

}  // namespace
}  // namespace mlpwatt

#include <fmt/format.h>

#include <cmath>

#include "cpu/gemm/gemm.h"
#include "harness/compare/comparison.h"
#include "kernels/random.h"
#include "kernels/reference.h"

namespace mlpwatt {
namespace {

GemmProblem problem_of(const Benchmark& benchmark) {
  const auto number = [&](const char* name) { return std::get<std::int64_t>(benchmark.parameters.at(name)); };
  const std::string layout = std::get<std::string>(benchmark.parameters.at("layout"));
  return {layout == "nn"   ? GemmLayout::kNN
          : layout == "nt" ? GemmLayout::kNT
                           : GemmLayout::kTN,
          number("m"), number("n"), number("k")};
}

/// Operands that all contestants read; each writes a C of its own.
struct Operands {
  Operands(const GemmProblem& p, std::int64_t slack) : a(p.m * p.k + slack), b(p.k * p.n + slack) {}
  AlignedFloats a, b;

  void fill(const GemmProblem& p, bool integers, std::uint64_t seed) {
    RandomStream stream(seed);
    for (std::int64_t i = 0; i < p.m * p.k; ++i) a[i] = operand_value(stream, integers);
    for (std::int64_t i = 0; i < p.k * p.n; ++i) b[i] = operand_value(stream, integers);
  }
};

/// Where two products differ, "" when nowhere. Sums of small integers are exact: any difference is an error.
std::string difference(const AlignedFloats& c, const AlignedFloats& ours, const GemmProblem& p) {
  for (std::int64_t i = 0; i < p.m * p.n; ++i)
    if (!(c[i] == ours[i]))
      return fmt::format("C({},{}) of integers is {:.9g}, ours {:.9g}", i / p.n, i % p.n, c[i], ours[i]);
  return "";
}

/// The same against the reference, on as many rows as take about 20 ms.
std::string difference_from_reference(const AlignedFloats& c, const Operands& x, const GemmProblem& p) {
  const std::int64_t count =
      std::clamp<std::int64_t>(20'000'000 / (p.n * p.k), std::min<std::int64_t>(2, p.m), p.m);
  const bool ta = p.layout == GemmLayout::kTN, tb = p.layout == GemmLayout::kNT;
  const std::int64_t lda = ta ? p.m : p.k, ldb = tb ? p.k : p.n;
  std::vector<double> want(static_cast<std::size_t>(p.n));
  for (std::int64_t r = 0; r < count; ++r) {
    const std::int64_t i = count == 1 ? 0 : r * (p.m - 1) / (count - 1);
    reference::gemm(ta, tb, 1, static_cast<int>(p.n), static_cast<int>(p.k), 1.0,
                    x.a.data() + (ta ? i : i * lda), static_cast<int>(lda), x.b.data(), static_cast<int>(ldb),
                    0.0, want.data(), static_cast<int>(p.n));
    for (std::int64_t j = 0; j < p.n; ++j)
      if (!(c[i * p.n + j] == want[static_cast<std::size_t>(j)]))
        return fmt::format("C({},{}) of integers is {:.9g}, reference {:.9g}", i, j, c[i * p.n + j],
                           want[static_cast<std::size_t>(j)]);
  }
  return "";
}

/// Repeats a product; the seconds of all but the first `warm`.
double timed(Clock& clock, std::int64_t warm, std::int64_t steps,
             const std::function<void(std::int64_t)>& run) {
  run(warm);
  const double before = clock.monotonic_s();
  run(steps);
  return clock.monotonic_s() - before;
}

}  // namespace

Comparison compare_gemm(const Benchmark& benchmark, CompareSettings& settings, BlasLibraries& libraries,
                        Clock& clock) {
  const GemmProblem problem = problem_of(benchmark);
  const RunOptions& options = settings.run.kernel;
  // Of the threads that all may take, each takes what it thinks best: ours by its model.
  const int threads = options.threads;
  const Isa isa = choose_isa(options.isa);
  const int our_threads = choose_gemm_threads(problem, micro_kernels(isa), threads, options.hierarchy);
  Gemm ours(problem, isa, our_threads, options.hierarchy);
  Operands x(problem, ours.kernels().lanes);  // our unpacked path reads one vector past the end
  AlignedFloats our_c(problem.m * problem.n);
  const std::int64_t lda = problem.layout == GemmLayout::kTN ? problem.m : problem.k;
  const std::int64_t ldb = problem.layout == GemmLayout::kNT ? problem.k : problem.n;
  // A team for each product, as for every library: waking the threads is part of a call.
  const auto run_ours = [&](std::int64_t steps) {
    for (std::int64_t s = 0; s < steps; ++s)
      run_team(our_threads, [&](const TeamMember& member) {
        ours.run(member, x.a.data(), lda, x.b.data(), ldb, our_c.data(), problem.n);
      });
  };
  x.fill(problem, true, options.seed);
  run_ours(1);
  std::vector<Entrant> entrants;
  entrants.push_back({begin_standing("ours", benchmark, settings, clock), {}});
  set_facts(entrants[0].standing.record.run, {{"isa", isa_name(ours.kernels().isa)},
                                              {"threads", std::to_string(our_threads)},
                                              {"algorithm", "blocked"}});
  if (const std::string wrong = difference_from_reference(our_c, x, problem); !wrong.empty())
    refuse(entrants[0].standing, "failed", wrong);
  else
    entrants[0].run_s = [&](std::int64_t warm, std::int64_t steps) {
      return timed(clock, warm, steps, run_ours);
    };
  std::vector<AlignedFloats> products(libraries.found.size());
  for (std::size_t i = 0; i < libraries.found.size(); ++i) {
    Blas& blas = *libraries.found[i];
    Entrant entrant{begin_standing(blas.name(), benchmark, settings, clock), {}};
    set_facts(entrant.standing.record.run,
              {{"threads", std::to_string(threads)}, {"algorithm", blas.library()}});
    products[i] = AlignedFloats(problem.m * problem.n);
    const auto run = [&x, &blas, &c = products[i], problem, threads](std::int64_t steps) {
      blas.use_threads(threads);
      for (std::int64_t s = 0; s < steps; ++s) blas.gemm(problem, x.a.data(), x.b.data(), c.data());
    };
    try {
      run(1);
      if (const std::string wrong = difference(products[i], our_c, problem); !wrong.empty())
        refuse(entrant.standing, "failed", wrong);
      else
        entrant.run_s = [run, &clock](std::int64_t warm, std::int64_t steps) {
          return timed(clock, warm, steps, run);
        };
    } catch (const UnsupportedProduct& error) {
      refuse(entrant.standing, "unavailable", error.what());
    } catch (const std::exception& error) {
      refuse(entrant.standing, "error", error.what());
    }
    entrants.push_back(std::move(entrant));
  }
  x.fill(problem, false, options.seed);
  const Cost cost = gemm_cost(problem.m, problem.n, problem.k);
  return run_comparison(benchmark, std::move(entrants), cost, footprint_bytes(benchmark.family, cost),
                        settings, clock);
}

}  // namespace mlpwatt

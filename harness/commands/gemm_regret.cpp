// mlpwatt gemm-regret: what the analytic choice of a matrix product's blocking costs against the best of an
// exhaustive search, shape by shape.

#include <fmt/format.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <ostream>

#include "cpu/gemm/blocking_search.h"
#include "cpu/gemm/gemm_kernel.h"
#include "harness/options.h"
#include "harness/program.h"
#include "harness/protocol/clock.h"
#include "harness/protocol/statistics.h"
#include "harness/text.h"

namespace mlpwatt {
namespace {

using Json = nlohmann::ordered_json;

struct Options {
  KernelOptions kernel;
  std::string shape;  ///< a part of "nt/256x97x97"; "" = all
  int rounds = 15;
  double slice_s = 0.002;
  bool json = false;
};

struct Shape3 {
  GemmLayout layout;
  std::int64_t m, n, k;
};

/// Squares, and forward, input gradient and weight gradient of layers from narrow to the widest.
std::vector<Shape3> shapes() {
  std::vector<Shape3> all;
  for (const std::int64_t n : {32, 64, 128, 256, 512, 1024}) all.push_back({GemmLayout::kNN, n, n, n});
  const std::pair<std::int64_t, std::int64_t> layers[] = {
      {13, 5}, {42, 16}, {64, 64}, {97, 97}, {784, 64}, {784, 512}, {512, 512}, {1024, 1024}, {2048, 2048}};
  for (const auto& [in, out] : layers) {
    all.push_back({GemmLayout::kNN, 256, out, in});
    all.push_back({GemmLayout::kNT, 256, in, out});
    all.push_back({GemmLayout::kTN, in, out, 256});
  }
  return all;
}

/// One shape's operands and a plan per blocking.
class Search {
 public:
  Search(const Shape3& shape, Isa isa, int threads, const Hierarchy& hierarchy, Clock& clock)
      : shape_(shape),
        threads_(threads),
        clock_(clock),
        blockings_(all_gemm_blockings({shape.layout, shape.m, shape.n, shape.k}, micro_kernels(isa), threads,
                                      hierarchy)),
        a_(static_cast<std::size_t>(shape.m * shape.k + 64)),
        b_(static_cast<std::size_t>(shape.k * shape.n + 64)),
        c_(static_cast<std::size_t>(shape.m * shape.n)) {
    for (const GemmBlocking& blocking : blockings_)
      plans_.push_back(std::make_unique<Gemm>(GemmProblem{shape.layout, shape.m, shape.n, shape.k}, isa,
                                              threads, blocking));
  }

  const std::vector<GemmBlocking>& blockings() const { return blockings_; }

  /// Seconds per product of each of `which`, medians over `rounds`, one slice each in turn.
  std::vector<double> measure(const std::vector<std::size_t>& which, int rounds, double slice_s) {
    std::vector<std::vector<double>> times(which.size());
    std::int64_t repetitions = 1;
    for (double spent = 0; spent < slice_s / 2; repetitions *= 2) spent = run(which.front(), repetitions);
    for (int round = 0; round < rounds; ++round)
      for (std::size_t i = 0; i < which.size(); ++i)
        times[i].push_back(run(which[i], repetitions) / static_cast<double>(repetitions));
    std::vector<double> medians;
    for (const auto& values : times) medians.push_back(summarise(values).median);
    return medians;
  }

 private:
  double run(std::size_t plan, std::int64_t repetitions) {
    const std::int64_t lda = shape_.layout == GemmLayout::kTN ? shape_.m : shape_.k;
    const std::int64_t ldb = shape_.layout == GemmLayout::kNT ? shape_.k : shape_.n;
    const double before = clock_.monotonic_s();
    run_team(threads_, [&](const TeamMember& member) {
      for (std::int64_t r = 0; r < repetitions; ++r) {
        plans_[plan]->run(member, a_.data(), lda, b_.data(), ldb, c_.data(), shape_.n);
        member.wait();
      }
    });
    return clock_.monotonic_s() - before;
  }

  Shape3 shape_;
  int threads_;
  Clock& clock_;
  std::vector<GemmBlocking> blockings_;
  std::vector<std::unique_ptr<Gemm>> plans_;
  AlignedFloats a_, b_, c_;
};

int run(const Options& options, Context& context) {
  const RunOptions kernel = to_run_options(options.kernel, read_hierarchy());
  const Isa isa = choose_isa(kernel.isa);
  const int threads = kernel.threads > 0 ? kernel.threads : kernel.hierarchy.cores;
  std::vector<std::vector<std::string>> lines{
      {"product", "m x n x k", "chosen", "best found", "of", "GFLOP/s chosen", "best", "regret"}};
  std::vector<double> regrets;
  Json rows = Json::array();
  for (const Shape3& shape : shapes()) {
    const std::string size = fmt::format("{}x{}x{}", shape.m, shape.n, shape.k);
    const std::string name = std::string(layout_name(shape.layout)) + '/' + size;
    if (name.find(options.shape) == std::string::npos) continue;
    Search search(shape, isa, threads, kernel.hierarchy, system_clock());
    std::vector<std::size_t> all;
    for (std::size_t i = 0; i < search.blockings().size(); ++i) all.push_back(i);
    // Most are far off: one look is enough for those.
    constexpr double kFar = 1.3;
    std::vector<double> first = search.measure(all, 1, options.slice_s);
    const double quickest_s = *std::min_element(first.begin(), first.end());
    std::vector<std::size_t> near{0};
    for (std::size_t i = 1; i < all.size(); ++i)
      if (first[i] < kFar * quickest_s) near.push_back(i);
    const std::vector<double> again = search.measure(near, 5, options.slice_s);
    for (std::size_t i = 0; i < near.size(); ++i) first[near[i]] = again[i];
    // The minimum of many noisy times is partly luck: the chosen one and the best few meet again, in turn,
    // before judgement.
    constexpr std::size_t kMeetAgain = 5;
    std::vector<std::size_t> few = near;
    std::sort(few.begin(), few.end(), [&](std::size_t a, std::size_t b) { return first[a] < first[b]; });
    few.resize(std::min(few.size(), kMeetAgain));
    std::erase(few, 0u);
    few.insert(few.begin(), 0);
    const std::vector<double> times = search.measure(few, options.rounds, options.slice_s);
    const std::size_t winner =
        static_cast<std::size_t>(std::min_element(times.begin(), times.end()) - times.begin());
    const std::size_t best = few[winner];
    const double chosen_s = times[0], best_s = times[winner], regret = chosen_s / best_s - 1;
    regrets.push_back(regret);
    const double flops =
        2.0 * static_cast<double>(shape.m) * static_cast<double>(shape.n) * static_cast<double>(shape.k);
    lines.push_back({layout_name(shape.layout), size, describe_blocking(search.blockings()[0], threads),
                     describe_blocking(search.blockings()[best], threads), std::to_string(all.size()),
                     fmt::format("{:.1f}", flops / chosen_s / 1e9),
                     fmt::format("{:.1f}", flops / best_s / 1e9), fmt::format("{:.1f} %", 100 * regret)});
    rows.push_back({{"layout", layout_name(shape.layout)},
                    {"m", shape.m},
                    {"n", shape.n},
                    {"k", shape.k},
                    {"chosen", lines.back()[2]},
                    {"best", lines.back()[3]},
                    {"candidates", all.size()},
                    {"chosen_s", chosen_s},
                    {"best_s", best_s},
                    {"regret", regret}});
  }
  if (regrets.empty())
    throw UsageError(fmt::format("--shape '{}' is in none of the shapes, e.g. nt/256x97x97", options.shape));
  const Summary summary = summarise(regrets);
  if (options.json)
    context.out << Json{{"isa", isa_name(isa)},
                        {"threads", threads},
                        {"median_regret", summary.median},
                        {"maximum_regret", summary.maximum},
                        {"shapes", rows}}
                       .dump(2)
                << '\n';
  else
    context.out << text_table(lines)
                << fmt::format(
                       "\n{} on {} thread(s): median regret {:.1f} %, largest {:.1f} % of {} shapes\n",
                       isa_name(isa), threads, 100 * summary.median, 100 * summary.maximum, regrets.size());
  return kExitOk;
}

const CommandRegistration registration{
    "gemm-regret", "the chosen blocking of each matrix product against the best of an exhaustive search",
    [](CLI::App& app) -> Action {
      auto options = std::make_shared<Options>();
      app.add_option("--shape", options->shape, "only shapes with this in their name, e.g. tn/ or 97x97");
      app.add_option("--rounds", options->rounds, "times that chosen and best meet again")
          ->capture_default_str()
          ->check(CLI::Range(3, 10000));
      app.add_option("--slice-s", options->slice_s, "least length of one timing")
          ->capture_default_str()
          ->check(CLI::PositiveNumber);
      app.add_flag("--json", options->json, "one JSON object");
      add_kernel_options(app, options->kernel);
      return [options](Context& context) { return run(*options, context); };
    }};

}  // namespace
}  // namespace mlpwatt

// Which tile for which shape, and the launch.

#include "gpu/gemm/gemm.h"

#include <algorithm>
#include <limits>
#include <stdexcept>

#include "gpu/gemm/arguments.h"
#include "gpu/gemm/variants.h"

namespace mlpwatt::gpu {
namespace {

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

/// Tiles of C along m and n; clusters are whole, so the last ones may lie outside of it.
struct TileCounts {
  std::int64_t m, n;
  TileCounts(const GemmProblem& p, const GemmVariant& v)
      : m(ceil_div(p.m, v.tile_m * v.cluster_m) * v.cluster_m),
        n(ceil_div(p.n, v.tile_n * v.cluster_n) * v.cluster_n) {}
  std::int64_t all() const { return m * n; }
};

bool multiple_of_16_bytes(const void* base, std::int64_t row_elements, std::int64_t element_bytes) {
  return reinterpret_cast<std::uintptr_t>(base) % 16 == 0 && row_elements * element_bytes % 16 == 0;
}

/// Of everything the epilogue touches; absent matrices do not count.
bool epilogue_is_aligned(const GemmOperands& o, const Epilogue& e) {
  const auto fits = [](const float* base, std::int64_t ld) {
    return base == nullptr || multiple_of_16_bytes(base, ld, 4);
  };
  return fits(o.c, o.ldc) && fits(e.bias, 0) && fits(e.addend, e.addend_ld) && fits(e.mask, e.mask_ld) &&
         fits(e.before, e.before_ld) && fits(e.first_moment, e.moment_ld) &&
         fits(e.second_moment, e.moment_ld);
}

bool runs_here(const GemmVariant& variant, Precision precision, bool aligned) {
  const int capability = device().capability;
  return variant.precision == precision && variant.from_capability <= capability &&
         capability <= variant.to_capability && (aligned || !variant.needs_aligned_operands) &&
         static_cast<std::int64_t>(variant.shared_bytes) <= device().shared_block_bytes &&
         (!variant.is_compiled || variant.is_compiled());
}

void require_valid(const GemmProblem& problem) {
  constexpr std::int64_t kLargest = std::numeric_limits<std::int32_t>::max() / 2;
  for (const std::int64_t d : {problem.m, problem.n, problem.k})
    if (d < 1 || d > kLargest)
      throw std::invalid_argument("gpu/gemm: dimensions must be 1 to " + std::to_string(kLargest));
}

bool turns_a(const GemmProblem& problem, const GemmChoice& choice) {
  return problem.layout == GemmLayout::kTN && choice.variant->turns_a;
}
/// Of A as [m x k]: whole 16 bytes, as tensor copies ask.
std::int64_t turned_row_length(const GemmProblem& problem) { return ceil_div(problem.k, 4) * 4; }

/// Blocks of a variant that a multiprocessor holds, by its shared memory and threads.
std::int64_t blocks_per_multiprocessor(const GemmVariant& variant) {
  constexpr std::int64_t kThreads = 2048, kReservedBytes = 1024;
  const std::int64_t by_shared = device().shared_multiprocessor_bytes /
                                 (static_cast<std::int64_t>(variant.shared_bytes) + kReservedBytes);
  return std::max<std::int64_t>(1, std::min<std::int64_t>(by_shared, kThreads / variant.threads / 2));
}

/// What orders the choices: the multiply-adds that the busiest multiprocessor does, tiles counted whole, plus
/// what loading costs. A tile's k-step loads (tile_m + tile_n) for tile_m * tile_n multiply-adds, of what a
/// cluster shares only its part; an operand element costs as much as kLoadWeight multiply-adds of one element
/// (a heuristic; tune_gemm measures instead). Splitting k writes and reads the sums once more; turning A in
/// front does so with A, and has a start and an end of its own.
double expected_work(const GemmProblem& p, const GemmChoice& choice) {
  constexpr double kLoadWeight = 16, kSumWeight = 32, kStartWeight = 64;
  const GemmVariant& v = *choice.variant;
  const std::int64_t tiles = TileCounts(p, v).all();
  const std::int64_t steps = ceil_div(ceil_div(p.k, v.tile_k), choice.splits);
  const double area = static_cast<double>(v.tile_m) * v.tile_n;
  const double of_one_k = area + kLoadWeight * (v.tile_m / v.cluster_n + v.tile_n / v.cluster_m);
  const double of_a_block = (static_cast<double>(steps) * v.tile_k + kStartWeight) * of_one_k +
                            (choice.splits > 1 ? kSumWeight * area * (1.0 + choice.splits) : 0.0);
  const double of_turning =
      turns_a(p, choice) ? kStartWeight * of_one_k + 2 * kSumWeight * static_cast<double>(p.m) *
                                                         static_cast<double>(p.k) / device().multiprocessors
                         : 0.0;
  // blocks share a multiprocessor's units: as many rounds as the busiest one has blocks
  return of_a_block * static_cast<double>(ceil_div(tiles * choice.splits, device().multiprocessors)) +
         of_turning;
}

}  // namespace

const char* layout_name(GemmLayout layout) {
  return layout == GemmLayout::kNN ? "nn" : layout == GemmLayout::kNT ? "nt" : "tn";
}

const char* precision_name(Precision precision) {
  return precision == Precision::kFp32 ? "fp32" : precision == Precision::kTf32 ? "tf32" : "bf16";
}

const std::vector<GemmVariant>& gemm_variants() {
  static const std::vector<GemmVariant> all = [] {
    std::vector<GemmVariant> variants;
    // Of two that the model finds equal the first is taken. tf32 by wgmma stands before tf32 by mma.sync,
    // which cannot fill Hopper's tensor cores.
    for (const auto& some :
         {fp32_variants(), tf32_wgmma_variants(), tf32_variants(), bf16_variants(), bf16_wgmma_variants()})
      variants.insert(variants.end(), some.begin(), some.end());
    return variants;
  }();
  return all;
}

std::string describe(const GemmChoice& choice) {
  return choice.variant->name + (choice.splits > 1 ? " split " + std::to_string(choice.splits) : "");
}

std::vector<GemmChoice> gemm_choices(const GemmProblem& problem, Precision precision, bool aligned) {
  require_valid(problem);
  std::vector<std::pair<double, GemmChoice>> rated;
  for (const GemmVariant& variant : gemm_variants()) {
    if (!runs_here(variant, precision, aligned)) continue;
    const std::int64_t tiles = TileCounts(problem, variant).all();
    const std::int64_t steps = ceil_div(problem.k, variant.tile_k);
    // beyond two rounds of blocks a split only adds traffic
    const std::int64_t room = 2 * device().multiprocessors * blocks_per_multiprocessor(variant) / tiles;
    for (std::int64_t splits = 1; splits == 1 || (variant.splits && splits <= std::min(room, steps));
         splits *= 2) {
      // every split must have work: a rounded-up share may leave the last ones empty
      const std::int64_t share = ceil_div(steps, splits);
      const GemmChoice choice{&variant, static_cast<int>(ceil_div(steps, share))};
      rated.emplace_back(expected_work(problem, choice), choice);
    }
  }
  std::stable_sort(rated.begin(), rated.end(),
                   [](const auto& x, const auto& y) { return x.first < y.first; });
  std::vector<GemmChoice> choices;
  for (const auto& [work, choice] : rated) choices.push_back(choice);
  if (choices.empty())
    throw std::runtime_error(std::string("no ") + precision_name(precision) + " matrix product runs on " +
                             device().name);
  return choices;
}

GemmChoice choose_gemm(const GemmProblem& problem, Precision precision, bool aligned) {
  return gemm_choices(problem, precision, aligned).front();
}

GemmPlan::GemmPlan(const GemmProblem& problem, Precision precision, bool aligned)
    : GemmPlan(problem, choose_gemm(problem, precision, aligned)) {}

GemmPlan::GemmPlan(const GemmProblem& problem, const GemmChoice& choice)
    : problem_(problem), choice_(choice) {
  require_valid(problem);
  if (choice_.splits > 1) {
    const GemmVariant& v = *choice_.variant;
    const std::int64_t tiles = TileCounts(problem, v).all();
    partial_ = Buffer<float>(static_cast<std::size_t>(tiles * choice_.splits * v.tile_m * v.tile_n));
    arrivals_ = Buffer<unsigned>(std::vector<unsigned>(static_cast<std::size_t>(tiles), 0u));
  }
  if (turns_a(problem, choice))
    turned_ = Buffer<float>(static_cast<std::size_t>(problem.m * turned_row_length(problem)));
}

void launch_gemm(cudaStream_t stream, const GemmPlan& plan, const GemmOperands& operands,
                 const Epilogue& epilogue) {
  const GemmVariant& v = *plan.choice_.variant;
  const GemmProblem& p = plan.problem_;
  const std::int64_t element_bytes = v.precision == Precision::kBf16 ? 2 : 4;
  GemmArguments g;
  g.a = operands.a;
  g.b = operands.b;
  g.c = operands.c;
  g.lda = operands.lda;
  g.ldb = operands.ldb;
  g.ldc = operands.ldc;
  g.m = static_cast<int>(p.m);
  g.n = static_cast<int>(p.n);
  g.k = static_cast<int>(p.k);
  const TileCounts tiles(p, v);
  g.tiles_m = static_cast<int>(tiles.m);
  g.tiles_n = static_cast<int>(tiles.n);
  g.splits = plan.choice_.splits;
  g.k_chunk = static_cast<int>(ceil_div(ceil_div(p.k, v.tile_k), g.splits) * v.tile_k);
  g.vector_a = multiple_of_16_bytes(operands.a, operands.lda, element_bytes);
  g.vector_b = multiple_of_16_bytes(operands.b, operands.ldb, element_bytes);
  g.vector_c = epilogue_is_aligned(operands, epilogue);
  g.partial = plan.partial_.data();
  g.arrivals = plan.arrivals_.data();
  g.turned = plan.turned_.data();
  g.turned_ld = turned_row_length(p);
  g.epilogue = epilogue;
  if (v.needs_aligned_operands && !(g.vector_a && g.vector_b))
    throw std::invalid_argument("gpu/gemm: " + v.name +
                                " needs operands whose bases and row lengths are multiples of 16 bytes");
  v.launch(stream, p.layout, g);
}

bool same_sums(const GemmChoice& x, const GemmChoice& y) {
  const auto unit = [](const GemmChoice& choice) {
    return choice.variant->name.substr(0, choice.variant->name.find('_'));
  };
  // SIMT sums are one ascending chain each, however many steps a tile takes at a time; splits begin at whole
  // steps.
  const bool same_steps = x.variant->tile_k == y.variant->tile_k || (x.splits == 1 && unit(x) == "simt");
  return x.splits == y.splits && same_steps && x.variant->precision == y.variant->precision &&
         unit(x) == unit(y);
}

GemmChoice tune_gemm(const GemmProblem& problem, Precision precision, const GemmOperands& operands,
                     Tuning tuning) {
  const std::int64_t element_bytes = precision == Precision::kBf16 ? 2 : 4;
  std::vector<GemmChoice> choices =
      gemm_choices(problem, precision,
                   multiple_of_16_bytes(operands.a, operands.lda, element_bytes) &&
                       multiple_of_16_bytes(operands.b, operands.ldb, element_bytes));
  if (tuning == Tuning::kSameSums)
    std::erase_if(choices,
                  [first = choices.front()](const GemmChoice& choice) { return !same_sums(first, choice); });
#if defined(MLPWATT_EMULATED)
  return choices.front();
#else
  // Captured, as they run later: a launch costs the host as much as a small product takes the device.
  constexpr int kRounds = 5, kCaptured = 16, kMostLaunches = 32;
  constexpr double kSample_s = 100e-6;
  Stream stream;
  GemmChoice best = choices.front();
  double best_s = std::numeric_limits<double>::infinity();
  for (const GemmChoice& choice : choices) {
    const GemmPlan plan(problem, choice);
    launch_gemm(stream.handle(), plan, operands);  // loads the kernel
    stream.synchronise();
    stream.begin_capture();
    for (int i = 0; i < kCaptured; ++i) launch_gemm(stream.handle(), plan, operands);
    const Graph graph = stream.end_capture();
    const auto seconds = [&](int launches) {
      return device_seconds(stream,
                            [&] {
                              for (int i = 0; i < launches; ++i) graph.launch(stream.handle());
                            }) /
             launches;
    };
    const double first_s = seconds(1);
    const int launches =
        static_cast<int>(std::clamp(kSample_s / std::max(first_s, 1e-9), 1.0, double{kMostLaunches}));
    double quickest_s = std::numeric_limits<double>::infinity();
    for (int round = 0; round < kRounds; ++round) quickest_s = std::min(quickest_s, seconds(launches));
    if (quickest_s < best_s) {
      best_s = quickest_s;
      best = choice;
    }
  }
  return best;
#endif
}

}  // namespace mlpwatt::gpu

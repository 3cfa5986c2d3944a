#include "cpu/twins/gemm_twin.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

#include "cpu/gemm/gemm.h"
#include "cpu/gemm/gemm_kernel.h"
#include "cpu/team.h"
#include "cpu/twins/loops.h"
#include "kernels/random.h"
#include "kernels/reference.h"

namespace mlpwatt::gemm_twin {

const std::vector<std::string>& variants() {
  static const std::vector<std::string> names{"ikj", "ijk", "jki", "unpacked", "unblocked", "strided"};
  return names;
}

double product_error(std::int64_t m, std::int64_t n, std::int64_t k, const float* a, const float* b,
                     const float* c, std::int64_t pitch) {
  // The reference is slow: a spread of rows of a large product.
  constexpr std::int64_t kWork = 10'000'000;
  const std::int64_t count = std::clamp<std::int64_t>(kWork / (n * k), std::min<std::int64_t>(2, m), m);
  std::vector<float> magnitude_b(b, b + k * n), magnitude_a(static_cast<std::size_t>(k));
  for (float& value : magnitude_b) value = std::abs(value);
  std::vector<double> want(static_cast<std::size_t>(n)), magnitude(static_cast<std::size_t>(n));
  const int columns = static_cast<int>(n), depth = static_cast<int>(k);
  double worst = 0;
  for (std::int64_t r = 0; r < count; ++r) {
    const std::int64_t i = count == 1 ? 0 : r * (m - 1) / (count - 1);
    const float* row = a + i * k;
    for (std::int64_t p = 0; p < k; ++p) magnitude_a[static_cast<std::size_t>(p)] = std::abs(row[p]);
    reference::gemm(false, false, 1, columns, depth, 1, row, depth, b, columns, 0, want.data(), columns);
    reference::gemm(false, false, 1, columns, depth, 1, magnitude_a.data(), depth, magnitude_b.data(),
                    columns, 0, magnitude.data(), columns);
    for (std::int64_t j = 0; j < n; ++j) {
      const auto column = static_cast<std::size_t>(j);
      // |error| <= k u sum |a||b| (u: half a unit of float32); the added tiny value is for all-zero sums
      const double bound = static_cast<double>(k) * 0x1p-24 * magnitude[column] + 1e-37;
      const double error = std::abs(static_cast<double>(c[i * pitch + j]) - want[column]) / bound;
      if (!(error <= worst)) worst = error;
      if (std::isnan(worst)) return worst;
    }
  }
  return worst;
}

namespace {

LoopTable loops(Isa isa) {
  switch (isa) {
#if defined(__x86_64__)
    case Isa::kAvx512:
      return loops_avx512();
    case Isa::kAvx2:
      return loops_avx2();
    case Isa::kAvx2NoFma:
      return loops_avx2_nofma();
#endif
    case Isa::kGeneric:
      return loops_generic();
    default:
      throw std::invalid_argument("isa '" + isa_name(isa) + "' was not compiled into this program");
  }
}

/// Matrices, filling and checking, which are the same for all variants. Rows are `pitch` floats apart.
class TwinKernel : public Kernel {
 public:
  TwinKernel(std::string variant, std::int64_t m, std::int64_t n, std::int64_t k, const RunOptions& options)
      : variant_(std::move(variant)),
        m_(m),
        n_(n),
        k_(k),
        isa_(choose_isa(options.isa)),
        threads_(options.threads > 0 ? options.threads : options.hierarchy.cores),
        seed_(options.seed) {
    if (m < 1 || n < 1 || k < 1) throw std::invalid_argument("gemm_twin: m, n and k must be at least 1");
  }

  void set_up() override {
    constexpr std::int64_t kSlack = 32;  // a vector may be read past the last row's end
    a_ = AlignedFloats(static_cast<std::size_t>(m_ * pitch(k_) + kSlack));
    b_ = AlignedFloats(static_cast<std::size_t>(k_ * pitch(n_) + kSlack));
    c_ = AlignedFloats(static_cast<std::size_t>(m_ * pitch(n_) + kSlack));
    plain_a_.resize(static_cast<std::size_t>(m_ * k_));
    plain_b_.resize(static_cast<std::size_t>(k_ * n_));
    RandomStream stream(seed_);
    for (float& value : plain_a_) value = operand_value(stream, false);
    for (float& value : plain_b_) value = operand_value(stream, false);
    spread(plain_a_, m_, k_, a_);
    spread(plain_b_, k_, n_, b_);
  }

  Check check() override {
    std::fill_n(c_.data(), c_.size(), std::numeric_limits<float>::quiet_NaN());
    run(1);
    const double error = product_error(m_, n_, k_, plain_a_.data(), plain_b_.data(), c_.data(), pitch(n_));
    return check_within(error, 1, variant_ + " product against the reference, in k roundings");
  }

  Cost cost() const override { return gemm_cost(m_, n_, k_); }

  std::map<std::string, std::string> facts() const override {
    return {{"isa", isa_name(isa_)}, {"threads", std::to_string(threads_)}, {"algorithm", variant_}};
  }

 protected:
  virtual std::int64_t pitch(std::int64_t columns) const { return columns; }
  std::int64_t m() const { return m_; }
  std::int64_t n() const { return n_; }
  std::int64_t k() const { return k_; }
  Isa isa() const { return isa_; }
  int threads() const { return threads_; }
  const std::string& variant() const { return variant_; }
  AlignedFloats a_, b_, c_;

 private:
  void spread(const std::vector<float>& plain, std::int64_t rows, std::int64_t columns,
              AlignedFloats& matrix) const {
    for (std::int64_t i = 0; i < rows; ++i)
      std::copy_n(plain.data() + i * columns, columns, matrix.data() + i * pitch(columns));
  }

  std::string variant_;
  std::int64_t m_, n_, k_;
  Isa isa_;
  int threads_;
  std::uint64_t seed_;
  std::vector<float> plain_a_, plain_b_;
};

class LoopKernel : public TwinKernel {
 public:
  using TwinKernel::TwinKernel;
  void set_up() override {
    TwinKernel::set_up();
    const LoopTable table = loops(isa());
    loops_ = variant() == "ikj" ? table.ikj : variant() == "ijk" ? table.ijk : table.jki;
  }
  void run(std::int64_t steps) override {
    run_team(threads(), [&](const TeamMember& member) {
      const auto [first, last] = member.share(m());
      for (std::int64_t step = 0; step < steps; ++step) {
        loops_(first, last, n(), k(), a_.data(), b_.data(), c_.data());
        member.wait();
      }
    });
  }

 private:
  Loops loops_ = nullptr;
};

class BlockKernel : public TwinKernel {
 public:
  BlockKernel(std::string variant, std::int64_t m, std::int64_t n, std::int64_t k, const RunOptions& options)
      : TwinKernel(std::move(variant), m, n, k, options),
        gemm_(problem(), isa(), threads(), blocking(options)) {}

  void run(std::int64_t steps) override {
    run_team(threads(), [&](const TeamMember& member) {
      for (std::int64_t step = 0; step < steps; ++step) {
        gemm_.run(member, a_.data(), pitch(k()), b_.data(), pitch(n()), c_.data(), pitch(n()));
        member.wait();
      }
    });
  }

 protected:
  std::int64_t pitch(std::int64_t columns) const override {
    constexpr std::int64_t kPage = 1024;  // floats: rows then start in the same set of any L1
    return variant() == "strided" ? (columns / kPage + 1) * kPage : columns;  // more than `unpacked` has
  }

 private:
  GemmProblem problem() const { return {GemmLayout::kNN, m(), n(), k()}; }
  GemmBlocking blocking(const RunOptions& options) const {
    GemmBlocking blocking =
        choose_gemm_blocking(problem(), micro_kernels(isa()), threads(), options.hierarchy);
    blocking.b_in_turn = false;
    if (variant() == "unblocked") {
      blocking.kc = k();
      blocking.strips_in_l2 = std::max(m(), n());
      blocking.pack_a = blocking.pack_b = true;
    } else {
      blocking.pack_a = blocking.pack_b = false;
    }
    return blocking;
  }

  Gemm gemm_;
};

/// Why a variant would be no twin here: cpu/gemm itself packs nothing of a small product.
std::string why_no_twin(const std::string& variant, std::int64_t size, const RunOptions& options) {
  if (variant != "unpacked") return "";
  const Isa isa = options.isa.empty() ? choose_isa("") : parse_isa(options.isa);
  const std::vector<Isa> here = available_isas();
  if (std::find(here.begin(), here.end(), isa) == here.end()) return "";  // making it says so
  const GemmProblem problem{GemmLayout::kNN, size, size, size};
  const GemmBlocking blocking = choose_gemm_blocking(problem, micro_kernels(isa),
                                                     gemm_threads(problem, isa, options), options.hierarchy);
  return blocking.pack_a || blocking.pack_b
             ? ""
             : "cpu/gemm packs nothing of this size here: there is no difference";
}

void enumerate(const RunOptions& options, const std::function<void(const Benchmark&)>& visit) {
  for (const std::string& variant : variants())
    for (const std::int64_t size : {64, 128, 256, 512, 1024}) {
      // the loops that walk down columns take minutes at the sizes where the others take milliseconds
      if (size > 512 && (variant == "jki" || variant == "ijk")) continue;
      Benchmark benchmark;
      const std::string text = std::to_string(size);
      benchmark.family = "cpu/gemm_twin";
      benchmark.name = benchmark.family + "/" + variant + "/" + text + "x" + text + "x" + text;
      benchmark.unavailable = why_no_twin(variant, size, options);
      benchmark.parameters = {{"m", size}, {"n", size}, {"k", size}, {"layout", std::string("nn")}};
      benchmark.make = [variant, size](const RunOptions& run) {
        return gemm_twin::make(variant, size, size, size, run);
      };
      visit(benchmark);
    }
}

const FamilyRegistration registration{{"cpu/gemm_twin", "cpu",
                                       "deliberately cache-unfriendly matrix products (ikj ijk jki unpacked "
                                       "unblocked strided), to compare with "
                                       "cpu/gemm/nn",
                                       enumerate}};

}  // namespace

std::unique_ptr<Kernel> make(const std::string& variant, std::int64_t m, std::int64_t n, std::int64_t k,
                             const RunOptions& options) {
  if (variant == "ikj" || variant == "ijk" || variant == "jki")
    return std::make_unique<LoopKernel>(variant, m, n, k, options);
  if (variant == "unpacked" || variant == "unblocked" || variant == "strided")
    return std::make_unique<BlockKernel>(variant, m, n, k, options);
  throw std::invalid_argument("gemm_twin: no variant '" + variant +
                              "' (ikj ijk jki unpacked unblocked strided)");
}

}  // namespace mlpwatt::gemm_twin

// The catalogue's cpu/panel_width/<W>: the same products as cpu/gemm_width/<W>, as the training engine does
// them: the batch lies on the SIMD lanes (panels, one feature after another), so that a layer 3 wide computes
// with all lanes, where a row-major product would leave most of them idle.

#include "cpu/aligned.h"
#include "cpu/gemm/gemm_kernel.h"
#include "cpu/mlp/fused_kernels.h"
#include "cpu/mlp/fused_plan.h"
#include "cpu/team.h"
#include "kernels/random.h"

namespace mlpwatt {
namespace {

constexpr std::int64_t kBatch = 256, kWidest = 300;

/// Y = X W^T of X [256 x W] and W [W x W], both X and Y in panels.
class PanelProduct : public Kernel {
 public:
  PanelProduct(std::int64_t width, const RunOptions& options)
      : width_(width),
        threads_(options.threads > 0 ? options.threads : options.hierarchy.cores),
        seed_(options.seed),
        weight_block_bytes_(fused_weight_block_bytes(options.hierarchy)),
        kernels_(fused_kernels(choose_isa(options.isa))) {}

  void set_up() override {
    panels_ = (kBatch + kernels_.lanes - 1) / kernels_.lanes;
    stride_ = width_ * kernels_.lanes;
    weights_ = AlignedFloats(static_cast<std::size_t>(width_ * width_ + kernels_.lanes));
    bias_ = AlignedFloats(static_cast<std::size_t>(width_ + kernels_.lanes));
    in_ = AlignedFloats(static_cast<std::size_t>(panels_ * stride_));
    out_ = AlignedFloats(static_cast<std::size_t>(panels_ * stride_));
    fill(false);
  }

  Check check() override {
    fill(true);
    run(1);
    const Check exact = compare(0, "small integers");
    if (!exact.passed) return exact;
    fill(false);
    run(1);
    return compare(1, "random values");
  }

  void run(std::int64_t steps) override {
    run_team(threads_, [&](const TeamMember& member) {
      const auto [first, last] = member.share(panels_);
      PanelForward work{};
      work.inputs = work.outputs = static_cast<int>(width_);
      work.panels = static_cast<int>(last - first);
      work.weights = weights_.data();
      work.weights_row = width_;
      work.bias = bias_.data();
      work.in = in_.data() + first * stride_;
      work.out = out_.data() + first * stride_;
      work.in_stride = work.out_stride = stride_;
      work.weight_block_bytes = weight_block_bytes_;
      for (std::int64_t s = 0; s < steps; ++s) {
        if (work.panels > 0) kernels_.forward(work);
        member.wait();
      }
    });
  }

  Cost cost() const override { return gemm_cost(kBatch, width_, width_); }

  std::map<std::string, std::string> facts() const override {
    return {{"isa", isa_name(kernels_.isa)}, {"threads", std::to_string(threads_)}, {"algorithm", "panels"}};
  }

 private:
  void fill(bool integers) {
    RandomStream stream(seed_);
    for (std::int64_t i = 0; i < panels_ * stride_; ++i)
      in_[static_cast<std::size_t>(i)] = operand_value(stream, integers);
    for (std::int64_t i = 0; i < width_ * width_; ++i)
      weights_[static_cast<std::size_t>(i)] = operand_value(stream, integers);
  }

  std::vector<float> row_major(const AlignedFloats& panels) const {
    std::vector<float> rows(static_cast<std::size_t>(kBatch * width_));
    const std::int64_t lanes = kernels_.lanes;
    for (std::int64_t row = 0; row < kBatch; ++row)
      for (std::int64_t feature = 0; feature < width_; ++feature)
        rows[static_cast<std::size_t>(row * width_ + feature)] =
            panels[static_cast<std::size_t>(row / lanes * stride_ + feature * lanes + row % lanes)];
    return rows;
  }

  Check compare(double roundings, const char* what) const {
    const std::vector<float> x = row_major(in_), y = row_major(out_);
    return check_product({{GemmLayout::kNT, kBatch, width_, width_},
                          x.data(),
                          width_,
                          weights_.data(),
                          width_,
                          y.data(),
                          width_},
                         roundings, what);
  }

  std::int64_t width_;
  int threads_;
  std::uint64_t seed_;
  int weight_block_bytes_;
  const FusedKernels& kernels_;
  std::int64_t panels_ = 0, stride_ = 0;  ///< floats of a panel
  AlignedFloats weights_, bias_, in_, out_;
};

void enumerate(const RunOptions&, const std::function<void(const Benchmark&)>& visit) {
  for (std::int64_t width = 1; width <= kWidest; ++width) {
    Benchmark benchmark;
    benchmark.name = "cpu/panel_width/" + std::to_string(width);
    benchmark.family = "cpu/panel_width";
    benchmark.parameters = {{"m", kBatch}, {"n", width}, {"k", width}};
    benchmark.make = [width](const RunOptions& o) { return std::make_unique<PanelProduct>(width, o); };
    visit(benchmark);
  }
}

const FamilyRegistration registration{
    {"cpu/panel_width", "cpu",
     "the products of cpu/gemm_width as the training engine does them: the batch on the SIMD lanes",
     enumerate}};

}  // namespace
}  // namespace mlpwatt

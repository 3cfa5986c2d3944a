// The catalogue's cpu/gemm_width/<W>: the forward product of a layer W wide, for every W, where odd widths
// might fall off a cliff.

#include "cpu/gemm/gemm_kernel.h"

namespace mlpwatt {
namespace {

void enumerate(const RunOptions&, const std::function<void(const Benchmark&)>& visit) {
  constexpr std::int64_t kBatch = 256, kWidest = 300;
  for (std::int64_t width = 1; width <= kWidest; ++width) {
    const GemmProblem problem{GemmLayout::kNN, kBatch, width, width};
    Benchmark benchmark;
    benchmark.name = "cpu/gemm_width/" + std::to_string(width);
    benchmark.family = "cpu/gemm_width";
    benchmark.parameters = {
        {"m", kBatch}, {"n", width}, {"k", width}, {"layout", std::string(layout_name(problem.layout))}};
    benchmark.make = [problem](const RunOptions& o) { return make_gemm_kernel(problem, o); };
    visit(benchmark);
  }
}

const FamilyRegistration registration{{"cpu/gemm_width", "cpu",
                                       "forward product of a layer of every width from 1 to 300, batch 256",
                                       enumerate}};

}  // namespace
}  // namespace mlpwatt

#include "cpu/probes/fma.h"

#include <cmath>
#include <stdexcept>

#include "cpu/team.h"

namespace mlpwatt {

FmaProbe fma_probe(Isa isa) {
  switch (isa) {
#if defined(__x86_64__)
    case Isa::kAvx512:
      return fma_probe_avx512();
    case Isa::kAvx2:
      return fma_probe_avx2();
    case Isa::kAvx2NoFma:
      return fma_probe_avx2_nofma();
#endif
    case Isa::kGeneric:
      return fma_probe_generic();
    default:
      throw std::invalid_argument("isa '" + isa_name(isa) + "' was not compiled into this program");
  }
}

namespace {

constexpr std::int64_t kIterationsPerStep = 100'000;
constexpr float kFactor = 0.5f, kTerm = 1.0f;  // converges to 2: no overflow, no denormals

class FmaKernel : public Kernel {
 public:
  FmaKernel(Isa isa, int threads) : isa_(isa), threads_(threads) {}

  void set_up() override { probe_ = fma_probe(isa_); }
  Check check() override { return check_fma(probe_); }
  void run(std::int64_t steps) override {
    run_team(threads_, [&](const TeamMember&) {
      volatile float keep = probe_.chains(steps * kIterationsPerStep, kFactor, kTerm);
      (void)keep;
    });
  }
  Cost cost() const override {
    Cost cost;
    cost.multiplies = cost.adds = kIterationsPerStep * probe_.lanes * threads_;
    return cost;
  }
  std::map<std::string, std::string> facts() const override {
    return {{"isa", isa_name(probe_.isa)}, {"threads", std::to_string(threads_)}};
  }

 private:
  Isa isa_;
  int threads_;
  FmaProbe probe_{};
};

void enumerate(const RunOptions& options, const std::function<void(const Benchmark&)>& visit) {
  for (const Isa isa : available_isas()) {
    if (!options.isa.empty() && options.isa != isa_name(isa)) continue;
    for (const bool one : {false, true}) {
      Benchmark benchmark;
      benchmark.name = "cpu/fma/" + isa_name(isa) + (one ? "/one" : "");
      benchmark.family = "cpu/fma";
      benchmark.quick = !one && isa == available_isas().back();
      benchmark.make = [isa, one](const RunOptions& o) {
        const int team = o.threads > 0 ? o.threads : o.hierarchy.cores;
        return std::make_unique<FmaKernel>(isa, one ? 1 : team);
      };
      visit(benchmark);
    }
  }
}

const FamilyRegistration registration{
    {"cpu/fma", "cpu",
     "peak multiply-add rate per instruction set (registers only); all cores, or /one thread", enumerate}};

}  // namespace

Check check_fma(const FmaProbe& probe) {
  // After n iterations a chain that started at c is 2 + (c - 2) / 2^n.
  constexpr int kIterations = 10;
  const double got = probe.chains(kIterations, kFactor, kTerm);
  double want = 0;
  for (int c = 0; c < probe.lanes / probe.vector_lanes; ++c)
    want += probe.vector_lanes * (2 + (c - 2) / std::pow(2.0, kIterations));
  return check_within(std::abs(got - want), 1e-4 * want, "sum of the chains against its closed form");
}

}  // namespace mlpwatt

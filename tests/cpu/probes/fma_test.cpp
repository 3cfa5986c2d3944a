// The multiply-add probe: each is its instruction set's own, and a bent one fails its check.

#include "cpu/probes/fma.h"

#include <gtest/gtest.h>

#include <limits>

namespace mlpwatt {
namespace {

TEST(Fma, EveryProbeMatchesItsClosedForm) {
  for (const Isa isa : available_isas()) {
    const FmaProbe probe = fma_probe(isa);
    EXPECT_EQ(probe.isa, isa);
    const Check check = check_fma(probe);
    EXPECT_TRUE(check.passed) << isa_name(isa) << ": " << check.detail;
  }
}

float right(std::int64_t iterations, float factor, float term) {
  return fma_probe_generic().chains(iterations, factor, term);
}

TEST(Fma, ABentProbeFails) {
  using Chains = float (*)(std::int64_t, float, float);
  const std::pair<const char*, Chains> faults[] = {
      {"an iteration less", [](std::int64_t n, float f, float t) { return right(n - 1, f, t); }},
      {"no iteration", [](std::int64_t, float f, float t) { return right(0, f, t); }},
      {"another factor", [](std::int64_t n, float f, float t) { return right(n, f * 1.001f, t); }},
      {"the term left out once", [](std::int64_t n, float f, float t) { return f * right(n - 1, f, t); }},
      {"nothing done", [](std::int64_t, float, float) { return 0.0f; }},
      {"NaN", [](std::int64_t, float, float) { return std::numeric_limits<float>::quiet_NaN(); }}};
  FmaProbe probe = fma_probe_generic();
  for (const auto& [fault, chains] : faults) {
    probe.chains = chains;
    const Check check = check_fma(probe);
    EXPECT_FALSE(check.passed) << fault;
    EXPECT_FALSE(check.detail.empty()) << fault;
  }
  probe = fma_probe_generic();
  probe.lanes += probe.vector_lanes;
  EXPECT_FALSE(check_fma(probe).passed) << "a chain counted that is not there";
}

}  // namespace
}  // namespace mlpwatt

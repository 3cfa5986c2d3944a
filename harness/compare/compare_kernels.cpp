#include "harness/compare/compare_kernels.h"

#include "harness/run/run_one.h"

namespace mlpwatt {
namespace {

/// Sets up and proves a kernel; an empty pointer when its row says why not.
std::unique_ptr<Kernel> admit(const Benchmark& benchmark, Standing& standing, const RunOptions& options) {
  try {
    if (!benchmark.unavailable.empty()) {
      refuse(standing, "unavailable", benchmark.unavailable);
      return nullptr;
    }
    std::unique_ptr<Kernel> kernel = benchmark.make(options);
    kernel->set_up();
    set_facts(standing.record.run, kernel->facts());
    const Check check = kernel->check();
    set_check(standing.record.run, check);
    const std::string wrong = failure_of(check);
    if (wrong.empty()) return kernel;
    refuse(standing, "failed", wrong);
  } catch (const std::exception& error) {
    refuse(standing, "error", error.what());
  }
  return nullptr;
}

}  // namespace

Comparison compare_kernels(const Benchmark& ours, const Benchmark& peer, const std::string& peer_name,
                           CompareSettings& settings, Clock& clock) {
  std::vector<std::unique_ptr<Kernel>> kernels;
  std::vector<Entrant> entrants;
  for (const Benchmark* benchmark : {&ours, &peer}) {
    // rows are named after ours: what stands beside each other is called alike
    Entrant entrant{begin_standing(benchmark == &ours ? "ours" : peer_name, ours, settings, clock), {}};
    kernels.push_back(admit(*benchmark, entrant.standing, settings.run.kernel));
    if (Kernel* kernel = kernels.back().get(); kernel != nullptr)
      entrant.run_s = [kernel, &clock](std::int64_t warm, std::int64_t steps) {
        kernel->run(warm);
        const double before = clock.monotonic_s();
        kernel->run(steps);
        return clock.monotonic_s() - before;
      };
    entrants.push_back(std::move(entrant));
  }
  const Cost cost = kernels.front() != nullptr  ? kernels.front()->cost()
                    : kernels.back() != nullptr ? kernels.back()->cost()
                                                : Cost{};
  return run_comparison(ours, std::move(entrants), cost, cost.compulsory_bytes(), settings, clock);
}

}  // namespace mlpwatt

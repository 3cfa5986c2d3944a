#pragma once
// What the harness sees of a machine, scripted: a clock that moves only when told, and kernels of known step
// time or known fault.

#include <chrono>
#include <cmath>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "harness/protocol/clock.h"
#include "kernels/kernel.h"
#include "kernels/random.h"

namespace mlpwatt::testing {

class FakeClock : public Clock {
 public:
  /// @param threads that are busy meanwhile
  void advance(double seconds, int threads = 1) {
    now_s_ += seconds;
    cpu_s_ += threads * seconds;
  }
  double monotonic_s() override { return now_s_; }
  double cpu_s() override { return cpu_s_; }
  std::int64_t monotonic_ns() override { return std::llround(now_s_ * 1e9); }
  std::int64_t realtime_ns() override { return 1'769'860'800'000'000'000 + monotonic_ns(); }

 private:
  double now_s_ = 128, cpu_s_ = 3;
};

/// What a FakeKernel does. Every member may be left as it is: a kernel of 1/1024 s a step that proves right.
struct FakeScript {
  double step_s = 0x1p-10;
  double drift_per_s = 0;  ///< relative growth of the step time with the time the kernel has run
  double cold_factor = 1;  ///< the first cold_s cost so many times more
  double cold_s = 0;
  double noise = 0;          ///< relative, uniform in +-noise, one draw a call of run
  double outlier_share = 0;  ///< of the calls of run, which take ten times as long
  int threads = 1;
  Check check{true, "", 0, 0};
  std::string throws_in;  ///< "set_up", "check", "run" or the number of steps after which run throws
  std::function<void()> during_run;
};

/// With a FakeClock it moves that clock, without one it sleeps.
class FakeKernel : public Kernel {
 public:
  explicit FakeKernel(FakeScript script, FakeClock* clock = nullptr)
      : script_(std::move(script)), clock_(clock) {}

  void set_up() override { enter("set_up"); }
  Check check() override {
    enter("check");
    return script_.check;
  }
  void run(std::int64_t steps) override {
    enter("run");
    calls_of_run.push_back(steps);
    total_steps += steps;
    if (!script_.throws_in.empty() && std::isdigit(script_.throws_in[0]) != 0 &&
        total_steps >= std::stoll(script_.throws_in))
      throw std::runtime_error("the fake broke down in step " + script_.throws_in + "; repair it");
    if (script_.during_run) script_.during_run();
    const double seconds = static_cast<double>(steps) * step_s();
    if (clock_ != nullptr)
      clock_->advance(seconds, script_.threads);
    else
      std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
    ran_s_ += seconds;
  }
  Cost cost() const override {
    Cost cost;
    cost.multiplies = 700;
    cost.adds = 300;
    cost.compulsory_read_bytes = 4096;
    cost.compulsory_write_bytes = 1024;
    return cost;
  }
  std::map<std::string, std::string> facts() const override {
    return {{"isa", "fake"}, {"threads", std::to_string(script_.threads)}, {"algorithm", "scripted"}};
  }

  std::vector<std::string> entered;  ///< members in the order of their calls
  std::vector<std::int64_t> calls_of_run;
  std::int64_t total_steps = 0;

 private:
  void enter(const char* member) {
    entered.emplace_back(member);
    if (script_.throws_in == member)
      throw std::runtime_error("the fake broke down in " + script_.throws_in + "; repair it");
  }
  double step_s() {
    double factor = 1 + script_.drift_per_s * ran_s_;
    if (ran_s_ < script_.cold_s) factor *= script_.cold_factor;
    if (script_.noise > 0) factor *= 1 + script_.noise * (2 * uniform_unit(stream_) - 1);
    if (script_.outlier_share > 0 && uniform_unit(stream_) < script_.outlier_share) factor *= 10;
    return factor * script_.step_s;
  }

  FakeScript script_;
  FakeClock* clock_;
  double ran_s_ = 0;
  RandomStream stream_{42};
};

/// An entry of a catalogue that makes FakeKernels.
inline Benchmark fake_benchmark(const std::string& name, FakeScript script = {}) {
  Benchmark benchmark;
  benchmark.name = name;
  benchmark.family = name.substr(0, name.rfind('/'));
  benchmark.make = [script](const RunOptions&) { return std::make_unique<FakeKernel>(script); };
  return benchmark;
}

inline Family fake_family(const std::string& name, const std::vector<Benchmark>& benchmarks) {
  return {name, name.substr(0, name.find('/')), "scripted kernels of the tests",
          [benchmarks](const RunOptions&, const std::function<void(const Benchmark&)>& visit) {
            for (const Benchmark& benchmark : benchmarks) visit(benchmark);
          }};
}

}  // namespace mlpwatt::testing

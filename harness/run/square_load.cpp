#include "harness/run/square_load.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "cpu/probes/fma.h"
#include "meters/sampler.h"

namespace mlpwatt {
namespace {

/// Work between two looks at the clock is to take far less than any meter's update period.
constexpr std::int64_t kIterationsPerLook = 10'000;  // some 15 us
constexpr double kStepsPerLook_s = 0.5e-3;

class WaveLoad {
 public:
  /// @param work until the next look at the clock; called by all threads
  WaveLoad(SquareWave wave, int threads, std::function<void()> work)
      : wave_(std::move(wave)), work_(std::move(work)) {
    for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { follow(); });
  }
  ~WaveLoad() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }
  WaveLoad(const WaveLoad&) = delete;
  WaveLoad& operator=(const WaveLoad&) = delete;

 private:
  void follow() {
    // a thread inherits the binding of the one that made it, which may be to one core
    cpu_set_t all;
    CPU_ZERO(&all);
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) CPU_SET(cpu, &all);
    sched_setaffinity(0, sizeof all, &all);
    const std::vector<double>& edges_s = wave_.edges_s();
    for (std::size_t i = 0; i + 1 < edges_s.size(); i += 2) {
      if (!sleep_until(edges_s[i])) return;
      while (monotonic_now_s() < edges_s[i + 1] && !stopping_) work_();
    }
  }
  /// False: it is to end.
  bool sleep_until(double t) {
    std::unique_lock lock(mutex_);
    const auto duration = std::chrono::duration<double>(t - monotonic_now_s());
    return !wake_.wait_for(lock, duration, [&] { return stopping_.load(); });
  }

  SquareWave wave_;
  std::function<void()> work_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::atomic<bool> stopping_{false};
  std::vector<std::thread> threads_;
};

}  // namespace

SquareLoad fma_load(int threads) {
  return [threads](const SquareWave& wave) -> std::shared_ptr<void> {
    const FmaProbe probe = fma_probe(choose_isa(""));
    return std::make_shared<WaveLoad>(wave, threads, [probe] {
      volatile float keep = probe.chains(kIterationsPerLook, 0.5f, 1.0f);
      (void)keep;
    });
  };
}

SquareLoad kernel_load(std::shared_ptr<Kernel> kernel) {
  kernel->run(1);
  const double before_s = monotonic_now_s();
  kernel->run(1);
  const double step_s = std::max(monotonic_now_s() - before_s, 1e-7);
  const auto steps = std::max<std::int64_t>(1, std::llround(kStepsPerLook_s / step_s));
  return [kernel = std::move(kernel), steps](const SquareWave& wave) -> std::shared_ptr<void> {
    return std::make_shared<WaveLoad>(wave, 1, [kernel, steps] { kernel->run(steps); });
  };
}

}  // namespace mlpwatt

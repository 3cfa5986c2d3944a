#include "harness/run/square_load.h"

#include <sched.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "cpu/probes/fma.h"
#include "meters/sampler.h"

namespace mlpwatt {
namespace {

/// Some 15 us between looks at the clock: far below any meter's update period.
constexpr std::int64_t kIterationsPerLook = 10'000;

class FmaLoad {
 public:
  FmaLoad(SquareWave wave, int threads) : wave_(std::move(wave)), probe_(fma_probe(choose_isa(""))) {
    for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { work(); });
  }
  ~FmaLoad() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }
  FmaLoad(const FmaLoad&) = delete;
  FmaLoad& operator=(const FmaLoad&) = delete;

 private:
  void work() {
    // a thread inherits the binding of the one that made it, which may be to one core
    cpu_set_t all;
    CPU_ZERO(&all);
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) CPU_SET(cpu, &all);
    sched_setaffinity(0, sizeof all, &all);
    const std::vector<double>& edges_s = wave_.edges_s();
    for (std::size_t i = 0; i + 1 < edges_s.size(); i += 2) {
      if (!sleep_until(edges_s[i])) return;
      while (monotonic_now_s() < edges_s[i + 1] && !stopping_) {
        volatile float keep = probe_.chains(kIterationsPerLook, 0.5f, 1.0f);
        (void)keep;
      }
    }
  }
  /// False: it is to end.
  bool sleep_until(double t) {
    std::unique_lock lock(mutex_);
    const auto duration = std::chrono::duration<double>(t - monotonic_now_s());
    return !wake_.wait_for(lock, duration, [&] { return stopping_.load(); });
  }

  SquareWave wave_;
  FmaProbe probe_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::atomic<bool> stopping_{false};
  std::vector<std::thread> threads_;
};

}  // namespace

SquareLoad fma_load(int threads) {
  return [threads](const SquareWave& wave) -> std::shared_ptr<void> {
    return std::make_shared<FmaLoad>(wave, threads);
  };
}

}  // namespace mlpwatt

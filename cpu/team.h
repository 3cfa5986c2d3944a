#pragma once
// Threads that work in step: an OpenMP team that lives for a whole run of many steps, and a barrier that
// costs a fraction of a microsecond, because a training step of a small network is only a few of them long.

#include <omp.h>
#include <sched.h>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#include <atomic>
#include <stdexcept>
#include <string>
#include <vector>

namespace mlpwatt {

inline void cpu_relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

/// Sense-reversing barrier: 27 ns between two cores of a Sapphire Rapids, where `#pragma omp barrier`
/// (libgomp, bound threads) takes 164 and a parallel region of its own 350; a step of 256 parameters is 4 us.
/// `parties` threads call wait(); none returns before all have come. Spins, since the wait is shorter than a
/// sleep; yields when it lasts, since the machine may have fewer processors than the team has threads.
class SpinBarrier {
 public:
  explicit SpinBarrier(int parties) : parties_(parties), waiting_(parties) {}
  void wait() {
    if (parties_ == 1) return;
    const bool sense = sense_.load(std::memory_order_relaxed);
    if (waiting_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      waiting_.store(parties_, std::memory_order_relaxed);
      sense_.store(!sense, std::memory_order_release);
      return;
    }
    for (int spins = 0; sense_.load(std::memory_order_acquire) == sense; ++spins)
      if (spins < kSpinsBeforeYield)
        cpu_relax();
      else
        sched_yield();
  }
  int parties() const { return parties_; }

 private:
  static constexpr int kSpinsBeforeYield = 2000;  // ~40 us: longer than any phase's imbalance
  const int parties_;
  alignas(64) std::atomic<int> waiting_;  // own cache lines: spinning readers must not slow the counter
  alignas(64) std::atomic<bool> sense_{false};
};

/// One member of a running team.
struct TeamMember {
  int id = 0;
  int size = 1;
  SpinBarrier* barrier = nullptr;
  void wait() const {
    if (size > 1) barrier->wait();
  }
  /// The part [first, last) of `count` items that is this member's.
  struct Range {
    long first, last;
  };
  Range share(long count) const { return {count * id / size, count * (id + 1) / size}; }
};

/// While it lives, this thread takes floats below 1.2e-38 (denormals) for zero, and makes none, as XLA and
/// TensorFlow do. Gradients get there where a loss is learnt to the last digit, and each operation on one
/// costs a hundred cycles and more on x86: 294_satellite_image/rectangle_residual/524288/12 took 253 ms a
/// step instead of 6.
class DenormalsAreZero {
 public:
  DenormalsAreZero(const DenormalsAreZero&) = delete;
  DenormalsAreZero& operator=(const DenormalsAreZero&) = delete;
#if defined(__x86_64__)
  DenormalsAreZero() : saved_(_mm_getcsr()) { _mm_setcsr(saved_ | 0x8040); }  // to zero, as zero
  ~DenormalsAreZero() { _mm_setcsr(saved_); }

 private:
  unsigned saved_;
#else
  DenormalsAreZero() = default;
#endif
};

/// Runs `body(member)` on `threads` OpenMP threads and returns when all have finished. Denormals are zero
/// meanwhile.
/// Errors: std::runtime_error, before any body runs, when OpenMP gives fewer threads: they would wait for
/// ever.
template <typename Body>
void run_team(int threads, const Body& body) {
  if (threads == 1) {
    const DenormalsAreZero here;
    SpinBarrier barrier(1);
    body(TeamMember{0, 1, &barrier});
    return;
  }
  SpinBarrier barrier(threads);
  int given = threads;
#pragma omp parallel num_threads(threads)
  {
    if (omp_get_num_threads() == threads) {
      const DenormalsAreZero here;
      body(TeamMember{omp_get_thread_num(), threads, &barrier});
    } else {
#pragma omp single
      given = omp_get_num_threads();
    }
  }
  if (given != threads)
    throw std::runtime_error(
        "OpenMP gives " + std::to_string(given) + " thread(s) of the " + std::to_string(threads) +
        " asked for: OMP_THREAD_LIMIT or OMP_DYNAMIC holds it back; --threads asks for fewer");
}

}  // namespace mlpwatt

#include "harness/compare/turns.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <thread>

#include "kernels/random.h"

namespace mlpwatt {
namespace {

double median(std::vector<double> values) { return summarise(std::move(values)).median; }

std::int64_t power_of_two(double wanted, std::int64_t most) {
  std::int64_t steps = 1;
  while (static_cast<double>(steps) * std::sqrt(2.0) < wanted && 2 * steps <= most) steps *= 2;
  return steps;
}

/// A quarter of the turn again: caches, branch predictors and sleeping threads.
std::int64_t warm_steps(std::int64_t steps) { return std::max<std::int64_t>(1, steps / 4); }

/// The first step is cold and promises too little: the number grows in stages, each timed.
std::int64_t steps_of_a_turn(const Contestant& contestant, const TurnOptions& options) {
  std::int64_t steps = 1;
  for (;;) {
    const double step_s = contestant.run_s(warm_steps(steps), steps) / static_cast<double>(steps);
    const double wanted = step_s > 0 ? options.turn_s / step_s : static_cast<double>(options.most_steps);
    const std::int64_t next =
        power_of_two(std::min(wanted, 64.0 * static_cast<double>(steps)), options.most_steps);
    if (next <= 2 * steps) return next;
    steps = next;
  }
}

}  // namespace

Window Turns::window() const {
  Window window;
  window.start_realtime_ns = start_realtime_ns;
  window.start_monotonic_ns = start_monotonic_ns;
  window.start_s = static_cast<double>(start_monotonic_ns) * 1e-9;
  window.duration_s = duration_s;
  window.cpu_s = std::numeric_limits<double>::quiet_NaN();  // part of it is another process's
  window.steps = steps * static_cast<std::int64_t>(step_s.size());
  window.steps_per_block = steps;
  window.block_step_s = step_s;
  window.step = summarise(step_s);
  window.few_blocks = static_cast<int>(step_s.size()) < ProtocolOptions{}.minimum_blocks;
  return window;
}

std::vector<Turns> take_turns(const std::vector<Contestant>& contestants, const TurnOptions& options,
                              Clock& clock) {
  std::vector<Turns> all(contestants.size());
  const auto guarded = [&](std::size_t i, const std::function<void(Turns&)>& act) {
    if (!all[i].error.empty()) return;
    try {
      act(all[i]);
    } catch (const std::exception& error) {
      all[i] = {};
      all[i].error = error.what();
    }
    std::this_thread::sleep_for(std::chrono::duration<double>(options.pause_s));
  };
  for (std::size_t i = 0; i < contestants.size(); ++i)
    guarded(i, [&](Turns& turns) {
      turns.steps = steps_of_a_turn(contestants[i], options);
      turns.warm_steps = warm_steps(turns.steps);
    });
  for (int round = 0; round < options.rounds; ++round)
    for (std::size_t i = 0; i < contestants.size(); ++i)
      guarded(i, [&](Turns& turns) {
        if (turns.step_s.empty()) {
          turns.start_realtime_ns = clock.realtime_ns();
          turns.start_monotonic_ns = clock.monotonic_ns();
        }
        const double seconds = contestants[i].run_s(turns.warm_steps, turns.steps);
        if (!(seconds > 0)) throw std::runtime_error(contestants[i].name + " reported no time for a turn");
        turns.duration_s += seconds;
        turns.step_s.push_back(seconds / static_cast<double>(turns.steps));
      });
  return all;
}

Ratio ratio_of_medians(const std::vector<double>& times, const std::vector<double>& base,
                       std::uint64_t seed) {
  constexpr double nan = std::numeric_limits<double>::quiet_NaN();
  if (times.size() != base.size()) throw std::logic_error("ratio_of_medians: lists of different length");
  if (times.empty()) return {nan, nan, nan};
  constexpr int kResamples = 2000;
  RandomStream stream(seed);
  std::vector<double> ratios, a(times.size()), b(times.size());
  for (int i = 0; i < kResamples; ++i) {
    for (std::size_t j = 0; j < times.size(); ++j) {
      const std::size_t round = uniform_below(stream, times.size());
      a[j] = times[round];
      b[j] = base[round];
    }
    ratios.push_back(median(a) / median(b));
  }
  std::sort(ratios.begin(), ratios.end());
  return {median(times) / median(base), ratios[kResamples / 40], ratios[kResamples - 1 - kResamples / 40]};
}

}  // namespace mlpwatt

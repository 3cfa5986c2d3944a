#pragma once
// A power curve whose energy is known in closed form, and instruments that show it as real ones do: with
// an update period, an averaging window, a lag, a quantum, a gain, noise and a wrap.

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <functional>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "meters/sampler.h"

namespace mlpwatt::testing {

/// Constant pieces, the last one for ever; before 0 as the first.
class Waveform {
 public:
  struct Piece {
    double from_s, watts;
  };
  explicit Waveform(std::vector<Piece> pieces) : pieces_(std::move(pieces)) {
    joules_.push_back(0);
    for (std::size_t i = 1; i < pieces_.size(); ++i)
      joules_.push_back(joules_.back() + pieces_[i - 1].watts * (pieces_[i].from_s - pieces_[i - 1].from_s));
  }
  static Waveform constant(double watts) { return Waveform({{0, watts}}); }
  /// `low` until `begin_s`, `high` until `end_s`, then `low`.
  static Waveform pulse(double low, double high, double begin_s, double end_s) {
    return Waveform({{0, low}, {begin_s, high}, {end_s, low}});
  }
  /// Levels between `low` and `high`, each for 0.5 to 1.5 times `hold_s`, until `until_s`; then `low`.
  static Waveform random(std::uint64_t seed, double low, double high, double hold_s, double until_s) {
    std::mt19937_64 generator(seed);
    std::uniform_real_distribution<double> level(low, high), hold(0.5 * hold_s, 1.5 * hold_s);
    std::vector<Piece> pieces;
    for (double t = 0; t < until_s; t += hold(generator)) pieces.push_back({t, level(generator)});
    pieces.push_back({until_s, low});
    return Waveform(std::move(pieces));
  }
  /// The same with a ripple of up to 2 W, as no load is quite steady.
  static Waveform rippled(std::uint64_t seed, double low, double high, double hold_s, double until_s) {
    const Waveform steps = random(seed, low, high, hold_s, until_s);
    std::mt19937_64 generator(seed + 1);
    std::uniform_real_distribution<double> ripple(-2, 2), hold(0.04, 0.12);
    std::vector<Piece> pieces;
    std::size_t next = 0;
    for (double t = 0; t < until_s; t += hold(generator)) {
      for (; next < steps.pieces_.size() && steps.pieces_[next].from_s <= t; ++next)
        if (steps.pieces_[next].from_s < t) pieces.push_back(steps.pieces_[next]);
      pieces.push_back({t, steps.watts(t) + ripple(generator)});
    }
    pieces.push_back({until_s, low});
    return Waveform(std::move(pieces));
  }
  double watts(double t) const { return pieces_[piece(t)].watts; }
  double joules(double from_s, double to_s) const { return until(to_s) - until(from_s); }
  double mean_w(double from_s, double to_s) const {
    return to_s > from_s ? joules(from_s, to_s) / (to_s - from_s) : watts(to_s);
  }

 private:
  std::size_t piece(double t) const {
    const auto after = std::upper_bound(pieces_.begin(), pieces_.end(), t,
                                        [](double at, const Piece& piece) { return at < piece.from_s; });
    return after == pieces_.begin() ? 0 : static_cast<std::size_t>(after - pieces_.begin()) - 1;
  }
  double until(double t) const {
    return joules_[piece(t)] + pieces_[piece(t)].watts * (t - pieces_[piece(t)].from_s);
  }
  std::vector<Piece> pieces_;
  std::vector<double> joules_;
};

/// What stands between the curve and the reading.
struct Instrument {
  ReadingKind kind = ReadingKind::kInstantPower;
  double period_s = 0.1, phase_s = 0;  ///< updates at phase + n period
  double averaging_s = 0, lag_s = 0;
  double quantum = 0, gain = 1;
  double noise_w = 0;  ///< standard deviation, new at each update, not for counters
  double wrap_j = 0, origin_j = 0;
  std::uint64_t seed = 1;

  double last_update_s(double t) const { return phase_s + std::floor((t - phase_s) / period_s) * period_s; }
  /// What is on display at time t.
  double shows(const Waveform& curve, double t) const {
    const double seen = last_update_s(t) - lag_s;
    double value = kind == ReadingKind::kEnergyCounter ? origin_j + gain * curve.joules(0, seen)
                   : averaging_s > 0                   ? gain * curve.mean_w(seen - averaging_s, seen)
                                                       : gain * curve.watts(seen);
    if (noise_w > 0 && kind != ReadingKind::kEnergyCounter) {
      std::mt19937_64 generator(seed + static_cast<std::uint64_t>(std::llround(seen * 1e6)) * 7919);
      value += std::normal_distribution<double>(0, noise_w)(generator);
    }
    if (wrap_j > 0) value = std::fmod(value, wrap_j);
    return quantum > 0 ? std::floor(value / quantum) * quantum : value;
  }
  /// A channel that declares all of this.
  Channel channel(std::string domain = "node") const {
    Channel channel;
    channel.domain = std::move(domain);
    channel.kind = kind;
    channel.update_period_s = period_s;
    channel.update_period_known = Known::kDeclared;
    channel.averaging_s = averaging_s;
    channel.lag_s = lag_s;
    channel.lag_known = Known::kMeasured;
    channel.resolution = quantum;
    channel.wrap_j = wrap_j;
    return channel;
  }
  /// The readings a sampler takes every `poll_s` between two moments of a scripted clock, on time but for
  /// a jitter of at most `jitter_s`.
  Series play(const Waveform& curve, double poll_s, double from_s, double to_s, double jitter_s = 0) const {
    Series series{"scripted", channel(), poll_s, {}, {}};
    std::mt19937_64 generator(seed + 17);
    std::uniform_real_distribution<double> late(0, jitter_s);
    for (double due = from_s; due <= to_s; due += poll_s) {
      Reading reading;
      reading.monotonic_s = due + (jitter_s > 0 ? late(generator) : 0);
      reading.value = shows(curve, reading.monotonic_s);
      series.readings.push_back(reading);
    }
    return series;
  }
};

/// Plays in real time: calls `show(seconds since the start)` every `tick_s` on a thread of its own,
/// for instruments behind files and sockets.
class Player {
 public:
  Player(double tick_s, std::function<void(double)> show)
      : start_s_(monotonic_now_s()), thread_([this, tick_s, show = std::move(show)] {
          for (std::int64_t tick = 0; !stop_; ++tick) {
            const double due = start_s_ + static_cast<double>(tick) * tick_s;
            const double wait = due - monotonic_now_s();
            if (wait > 0) std::this_thread::sleep_for(std::chrono::duration<double>(wait));
            show(monotonic_now_s() - start_s_);
          }
        }) {}
  ~Player() { stop(); }
  void stop() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
  }
  /// CLOCK_MONOTONIC at the curve's time 0.
  double start_s() const { return start_s_; }
  double now_s() const { return monotonic_now_s() - start_s_; }

 private:
  double start_s_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace mlpwatt::testing

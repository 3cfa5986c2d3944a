#include "meters/energy.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <sstream>
#include <stdexcept>

#include "meters/updates.h"

namespace mlpwatt {
namespace {

struct NamedFlag {
  EnergyFlag flag;
  const char* name;
};
constexpr std::array<NamedFlag, 9> kFlags{{{kUnderSampled, "under_sampled"},
                                           {kStuck, "stuck"},
                                           {kDropout, "dropout"},
                                           {kWrappedTwice, "wrapped_twice"},
                                           {kClockJump, "clock_jump"},
                                           {kOutOfRange, "out_of_range"},
                                           {kLost, "lost"},
                                           {kIdleDrift, "idle_drift"},
                                           {kExceedsNode, "exceeds_node"}}};

double square(double x) { return x * x; }

/// Joules as a function of time: knots with the power between them constant (counters, averages) or
/// linear (instant power).
class Curve {
 public:
  Curve(const Updates& updates, const Channel& channel) : kind_(channel.kind) {
    double shift = channel.lag_s;
    if (kind_ == ReadingKind::kInstantPower) shift += channel.averaging_s / 2;
    for (const Update& update : updates.list) {
      const double t = update.at_s - shift;
      if (!t_.empty() && t <= t_.back()) continue;
      if (t_.empty())
        joules_.push_back(0);
      else
        joules_.push_back(kind_ == ReadingKind::kEnergyCounter ? update.value
                          : kind_ == ReadingKind::kAveragePower
                              ? joules_.back() + update.value * (t - t_.back())
                              : joules_.back() + 0.5 * (update.value + watts_.back()) * (t - t_.back()));
      t_.push_back(t);
      width_s_.push_back(update.width_s);
      watts_.push_back(update.value);
    }
    if (kind_ == ReadingKind::kEnergyCounter && t_.size() > 1) {
      for (std::size_t i = t_.size(); i-- > 1;)
        watts_[i] = (joules_[i] - joules_[i - 1]) / (t_[i] - t_[i - 1]);
      watts_[0] = watts_[1];
    }
  }

  std::size_t size() const { return t_.size(); }
  double first_s() const { return t_.front(); }
  double last_s() const { return t_.back(); }
  bool linear() const { return kind_ == ReadingKind::kInstantPower; }
  double at_s(std::size_t i) const { return t_[i]; }
  double joules(std::size_t i) const { return joules_[i]; }
  /// Power of the interval that ends at knot i; at knot i where power is linear. Goes on beyond the ends.
  double watts(std::size_t i) const { return watts_[std::min(i, watts_.size() - 1)]; }
  double width_s(std::size_t i) const { return width_s_[std::min(i, width_s_.size() - 1)]; }
  /// Index of the first knot after t.
  std::size_t after(double t) const {
    return static_cast<std::size_t>(std::upper_bound(t_.begin(), t_.end(), t) - t_.begin());
  }
  /// Power at t with knots joined by straight lines.
  double watts_at(double t) const {
    const std::size_t i = after(t);
    if (i == 0 || i == t_.size()) return watts(i);
    return watts_[i - 1] + (watts_[i] - watts_[i - 1]) * (t - t_[i - 1]) / (t_[i] - t_[i - 1]);
  }
  /// Joules up to t, every interval shared out evenly.
  double joules_at(double t) const {
    const std::size_t i = after(t);
    if (i == 0) return joules_.front() - watts(0) * (t_.front() - t);
    if (i == t_.size()) return joules_.back() + watts(i) * (t - t_.back());
    const double into = t - t_[i - 1];
    return joules_[i - 1] + into * (linear() ? 0.5 * (watts_[i - 1] + watts_at(t)) : watts_[i]);
  }
  /// Mean power of up to three update intervals before (side -1) or after the interval that t is in; NaN
  /// where there are none.
  double power_beside(double t, int side) const {
    const std::size_t i = after(t), last = t_.size() - 1;
    if (side < 0 ? i < 2 : i + 1 > last) return std::nan("");
    const std::size_t from = side < 0 ? (i > 4 ? i - 4 : 0) : i,
                      to = side < 0 ? i - 1 : std::min(i + 3, last);
    return (joules_[to] - joules_[from]) / (t_[to] - t_[from]);
  }
  /// Of values that change slope at updates or between them: what the values on both sides of t extrapolate
  /// to.
  std::pair<double, double> watts_from_both_sides(double t) const {
    const std::size_t i = after(t);
    if (i < 2 || i + 1 >= t_.size()) return {watts_at(t), watts_at(t)};
    const auto line = [&](std::size_t a, std::size_t b) {
      return watts_[a] + (watts_[b] - watts_[a]) * (t - t_[a]) / (t_[b] - t_[a]);
    };
    return {line(i - 2, i - 1), line(i, i + 1)};
  }

 private:
  ReadingKind kind_;
  std::vector<double> t_, joules_, watts_, width_s_;
};

struct Part {
  double joules = 0, variance = 0;
};

/// What an end of the window does: joules to add to the even share of the interval it cuts, and variance.
Part judge_end(const Curve& curve, const Channel& channel, double period_s, double t, int side) {
  Part end;
  const std::size_t i = curve.after(t);
  const double u_t = curve.width_s(i) / std::sqrt(12.0);
  const bool cut = !curve.linear() && i > 0 && i < curve.size();
  const double outside = curve.power_beside(t, side), inside = curve.power_beside(t, -side);
  const double here = curve.watts(i);
  if (channel.kind == ReadingKind::kEnergyCounter) {
    // Both knots of a cut interval take part.
    const double most =
        std::max(here, std::max(std::isnan(inside) ? 0 : inside, std::isnan(outside) ? 0 : outside));
    end.variance += (cut ? 2 : 1) * square(most * u_t);
  } else {
    // With nothing known beyond the end the load may have been anything down to none.
    const double step = std::isnan(inside) ? 0 : std::isnan(outside) ? inside : inside - outside;
    const bool measured = channel.lag_known == Known::kMeasured;
    const double u_lag = measured && channel.lag_spread_s > 0
                             ? channel.lag_spread_s
                             : period_s / std::sqrt(12.0) * (measured ? 0.1 : 1.0);
    end.variance += square(step * u_t) + square(step * u_lag);
  }
  if (!cut) return end;
  const double dt = curve.at_s(i) - curve.at_s(i - 1);
  const double before_share = (t - curve.at_s(i - 1)) / dt;
  const double f = side < 0 ? 1 - before_share : before_share;  // inside
  const double in = std::isnan(inside) ? here : inside, out = std::isnan(outside) ? here : outside,
               total = here;
  // Least change of both neighbours' powers that makes up the total of the cut interval.
  const double rest = total - (f * in + (1 - f) * out), d = f * f + (1 - f) * (1 - f);
  end.joules = f * dt * (in + f * rest / d - total);
  const bool one_step = std::fabs(rest) <= std::fabs(in - out);
  const double share = !one_step                ? std::max(f * f, (1 - f) * (1 - f))
                       : rest * (in - out) >= 0 ? f * f
                                                : (1 - f) * (1 - f);
  end.variance += square(dt * rest * share / d) / 3 + square(f * (1 - f) * dt * (in - out) / 2) / 3;
  return end;
}

/// Energy from averages over a window W that overlap: W M(t) is exactly the energy of [t - W, t]. As many of
/// those as fit are laid on from both ends; the remainder, shorter than W, is put where the load is
/// steadiest and taken from the smoothed curve.
Part boxcar_energy(const Curve& curve, double averaging_s, double period_s, const Interval& interval) {
  const auto whole = static_cast<int>(interval.length_s() / averaging_s);
  const double remainder_s = interval.length_s() - whole * averaging_s;
  const auto smoothed = [&](double from, double to) {
    const double later = 0.5 * (averaging_s - period_s);
    return curve.joules_at(to + later) - curve.joules_at(from + later);
  };
  /// What smoothing shifts over a step at t: W / 8 of it, the step seen as the change over W.
  const auto smear = [&](double t) {
    double low = curve.watts_at(t), high = low;
    for (int k = 1; k <= 8; ++k) {
      const double watts = curve.watts_at(t + k * averaging_s / 8);
      low = std::min(low, watts), high = std::max(high, watts);
    }
    return (high - low) * averaging_s / 8;
  };
  int before = 0;
  double least = std::numeric_limits<double>::infinity();
  for (int candidate = 0; candidate <= whole; ++candidate) {
    const double from = interval.begin_s + candidate * averaging_s;
    const double variance = (square(smear(from)) + square(smear(from + remainder_s))) / 3;
    if (variance < least) before = candidate, least = variance;
  }
  const double from = interval.begin_s + before * averaging_s;
  Part best{smoothed(from, from + remainder_s), least};
  for (int k = 1; k <= whole; ++k) {
    const double end = interval.begin_s + k * averaging_s + (k > before ? remainder_s : 0);
    const auto [left, right] = curve.watts_from_both_sides(end);
    best.joules += averaging_s * 0.5 * (left + right);
    best.variance += square(averaging_s * (left - right)) / 4;
  }
  return best;
}

/// Squared uncertainty of what happened between updates and of when they came.
double sampling_variance(const Curve& curve, const Channel& channel, double period_s,
                         const Interval& interval) {
  if (channel.kind == ReadingKind::kEnergyCounter) return 0;
  const bool average = channel.kind == ReadingKind::kAveragePower;
  const double looks_back_s = !average ? 0 : channel.averaging_s > 0 ? channel.averaging_s : period_s;
  double sum = 0;
  for (std::size_t i = std::max<std::size_t>(1, curve.after(interval.begin_s));
       i < curve.size() && curve.at_s(i) <= interval.end_s; ++i) {
    const double change = curve.watts(i) - curve.watts(i - 1), dt = curve.at_s(i) - curve.at_s(i - 1);
    // An average that is read more rarely than it looks back leaves out what was between, whatever the
    // device's own period.
    const double unseen_s = std::max(0.0, dt - looks_back_s);
    sum += square(change * unseen_s) / 2 + square(change * curve.width_s(i)) / 12;
  }
  return sum;
}

/// @return changes of the value that were seen; the energy gets the updates there must have been
std::int64_t count_updates(Energy& energy, const Updates& updates, const Channel& channel,
                           const Interval& interval, double shift_s) {
  for (const Update& update : updates.list)
    if (!update.held && update.at_s - shift_s > interval.begin_s && update.at_s - shift_s <= interval.end_s)
      ++energy.distinct_updates;
  const std::int64_t changes = energy.distinct_updates;
  if (energy.flags & (kStuck | kLost)) return changes;
  // The device may update more often than it is read (a counter adds those up), or to an equal value.
  const bool counter = channel.kind == ReadingKind::kEnergyCounter;
  if (channel.update_period_s <= 0 || channel.stamped_by_device || (counter && changes == 0)) return changes;
  const std::int64_t possible =
      static_cast<std::int64_t>(interval.length_s() / channel.update_period_s + 1e-6);
  energy.distinct_updates = std::max(
      energy.distinct_updates, counter ? possible : std::min(possible, energy.readings - energy.failures));
  return changes;
}

/// Whether it failed for the last periods of the interval and never answered again: a long averaging window
/// may still cover what is missing, the meter is gone all the same.
bool gone_at_the_end(const Series& series, const Interval& interval, double period_s) {
  constexpr int kFailures = 3;
  constexpr double kPeriods = 2.5;  // as drop-outs
  int failures = 0;
  for (auto reading = series.readings.rbegin(); reading != series.readings.rend(); ++reading) {
    if (reading->value)
      return failures >= kFailures && interval.end_s - reading->monotonic_s > kPeriods * period_s;
    failures += interval.holds(reading->monotonic_s);
  }
  return failures >= kFailures;
}

}  // namespace

std::string flags_text(unsigned flags) {
  std::string text;
  for (const NamedFlag& each : kFlags)
    if (flags & each.flag) text += (text.empty() ? "" : " ") + std::string(each.name);
  return text.empty() ? "ok" : text;
}

unsigned flags_of(const std::string& text) {
  std::istringstream words(text);
  unsigned flags = 0;
  for (std::string word; words >> word;) {
    const auto found =
        std::find_if(kFlags.begin(), kFlags.end(), [&](const NamedFlag& each) { return word == each.name; });
    if (found != kFlags.end())
      flags |= found->flag;
    else if (word != "ok")
      throw std::invalid_argument(fmt::format("'{}' is no quality flag of an energy", word));
  }
  return flags;
}

double Energy::random_j() const {
  return std::sqrt(square(quantisation_j) + square(sampling_j) + square(edges_j));
}
double Energy::uncertainty_j() const { return std::hypot(random_j(), accuracy_j); }

Energy integrate(const Series& series, const Interval& interval) {
  Energy energy;
  energy.seconds = interval.length_s();
  const Channel& channel = series.channel;
  const Updates updates = distinct_updates(series, interval);
  energy.flags = updates.flags;
  energy.readings = updates.readings;
  energy.failures = updates.failures;
  energy.wraps = updates.wraps;
  energy.reason = updates.reason;
  const Curve curve(updates, channel);
  const bool counter = channel.kind == ReadingKind::kEnergyCounter;
  const double period_s = std::max(updates.period_s, 1e-9);
  const double reach_s = 1.5 * std::max(period_s, series.poll_period_s) + 0.5 * channel.averaging_s;
  const auto lose = [&](const std::string& why) {
    energy.flags |= kLost | kUnderSampled;
    if (energy.reason.empty()) energy.reason = fmt::format("{}: {}: {}", series.meter, channel.domain, why);
    return energy;
  };
  if (curve.size() < (counter ? 2u : 1u) || !(interval.length_s() > 0)) return lose("no readings");
  if (curve.first_s() > interval.end_s || curve.last_s() < interval.begin_s - reach_s)
    return lose("no readings in the window");
  if (curve.last_s() < interval.end_s - reach_s) {
    energy.flags |= kLost;
    if (energy.reason.empty())
      energy.reason = fmt::format("{}: {}: no readings for the last {:.3g} s of the window", series.meter,
                                  channel.domain, interval.end_s - curve.last_s());
  }
  if (gone_at_the_end(series, interval, std::max(period_s, series.poll_period_s))) energy.flags |= kLost;
  if (curve.first_s() > interval.begin_s + reach_s) {
    energy.flags |= kDropout;
    if (energy.reason.empty())
      energy.reason = fmt::format("{}: {}: no readings for the first {:.3g} s of the window", series.meter,
                                  channel.domain, curve.first_s() - interval.begin_s);
  }
  if (curve.last_s() - curve.first_s() < 0 ||
      std::min(curve.last_s(), interval.end_s) - std::max(curve.first_s(), interval.begin_s) <
          0.5 * interval.length_s() - reach_s)
    return lose("readings cover less than half of the window");

  const bool smeared = channel.kind == ReadingKind::kAveragePower && channel.averaging_s > 1.5 * period_s;
  double edges = 0;
  if (smeared) {
    const Part part = boxcar_energy(curve, channel.averaging_s, period_s, interval);
    energy.joules = part.joules;
    edges = part.variance;
  } else {
    energy.joules = curve.joules_at(interval.end_s) - curve.joules_at(interval.begin_s);
  }
  for (const auto& [t, side] : {std::pair{interval.begin_s, -1}, std::pair{interval.end_s, +1}}) {
    const Part end = judge_end(curve, channel, period_s, t, side);
    if (!smeared) energy.joules += end.joules;
    edges += end.variance;
  }
  energy.edges_j = std::sqrt(edges);
  energy.sampling_j = std::sqrt(sampling_variance(curve, channel, period_s, interval));
  const std::int64_t changes = count_updates(energy, updates, channel, interval, channel.lag_s);
  if (energy.distinct_updates < kLeastUpdates) {
    energy.flags |= kUnderSampled;
    if (energy.reason.empty())
      energy.reason = fmt::format("{}: {}: {} distinct updates in the window, {} are needed; {}",
                                  series.meter, channel.domain, energy.distinct_updates, kLeastUpdates,
                                  channel.update_period_s > 0
                                      ? "a longer window has them (--window-s, --max-window-s)"
                                      : "how often it updates is not known: declare update_period_s, or run "
                                        "mlpwatt calibrate");
  }
  energy.quantisation_j = counter
                              ? updates.resolution / std::sqrt(6.0)
                              : updates.resolution * energy.seconds /
                                    std::sqrt(12.0 * static_cast<double>(std::max<std::int64_t>(1, changes)));
  energy.accuracy_j =
      std::hypot(channel.accuracy_relative * energy.joules, channel.accuracy_absolute_w * energy.seconds) /
      std::sqrt(3.0);
  return energy;
}

bool stood_still(const Series& series, const Interval& idle, const Interval& window) {
  if (series.channel.kind == ReadingKind::kEnergyCounter) return false;  // integrate() says so
  const double least_s =
      5 * std::max(series.channel.update_period_s, series.poll_period_s) + series.channel.lag_s;
  const Interval both{std::min(idle.begin_s, window.begin_s), std::max(idle.end_s, window.end_s)};
  const auto overlap = [](const Interval& stretch, const Interval& part) {
    return std::min(stretch.end_s, part.end_s) - std::max(stretch.begin_s, part.begin_s);
  };
  Interval stretch;
  const Reading* held = nullptr;
  for (const Reading& reading : series.readings) {
    if (!reading.value || !both.holds(reading.monotonic_s)) continue;
    if (held == nullptr || *held->value != *reading.value) {
      held = &reading;
      stretch.begin_s = reading.monotonic_s;
    }
    stretch.end_s = reading.monotonic_s;
    if (overlap(stretch, idle) > least_s && overlap(stretch, window) > least_s) return true;
  }
  return false;
}

void flag_stand(Energy& energy, const Series& series, const Interval& idle, const Interval& window) {
  if (!stood_still(series, idle, window)) return;
  energy.flags |= kStuck;
  if (energy.reason.empty())
    energy.reason = fmt::format("{}: {} has shown one value from idle into the window", series.meter,
                                series.channel.domain);
}

Idle idle_power(const std::vector<Energy>& idle_times) {
  Idle idle;
  std::vector<double> watts;
  double variance = 0;
  for (const Energy& energy : idle_times) {
    if (std::isnan(energy.joules) || energy.flags & (kStuck | kLost)) continue;
    // worth having, but whoever subtracts it is to know
    idle.flags |= energy.flags & (kUnderSampled | kDropout | kOutOfRange);
    watts.push_back(energy.mean_w());
    variance += square(energy.random_j() / energy.seconds);
  }
  if (watts.empty()) {
    // a baseline that was tried for and is not there: whoever misses it is to know
    for (const Energy& energy : idle_times) idle.flags |= energy.flags;
    return idle;
  }
  const double n = static_cast<double>(watts.size());
  idle.watts = 0;
  for (const double each : watts) idle.watts += each / n;
  variance /= n * n;
  if (watts.size() > 1) {
    const double drift = watts.back() - watts.front();
    variance += square(drift) / 12;
    if (std::fabs(drift) > 0.02 * idle.watts) idle.flags |= kIdleDrift;
  }
  idle.random_w = std::sqrt(variance);
  return idle;
}

Energy without_idle(const Energy& gross, const Idle& idle, const Channel& channel) {
  Energy net = gross;
  net.joules = gross.joules - idle.watts * gross.seconds;
  net.accuracy_j = std::fabs(channel.accuracy_relative * net.joules) / std::sqrt(3.0);
  net.sampling_j = std::hypot(gross.sampling_j, idle.random_w * gross.seconds);
  net.flags |= idle.flags;
  return net;
}

}  // namespace mlpwatt

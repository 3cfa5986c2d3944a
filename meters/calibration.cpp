#include "meters/calibration.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <complex>
#include <random>
#include <thread>

#include "meters/sampler.h"

namespace mlpwatt {
namespace {

constexpr double kLeastLength_s = 20, kMostLength_s = 3600, kLengthPeriods = 100, kHoldsPerRecord = 30;
/// Changes of a reading without which its period is not believed.
constexpr std::size_t kLeastChanges = 10;
constexpr std::size_t kFirstChanges = 400;
/// Share of the variance that may be left before the load is taken not to be this meter's.
constexpr double kMostUnexplained = 0.5;
/// A lag and a window are looked for within so many update periods, and at least so many seconds.
constexpr double kLagPeriods = 8, kLeastLagReach_s = 0.5, kWindowPeriods = 20;
constexpr int kBlocks = 4;

double square(double x) { return x * x; }

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

class MonotonicClock : public CalibrationClock {
 public:
  double now_s() override { return monotonic_now_s(); }
  void sleep_until(double t) override {
    if (const double wait_s = t - now_s(); wait_s > 0)
      std::this_thread::sleep_for(std::chrono::duration<double>(wait_s));
  }
};

/// A change of the reading: the update came in (from_s, to_s].
struct Change {
  double from_s, to_s;
  double middle_s() const { return 0.5 * (from_s + to_s); }
};

struct Beat {
  double period_s = 0, phase_s = 0, spread_s = 0;  ///< updates at phase + n period
  bool bound = false;                              ///< the readings were no closer than the updates
};

std::vector<Change> changes_of(const std::vector<Reading>& readings, bool stamped) {
  std::vector<Change> changes;
  for (std::size_t i = 1; i < readings.size(); ++i) {
    const Reading &before = readings[i - 1], &now = readings[i];
    const bool same = before.device_stamp && now.device_stamp ? *before.device_stamp == *now.device_stamp
                                                              : *before.value == *now.value;
    if (!same) changes.push_back({stamped ? now.monotonic_s : before.monotonic_s, now.monotonic_s});
  }
  return changes;
}

/// The lowest frequency at which the changes are nearly as coherent as at any: harmonics are as coherent, but
/// higher.
double coherent_period(const std::vector<Change>& changes, double poll_s) {
  std::vector<double> gaps;
  for (std::size_t i = 1; i < changes.size(); ++i)
    gaps.push_back(changes[i].middle_s() - changes[i - 1].middle_s());
  std::sort(gaps.begin(), gaps.end());
  const double least_gap = std::max(gaps[gaps.size() / 20], 0.5 * poll_s);
  const double span = changes.back().middle_s() - changes.front().middle_s();
  const double step_hz = 0.125 / span, from_hz = 0.4 / (least_gap + poll_s);
  const double to_hz = 1.5 / std::max(least_gap - poll_s, 0.5 * least_gap);
  const auto coherence = [&](double hz) {
    std::complex<double> sum = 0;
    for (const Change& change : changes)
      sum += std::polar(1.0, 2 * M_PI * hz * (change.middle_s() - changes.front().middle_s()));
    return std::abs(sum) / static_cast<double>(changes.size());
  };
  std::vector<double> scores;
  for (double hz = from_hz; hz <= to_hz; hz += step_hz) scores.push_back(coherence(hz));
  const double best = *std::max_element(scores.begin(), scores.end());
  for (std::size_t i = 0; i < scores.size(); ++i) {
    const bool peak =
        (i == 0 || scores[i] >= scores[i - 1]) && (i + 1 == scores.size() || scores[i] >= scores[i + 1]);
    if (peak && scores[i] >= 0.9 * best) return 1 / (from_hz + static_cast<double>(i) * step_hz);
  }
  return least_gap;
}

/// Least squares of the changes on whole numbers of periods.
Beat refine(const std::vector<Change>& changes, double period_s) {
  Beat beat{period_s, changes.front().middle_s(), 0, false};
  for (int round = 0; round < 3; ++round) {
    double n_sum = 0, t_sum = 0, nn = 0, nt = 0;
    const double origin_s = changes.front().middle_s(), count = static_cast<double>(changes.size());
    const auto number = [&](const Change& change) {
      return std::round((change.middle_s() - beat.phase_s) / beat.period_s);
    };
    for (const Change& change : changes) n_sum += number(change), t_sum += change.middle_s() - origin_s;
    for (const Change& change : changes) {
      const double n = number(change) - n_sum / count, t = change.middle_s() - origin_s - t_sum / count;
      nn += n * n, nt += n * t;
    }
    if (!(nn > 0) || !(nt > 0)) break;
    const double fitted = nt / nn;
    beat.phase_s = origin_s + t_sum / count - fitted * n_sum / count;
    double residuals = 0;
    for (const Change& change : changes)
      residuals += square(change.middle_s() - beat.phase_s - fitted * number(change));
    beat.period_s = fitted;
    beat.spread_s = std::sqrt(residuals / std::max(1.0, count - 2) / nn);
  }
  return beat;
}

/// One update: when it was made and the mean power it shows, over `over_s` for counters.
struct Point {
  double at_s = 0, watts = 0, over_s = 0;
};

/// One reading of each update, away from the moments at which it changes.
std::vector<Point> points_of(const std::vector<Reading>& readings, const Channel& channel, const Beat& beat,
                             double poll_s) {
  struct Seen {
    double at_s, value;
  };
  std::vector<Seen> updates;
  double unwrapped = 0;
  const Reading* before = nullptr;
  const bool counter = channel.kind == ReadingKind::kEnergyCounter;
  for (const Reading& reading : readings) {
    double value = *reading.value;
    if (counter) {
      double gain = before == nullptr ? 0 : value - *before->value;
      if (gain < 0 && channel.wrap_j > 0) gain += channel.wrap_j;
      value = unwrapped += gain;
    }
    const bool fresh = before == nullptr || !before->device_stamp || !reading.device_stamp ||
                       *before->device_stamp != *reading.device_stamp;
    before = &reading;
    if (channel.stamped_by_device || beat.bound) {
      if (fresh) updates.push_back({reading.monotonic_s, value});
      continue;
    }
    const double n = std::floor((reading.monotonic_s - beat.phase_s) / beat.period_s);
    const double at_s = beat.phase_s + n * beat.period_s, into_s = reading.monotonic_s - at_s;
    const double guard_s = std::min(0.75 * poll_s, 0.25 * beat.period_s);
    if (into_s < guard_s || into_s > beat.period_s - guard_s) continue;
    if (!updates.empty() && std::fabs(updates.back().at_s - at_s) < 0.5 * beat.period_s)
      updates.back().value = value;
    else
      updates.push_back({at_s, value});
  }
  std::vector<Point> points;
  for (std::size_t i = 0; i < updates.size(); ++i) {
    if (!counter) {
      points.push_back({updates[i].at_s, updates[i].value, 0});
      continue;
    }
    if (i == 0 || !(updates[i].at_s > updates[i - 1].at_s)) continue;
    const double over_s = updates[i].at_s - updates[i - 1].at_s;
    points.push_back({updates[i].at_s, (updates[i].value - updates[i - 1].value) / over_s, over_s});
  }
  return points;
}

/// Means over at least a twentieth of a hold: a counter that moves every millisecond has a quantum that would
/// drown the load.
std::vector<Point> thinned(const std::vector<Point>& points, double least_s) {
  std::vector<Point> thin;
  Point sum;
  for (const Point& point : points) {
    sum.watts += point.watts * point.over_s;
    sum.over_s += point.over_s;
    sum.at_s = point.at_s;
    if (sum.over_s < least_s) continue;
    thin.push_back({sum.at_s, sum.watts / sum.over_s, sum.over_s});
    sum = {};
  }
  return thin;
}

struct Fit {
  double lag_s = 0, window_s = 0, unexplained = 1, idle_w = 0, load_w = 0;
};

Fit explain(const std::vector<Point>& points, const SquareWave& load, double lag_s, double window_s) {
  double n = 0, sx = 0, sy = 0, sxx = 0, sxy = 0, syy = 0;
  const double offset_w = points.front().watts;
  for (const Point& point : points) {
    const double to = point.at_s - lag_s, over = point.over_s > 0 ? point.over_s : window_s;
    const double x = over > 0 ? load.on_s(to - over, to) / over : (load.on(to) ? 1.0 : 0.0);
    const double y = point.watts - offset_w;
    n += 1, sx += x, sy += y, sxx += x * x, sxy += x * y, syy += y * y;
  }
  Fit fit{lag_s, window_s, 1, 0, 0};
  const double xx = sxx - sx * sx / n, xy = sxy - sx * sy / n, yy = syy - sy * sy / n;
  if (!(xx > 1e-9) || !(yy > 0)) return fit;
  const double slope = xy / xx;
  fit.unexplained = slope > 0 ? std::max(0.0, 1 - xy * xy / (xx * yy)) : 1;
  fit.idle_w = offset_w + (sy - slope * sx) / n;
  fit.load_w = fit.idle_w + slope;
  return fit;
}

/// Walks downhill from a fit in ever smaller steps of lag and window.
Fit descend(const std::vector<Point>& points, const SquareWave& load, Fit best, double step_s, double least_s,
            bool fit_window) {
  for (; step_s > least_s; step_s *= 0.5)
    for (bool better = true; better;) {
      better = false;
      for (int way = 0; way < (fit_window ? 8 : 2); ++way) {
        static constexpr double kLag[] = {1, -1, 0, 0, 1, -1, 1, -1}, kWindow[] = {0, 0, 1, -1, -1, 1, 1, -1};
        const double lag = best.lag_s + kLag[way] * step_s, window = best.window_s + kWindow[way] * step_s;
        if (window < 0) continue;
        const Fit next = explain(points, load, lag, window);
        if (next.unexplained < best.unexplained * (1 - 1e-9)) best = next, better = true;
      }
    }
  return best;
}

Fit search(const std::vector<Point>& points, const SquareWave& load, double period_s, double least_step_s,
           bool fit_window) {
  const double lag_reach = std::max(kLagPeriods * period_s, kLeastLagReach_s);
  const double window_reach = fit_window ? kWindowPeriods * period_s : 0;
  const double step = std::max(period_s / 4, lag_reach / 200);
  std::vector<Fit> fits;
  for (double window = 0; window <= window_reach; window += step)
    for (double lag = -step; lag <= lag_reach; lag += step)
      fits.push_back(explain(points, load, lag, window));
  const std::size_t tried = std::min<std::size_t>(5, fits.size());
  std::partial_sort(fits.begin(), fits.begin() + static_cast<std::ptrdiff_t>(tried), fits.end(),
                    [](const Fit& a, const Fit& b) { return a.unexplained < b.unexplained; });
  Fit best;
  for (std::size_t i = 0; i < tried; ++i)
    if (const Fit found = descend(points, load, fits[i], step / 2, least_step_s, fit_window);
        found.unexplained < best.unexplained)
      best = found;
  return best;
}

/// Standard deviation of the mean of what quarters of the record say.
void find_spreads(ChannelTiming& timing, const std::vector<Point>& points, const SquareWave& load,
                  const Fit& best, double step_s, double least_step_s, bool fit_window) {
  std::vector<double> lags, windows;
  for (int block = 0; block < kBlocks; ++block) {
    const auto begin = static_cast<std::ptrdiff_t>(points.size() * static_cast<std::size_t>(block) / kBlocks);
    const auto end =
        static_cast<std::ptrdiff_t>(points.size() * static_cast<std::size_t>(block + 1) / kBlocks);
    const std::vector<Point> part(points.begin() + begin, points.begin() + end);
    if (part.size() < 5) continue;
    Fit from = explain(part, load, best.lag_s, best.window_s);
    if (from.unexplained >= 1) continue;
    from = descend(part, load, from, step_s, least_step_s, fit_window);
    lags.push_back(from.lag_s), windows.push_back(from.window_s);
  }
  const auto spread = [](const std::vector<double>& values) {
    if (values.size() < 2) return std::nan("");
    double mean = 0, sum = 0;
    const double n = static_cast<double>(values.size());
    for (const double value : values) mean += value / n;
    for (const double value : values) sum += square(value - mean);
    return std::sqrt(sum / (n - 1) / n);
  };
  // readings and updates may keep step with each other: the time between two readings does not average out
  const double blind_s = timing.poll_s / std::sqrt(12.0);
  timing.lag_s.spread = std::hypot(spread(lags), blind_s);
  if (fit_window) timing.averaging_s.spread = std::hypot(spread(windows), blind_s);
}

/// What all values are whole multiples of, by Euclid's algorithm on their differences; 0 = nothing that
/// stands out from what they span.
double quantum_of(const std::vector<Reading>& readings) {
  std::vector<double> values;
  for (const Reading& reading : readings) values.push_back(*reading.value);
  std::sort(values.begin(), values.end());
  values.erase(std::unique(values.begin(), values.end()), values.end());
  if (values.size() < 3) return 0;
  const double noise = 1e-9 * (values.back() - values.front());
  double quantum = 0;
  for (std::size_t i = 1; i < values.size(); ++i) {
    double a = std::max(quantum, values[i] - values[i - 1]), b = std::min(quantum, values[i] - values[i - 1]);
    while (b > noise + 0.01 * a) a = std::exchange(b, std::min(std::fmod(a, b), b - std::fmod(a, b)));
    quantum = a;
    if (quantum < 1000 * noise) return 0;
  }
  const bool all = std::all_of(values.begin(), values.end(), [&](double value) {
    const double times = (value - values.front()) / quantum;
    return std::fabs(times - std::round(times)) < 0.05;
  });
  return all ? quantum : 0;
}

}  // namespace

CalibrationClock& monotonic_clock() {
  static MonotonicClock clock;
  return clock;
}

SquareWave::SquareWave(std::vector<double> edges_s) : edges_s_(std::move(edges_s)) {
  double sum = 0;
  for (std::size_t i = 0; i < edges_s_.size(); ++i) {
    if (i % 2 != 0) sum += edges_s_[i] - edges_s_[i - 1];
    on_before_s_.push_back(sum);
  }
}

SquareWave SquareWave::random(std::uint64_t seed, double begin_s, double end_s, double hold_s) {
  std::mt19937_64 generator(seed);
  std::uniform_real_distribution<double> hold(0.5 * hold_s, 1.5 * hold_s);
  std::vector<double> edges_s;
  for (double t = begin_s + hold(generator); t < end_s; t += hold(generator)) edges_s.push_back(t);
  if (edges_s.size() % 2 != 0) edges_s.push_back(end_s);
  return SquareWave(std::move(edges_s));
}

bool SquareWave::on(double t) const {
  return (std::upper_bound(edges_s_.begin(), edges_s_.end(), t) - edges_s_.begin()) % 2 != 0;
}

double SquareWave::on_s(double from, double to) const { return on_until(to) - on_until(from); }

double SquareWave::on_until(double t) const {
  const auto i =
      static_cast<std::size_t>(std::upper_bound(edges_s_.begin(), edges_s_.end(), t) - edges_s_.begin());
  if (i == 0) return 0;
  return on_before_s_[i - 1] + (i % 2 != 0 ? t - edges_s_[i - 1] : 0);
}

CalibrationRecord record_under_load(Meter& meter, const SquareLoad& load, const CalibrationOptions& options,
                                    CalibrationClock& clock) {
  double slowest_s = 0, quickest_s = std::numeric_limits<double>::infinity();
  for (const Channel& channel : meter.channels()) {
    const double period_s = channel.update_period_s > 0 ? channel.update_period_s : meter.poll_period_s();
    slowest_s = std::max(slowest_s, period_s), quickest_s = std::min(quickest_s, period_s);
  }
  const double length_s = options.length_s > 0
                              ? options.length_s
                              : std::clamp(kLengthPeriods * slowest_s, kLeastLength_s, kMostLength_s);
  const double hold_s = options.hold_s > 0 ? options.hold_s : length_s / kHoldsPerRecord;
  const double usual_s = meter.poll_period_s();
  const double poll_s = options.poll_s > 0 ? options.poll_s
                        : !meter.slow()    ? std::clamp(quickest_s / 20, 5e-4, usual_s)
                        : usual_s <= 0.5   ? usual_s / 5
                                           : usual_s;
  CalibrationRecord record;
  const double begin_s = clock.now_s(), end_s = begin_s + length_s;
  record.load = SquareWave::random(options.seed, begin_s, end_s - 0.05 * length_s, hold_s);
  for (const Channel& channel : meter.channels())
    record.series.push_back({meter.name(), channel, poll_s, {}, {}});
  const std::shared_ptr<void> running = load(record.load);
  std::mt19937_64 generator(options.seed + 1);
  std::uniform_real_distribution<double> jitter(0.75, 1.25);
  for (double due_s = begin_s; due_s < end_s;
       due_s = std::max(due_s + poll_s * jitter(generator), clock.now_s())) {
    clock.sleep_until(due_s);
    const std::vector<Reading> readings = meter.read(std::max(1.0, 10 * poll_s));
    for (std::size_t i = 0; i < readings.size() && i < record.series.size(); ++i)
      record.series[i].readings.push_back(readings[i]);
  }
  return record;
}

ChannelTiming fit_timing(const Series& series, const SquareWave& load) {
  ChannelTiming timing;
  const Channel& channel = series.channel;
  timing.meter = series.meter;
  timing.domain = channel.domain;
  const auto give_up = [&](const std::string& why) {
    timing.reason = fmt::format("{}: {}: {}", series.meter, channel.domain, why);
    return timing;
  };
  std::vector<Reading> readings;
  std::vector<double> gaps;
  std::string first_failure;
  for (const Reading& reading : series.readings) {
    if (!reading.value && first_failure.empty()) first_failure = reading.reason;
    if (!reading.value || !std::isfinite(*reading.value)) continue;
    if (!readings.empty() && reading.monotonic_s < readings.back().monotonic_s) continue;
    if (!readings.empty() && reading.monotonic_s > readings.back().monotonic_s)
      gaps.push_back(reading.monotonic_s - readings.back().monotonic_s);
    readings.push_back(reading);
  }
  if (readings.size() < 2 * kLeastChanges)
    return give_up(first_failure.empty() ? "too few readings; give --seconds"
                                         : "too few readings: " + first_failure);
  // what it is read at, not what was asked for
  const double poll_s = median(gaps);
  timing.poll_s = channel.stamped_by_device ? 0 : poll_s;
  timing.length_s = readings.back().monotonic_s - readings.front().monotonic_s;
  const std::vector<Change> changes = changes_of(readings, channel.stamped_by_device);
  if (changes.size() < kLeastChanges)
    return give_up(fmt::format("changed {} times only under a load that went on and off {} times",
                               changes.size(), load.edges_s().size() / 2));
  Beat beat;
  if (!channel.stamped_by_device && 2 * changes.size() > readings.size()) {
    beat = {poll_s, readings.front().monotonic_s, poll_s / std::sqrt(12.0), true};
  } else {
    // first where few periods make it certain which change belongs to which, then over all
    const std::vector<Change> first(changes.begin(), changes.begin() + static_cast<std::ptrdiff_t>(std::min(
                                                                           changes.size(), kFirstChanges)));
    beat = refine(changes, refine(first, coherent_period(first, timing.poll_s)).period_s);
  }
  timing.period_is_bound = beat.bound;
  timing.update_period_s = {beat.period_s, beat.spread_s};
  timing.quantum = quantum_of(readings);
  std::vector<Point> points = points_of(readings, channel, beat, poll_s);
  const bool counter = channel.kind == ReadingKind::kEnergyCounter;
  if (counter && load.edges_s().size() > 1)
    points = thinned(points, (load.edges_s().back() - load.edges_s().front()) /
                                 static_cast<double>(load.edges_s().size()) / 20);
  timing.updates = static_cast<std::int64_t>(points.size());
  if (points.size() < 2 * kLeastChanges) return give_up("too few updates; give --seconds");
  const double least_step_s = std::max(1e-5, std::max(timing.poll_s, 0.02 * beat.period_s) / 20);
  const Fit best = search(points, load, beat.period_s, least_step_s, !counter);
  timing.unexplained = best.unexplained;
  timing.idle_w = best.idle_w;
  timing.load_w = best.load_w;
  if (!(best.unexplained < kMostUnexplained))
    return give_up(
        fmt::format("the load explains {:.0f} % of how it varies: this load does not feed it, or "
                    "others do as well",
                    100 * (1 - best.unexplained)));
  timing.lag_s.value = best.lag_s;
  if (!counter) timing.averaging_s.value = best.window_s;
  find_spreads(timing, points, load, best, beat.period_s / 8, least_step_s, !counter);
  return timing;
}

void apply_timing(Channel& channel, const ChannelTiming& timing) {
  if (!timing.reason.empty()) return;
  if (!timing.period_is_bound) {
    channel.update_period_s = timing.update_period_s.value;
    channel.update_period_known = Known::kMeasured;
  } else if (channel.update_period_s <= 0) {
    channel.update_period_s = timing.update_period_s.value;  // at most that
  }
  channel.lag_s = std::max(0.0, timing.lag_s.value);
  channel.lag_spread_s = timing.lag_s.spread;
  channel.lag_known = Known::kMeasured;
  channel.calibrated_utc = timing.utc;
  channel.resolution = std::max(channel.resolution, timing.quantum);
  if (channel.kind == ReadingKind::kEnergyCounter) return;
  channel.averaging_s = timing.averaging_s.value;
  channel.kind = channel.averaging_s > 0.75 * timing.update_period_s.value ? ReadingKind::kAveragePower
                                                                           : ReadingKind::kInstantPower;
}

}  // namespace mlpwatt

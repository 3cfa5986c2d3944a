#include "meters/updates.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

namespace mlpwatt {
namespace {

constexpr double kNever = -1e300;
/// Unchanged for more than this many update periods = stuck.
constexpr double kStuckPeriods = 5;
/// Without a reading for more than this many periods = drop-out.
constexpr double kGapPeriods = 2.5;
/// A register may be updated this late, and then carries the energy of all that time.
constexpr double kLateUpdate_s = 0.02;
/// Above this many times the next highest decile = absurd, where the channel states no maximum.
constexpr double kSpike = 10;
/// The same of counters' gains: idle readings may be most of them.
constexpr double kCounterSpike = 100;

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

/// The quantum all values share, when it is coarser than the channel knows: BMCs deliver whole watts
/// through interfaces that could carry microwatts.
double shared_quantum(const std::vector<double>& values, double known) {
  for (const double quantum : {100.0, 10.0, 1.0, 0.1, 0.01}) {
    if (quantum <= known) break;
    if (values.size() >= 3 && std::all_of(values.begin(), values.end(), [&](double value) {
          return std::fabs(value / quantum - std::round(value / quantum)) < 1e-6;
        }))
      return quantum;
  }
  return known;
}

class Sifter {
 public:
  Sifter(const Series& series, const Interval& interval) : series_(series), interval_(interval) {}

  Updates sift() {
    limit_w_ = absurd_above();
    find_period();
    spike_w_ = limit_w_ > 0 ? limit_w_ : usual_gain_w() * kCounterSpike;
    for (const Reading& reading : series_.readings) take(reading);
    close_stretch(last_read_s_);
    close_value_stretch();
    gap_until(interval_.end_s);
    if (candidate_) flag(kOutOfRange, candidate_->monotonic_s, candidate_->monotonic_s);
    for (const double step : series_.wall_steps_s)
      flag(kClockJump, step, step, "the wall clock was set meanwhile");
    std::vector<double> values;
    for (const Update& update : result_.list)
      if (!update.held) values.push_back(update.value);
    result_.resolution =
        counter() ? series_.channel.resolution : shared_quantum(values, series_.channel.resolution);
    judge_stuck();
    return result_;
  }

 private:
  bool counter() const { return series_.channel.kind == ReadingKind::kEnergyCounter; }

  /// @param why what the person is told when nothing was wrong before; "" = somebody else says it
  void flag(EnergyFlag which, double from_s, double to_s, const std::string& why = "") {
    if (to_s < interval_.begin_s || from_s > interval_.end_s) return;
    result_.flags |= which;
    if (result_.reason.empty() && !why.empty())
      result_.reason = fmt::format("{}: {}: {}", series_.meter, series_.channel.domain, why);
  }

  void fail(const Reading& reading, std::string reason) {
    if (!interval_.holds(reading.monotonic_s)) return;
    ++result_.failures;
    result_.flags |= kDropout;
    if (result_.reason.empty())
      result_.reason = reason.empty() ? series_.meter + ": no reading, no reason given" : std::move(reason);
  }

  /// Of powers: the channel's maximum, or an outlier bound from the readings around the interval.
  double absurd_above() const {
    if (series_.channel.maximum_w > 0) return series_.channel.maximum_w;
    if (counter()) return 0;
    std::vector<double> inside;
    const double around = std::max(series_.channel.update_period_s, series_.poll_period_s);
    for (const Reading& reading : series_.readings)
      if (reading.value && std::isfinite(*reading.value) &&
          reading.monotonic_s >= interval_.begin_s - around &&
          reading.monotonic_s <= interval_.end_s + around)
        inside.push_back(*reading.value);
    if (inside.size() < 5) return 0;
    const auto decile =
        inside.begin() + static_cast<std::ptrdiff_t>(0.9 * static_cast<double>(inside.size() - 1));
    std::nth_element(inside.begin(), decile, inside.end());
    return *decile > 0 ? kSpike * *decile : 0;
  }

  /// Of counters: highest decile of the power between readings around the interval; 0 = not known.
  double usual_gain_w() const {
    if (!counter()) return 0;
    std::vector<double> gains;
    const Reading* before = nullptr;
    for (const Reading& reading : series_.readings) {
      if (!reading.value || !std::isfinite(*reading.value)) continue;
      if (before != nullptr && reading.monotonic_s > before->monotonic_s) {
        double gain = *reading.value - *before->value;
        if (gain < 0) gain += series_.channel.wrap_j;
        if (gain > 0)
          gains.push_back(
              gain / (reading.monotonic_s - before->monotonic_s + std::max(kLateUpdate_s, result_.period_s)));
      }
      before = &reading;
    }
    if (gains.size() < 10) return 0;
    const auto decile =
        gains.begin() + static_cast<std::ptrdiff_t>(0.9 * static_cast<double>(gains.size() - 1));
    std::nth_element(gains.begin(), decile, gains.end());
    return *decile;
  }

  /// Of the channel, else the usual gap between changes, else how often it is read.
  void find_period() {
    std::vector<double> reads, changes;
    const Reading *before = nullptr, *changed = nullptr;
    bool stamped = false;
    for (const Reading& reading : series_.readings) {
      if (!reading.value) continue;
      if (before != nullptr && reading.monotonic_s > before->monotonic_s)
        reads.push_back(reading.monotonic_s - before->monotonic_s);
      const bool update = changed != nullptr && changed->device_stamp && reading.device_stamp
                              ? *changed->device_stamp != *reading.device_stamp
                              : changed == nullptr || *changed->value != *reading.value;
      stamped = stamped || reading.device_stamp.has_value();
      if (update) {
        if (changed != nullptr) changes.push_back(reading.monotonic_s - changed->monotonic_s);
        changed = &reading;
      }
      before = &reading;
    }
    poll_s_ = std::max(series_.poll_period_s, median(reads));
    result_.period_s = series_.channel.update_period_s > 0   ? series_.channel.update_period_s
                       : changes.size() >= (stamped ? 2 : 5) ? median(changes)
                                                             : poll_s_;
    step_s_ = std::max(result_.period_s, poll_s_);
  }

  void take(const Reading& reading) {
    const double t = reading.monotonic_s;
    if (interval_.holds(t)) ++result_.readings;
    if (!reading.value) return fail(reading, reading.reason);
    if (!std::isfinite(*reading.value))
      return fail(reading, fmt::format("{}: {} is no reading", series_.meter, *reading.value));
    if (last_read_s_ > kNever && repeats_or_runs_back(reading)) return;
    if (!counter() && (*reading.value < 0 || (limit_w_ > 0 && *reading.value > limit_w_))) {
      flag(kOutOfRange, t, t);
      return fail(reading, fmt::format("{}: {} W is out of range", series_.meter, *reading.value));
    }
    double value = *reading.value;
    if (counter() && last_raw_ && !unwrap(reading, value)) return;
    gap_until(t);
    const bool same =
        last_raw_ && (reading.device_stamp && last_stamp_ ? *reading.device_stamp == *last_stamp_
                                                          : *reading.value == *last_raw_);
    if (!last_raw_ || *reading.value != *last_raw_) {
      close_value_stretch();
      value_since_s_ = t;
    }
    if (!same) {
      close_stretch(std::clamp(t - result_.period_s, last_update_s_, std::max(last_update_s_, last_read_s_)));
      add(t, value);
    }
    last_raw_ = reading.value;
    last_stamp_ = reading.device_stamp;
    last_read_s_ = t;
  }

  /// Disorder in time: the reading is left out.
  bool repeats_or_runs_back(const Reading& reading) {
    const double t = reading.monotonic_s;
    const bool same_stamp = reading.device_stamp && last_stamp_ && *reading.device_stamp == *last_stamp_;
    const bool older_stamp = reading.device_stamp && last_stamp_ && *reading.device_stamp < *last_stamp_;
    if (t > last_read_s_ && !older_stamp) return false;
    // The same update read again, of a device that stamps them itself: its time is the same but for the
    // microseconds of turning wall clock into monotonic.
    if (same_stamp && last_read_s_ - t < 1e-3 && *reading.value == *last_raw_) return true;
    flag(kClockJump, std::min(t, last_read_s_), std::max(t, last_read_s_),
         "its time stamps repeat or run backwards");
    return true;
  }

  /// Makes `value` joules since the first reading. False: the reading is put aside.
  bool unwrap(const Reading& reading, double& value) {
    const double elapsed_s = reading.monotonic_s - last_read_s_;
    // Since it last moved, not since it was last read: one that stood and then catches up has counted all
    // along (the stand is flagged as such).
    const double seconds = reading.monotonic_s - last_update_s_ + std::max(kLateUpdate_s, result_.period_s);
    double gain = value - *last_raw_;
    const bool wrapped = gain < 0 && series_.channel.wrap_j > 0;
    if (wrapped) gain += series_.channel.wrap_j;
    if (gain < 0 || (spike_w_ > 0 && gain > spike_w_ * seconds)) {
      // A glitch, or the counter began anew: the next reading tells which.
      const bool follows = candidate_ && value >= *candidate_->value &&
                           (spike_w_ <= 0 || value - *candidate_->value <=
                                                 spike_w_ * (reading.monotonic_s - candidate_->monotonic_s +
                                                             result_.period_s));
      if (follows) {
        begin_anew(reading);
        return false;
      }
      candidate_ = reading;
      return false;
    }
    if (candidate_) {
      flag(kOutOfRange, candidate_->monotonic_s, candidate_->monotonic_s);
      fail(*candidate_,
           fmt::format("{}: {} J does not follow the reading before it", series_.meter, *candidate_->value));
      candidate_.reset();
    }
    if (wrapped && reading.monotonic_s > interval_.begin_s && last_read_s_ < interval_.end_s) ++result_.wraps;
    if (series_.channel.wrap_j > 0 && power_bound() * elapsed_s >= series_.channel.wrap_j)
      flag(kWrappedTwice, last_read_s_, reading.monotonic_s,
           fmt::format("it may have wrapped twice in {:.3g} s without a reading", elapsed_s));
    joules_ += gain;
    if (gain > 0) least_gain_j_ = least_gain_j_ > 0 ? std::min(least_gain_j_, gain) : gain;
    fastest_w_ = std::max(fastest_w_, gain / seconds);
    value = joules_;
    return true;
  }

  /// After a reset the power of before is assumed to have gone on until the new origin.
  void begin_anew(const Reading& reading) {
    flag(kDropout, last_read_s_, reading.monotonic_s);
    if (result_.reason.empty() && interval_.holds(candidate_->monotonic_s))
      result_.reason = fmt::format("{}: the counter began anew", series_.meter);
    const double elapsed = joules_ > 0 ? last_read_s_ - first_read_s_ : 0;
    if (elapsed > 0) joules_ += joules_ / elapsed * (candidate_->monotonic_s - last_read_s_);
    joules_ += *reading.value - *candidate_->value;
    candidate_.reset();
    add(reading.monotonic_s, joules_);
    value_since_s_ = reading.monotonic_s;
    last_raw_ = reading.value;
    last_stamp_ = reading.device_stamp;
    last_read_s_ = reading.monotonic_s;
  }

  /// What a counter can count per second at most: stated, or half as much again as was seen.
  double power_bound() const { return limit_w_ > 0 ? limit_w_ : 1.5 * fastest_w_; }

  void gap_until(double t) {
    if (last_read_s_ > kNever && t - last_read_s_ > kGapPeriods * step_s_)
      flag(kDropout, last_read_s_, t, fmt::format("no reading for {:.3g} s", t - last_read_s_));
  }

  void add(double t, double value) {
    if (counter() && result_.list.empty()) value = 0;
    const double since = last_read_s_ > kNever ? t - last_read_s_ : result_.period_s;
    const double width = series_.channel.stamped_by_device ? 0
                         : result_.period_s > 0            ? std::min(since, result_.period_s)
                                                           : since;
    result_.list.push_back({t - width / 2, width, value, false});
    if (first_read_s_ <= kNever) first_read_s_ = t;
    last_update_s_ = t;
  }

  /// Of a meter with stamps: how long its value has been the same until the last reading.
  void close_value_stretch() {
    if (last_stamp_ && value_since_s_ > kNever && last_read_s_ - value_since_s_ > kStuckPeriods * step_s_)
      value_stretches_.push_back({value_since_s_, last_read_s_});
  }

  /// The value stood from the last update until `until`: keep it there, and see whether that is too long.
  void close_stretch(double until) {
    if (result_.list.empty()) return;
    const Update last = result_.list.back();
    if (until - last_update_s_ > 0.5 * result_.period_s) {
      if (!series_.channel.stamped_by_device && (!counter() || until - last_update_s_ > 2 * step_s_))
        result_.list.push_back({until, result_.period_s, last.value, true});
    }
    if (until - last_update_s_ > kStuckPeriods * step_s_) stretches_.push_back({last_update_s_, until});
  }

  /// Whole watts of a steady load repeat themselves, and a drift makes quiet times between restless ones.
  /// What no healthy meter does is to show noise of several quanta and then one value for long: such a stand
  /// has on one side twenty changes with reversals of more than a quantum.
  bool stands_in_noise(const Interval& stretch) const {
    constexpr double kLeastPeriods = 20;
    const double stood_s =
        std::min(stretch.end_s, interval_.end_s) - std::max(stretch.begin_s, interval_.begin_s);
    if (stood_s < kLeastPeriods * step_s_) return false;
    std::vector<double> before, after;
    // Where stamps go on, a repeated value is an update, too: no reversal can be seen in it, and those of the
    // stand itself are on neither side.
    const auto changes = [](std::vector<double>& values, double value) {
      if (values.empty() || values.back() != value) values.push_back(value);
    };
    for (const Update& update : result_.list) {
      if (update.held || !interval_.holds(update.at_s)) continue;
      if (update.at_s < stretch.begin_s) changes(before, update.value);
      if (update.at_s > stretch.end_s) changes(after, update.value);
    }
    std::reverse(before.begin(), before.end());  // the nearest first
    return is_noisy(before) || is_noisy(after);
  }

  /// @param values each another than the one before it, the nearest to the stretch in question first
  bool is_noisy(const std::vector<double>& values) const {
    constexpr std::size_t kChanges = 20;
    constexpr int kLeastReversals = 4;
    if (values.size() < kChanges) return false;
    int reversals = 0;
    for (std::size_t i = 1; i + 1 < kChanges; ++i) {
      const double in = values[i] - values[i - 1], out = values[i + 1] - values[i];
      reversals += in * out < 0 && std::min(std::fabs(in), std::fabs(out)) > 1.5 * result_.resolution;
    }
    return reversals >= kLeastReversals;
  }

  void judge_stuck() {
    const bool stamps = last_stamp_.has_value();
    for (const Interval& stretch : stretches_)
      if (stamps || stood_wrongly(stretch)) flag_stuck(stretch, "has not moved");
    // stamps that go on do not make a value move
    for (const Interval& stretch : value_stretches_)
      if (stood_wrongly(stretch)) flag_stuck(stretch, "has shown one value under new stamps");
  }

  /// Of a value that did not change for so long, whatever its stamps.
  bool stood_wrongly(const Interval& stretch) const {
    if (!counter())
      return result_.resolution < 1e-4 * std::fabs(last_raw_.value_or(0)) || stands_in_noise(stretch);
    // A coarse counter may rest between two joules of a small power.
    const double rest_s = last_read_s_ - first_read_s_ - stretch.length_s();
    return rest_s <= 0 || joules_ <= 0 ||
           joules_ / rest_s * stretch.length_s() > 3 * std::max(series_.channel.resolution, least_gain_j_);
  }

  void flag_stuck(const Interval& stretch, const char* what) {
    if (stretch.end_s < interval_.begin_s || stretch.begin_s > interval_.end_s) return;
    result_.flags |= kStuck;
    if (result_.reason.empty())
      result_.reason = fmt::format("{}: {} {} for {:.3g} s", series_.meter, series_.channel.domain, what,
                                   stretch.length_s());
  }

  const Series& series_;
  const Interval& interval_;
  Updates result_;
  double limit_w_ = 0, spike_w_ = 0, poll_s_ = 0, step_s_ = 0, fastest_w_ = 0, joules_ = 0;
  double first_read_s_ = kNever, last_read_s_ = kNever, last_update_s_ = kNever;
  std::optional<double> last_raw_;
  std::optional<std::int64_t> last_stamp_;
  std::optional<Reading> candidate_;  ///< of a counter: does not follow; glitch or new origin
  std::vector<Interval> stretches_;   ///< without an update: of stamps where there are any, else of values
  std::vector<Interval> value_stretches_;  ///< of one value under stamps that went on
  double value_since_s_ = kNever;          ///< the last value has been shown since then
  double least_gain_j_ = 0;                ///< of a counter: a quantum that nobody declared is at most this
};

}  // namespace

Updates distinct_updates(const Series& series, const Interval& interval) {
  return Sifter(series, interval).sift();
}

}  // namespace mlpwatt

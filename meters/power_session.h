#pragma once
// The watt-meters of a sitting: which are used, the idle times, the windows, and what each window cost.

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "meters/domains.h"
#include "meters/sampler.h"

namespace mlpwatt {

/// What was asked for.
struct PowerOptions {
  std::string meters =
      "none";  ///< auto, none, or names of meters (or of instances, "redfish:bmc17"), commas between
  nlohmann::json config;  ///< one section a meter, under its name
  /// Idle time before and after each window; negative = 10 updates of the slowest meter, 0 = one for the
  /// sitting. What is asked for is kept without meters too: a log may be attached later.
  double idle_s = -1;
  /// Timings that `mlpwatt calibrate` found; "" = where it puts them.
  std::string calibration_path;
};

/// Reads a meter configuration. @param path "" = $MLPWATT_METERS, or none
/// Errors: std::invalid_argument naming the file, and the line for what is no JSON.
nlohmann::json read_meter_config(const std::string& path);

/// What a meter said when it was asked.
struct MeterFinding {
  std::string name, summary, state, detail, remedy;
};
/// Every registered meter, opened and closed again.
std::vector<MeterFinding> find_meters(const nlohmann::json& config);

/// Everything a window leaves behind.
struct WindowPower {
  Interval window;
  std::vector<ChannelEnergy> channels;
  std::vector<Series> series;  ///< raw, in the order of the channels: from the idle time before to that after
  std::optional<TotalEnergy> measured, modelled;
  std::optional<ChannelEnergy> rest;
  int ee_hpc_wg_level = 0;
  double sampler_cpu_share = 0;  ///< of one processor, by the sampling threads during the window
  std::vector<Interval> idle;
  double wall_offset_s = 0;  ///< CLOCK_REALTIME - CLOCK_MONOTONIC at the window's end
};

/// The draw of the machine's outermost domains at the moment it was asked for.
struct PowerNow {
  double watts = 0;
  Provenance provenance = Provenance::kMeasured;
};

/// - a meter that looks at a part of its period, or a counter that steps that rarely: 50 periods (NVML: 5 s);
/// - one that averages over more than its period: 10 times what it averages over (NVML's average: 10 s);
/// - others: 10 periods.
/// Sources: arXiv 2312.02741 (part-time looks, >= 5 s), EE HPC WG methodology (>= 10 readings).
double least_window_s(const Channel& channel);

class PowerSession {
 public:
  /// Opens the meters and starts sampling.
  /// Errors: std::invalid_argument for a name that no meter has; std::runtime_error with the remedy for one
  /// asked for by name that cannot be used.
  explicit PowerSession(const PowerOptions& options);
  /// The same with meters given, for tests.
  PowerSession(std::vector<std::unique_ptr<Meter>> meters, double idle_s);

  bool active() const { return sampler_ != nullptr; }
  /// Processor time of the sampling so far.
  double sampler_cpu_s() const { return active() ? sampler_->cpu_s() : 0; }
  std::int64_t sampler_reads() const { return active() ? sampler_->reads() : 0; }
  /// No real meter: everything comes from the model.
  bool modelled_only() const;
  const std::vector<MeterFinding>& findings() const { return findings_; }
  /// Longest update period of any channel.
  double slowest_period_s() const;
  /// Idle time around every window: as asked for; by default 10 updates of the slowest meter past its
  /// averaging, within 1 and 30 s, and none around windows that only a model looks at.
  double idle_s() const;

  /// Sleeps and looks on. The idle time counts for the next window, and for the one just ended.
  void be_idle(double seconds);
  /// Looks on for as long as one idle time of the sitting needs, unless that was done already.
  void be_idle_once();
  /// The next be_idle_once() looks again: a machine's idle power drifts over hours.
  void forget_idle() { sitting_idle_.clear(); }
  /// Sleeps for a random part of the period of the meters that look at a part of it only (NVML's instant
  /// power sees 25 ms of 100): over several windows their looks then fall everywhere into what a kernel
  /// repeats. Nothing without such a meter.
  void wait_for_random_phase();
  /// What a window should last at least for the energy of its measuring meters to be worth having: see
  /// least_window_s(Channel), and 10 distinct updates of each; 0 = any.
  double least_window_s() const;
  void begin_window();
  void end_window();
  /// Inside a window: standard uncertainty without the accuracy class, relative to the energy so far, of the
  /// total; infinite while a meter has fewer than 10 updates.
  double relative_uncertainty() const;
  /// The newest power of the outermost domains together: of each the mean over the last second, or over
  /// three updates of its meter where those take longer. Measured before modelled; nullopt when a meter that
  /// is needed has no fresh reading. Waits for nothing.
  std::optional<PowerNow> power_now() const;
  /// Of the last window. Waits for the updates that the lag of the slower meters holds back.
  /// @param timed what the run itself timed, between begin_window and end_window: the joules are of that, for
  /// the thread may lose its processor between those and the run's own looks at the clock; by default all of
  /// the window
  WindowPower result(const std::optional<Interval>& timed = std::nullopt);

 private:
  void start(std::vector<std::unique_ptr<Meter>> meters);
  double measured_idle_s() const;
  /// Until what happened up to then is on display everywhere, or a meter is too late to be waited for.
  void wait_for_updates_of(double end_s);
  std::vector<ChannelEnergy> energies(const std::vector<Series>& series, const Interval& window,
                                      const std::vector<Interval>& idle) const;
  std::unique_ptr<Sampler> sampler_;
  std::vector<Channel> channels_;
  std::vector<MeterFinding> findings_;
  double asked_idle_s_ = -1;
  Interval window_;
  double cpu_at_begin_s_ = 0, cpu_share_ = 0;
  bool ended_ = false;
  std::mt19937_64 phase_{1};
  std::vector<Interval> idle_before_, idle_after_;
  std::vector<std::vector<Energy>> sitting_idle_;  ///< by channel; when windows have none of their own
};

}  // namespace mlpwatt

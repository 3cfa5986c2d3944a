#include "meters/power_session.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <set>
#include <sstream>
#include <stdexcept>
#include <thread>

#include "meters/calibration_file.h"

namespace mlpwatt {
namespace {

constexpr double kLeastIdle_s = 1, kMostIdle_s = 30, kModelIdle_s = 0.2;
/// Beyond this, and a known lag, nobody waits for a late reading.
constexpr double kMostSettle_s = 5;

std::vector<std::string> words_of(const std::string& list) {
  std::vector<std::string> words;
  std::istringstream stream(list);
  for (std::string word; std::getline(stream, word, ',');)
    if (!word.empty()) words.push_back(word);
  return words;
}

nlohmann::json section_of(const nlohmann::json& config, const std::string& name) {
  return config.is_object() && config.contains(name) ? config[name] : nlohmann::json();
}

MeterFinding finding_of(const MeterEntry& entry, const MeterProbe& probe) {
  return {entry.name, entry.summary, to_string(probe.state), probe.detail, probe.remedy};
}

/// Whether there is an instrument whose energy is that of the machine, or of a part of it that its processor
/// works in: where only GPUs are metered, the model still stands in for the rest.
bool any_summable(const std::vector<std::unique_ptr<Meter>>& meters) {
  return std::any_of(meters.begin(), meters.end(), [](const auto& meter) {
    return std::any_of(meter->channels().begin(), meter->channels().end(), [](const Channel& channel) {
      return channel.summable && !is_accelerator(channel.domain);
    });
  });
}

/// The energy a clipped idle time cost: what happened outside it is not its business.
Energy idle_energy(Series series, const Interval& idle) {
  const Channel& channel = series.channel;
  const double later = channel.lag_s + channel.averaging_s;
  const Interval settled{idle.begin_s + channel.averaging_s, idle.end_s};
  std::erase_if(series.readings, [&](const Reading& reading) {
    return reading.monotonic_s < settled.begin_s || reading.monotonic_s > idle.end_s + later;
  });
  return integrate(series, settled.length_s() > 0 ? settled : idle);
}

}  // namespace

nlohmann::json read_meter_config(const std::string& given) {
  const char* variable = std::getenv("MLPWATT_METERS");
  const std::string path = given.empty() && variable != nullptr ? variable : given;
  if (path.empty()) return nullptr;
  std::ifstream in(path);
  if (!in) throw std::invalid_argument(fmt::format("meter configuration '{}' cannot be read", path));
  nlohmann::json config;
  try {
    config = nlohmann::json::parse(in, nullptr, true, true);
  } catch (const nlohmann::json::exception& error) {
    throw std::invalid_argument(fmt::format("meter configuration '{}': {}", path, error.what()));
  }
  if (!config.is_object())
    throw std::invalid_argument(fmt::format("meter configuration '{}' is no JSON object of meters", path));
  std::vector<std::string> known{"calibration"};
  for (const MeterEntry& entry : meter_entries()) known.push_back(entry.name);
  for (const auto& [name, section] : config.items())
    if (std::find(known.begin(), known.end(), name) == known.end())
      throw std::invalid_argument(fmt::format("meter configuration '{}': '{}' is no meter; known: {}", path,
                                              name, fmt::join(known, ", ")));
  return config;
}

std::vector<MeterFinding> find_meters(const nlohmann::json& config) {
  std::vector<MeterFinding> findings;
  for (const MeterEntry& entry : meter_entries())
    findings.push_back(finding_of(entry, entry.open(section_of(config, entry.name))));
  return findings;
}

PowerSession::PowerSession(const PowerOptions& options) : asked_idle_s_(options.idle_s) {
  const std::vector<std::string> wanted = words_of(options.meters);
  if (wanted.empty() || options.meters == "none") return;
  const bool automatic = options.meters == "auto";
  std::vector<std::unique_ptr<Meter>> meters;
  std::set<std::string> used;
  std::string calibration_path = options.calibration_path;
  if (options.config.is_object() && options.config.contains("calibration")) {
    if (!options.config["calibration"].is_string())
      throw std::invalid_argument("meter configuration: \"calibration\" is to be the path of a file");
    calibration_path = options.config["calibration"].get<std::string>();
  }
  if (calibration_path.empty()) calibration_path = default_calibration_path();
  const std::vector<ChannelTiming> timings = read_calibrations(calibration_path);
  for (const bool fallback : {false, true})
    for (const MeterEntry& entry : meter_entries()) {
      if (entry.fallback != fallback) continue;
      const auto names_it = [&](const std::string& word) {
        return word == entry.name || word.starts_with(entry.name + ":");
      };
      const bool named = std::any_of(wanted.begin(), wanted.end(), names_it);
      if (!named && !automatic) continue;
      // A model beside an instrument would only confuse, unless asked for by name.
      if (automatic && fallback && any_summable(meters)) continue;
      MeterProbe probe = entry.open(section_of(options.config, entry.name));
      findings_.push_back(finding_of(entry, probe));
      if (named && probe.state != MeterProbe::State::kFound)
        throw std::runtime_error(fmt::format("meter {}: {}: {}{}", entry.name, to_string(probe.state),
                                             probe.detail,
                                             probe.remedy.empty() ? "" : "; remedy: " + probe.remedy));
      for (std::unique_ptr<Meter>& meter : probe.meters) {
        const std::string name = meter->name();
        const bool chosen =
            automatic || std::any_of(wanted.begin(), wanted.end(), [&](const std::string& word) {
              return word == entry.name || word == name;
            });
        if (!chosen) continue;
        for (const std::string& word : wanted)
          if (word == entry.name || word == name) used.insert(word);
        meters.push_back(calibrated(std::move(meter), timings, calibration_host()));
      }
    }
  if (!automatic)
    for (const std::string& word : wanted)
      if (!used.contains(word)) {
        std::vector<std::string> known{"auto", "none"};
        for (const MeterEntry& entry : meter_entries()) known.push_back(entry.name);
        throw std::invalid_argument(
            fmt::format("--meters: '{}' is no meter; known: {}", word, fmt::join(known, ", ")));
      }
  start(std::move(meters));
}

PowerSession::PowerSession(std::vector<std::unique_ptr<Meter>> meters, double idle_s)
    : asked_idle_s_(idle_s) {
  start(std::move(meters));
}

void PowerSession::start(std::vector<std::unique_ptr<Meter>> meters) {
  for (const auto& meter : meters)
    for (Channel channel : meter->channels()) {
      // nobody knows it better: how often it is read
      if (channel.update_period_s <= 0) channel.update_period_s = meter->poll_period_s();
      channels_.push_back(std::move(channel));
    }
  if (!meters.empty()) sampler_ = std::make_unique<Sampler>(std::move(meters));
}

bool PowerSession::modelled_only() const {
  return std::all_of(channels_.begin(), channels_.end(),
                     [](const Channel& channel) { return channel.provenance != Provenance::kMeasured; });
}

double PowerSession::slowest_period_s() const {
  double slowest = 0;
  for (const Channel& channel : channels_) slowest = std::max(slowest, channel.update_period_s);
  return slowest;
}

double PowerSession::idle_s() const {
  if (asked_idle_s_ >= 0) return asked_idle_s_;
  if (!active()) return 0;
  return modelled_only() ? 0 : measured_idle_s();
}

double PowerSession::measured_idle_s() const {
  // what is averaged at its begin is of before
  double needed_s = 0;
  for (const Channel& channel : channels_)
    needed_s = std::max(needed_s, channel.averaging_s + kLeastUpdates * channel.update_period_s);
  return std::clamp(needed_s, kLeastIdle_s, kMostIdle_s);
}

void PowerSession::be_idle(double seconds) {
  if (seconds <= 0) return;
  if (!active()) {
    std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
    return;
  }
  Interval idle;
  idle.begin_s = monotonic_now_s();  // both marks inside: what is outside is no idle time
  sampler_->mark();
  std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
  sampler_->mark();
  idle.end_s = monotonic_now_s();
  (ended_ ? idle_after_ : idle_before_).push_back(idle);
}

void PowerSession::be_idle_once() {
  if (!active() || !sitting_idle_.empty()) return;
  const bool ended = std::exchange(ended_, false);
  be_idle(modelled_only() ? kModelIdle_s : measured_idle_s());
  ended_ = ended;
  const Interval idle = idle_before_.back();
  idle_before_.clear();
  wait_for_updates_of(idle.end_s);
  for (const Series& series : sampler_->series(idle.begin_s))
    sitting_idle_.push_back({idle_energy(series, idle)});
}

double least_window_s(const Channel& channel) {
  constexpr double kLooks = 50, kReadings = 10, kQuick_s = 0.5;
  const bool part_time = channel.averaging_s > 0 && channel.averaging_s < channel.update_period_s;
  const bool quick_counter = channel.kind == ReadingKind::kEnergyCounter && channel.update_period_s > 0 &&
                             channel.update_period_s < kQuick_s;
  if (part_time || quick_counter) return kLooks * channel.update_period_s;
  return kReadings * std::max(channel.update_period_s, channel.averaging_s);
}

double PowerSession::least_window_s() const {
  // one update more than needed, and a tenth for periods that are not kept exactly
  constexpr double kUpdates = 1.1 * static_cast<double>(kLeastUpdates + 1);
  double least_s = 0;
  for (const Channel& channel : channels_) {
    if (channel.provenance != Provenance::kMeasured) continue;
    // of power, what only repeats another decides nothing
    if (!channel.duplicate_of.empty() && channel.kind != ReadingKind::kEnergyCounter) continue;
    least_s = std::max({least_s, mlpwatt::least_window_s(channel), kUpdates * channel.update_period_s});
  }
  return least_s;
}

void PowerSession::wait_for_random_phase() {
  double period_s = 0;
  for (const Channel& channel : channels_)
    if (channel.averaging_s > 0 && channel.averaging_s < channel.update_period_s)
      period_s = std::max(period_s, channel.update_period_s);
  if (period_s <= 0) return;
  const double share = static_cast<double>(phase_() >> 11) * 0x1p-53;
  std::this_thread::sleep_for(std::chrono::duration<double>(share * period_s));
}

void PowerSession::begin_window() {
  if (!active()) return;
  ended_ = false;
  idle_after_.clear();
  cpu_at_begin_s_ = sampler_->cpu_s();
  sampler_->mark();
  window_ = {monotonic_now_s(), 0};
}

void PowerSession::end_window() {
  if (!active()) return;
  window_.end_s = monotonic_now_s();
  sampler_->mark();
  cpu_share_ = (sampler_->cpu_s() - cpu_at_begin_s_) / window_.length_s();
  ended_ = true;
}

std::vector<ChannelEnergy> PowerSession::energies(const std::vector<Series>& all, const Interval& window,
                                                  const std::vector<Interval>& idle) const {
  std::vector<ChannelEnergy> energies;
  for (std::size_t i = 0; i < all.size(); ++i) {
    const Series& series = all[i];
    ChannelEnergy energy{series.meter, series.channel, integrate(series, window), {}, {}};
    std::vector<Energy> idle_times;
    for (const Interval& each : idle) {
      idle_times.push_back(idle_energy(series, each));
      flag_stand(energy.gross, series, each, window);
    }
    if (idle.empty() && i < sitting_idle_.size()) idle_times = sitting_idle_[i];
    energy.idle = idle_power(idle_times);
    energy.net = without_idle(energy.gross, energy.idle, series.channel);
    energies.push_back(std::move(energy));
  }
  return energies;
}

double PowerSession::relative_uncertainty() const {
  if (!active()) return 0;
  const Interval so_far{window_.begin_s, monotonic_now_s()};
  const std::vector<ChannelEnergy> now =
      energies(sampler_->series(window_.begin_s - 10 * slowest_period_s()), so_far, {});
  std::optional<TotalEnergy> total = total_energy(now, Provenance::kMeasured);
  if (!total) total = total_energy(now, Provenance::kModelled);
  if (!total) return 0;  // nothing that could be summed: no longer window makes it so
  if (!(total->gross.joules > 0) || total->gross.distinct_updates < kLeastUpdates)
    return std::numeric_limits<double>::infinity();
  return total->gross.random_j() / total->gross.joules;
}

std::optional<PowerNow> PowerSession::power_now() const {
  constexpr double kNow_s = 1, kUpdates = 3;
  if (!active()) return std::nullopt;
  const double asked_s = monotonic_now_s();
  const auto newest = [&](const Series& series) {
    const Channel& channel = series.channel;
    const double end_s = asked_s - channel.lag_s - channel.averaging_s;  // later is not on display yet
    const double period_s = std::max(channel.update_period_s, series.poll_period_s);
    return integrate(series, {end_s - std::max(kNow_s, kUpdates * period_s), end_s});
  };
  double oldest_s = asked_s;
  for (const Channel& channel : channels_)
    oldest_s = std::min(oldest_s, asked_s - channel.lag_s - 2 * channel.averaging_s -
                                      2 * std::max(kNow_s, kUpdates * channel.update_period_s));
  std::vector<ChannelEnergy> all;
  for (const Series& series : sampler_->series(oldest_s))
    all.push_back({series.meter, series.channel, newest(series), {}, {}});
  for (const Provenance provenance : {Provenance::kMeasured, Provenance::kModelled}) {
    const std::vector<std::size_t> parts = top_level(all, provenance);
    if (parts.empty()) continue;
    PowerNow now{0, provenance};
    for (const std::size_t i : parts) {
      if (all[i].gross.flags & kLost) return std::nullopt;
      now.watts += all[i].gross.mean_w();
    }
    if (!std::isfinite(now.watts)) return std::nullopt;
    return now;
  }
  return std::nullopt;
}

void PowerSession::wait_for_updates_of(double end_s) {
  // A model and a counter are complete at their marks; the others have to catch up.
  double late_s = 0, patience_s = 0;
  for (const Channel& channel : channels_) {
    const double spread_s = channel.averaging_s + channel.update_period_s;
    late_s = std::max(late_s, channel.lag_s + spread_s);
    patience_s = std::max(patience_s, channel.lag_s + std::min(kMostSettle_s, 1.5 * spread_s));
  }
  if (patience_s > 0.01) sampler_->wait_past(end_s + late_s, end_s + patience_s);
}

WindowPower PowerSession::result(const std::optional<Interval>& timed) {
  WindowPower result;
  if (!active() || !ended_) return result;
  result.window = timed.value_or(window_);
  wait_for_updates_of(idle_after_.empty() ? window_.end_s : idle_after_.back().end_s);
  result.idle = idle_before_;
  result.idle.insert(result.idle.end(), idle_after_.begin(), idle_after_.end());
  const double from =
      (idle_before_.empty() ? window_.begin_s : idle_before_.front().begin_s) - 3 * slowest_period_s();
  result.series = sampler_->series(from);
  result.channels = energies(result.series, result.window, result.idle);
  result.measured = total_energy(result.channels, Provenance::kMeasured);
  result.modelled = total_energy(result.channels, Provenance::kModelled);
  result.rest = rest_of_node(result.channels);
  for (const ChannelEnergy& each : result.channels)
    result.ee_hpc_wg_level = std::max(result.ee_hpc_wg_level, ee_hpc_wg_level(each));
  result.sampler_cpu_share = cpu_share_;
  result.wall_offset_s = wall_offset_s();
  idle_before_.clear();
  idle_after_.clear();
  ended_ = false;
  sampler_->forget(window_.begin_s - 20 * slowest_period_s());
  return result;
}

}  // namespace mlpwatt

#include "harness/run/power_rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace mlpwatt {
namespace {

std::string kind_text(ReadingKind kind) {
  return kind == ReadingKind::kEnergyCounter  ? "counter"
         : kind == ReadingKind::kInstantPower ? "instant"
                                              : "average";
}

std::string known_text(Known known) {
  return known == Known::kAssumed ? "assumed" : known == Known::kDeclared ? "declared" : "measured";
}

}  // namespace

Row meter_row(const std::string& meter, const Channel& channel, const std::vector<std::string>& includes,
              const std::string& host) {
  Row row(meters_table());
  const auto if_known = [&](const char* column, double value) {
    if (value > 0) row.set(column, value);
  };
  row.set("name", meter);
  row.set("domain", channel.domain);
  row.set("provenance", to_string(channel.provenance));
  row.set("unit", channel.kind == ReadingKind::kEnergyCounter ? "J" : "W");
  row.set("host", host);
  if_known("update_period_s", channel.update_period_s);
  if_known("resolution", channel.resolution);
  if_known("accuracy_relative", channel.accuracy_relative);
  if_known("accuracy_absolute_w", channel.accuracy_absolute_w);
  if_known("maximum_w", channel.maximum_w);
  row.set("accuracy_source", channel.accuracy_source);
  row.set("parent", channel.parent);
  row.set("includes", fmt::format("{}", fmt::join(includes, " ")));
  row.set("duplicate_of", channel.duplicate_of);
  row.set("summable", channel.summable ? 1 : 0);
  row.set("kind", kind_text(channel.kind));
  if_known("averaging_s", channel.averaging_s);
  row.set("lag_s", channel.lag_s);
  row.set("timing_source", known_text(std::min(channel.update_period_known, channel.lag_known)));
  if_known("lag_spread_s", channel.lag_spread_s);
  row.set("calibrated_utc", channel.calibrated_utc);
  if_known("wrap_j", channel.wrap_j);
  row.set("place", channel.place);
  return row;
}

Row energy_row(const ChannelEnergy& energy, std::int64_t meter, bool summed) {
  Row row(energies_table());
  const Energy &gross = energy.gross, &net = energy.net;
  row.set("meter_row", meter);
  row.set("meter", energy.meter);
  row.set("domain", energy.channel.domain);
  row.set("parent", energy.channel.parent);
  row.set("provenance", to_string(energy.channel.provenance));
  row.set("summed", summed ? 1 : 0);
  if (!std::isnan(gross.joules)) {
    row.set("energy_j", gross.joules);
    row.set("energy_uncertainty_j", gross.uncertainty_j());
    row.set("energy_random_j", gross.random_j());
  }
  if (!std::isnan(net.joules)) {
    row.set("energy_above_idle_j", net.joules);
    row.set("energy_above_idle_uncertainty_j", net.uncertainty_j());
  }
  if (!std::isnan(energy.idle.watts)) {
    row.set("idle_w", energy.idle.watts);
    row.set("idle_uncertainty_w", energy.idle.random_w);
  }
  row.set("flags", flags_text(gross.flags | (net.flags & kIdleDrift)));
  row.set("flags_above_idle", flags_text(net.flags));
  row.set("reason", gross.reason);
  row.set("distinct_updates", gross.distinct_updates);
  row.set("readings", gross.readings);
  row.set("failures", gross.failures);
  row.set("wraps", gross.wraps);
  row.set("samples_kept_every", 1);
  return row;
}

namespace {

void set_total(Row& row, const TotalEnergy& total) {
  const std::string suffix = "_" + to_string(total.provenance);
  // What an earlier sum left is no part of this one.
  const auto set = [&](const std::string& name, double value) {
    row.set(name + suffix, std::isfinite(value) ? value : kAbsentReal);
  };
  // the steps; in a training's window, which its evaluations share, as many as would have filled it
  const double n = row.real("duration_s") / row.real("step_mean_s");
  set("energy_j", total.gross.joules);
  set("power_w", total.gross.mean_w());
  set("step_energy_j", total.gross.joules / n);
  const double gross_u = std::isfinite(total.gross.joules) ? total.gross.uncertainty_j() : kAbsentReal,
               net_u = std::isfinite(total.net.joules) ? total.net.uncertainty_j() : kAbsentReal;
  set("energy_uncertainty_j", gross_u);
  set("step_energy_uncertainty_j", gross_u / n);
  set("idle_power_w", total.idle_w);
  set("energy_above_idle_j", total.net.joules);
  set("step_energy_above_idle_j", total.net.joules / n);
  set("energy_above_idle_uncertainty_j", net_u);
  set("step_energy_above_idle_uncertainty_j", net_u / n);
}

}  // namespace

void append_samples(std::vector<Row>& samples, Row& energy, const Series& series, std::int64_t meter) {
  const std::vector<Reading>& readings = series.readings;
  const std::size_t every = std::max<std::size_t>(1, (readings.size() + kMostSamples - 1) / kMostSamples);
  energy.set("samples_kept_every", static_cast<std::int64_t>(every));
  for (std::size_t k = 0; k < readings.size(); ++k) {
    // Reasons are few and are what one looks for.
    if (k % every != 0 && readings[k].value) continue;
    Row sample(samples_table());
    sample.set("meter_row", meter);
    sample.set("monotonic_s", readings[k].monotonic_s);
    if (readings[k].value) sample.set("value", *readings[k].value);
    sample.set("reason", readings[k].reason);
    if (readings[k].device_stamp) sample.set("device_stamp", *readings[k].device_stamp);
    samples.push_back(std::move(sample));
  }
}

ChannelEnergy channel_energy_of(const Row& energy, const Row& meter, double seconds) {
  ChannelEnergy known;
  known.meter = meter.text("name");
  Channel& channel = known.channel;
  const auto real = [](const Row& row, const char* column) {
    const double value = row.real(column);
    return std::isnan(value) ? 0 : value;
  };
  channel.domain = energy.text("domain");
  channel.parent = energy.text("parent");
  channel.duplicate_of = meter.text("duplicate_of");
  channel.summable = meter.integer("summable") != 0;  // absent in older files
  for (const Provenance each : {Provenance::kMeasured, Provenance::kModelled, Provenance::kSimulated})
    if (to_string(each) == energy.text("provenance")) channel.provenance = each;
  for (const ReadingKind each :
       {ReadingKind::kEnergyCounter, ReadingKind::kInstantPower, ReadingKind::kAveragePower})
    if (kind_text(each) == meter.text("kind")) channel.kind = each;
  channel.accuracy_relative = real(meter, "accuracy_relative");
  channel.accuracy_absolute_w = real(meter, "accuracy_absolute_w");
  channel.accuracy_source = meter.text("accuracy_source");
  channel.update_period_s = real(meter, "update_period_s");
  const auto fill = [&](Energy& part, unsigned flags, const char* joules, const char* uncertainty,
                        double random_j) {
    part.joules = energy.real(joules);
    part.seconds = seconds;
    part.sampling_j = random_j;
    const double u = real(energy, uncertainty);
    part.accuracy_j = std::sqrt(std::max(0.0, u * u - random_j * random_j));
    part.flags = flags;
    part.reason = energy.text("reason");
    part.distinct_updates = energy.integer("distinct_updates");
    part.readings = energy.integer("readings");
    part.failures = energy.integer("failures");
    part.wraps = energy.integer("wraps");
  };
  const double random_j = real(energy, "energy_random_j");
  const unsigned flags = flags_of(energy.text("flags"));
  const std::string& above_idle = energy.text("flags_above_idle");
  fill(known.gross, flags, "energy_j", "energy_uncertainty_j", random_j);
  fill(known.net, above_idle.empty() ? flags : flags_of(above_idle), "energy_above_idle_j",
       "energy_above_idle_uncertainty_j",
       std::min(random_j, real(energy, "energy_above_idle_uncertainty_j")));
  known.idle.watts = energy.real("idle_w");
  known.idle.random_w = real(energy, "idle_uncertainty_w");
  return known;
}

namespace {
/// The total of one GPU's own meters among others' (which may work for somebody else); its parts count in
/// `channels`.
std::optional<TotalEnergy> total_of_gpu(const std::string& uuid, const std::vector<ChannelEnergy>& channels) {
  std::vector<ChannelEnergy> own;
  std::vector<std::size_t> index;
  for (std::size_t i = 0; i < channels.size(); ++i)
    if (channels[i].channel.domain == "gpu:" + uuid) own.push_back(channels[i]), index.push_back(i);
  std::optional<TotalEnergy> total = total_energy(own, Provenance::kMeasured);
  if (total)
    for (std::size_t& part : total->parts) part = index[part];
  return total;
}
}  // namespace

std::vector<std::size_t> set_totals(Row& row, const std::vector<ChannelEnergy>& channels,
                                    const std::optional<ChannelEnergy>& rest) {
  auto measured = total_energy(channels, Provenance::kMeasured);
  const auto modelled = total_energy(channels, Provenance::kModelled);
  // Where GPUs alone are metered, their idling is no energy of a run on the processor, nor another GPU's work
  // that of a run on this one.
  if (measured && is_accelerators_alone(*measured, channels)) {
    const std::string& uuid = row.text("device_uuid");
    if (uuid.empty())
      measured.reset();
    else if (auto own = total_of_gpu(uuid, channels))
      measured = std::move(own);
  }
  for (const std::optional<TotalEnergy>* total : {&std::as_const(measured), &modelled})
    if (*total) set_total(row, **total);
  if (!measured && !modelled) return {};  // only sensors that nothing can be summed of
  const TotalEnergy& headline = measured ? *measured : *modelled;
  unsigned flags = headline.gross.flags | (headline.net.flags & kIdleDrift);
  const unsigned exceeds = rest ? rest->gross.flags & kExceedsNode : 0;
  flags |= exceeds;
  row.set("energy_domains", headline.domains);
  row.set("energy_meters", headline.meters);
  row.set("energy_quality", flags_text(flags));
  row.set("energy_above_idle_quality", flags_text(headline.net.flags | exceeds));
  // whatever flags the run also says which meter, and why
  row.set("energy_reason", !headline.gross.reason.empty() ? headline.gross.reason
                           : exceeds != 0                 ? rest->gross.reason
                           : (flags & kIdleDrift) != 0
                               ? headline.meters + ": the idle power before and after differ"
                               : "");
  row.set("energy_updates", headline.gross.distinct_updates);
  if (!measured) return headline.parts;
  int level = 0;
  for (const ChannelEnergy& each : channels) level = std::max(level, ee_hpc_wg_level(each));
  row.set("ee_hpc_wg_level", level);
  return headline.parts;
}

Interval window_of(const Row& run) {
  const double begin_s = 1e-9 * static_cast<double>(run.integer("start_monotonic_ns"));
  return {begin_s, begin_s + run.real("duration_s")};
}

void set_power(Record& record, const WindowPower& power) {
  if (power.channels.empty()) return;
  Row& row = record.run;
  const std::vector<std::size_t> parts = set_totals(row, power.channels, power.rest);
  row.set("sampler_cpu_share", power.sampler_cpu_share);
  row.set("wall_offset_s", power.wall_offset_s);

  std::vector<Channel> all;
  for (const ChannelEnergy& each : power.channels) all.push_back(each.channel);
  std::int64_t node = 0;
  for (std::size_t i = 0; i < power.channels.size(); ++i) {
    const ChannelEnergy& channel = power.channels[i];
    const auto meter = static_cast<std::int64_t>(record.meters.size());
    record.meters.push_back(meter_row(channel.meter, channel.channel,
                                      included_domains(all, channel.channel.domain), row.text("host")));
    const bool summed = std::find(parts.begin(), parts.end(), i) != parts.end();
    if (summed) node = meter;
    record.energies.push_back(energy_row(channel, meter, summed));
    append_samples(record.samples, record.energies.back(), power.series[i], meter);
  }
  if (power.rest) record.energies.push_back(energy_row(*power.rest, node, false));
}

void set_machine_state(Row& row, const MachineState& before, const MachineState& after) {
  if (before.temperature_c) row.set("temperature_before_c", *before.temperature_c);
  if (after.temperature_c) row.set("temperature_after_c", *after.temperature_c);
  if (before.frequency_hz) row.set("frequency_before_hz", *before.frequency_hz);
  if (after.frequency_hz) row.set("frequency_after_hz", *after.frequency_hz);
  if (before.throttle_events && after.throttle_events)
    row.set("throttle_events", *after.throttle_events - *before.throttle_events);
}

void set_gpu_state(Row& row, const std::vector<GpuState>& before, const std::vector<GpuState>& after) {
  const std::string& uuid = row.text("device_uuid");
  if (uuid.empty()) return;
  std::uint64_t slowing = 0;
  /// Its state, all empty where it did not answer.
  const auto set = [&](const std::vector<GpuState>& states, const std::string& when) {
    const auto found =
        std::find_if(states.begin(), states.end(), [&](const GpuState& one) { return one.uuid == uuid; });
    const GpuState state = found == states.end() ? GpuState{} : *found;
    if (state.temperature_c) row.set("gpu_temperature_" + when + "_c", *state.temperature_c);
    if (state.clock_hz) row.set("gpu_clock_" + when + "_hz", *state.clock_hz);
    if (state.memory_clock_hz) row.set("gpu_memory_clock_" + when + "_hz", *state.memory_clock_hz);
    if (state.reasons) {
      row.set("gpu_throttle_" + when, reasons_text(*state.reasons));
      slowing |= slowing_reasons(*state.reasons);
    }
    return state;
  };
  const GpuState first = set(before, "before"), last = set(after, "after");
  bool held_back = slowing != 0;
  if (const std::optional<double> seconds = held_back_between_s(first, last)) {
    row.set("gpu_held_back_s", *seconds);
    constexpr double kWorthTelling = 0.01;  // of the window
    held_back |= *seconds > kWorthTelling * row.real("duration_s");
  }
  if (!held_back) return;
  const std::string& quality = row.text("quality");
  row.set("quality", quality.empty() || quality == "ok" ? "gpu_throttled" : quality + " gpu_throttled");
}

namespace {
/// Opened once: the library's start takes longer than a short window.
const GpuStates& gpu_states() {
  static const GpuStates states;
  return states;
}
}  // namespace

void PowerObserver::prepare() {
  if (session_ != nullptr) session_->wait_for_random_phase();
  gpus_before = gpu_states().read();
  before = read_machine_state();
}

void PowerObserver::begin() {
  if (session_ != nullptr) session_->begin_window();
}

void PowerObserver::end(std::int64_t) {
  if (session_ != nullptr) session_->end_window();
}

void PowerObserver::finish() {
  after = read_machine_state();
  gpus_after = gpu_states().read();
}

}  // namespace mlpwatt

#include "harness/compare/comparison.h"

#include <fmt/format.h>

#include "harness/protocol/clock.h"
#include "harness/run/power_rows.h"

namespace mlpwatt {

std::string peer_row_name(const std::string& peer, const std::string& our_name) {
  return "peer/" + peer + our_name.substr(our_name.find('/'));
}

const Standing* Comparison::best_peer() const {
  const Standing* best = nullptr;
  for (std::size_t i = 1; i < standings.size(); ++i) {
    const Standing& peer = standings[i];
    if (peer.step_s.empty()) continue;
    if (best == nullptr || peer.record.run.real("step_s") < best->record.run.real("step_s")) best = &peer;
  }
  return best;
}

Standing begin_standing(const std::string& name, const Benchmark& benchmark, CompareSettings& settings,
                        Clock& clock) {
  Benchmark named = benchmark;
  if (name != "ours") named.name = peer_row_name(name, benchmark.name);
  Standing standing{name, begin_record(named, settings.run, {settings.order_index++, 0}, clock), {}};
  if (name != "ours") {
    standing.record.run.set("backend", "peer/" + name);
    // not a family of ours: whoever gathers cpu/mlp_train must not find others' rows among them
    standing.record.run.set("family", "peer/" + name);
  }
  standing.record.run.set("binding", thread_binding());
  return standing;
}

void refuse(Standing& standing, const std::string& status, const std::string& reason) {
  standing.record.run.set("status", status);
  standing.record.run.set("reason", reason);
}

namespace {

/// A contestant's turns as the steps of a kernel: of as many steps as before, for which a compiler of whole
/// loops has made its program already.
class TurnAfterTurn : public Kernel {
 public:
  TurnAfterTurn(const std::function<double(std::int64_t, std::int64_t)>& run_s, std::int64_t steps_of_turn)
      : run_s_(run_s), steps_of_turn_(steps_of_turn) {}
  void set_up() override {}
  Check check() override { return {true, "", 0, 0}; }  // it has taken part
  void run(std::int64_t turns) override {
    for (; turns > 0; --turns) run_s_(0, steps_of_turn_);
  }
  Cost cost() const override { return {}; }
  std::map<std::string, std::string> facts() const override { return {}; }

 private:
  const std::function<double(std::int64_t, std::int64_t)>& run_s_;
  std::int64_t steps_of_turn_;
};

void measure_energy(Standing& standing, const std::function<double(std::int64_t, std::int64_t)>& run_s,
                    std::int64_t steps_of_turn, const RunSettings& settings, Clock& clock) {
  PowerSession& power = *settings.power;
  Row& row = standing.record.run;
  try {
    row.set("idle_s", power.idle_s());
    power.be_idle(power.idle_s());
    TurnAfterTurn kernel(run_s, steps_of_turn);
    PowerObserver looking_on(&power);
    const Window window =
        run_window(kernel, settings.protocol, clock, row.real("step_s") * static_cast<double>(steps_of_turn),
                   {&looking_on}, more_for_energy(settings));
    const std::int64_t steps = window.steps * steps_of_turn;
    power.be_idle(power.idle_s());
    row.set("started_utc", utc_text(window.start_realtime_ns));
    row.set("start_realtime_ns", window.start_realtime_ns);
    row.set("start_monotonic_ns", window.start_monotonic_ns);
    row.set("duration_s", window.duration_s);
    row.set("steps", steps);
    row.set("step_mean_s", window.duration_s / static_cast<double>(steps));
    set_power(standing.record, power.result(window_of(row)));
    set_machine_state(row, looking_on.before, looking_on.after);
    set_gpu_state(row, looking_on.gpus_before, looking_on.gpus_after);
  } catch (const std::exception& error) {  // its times stand
    row.set("energy_reason", error.what());
  }
}

/// A peer computes on the device that ours does: what lies in its caches, and whose joules and throttling
/// count, is told by that.
void take_device(const Row& ours, Row& peer) {
  if (ours.text("device").empty()) return;
  for (const char* name : {"device", "device_uuid", "working_set_l_level", "working_set_f_level",
                           "working_set_b_level", "working_set_d_level"})
    peer.set(name, ours.text(name));
  for (const char* name :
       {"device_multiprocessors", "device_l1_bytes", "device_l2_bytes", "device_memory_bytes"})
    peer.set(name, ours.integer(name));
}

}  // namespace

Comparison run_comparison(const Benchmark& benchmark, std::vector<Entrant> entrants, const Cost& cost,
                          std::int64_t footprint_bytes, CompareSettings& settings, Clock& clock) {
  std::vector<Contestant> contestants;
  std::vector<std::size_t> entrant_of;
  for (std::size_t i = 0; i < entrants.size(); ++i) {
    set_cost(entrants[i].standing.record.run, cost, settings.run);
    if (i > 0) take_device(entrants.front().standing.record.run, entrants[i].standing.record.run);
    if (!entrants[i].run_s) continue;
    contestants.push_back({entrants[i].standing.name, entrants[i].run_s});
    entrant_of.push_back(i);
  }
  const std::vector<Turns> turns = take_turns(contestants, settings.turns, clock);
  const double least_s = floor_s(cost, footprint_bytes, settings.peaks);
  const std::vector<double>* ours = nullptr;
  for (std::size_t c = 0; c < contestants.size(); ++c)
    if (entrant_of[c] == 0 && turns[c].error.empty()) ours = &turns[c].step_s;
  // Rows that stood against each other carry one text: when, where and what.
  const std::string sitting =
      fmt::format("{} {} {}", entrants.front().standing.record.run.text("started_utc"),
                  settings.run.machine.host, benchmark.name);
  for (std::size_t c = 0; c < contestants.size(); ++c) {
    Standing& standing = entrants[entrant_of[c]].standing;
    Row& row = standing.record.run;
    if (!turns[c].error.empty()) {
      refuse(standing, "error", turns[c].error);
      continue;
    }
    standing.step_s = turns[c].step_s;
    WarmUp warm;
    warm.duration_s = kAbsentReal;
    warm.steps = turns[c].warm_steps * static_cast<std::int64_t>(turns[c].step_s.size());
    warm.steady = true;
    set_window(row, warm, turns[c].window(), cost);
    row.set("status", "ok");
    if (least_s > 0) {
      row.set("floor_s", least_s);
      row.set("floor_ratio", row.real("step_s") / least_s);
    }
    if (ours == nullptr) continue;
    const Ratio ratio = ratio_of_medians(turns[c].step_s, *ours, settings.run.order_seed);
    row.set("ratio_to_ours", ratio.value);
    row.set("ratio_low95", ratio.low95);
    row.set("ratio_high95", ratio.high95);
  }
  Comparison comparison{benchmark, {}};
  for (Entrant& entrant : entrants) {
    entrant.standing.record.run.set("comparison", sitting);
    comparison.standings.push_back(std::move(entrant.standing));
  }
  if (!settings.run.power || ours == nullptr) return comparison;
  const Standing* best = comparison.best_peer();
  for (std::size_t c = 0; c < contestants.size(); ++c) {
    Standing& standing = comparison.standings[entrant_of[c]];
    if (entrant_of[c] > 0 && &standing != best) continue;
    measure_energy(standing, contestants[c].run_s, turns[c].steps, settings.run, clock);
  }
  return comparison;
}

}  // namespace mlpwatt

#pragma once
// What the watt-meters saw of one run, as columns of its row and rows of /meters, /energies and /samples.

#include "harness/protocol/window.h"
#include "harness/record/record_file.h"
#include "meters/gpu_state.h"
#include "meters/machine_state.h"
#include "meters/power_session.h"

namespace mlpwatt {

/// Raw readings of a channel and run are all stored up to so many (a training of 14 hours read 20 times a
/// second); beyond it every n-th, which /energies says.
inline constexpr std::size_t kMostSamples = 1'000'000;

/// start_monotonic_ns and duration_s of a row of /runs, on the clock of the meters' readings.
Interval window_of(const Row& run);

/// The record's host and its window (duration_s, step_mean_s) must be set.
void set_power(Record& record, const WindowPower& power);

// The parts of it, for what is attached to a finished file.

/// @param includes as included_domains
Row meter_row(const std::string& meter, const Channel& channel, const std::vector<std::string>& includes,
              const std::string& host);
/// @param meter row of /meters (or place in the record's)
Row energy_row(const ChannelEnergy& energy, std::int64_t meter, bool summed);
/// What /energies and /meters keep of a channel: enough to add it up with others once more.
/// @param seconds of the window
ChannelEnergy channel_energy_of(const Row& energy, const Row& meter, double seconds);
/// The energy columns of a row of /runs from all its channels; its window must be set. @return those that
/// were summed
std::vector<std::size_t> set_totals(Row& row, const std::vector<ChannelEnergy>& channels,
                                    const std::optional<ChannelEnergy>& rest);
/// Rows of /samples; says in `energy` how many are kept.
void append_samples(std::vector<Row>& samples, Row& energy, const Series& series, std::int64_t meter);

void set_machine_state(Row& row, const MachineState& before, const MachineState& after);
/// Of the GPU that the row's device_uuid names; held back at either end, or for more than a hundredth of the
/// window (which must be set), it is flagged in the row's quality.
void set_gpu_state(Row& row, const std::vector<GpuState>& before, const std::vector<GpuState>& after);

/// Looks on through the meters, and notes temperature, frequency and throttling at both ends.
class PowerObserver : public Observer {
 public:
  explicit PowerObserver(PowerSession* session) : session_(session) {}
  /// Waiting for the phase and reading the machine's state: nobody's counters are to see it.
  void prepare() override;
  void begin() override;
  void end(std::int64_t steps) override;
  void finish() override;
  MachineState before, after;
  std::vector<GpuState> gpus_before, gpus_after;

 private:
  PowerSession* session_;
};

}  // namespace mlpwatt

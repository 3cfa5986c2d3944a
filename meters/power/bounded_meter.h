#pragma once
// Meters behind a library or a network call that may block: the call runs on a thread of its own, so that
// read() returns in time whatever the other side does.

#include <condition_variable>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "meters/power/meter.h"

namespace mlpwatt {

/// One device as the meter's own file sees it; may block, may throw. Used by one thread at a time.
class Device {
 public:
  virtual ~Device() = default;
  /// One reading per channel: value or reason (without the meter's name), device_stamp where there is one;
  /// monotonic_s stays 0. Should return within `timeout_s` where the library can be told.
  /// Errors: std::runtime_error = no channel could be read, trying again may help; DeviceRefusal = it will
  /// not.
  virtual std::vector<Reading> read(double timeout_s) = 0;
};

/// Wrong password, no such register: asking again at once is of no use.
struct DeviceRefusal : std::runtime_error {
  explicit DeviceRefusal(const std::string& detail, MeterProbe::State its_state = MeterProbe::State::kFaulty,
                         std::string its_remedy = "")
      : std::runtime_error(detail), state(its_state), remedy(std::move(its_remedy)) {}
  MeterProbe::State state;
  std::string remedy;  ///< what to type to be let in
};

struct BoundedOptions {
  double poll_period_s = 1;
  /// Reads follow each other no faster than this: a read that comes early waits.
  double least_spacing_s = 0;
  /// A failed read is made again, after a pause that doubles, while time is left.
  int attempts = 3;
  double back_off_s = 0.1;
};

class BoundedMeter final : public Meter {
 public:
  BoundedMeter(std::string name, std::vector<Channel> channels, std::shared_ptr<Device> device,
               BoundedOptions options);
  /// A device that still hangs is left behind with its thread.
  ~BoundedMeter() override;

  /// Makes the meter and reads it once. Errors: OpenError with the reason when no channel answers.
  static std::unique_ptr<Meter> answering(std::string name, std::vector<Channel> channels,
                                          std::shared_ptr<Device> device, BoundedOptions options,
                                          double timeout_s);

  std::string name() const override { return name_; }
  const std::vector<Channel>& channels() const override { return channels_; }
  std::vector<Reading> read(double timeout_s) override;
  double poll_period_s() const override { return options_.poll_period_s; }
  bool slow() const override { return true; }
  double cpu_s() const override;

 private:
  struct Worker;
  std::vector<Reading> none(const std::string& reason) const;

  std::string name_;
  std::vector<Channel> channels_;
  BoundedOptions options_;
  std::shared_ptr<Worker> worker_;
};

}  // namespace mlpwatt

#pragma once
// Meters over instruments that a test can spoil, for the table of meters and faults.

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "meters/power/meter.h"

namespace mlpwatt::testing {

enum class Fault {
  kFrozen,
  kDropout,
  kWrap,
  kDoubleWrap,
  kPermission,
  kGone,
  kGarbage,
  kNegative,
  kSpike,
  kServerError,
  kHang,
  kTruncated,
  kClockStep,
  kDuplicateStamp,
};
struct FaultName {
  Fault fault;
  const char* name;
};
const std::vector<FaultName>& all_faults();

/// One meter and the instrument it reads. A new one for each fault.
class FaultRig {
 public:
  virtual ~FaultRig() = default;
  virtual Meter& meter() = 0;
  std::size_t channel = 0;       ///< the one looked at
  double poll_s = 0.02;          ///< how often the test reads it
  double read_timeout_s = 0.25;  ///< of a read while the fault is on
  /// CLOCK_MONOTONIC of update 0 of instruments that stamp their readings themselves, update n coming
  /// n * poll_s later; 0 = readings are put on the test's own clock.
  double own_clock_from_s = 0;
  /// The instrument stamps its updates, and its clock is what steps. Else the host's wall clock does.
  bool stamps = false;
  /// A read that hangs ends when the instrument answers, and not before: the sampler's guard keeps the time.
  bool guarded_by_sampler = false;
  /// Shows update number n (0, 1, 2 ...) of a healthy instrument.
  virtual void show(int n) = 0;
  /// Spoils what is shown from now on; called before each read while the fault is on.
  virtual void spoil(Fault fault, int n) = 0;
  /// As it was. After kGone it is not called.
  virtual void heal() = 0;
};

struct RigEntry {
  std::string meter;
  std::function<std::string()> unavailable;  ///< "" or why it cannot be had here
  std::function<std::unique_ptr<FaultRig>(Fault)> make;
  /// Faults that this kind of meter cannot have, and why.
  std::map<Fault, std::string> cannot;
};

/// Of all meters; each file of rigs adds its own.
std::vector<RigEntry>& rig_entries();
struct RigRegistration {
  explicit RigRegistration(RigEntry entry) { rig_entries().push_back(std::move(entry)); }
};

}  // namespace mlpwatt::testing

#pragma once
// Watt-meters: instruments that yield watts or joules with a time stamp. One interface for all of them
// (sysfs trees, BMCs, plugs, PDUs, GPUs, logs, the estimate); they know nothing of what is being measured.
//
// Adding a meter: write one file in meters/power/ that ends in
//     const MeterRegistration registration{{.name = "powercap", .summary = "...", .rank = 10, .open = open}};
// `open` probes and, where the instrument is there, makes one Meter per independently read device. An
// optional library that was not there at compile time is no reason to leave the file out: register an `open`
// that returns State::kNotCompiledIn.

#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "meters/provenance.h"

namespace mlpwatt {

/// What a reading of a channel means, and so how a series of them is integrated.
enum class ReadingKind {
  kEnergyCounter,  ///< joules since some origin, wrapping at Channel::wrap_j: by difference
  kInstantPower,   ///< watts at (or in a short interval before) the stamp: trapezoid
  kAveragePower,   ///< watts averaged over Channel::averaging_s up to the stamp: step, backwards in time
};

/// How a number about an instrument is known; assumed ones are marked in the record.
enum class Known { kAssumed, kDeclared, kMeasured };

/// One series a meter yields: one domain in one unit.
struct Channel {
  std::string domain;  ///< "node", "package0", "dram0", "gpu:GPU-8a1c..." (GPUs by UUID, never by index)
  /// Domain of the same machine that contains this one ("" = none). Only domains that no other measured
  /// domain contains, and that are no duplicate of a measured one, are summed; "node" contains every other.
  std::string parent;
  /// Whether the sensor's place in the power chain is known well enough to add it to others. False for
  /// sensors of unknown chips: a supply's input and output, a total and its rails.
  bool summable = true;
  std::string duplicate_of;  ///< another domain that mirrors this one (powercap's mmio tree, dies)
  ReadingKind kind = ReadingKind::kInstantPower;
  Provenance provenance = Provenance::kMeasured;
  double update_period_s = 0;  ///< 0 = not known
  Known update_period_known = Known::kAssumed;
  double averaging_s = 0;  ///< of kAveragePower, or the window an instant reading looks at
  double lag_s = 0;        ///< how late a reading shows what happened
  Known lag_known = Known::kAssumed;
  double lag_spread_s = 0;       ///< standard uncertainty of a measured lag; 0 = not known
  std::string calibrated_utc;    ///< when period, lag and window were measured; "" = never
  double resolution = 0;         ///< quantum, in the unit of the reading (W or J); 0 = not known
  double accuracy_relative = 0;  ///< standard uncertainty is this / sqrt(3); 0 = not known
  double accuracy_absolute_w = 0;
  std::string accuracy_source;  ///< who says so: "power1_accuracy", "assumed", a document
  double wrap_j = 0;            ///< of counters: value range after which they start again; 0 = never
  double maximum_w = 0;         ///< readings above are absurd; 0 = not known
  std::string place;            ///< where in the power chain: "AC inlet", "DC bus", "BMC", "die"
  /// Reading::monotonic_s is when the device made the update, not when we asked for it.
  bool stamped_by_device = false;
};

/// A value or a reason, never 0 for "could not".
struct Reading {
  double monotonic_s = 0;       ///< CLOCK_MONOTONIC when it was taken (or when the device says it was)
  std::optional<double> value;  ///< W or J by the channel's kind
  std::string reason;           ///< one line naming the meter, when there is no value
  /// Stamp or sequence number of the device itself where it has one: equal = the same update read again.
  std::optional<std::int64_t> device_stamp;
};

/// One device that is read in one go. Used by one thread at a time.
class Meter {
 public:
  virtual ~Meter() = default;
  /// Name of the registration, with an instance where there are several: "powercap", "redfish:bmc17".
  virtual std::string name() const = 0;
  virtual const std::vector<Channel>& channels() const = 0;
  /// One reading per channel, in their order. Never throws; returns at the latest after
  /// `timeout_s` (a hung device is a reason).
  virtual std::vector<Reading> read(double timeout_s) = 0;
  /// How often to read: the update period of the device, or faster where updates must be found.
  virtual double poll_period_s() const = 0;
  /// Reads that may block (network, BMC) get a sampler thread of their own.
  virtual bool slow() const = 0;
  /// Processor time of threads of its own so far; may be asked while a read goes on.
  virtual double cpu_s() const { return 0; }
};

struct MeterProbe {
  enum class State { kFound, kAbsent, kNotPermitted, kNotCompiledIn, kNotConfigured, kFaulty };
  State state = State::kAbsent;
  std::string detail;  ///< what was found, or why not; one line
  std::string remedy;  ///< the exact thing to type (udev rule, group, sysctl, package); empty = nothing helps
  std::vector<std::unique_ptr<Meter>> meters;  ///< when found
};
std::string to_string(MeterProbe::State state);

struct MeterEntry {
  std::string name;     ///< "powercap": what --meters names
  std::string summary;  ///< one line: what it reads
  int rank = 0;         ///< order in lists and tables
  /// A stand-in that is used only when no real meter was found (the estimate).
  bool fallback = false;
  /// @param config the section of the meter configuration under this meter's name; null when there is none.
  /// Every meter takes what its tests need from there: "root" of a sysfs tree, "library" to dlopen,
  /// addresses, time-outs. Secrets are never in it: only "credentials_file" (mode 0600) or the environment.
  /// Never throws.
  std::function<MeterProbe(const nlohmann::json& config)> open;
};

/// Ordered by rank.
const std::vector<MeterEntry>& meter_entries();
struct MeterRegistration {
  explicit MeterRegistration(MeterEntry entry);
};

}  // namespace mlpwatt

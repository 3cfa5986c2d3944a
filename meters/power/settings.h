#pragma once
// What meters of devices share: their section of the meter configuration, secrets, units, the rule of what is
// a reading.

#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "meters/power/meter.h"

namespace mlpwatt {

/// Why a device could not be opened.
struct OpenError : std::runtime_error {
  OpenError(MeterProbe::State its_state, const std::string& detail, std::string its_remedy = "")
      : std::runtime_error(detail), state(its_state), remedy(std::move(its_remedy)) {}
  MeterProbe::State state;
  std::string remedy;
};

/// One JSON object of the configuration. Every getter throws OpenError (kFaulty) naming the key and the value
/// when it does not fit; keys that nobody asked for are found by finish().
class Settings {
 public:
  Settings(std::string meter, nlohmann::json object);
  std::string text(const std::string& key, const std::string& fallback = "");
  /// Errors: also when it is missing.
  std::string required_text(const std::string& key);
  double number(const std::string& key, double fallback, double least = -1e308, double most = 1e308);
  std::int64_t integer(const std::string& key, std::int64_t fallback, std::int64_t least, std::int64_t most);
  bool flag(const std::string& key, bool fallback);
  bool has(const std::string& key) const { return object_.contains(key); }
  /// The value under `key`: itself when it is a list, else a list of one; empty when missing.
  std::vector<nlohmann::json> list(const std::string& key);
  /// Throws for keys nobody asked for; secrets get the advice to put them into a credentials file.
  void finish() const;
  [[noreturn]] void refuse(const std::string& key, const std::string& wanted) const;
  const std::string& meter() const { return meter_; }

 private:
  const nlohmann::json* find(const std::string& key);
  std::string meter_;
  nlohmann::json object_;
  std::set<std::string> asked_;
};

/// Secrets of one device: from the file "credentials_file" (a JSON object of strings, readable by its owner
/// alone), else from environment variables MLPWATT_<METER>_<KEY>, or <"credentials_environment">_<KEY>.
class Credentials {
 public:
  /// Errors: OpenError kNotPermitted with the chmod to type when others can read the file; kFaulty when it
  /// is missing or no JSON.
  explicit Credentials(Settings& settings);
  /// "" when there is none.
  std::string get(const std::string& key) const;
  /// The environment variable get(key) looks at, for messages.
  std::string variable(const std::string& key) const;

 private:
  std::map<std::string, std::string> secrets_;
  std::string prefix_;
};

/// Reads what a user may declare of a channel into it: domain, parent, duplicate_of, place, update_period_s,
/// averaging_s, lag_s, resolution, accuracy_relative, accuracy_absolute_w, maximum_w.
void declare_channel(Settings& settings, Channel& channel);

/// Reads "unit" (W kW mW J kJ mJ uJ Wh kWh mWh), "scale" and "wrap" (in the device's counts); sets the
/// channel's kind and wrap_j. @return W or J per count of the device.
double read_unit(Settings& settings, Channel& channel);

/// A value of a channel, or why it is none: not finite, or 0 W where nothing that runs draws nothing.
Reading checked_reading(const Channel& channel, double value, bool zero_is_valid = false);
Reading failed_reading(const std::string& reason);

/// A number and nothing else, as decimal text. nullopt: it is none, or not finite.
std::optional<double> parse_number(const std::string& text);
/// ISO 8601 with zone ("2026-01-31T12:00:00.5+01:00") in milliseconds since 1970; nullopt: it is none.
std::optional<std::int64_t> parse_time_ms(const std::string& text);

/// Opens every device of a configuration section (an object, or a list of them). `open_one` throws OpenError.
/// The probe is kFound when at least one opened; the others' reasons are then in its detail.
MeterProbe open_devices(const std::string& meter, const nlohmann::json& config,
                        const std::function<std::unique_ptr<Meter>(Settings&)>& open_one);

/// The probe of a meter whose library was not there at compile time.
MeterProbe not_compiled_in(const std::string& library, const std::string& package);
/// The probe of a meter that cannot be found without being told where; `example` is its section.
MeterProbe not_configured(const std::string& meter, const std::string& example);

}  // namespace mlpwatt

#pragma once
// Helpers of the tests of watt-meters.

#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "meters/counters/child_process.h"
#include "meters/power/meter.h"

namespace mlpwatt::testing {

/// Opens the registered meter `name` with a configuration section, as the program does.
inline MeterProbe open_meter(const std::string& name, const nlohmann::json& section) {
  for (const MeterEntry& entry : meter_entries())
    if (entry.name == name) return entry.open(section);
  MeterProbe probe;
  probe.detail = name + " is not registered";
  return probe;
}

/// Writes a file of this mode. @return its path
inline std::string write_file(const std::string& path, const std::string& text, int mode = 0644) {
  std::ofstream(path, std::ios::binary) << text;
  std::filesystem::permissions(path, static_cast<std::filesystem::perms>(mode));
  return path;
}

/// Reads, and checks what holds for every read of every meter: one reading per channel; in time; a value or a
/// reason that names the meter in one line.
/// @param own_clock the instrument's stamps follow a clock of its own, which may be ahead of ours
inline std::vector<Reading> checked_read(Meter& meter, double timeout_s, bool own_clock = false) {
  const auto begin = std::chrono::steady_clock::now();
  std::vector<Reading> readings = meter.read(timeout_s);
  const double took_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  // generous for a loaded machine, and far below what the tests' hanging devices take
  EXPECT_LT(took_s, timeout_s + 2) << meter.name();
  EXPECT_EQ(readings.size(), meter.channels().size());
  const double now_s =
      std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
  for (const Reading& reading : readings) {
    if (!own_clock) {
      EXPECT_GT(reading.monotonic_s, now_s - took_s - 5) << meter.name();
      EXPECT_LE(reading.monotonic_s, now_s) << meter.name();
    }
    EXPECT_EQ(reading.value.has_value(), reading.reason.empty()) << meter.name() << ": " << reading.reason;
    if (reading.value) continue;
    EXPECT_EQ(reading.reason.rfind(meter.name() + ": ", 0), 0u) << reading.reason;
    EXPECT_EQ(reading.reason.find('\n'), std::string::npos) << reading.reason;
  }
  return readings;
}

/// The only meter of a probe; fails the test when there is not exactly one.
inline std::unique_ptr<Meter> only_meter(MeterProbe probe) {
  EXPECT_EQ(probe.state, MeterProbe::State::kFound) << probe.detail;
  EXPECT_EQ(probe.meters.size(), 1u) << probe.detail;
  return probe.meters.empty() ? nullptr : std::move(probe.meters.front());
}

}  // namespace mlpwatt::testing

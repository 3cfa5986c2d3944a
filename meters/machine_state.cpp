#include "meters/machine_state.h"

#include <algorithm>
#include <array>
#include <set>

#include "meters/power/sysfs.h"

namespace mlpwatt {
namespace {

/// Drivers of sensors inside processors.
const std::set<std::string> kProcessorSensors{"coretemp", "k10temp", "zenpower", "cpu_thermal",
                                              "x86_pkg_temp"};

}  // namespace

MachineState read_machine_state(const std::string& root) {
  MachineState state;
  const auto hotter = [&](std::optional<double> milli_c) {
    if (milli_c) state.temperature_c = std::max(state.temperature_c.value_or(-1e9), *milli_c / 1000);
  };
  const std::string hwmon = root + "/sys/class/hwmon";
  for (const std::string& chip : folder_entries(hwmon, "hwmon"))
    if (kProcessorSensors.contains(read_text(hwmon + "/" + chip + "/name").text))
      hotter(read_number(hwmon + "/" + chip + "/temp1_input"));
  const std::string thermal = root + "/sys/class/thermal";
  for (const std::string& zone : folder_entries(thermal, "thermal_zone"))
    if (kProcessorSensors.contains(read_text(thermal + "/" + zone + "/type").text))
      hotter(read_number(thermal + "/" + zone + "/temp"));
  double sum_hz = 0;
  int frequencies = 0;
  const std::string cpus = root + "/sys/devices/system/cpu";
  for (const std::string& cpu : folder_entries(cpus, "cpu")) {
    const std::string folder = cpus + "/" + cpu;
    if (const auto khz = read_number(folder + "/cpufreq/scaling_cur_freq"))
      sum_hz += *khz * 1000, ++frequencies;
    for (const char* count : {"core_throttle_count", "package_throttle_count"})
      if (const auto events = read_number(folder + "/thermal_throttle/" + count))
        state.throttle_events = state.throttle_events.value_or(0) + static_cast<std::int64_t>(*events);
  }
  if (frequencies > 0) state.frequency_hz = sum_hz / frequencies;
  return state;
}

}  // namespace mlpwatt

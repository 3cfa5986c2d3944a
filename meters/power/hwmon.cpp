// hwmon: power and energy sensors of the kernel's hardware-monitoring drivers: ACPI 4.0 power meters (the
// whole node), Grace modules and sockets, amd_energy, power supplies, board sensors.

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <map>
#include <set>

#include "meters/power/sysfs.h"

namespace mlpwatt {
namespace {

constexpr const char* kName = "hwmon";
/// 0xFFFFFFFF mW as drivers hand it on (x 1000): the firmware has no reading.
constexpr double kNoReading_uw = 4294967295000.0;
constexpr double kPoll_s = 0.2;

/// "CPU Power Socket 0" -> "cpu_power_socket_0"
std::string word_of(const std::string& label) {
  std::string word;
  for (const char c : label)
    word += std::isalnum(static_cast<unsigned char>(c)) ? static_cast<char>(std::tolower(c)) : '_';
  return word;
}

/// "95.5%" -> 0.045: the largest error, relative
double error_of(const std::string& accuracy) {
  if (accuracy.empty() || accuracy.back() != '%') return 0;
  const auto percent = as_number(accuracy.substr(0, accuracy.size() - 1));
  return percent && *percent > 0 && *percent <= 100 ? (100 - *percent) / 100 : 0;
}

/// Grace modules contain their processor and I/O; an ACPI meter is the node; the rest is inside it, nobody
/// knows where: stored, never summed.
void set_domain(Channel& channel, const std::string& chip, const std::string& label,
                const std::string& index) {
  const std::string word = word_of(label);
  channel.parent = "node";
  const std::string socket = label.empty() ? "" : label.substr(label.find_last_of(' ') + 1);
  if (label.starts_with("Module Power Socket")) {
    channel.domain = "module" + socket;
  } else if (label.starts_with("Grace Power Socket")) {
    channel.domain = "grace" + socket;
    channel.parent = "module" + socket;
  } else if (label.starts_with("CPU Power Socket") || label.starts_with("SysIO Power Socket")) {
    channel.domain = (label.starts_with("CPU") ? "cpu" : "sysio") + socket;
    channel.parent = "grace" + socket;
  } else if (chip == "power_meter" && label.empty()) {
    channel.domain = "node";
    channel.parent = "";
    channel.place = "AC inlet or BMC";
  } else if (chip == "amd_energy" && label.starts_with("Esocket")) {
    channel.domain = "package" + label.substr(7);
  } else {
    channel.domain = fmt::format("{}_{}", word_of(chip), word.empty() ? index : word);
    channel.summable = false;
  }
}

struct Chip {
  std::string name, entry, folder;
};

/// All power and energy files of one chip; several meters where the chip has several.
std::vector<FileChannel> channels_of(const Chip& chip, std::vector<std::string>& refused) {
  std::vector<FileChannel> files;
  const auto at = [&](const std::string& file) { return chip.folder + "/" + file; };
  for (const std::string& file : folder_entries(chip.folder, "")) {
    const bool energy = file.starts_with("energy") && file.ends_with("_input");
    const bool average = file.starts_with("power") && file.ends_with("_average");
    const bool instant = file.starts_with("power") && file.ends_with("_input");
    if (!energy && !average && !instant) continue;
    const std::string stem = file.substr(0, file.find('_')), index = stem.substr(energy ? 6 : 5);
    // One sensor, one channel: the average is what the driver integrates for us.
    if (instant && readable(at(stem + "_average")) != ENOENT) continue;
    if (read_number(at(stem + "_is_battery")).value_or(0) != 0) continue;
    FileText label = read_text(at(stem + "_label"));
    if (!label.ok()) label = read_text(at(stem + "_oem_info"));
    // A socket's energy is the sum of its cores': hundreds of reads for nothing new.
    if (chip.name == "amd_energy" && label.text.starts_with("Ecore")) continue;
    if (const int error = readable(at(file)); error == EACCES || error == EPERM) {
      refused.push_back(at(file));
      continue;
    }
    FileChannel channel;
    channel.path = at(file);
    channel.scale = 1e-6;
    Channel& what = channel.channel;
    what.kind = energy    ? ReadingKind::kEnergyCounter
                : average ? ReadingKind::kAveragePower
                          : ReadingKind::kInstantPower;
    set_domain(what, chip.name, label.text, index);
    const auto interval_ms = read_number(at(average ? stem + "_average_interval" : "update_interval"));
    if (interval_ms && *interval_ms > 0) {
      what.update_period_s = *interval_ms * 1e-3;
      what.update_period_known = Known::kDeclared;
      if (average) what.averaging_s = what.update_period_s;
    }
    what.accuracy_relative = error_of(read_text(at(stem + "_accuracy")).text);
    what.accuracy_source = what.accuracy_relative > 0 ? stem + "_accuracy" : "assumed";
    if (what.accuracy_relative <= 0) what.accuracy_relative = 0.05;
    what.resolution = 1e-6;
    if (!energy) {
      channel.no_reading = kNoReading_uw;
      channel.zero_is_reading = what.domain != "node";
      if (const auto most = read_number(at(stem + "_cap_max"))) what.maximum_w = 2 * *most * 1e-6;
    }
    files.push_back(std::move(channel));
  }
  return files;
}

/// A domain that another chip has already gets this one's number, and so do its parts in this chip. Others
/// keep their names: each sensor of a Grace module is a chip of its own, and the parents are in others.
void number_repeated(std::vector<FileChannel>& files, int instance, std::set<std::string>& taken) {
  std::map<std::string, std::string> renamed;
  for (FileChannel& file : files) {
    std::string& domain = file.channel.domain;
    if (taken.contains(domain)) domain = renamed[domain] = fmt::format("{}-{}", domain, instance);
    taken.insert(domain);
  }
  for (FileChannel& file : files)
    if (const auto found = renamed.find(file.channel.parent); found != renamed.end())
      file.channel.parent = found->second;
}

std::string not_readable(const std::vector<std::string>& files) {
  return files.front() + (files.size() == 1 ? std::string(" is not readable")
                                            : fmt::format(" and {} more are not readable", files.size() - 1));
}

MeterProbe open(const nlohmann::json& config) {
  only_known_settings(kName, config, {"root", "poll_s"});
  MeterProbe probe;
  const std::string base = rooted(kName, config, "/sys/class/hwmon");
  std::vector<std::string> refused, found;
  std::map<std::string, int> names;
  std::set<std::string> domains;
  for (const std::string& entry : folder_entries(base, "hwmon")) {
    // Older kernels keep the files one level deeper.
    for (const std::string& folder : {base + "/" + entry, base + "/" + entry + "/device"}) {
      FileText name = read_text(folder + "/name");
      if (!name.ok()) name = read_text(base + "/" + entry + "/name");
      std::vector<FileChannel> files = channels_of({name.text, entry, folder}, refused);
      if (files.empty()) continue;
      const int instance = names[name.text]++;
      const std::string instance_name =
          fmt::format("{}:{}{}", kName, name.text, instance > 0 ? fmt::format("-{}", instance) : "");
      number_repeated(files, instance, domains);
      double fastest_s = 1e9;
      for (const FileChannel& file : files) {
        found.push_back(name.text + ":" + file.channel.domain);
        if (file.channel.update_period_s > 0) fastest_s = std::min(fastest_s, file.channel.update_period_s);
      }
      const double poll_s = fastest_s < 1e9 ? std::clamp(fastest_s / 4, 0.02, 5.0) : kPoll_s;
      // ACPI methods talk to the BMC: tens of milliseconds and more.
      probe.meters.push_back(std::make_unique<FileMeter>(instance_name, std::move(files),
                                                         number_setting(kName, config, "poll_s", poll_s),
                                                         name.text == "power_meter"));
      break;
    }
  }
  if (!probe.meters.empty()) {
    probe.state = MeterProbe::State::kFound;
    probe.detail = fmt::format("{}", fmt::join(found, ", "));
    if (!refused.empty()) probe.detail += "; but " + not_readable(refused);
  } else if (!refused.empty()) {
    probe.state = MeterProbe::State::kNotPermitted;
    probe.detail = not_readable(refused);
  } else {
    probe.detail = base + ": no power or energy sensor";
    probe.remedy = "on servers: sudo modprobe acpi_power_meter";
  }
  if (!refused.empty()) probe.remedy = fmt::format("sudo chmod a+r {}", fmt::join(refused, " "));
  return probe;
}

const MeterRegistration registration{
    {.name = kName,
     .summary = "power and energy sensors of kernel drivers (/sys/class/hwmon)",
     .rank = 20,
     .open = [](const nlohmann::json& config) { return guarded([&] { return open(config); }); }}};

}  // namespace
}  // namespace mlpwatt

// powercap: the running-average energy counters (RAPL) of Intel and AMD processors, as the kernel shows them
// in /sys/class/powercap. Each zone wraps at its own max_energy_range_uj.

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <map>
#include <thread>

#include "meters/power/sysfs.h"

namespace mlpwatt {
namespace {

constexpr const char* kName = "powercap";
/// Registers move about every millisecond; wraps are minutes apart; the ends of a window are read on purpose.
constexpr double kPoll_s = 0.1, kUpdate_s = 1e-3;

struct Zone {
  std::string folder;   ///< "intel-rapl:0:2"
  std::string name;     ///< "dram"
  std::string path;     ///< of the folder
  bool mmio = false;    ///< the tree that mirrors the registers' through memory-mapped I/O
  std::string package;  ///< folder of the package it is in; its own for packages
};

/// "package-0-die-1" -> "package0-die1"
std::string domain_of_package(std::string name) {
  std::string domain;
  for (std::size_t i = 0; i < name.size(); ++i)
    if (!(name[i] == '-' && i + 1 < name.size() && std::isdigit(static_cast<unsigned char>(name[i + 1]))))
      domain += name[i];
  return domain;
}

std::vector<Zone> find_zones(const std::string& base) {
  std::vector<Zone> zones;
  for (const std::string& folder : folder_entries(base, "")) {
    const auto colon = folder.find(':');
    if (colon == std::string::npos) continue;  // a control type, not a zone
    const FileText name = read_text(base + "/" + folder + "/name");
    if (!name.ok()) continue;
    Zone zone{folder, name.text, base + "/" + folder, folder.find("mmio") != std::string::npos, ""};
    zone.package = folder.substr(0, folder.find(':', colon + 1));
    zones.push_back(zone);
  }
  return zones;
}

/// Where no constraint says. The platform (psys) is all packages, memory and what else hangs on its supplies:
/// 1.5 kW and more in servers of two sockets, which no package reaches.
constexpr double kMostPackage_w = 1000, kMost_w = 5000;

/// Highest power any constraint of the zone allows, doubled: short spikes pass limits.
double absurd_above_w(const Zone& zone) {
  double most = 0;
  for (int i = 0; i < 3; ++i)
    for (const char* what : {"max_power_uw", "power_limit_uw"})
      if (const auto uw = read_number(fmt::format("{}/constraint_{}_{}", zone.path, i, what)))
        most = std::max(most, *uw * 1e-6);
  if (most > 0) return std::clamp(2 * most, 10.0, kMost_w);
  return zone.name.starts_with("psys") ? kMost_w : kMostPackage_w;
}

/// Dies that show the same counter: equal within what passes between two reads, twice.
bool mirror(const Zone& a, const Zone& b) {
  for (int look = 0; look < 2; ++look) {
    const auto first = read_number(a.path + "/energy_uj"), second = read_number(b.path + "/energy_uj");
    if (!first || !second || std::fabs(*first - *second) > 0.2e6) return false;
    if (look == 0) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

FileChannel channel_of(const Zone& zone, const std::string& domain) {
  FileChannel file;
  file.path = zone.path + "/energy_uj";
  file.scale = 1e-6;
  Channel& channel = file.channel;
  channel.domain = domain;
  channel.kind = ReadingKind::kEnergyCounter;
  channel.update_period_s = kUpdate_s;
  channel.update_period_known = Known::kDeclared;
  channel.resolution = 61e-6;  // 2^-14 J, the usual energy unit
  channel.accuracy_relative = 0.05;
  channel.accuracy_source = "assumed";
  channel.place = "die";
  if (const auto range = read_number(zone.path + "/max_energy_range_uj")) channel.wrap_j = *range * 1e-6;
  channel.maximum_w = absurd_above_w(zone);
  return file;
}

std::vector<FileChannel> channels_of(const std::vector<Zone>& zones) {
  std::map<std::string, std::string> domain_of_folder;
  bool psys = false;
  for (const Zone& zone : zones) {
    if (zone.folder == zone.package) domain_of_folder[zone.folder] = domain_of_package(zone.name);
    psys = psys || zone.name == "psys";
  }
  std::vector<FileChannel> files;
  std::vector<const Zone*> dies;
  const auto has = [&](const std::string& domain) {
    return std::any_of(files.begin(), files.end(),
                       [&](const FileChannel& f) { return f.channel.domain == domain; });
  };
  // The register tree first, so that what mirrors it finds it there.
  for (const bool mmio : {false, true})
    for (const Zone& zone : zones) {
      if (zone.mmio != mmio) continue;
      const std::string package = domain_of_folder[zone.package];
      const bool whole = zone.folder == zone.package;
      std::string domain = whole                            ? package
                           : package.starts_with("package") ? zone.name + package.substr(7)
                                                            : zone.name + "-" + package;
      const std::string mirrored = mmio && has(domain) ? domain : "";
      if (!mirrored.empty()) domain += "-mmio";
      if (has(domain)) domain += ":" + zone.folder;
      FileChannel file = channel_of(zone, domain);
      file.channel.duplicate_of = mirrored;
      // DRAM stands beside its package, cores and graphics are inside.
      file.channel.parent = zone.name == "psys"            ? "node"
                            : whole || zone.name == "dram" ? (psys ? "psys" : "node")
                                                           : package;
      if (whole && !mmio && zone.name.find("-die-") != std::string::npos) {
        const std::string socket = zone.name.substr(0, zone.name.find("-die-"));
        for (const Zone* other : dies)
          if (other->name.starts_with(socket + "-die-") && mirror(*other, zone)) {
            file.channel.duplicate_of = domain_of_package(other->name);
            break;
          }
        dies.push_back(&zone);
      }
      files.push_back(std::move(file));
    }
  return files;
}

MeterProbe open(const nlohmann::json& config) {
  only_known_settings(kName, config, {"root", "poll_s"});
  MeterProbe probe;
  const std::string base = rooted(kName, config, "/sys/class/powercap");
  const std::vector<Zone> zones = find_zones(base);
  if (zones.empty()) {
    probe.detail = base + ": no zones (virtual machine, or no RAPL driver)";
    probe.remedy = "on hardware: sudo modprobe intel_rapl_msr";
    return probe;
  }
  for (const Zone& zone : zones) {
    const int error = readable(zone.path + "/energy_uj");
    if (error != EACCES && error != EPERM) continue;
    probe.state = MeterProbe::State::kNotPermitted;
    probe.detail = fmt::format("{}/energy_uj is readable by root only (since CVE-2020-8694)", zone.path);
    probe.remedy = fmt::format(
        "sudo chmod a+r {}/*/energy_uj, or for good: echo 'SUBSYSTEM==\"powercap\", ACTION==\"add\", "
        "RUN+=\"/bin/chmod "
        "a+r /sys%p/energy_uj\"' | sudo tee /etc/udev/rules.d/70-powercap.rules; sudo udevadm trigger -c add "
        "-s powercap",
        base);
    return probe;
  }
  std::vector<FileChannel> files = channels_of(zones);
  std::vector<std::string> domains;
  for (const FileChannel& file : files)
    domains.push_back(file.channel.domain + (file.channel.duplicate_of.empty()
                                                 ? ""
                                                 : " (mirrors " + file.channel.duplicate_of + ")"));
  probe.state = MeterProbe::State::kFound;
  probe.detail = fmt::format("{} zone(s): {}", domains.size(), fmt::join(domains, ", "));
  probe.meters.push_back(std::make_unique<FileMeter>(
      kName, std::move(files), number_setting(kName, config, "poll_s", kPoll_s), false));
  return probe;
}

const MeterRegistration registration{
    {.name = kName,
     .summary = "RAPL energy counters of packages, cores, DRAM and platform (/sys/class/powercap)",
     .rank = 10,
     .open = [](const nlohmann::json& config) { return guarded([&] { return open(config); }); }}};

}  // namespace
}  // namespace mlpwatt

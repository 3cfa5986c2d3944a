#pragma once
// Instruments made of files: each writes a waveform into a tree as the kernel or a logger would, in real
// time, and says how the meter behind it is opened.

#include <fmt/format.h>

#include <linux/capability.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <memory>

#include "meters/power/meter.h"
#include "tests/meters/waveform.h"
#include "tests/support/meter_case.h"
#include "tests/support/temporary_folder.h"

namespace mlpwatt::testing {

/// A folder whose files are replaced in one step, as reads of sysfs are never torn.
class Tree {
 public:
  std::string root() const { return folder_.path(); }
  std::string path(const std::string& name) const { return folder_.path(name); }
  void write(const std::string& name, const std::string& text) const {
    const std::string target = path(name);
    std::filesystem::create_directories(std::filesystem::path(target).parent_path());
    std::ofstream(target + ".new") << text << '\n';
    std::filesystem::rename(target + ".new", target);
  }
  void append(const std::string& name, const std::string& text) const {
    std::ofstream(path(name), std::ios::app) << text << std::flush;
  }
  void remove(const std::string& name) const { std::filesystem::remove_all(path(name)); }

 private:
  TemporaryFolder folder_;
};

/// Whether the calling thread, where it is root's, may read what no one may.
inline void override_permissions(bool may) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct sets[2];
  if (geteuid() != 0 || syscall(SYS_capget, &header, sets, 0, 0, 0, 0) != 0) return;
  // six arguments: the syscall() that pretends a PMU in the test program reads as many
  constexpr unsigned kOverride = 1u << CAP_DAC_OVERRIDE | 1u << CAP_DAC_READ_SEARCH;
  if (may)
    sets[0].effective |= kOverride & sets[0].permitted;
  else
    sets[0].effective &= ~kOverride;
  syscall(SYS_capset, &header, sets, 0, 0, 0, 0);
}

/// What a file of mode 000 is to others than root, for the calling thread until allow().
inline void forbid(const std::string& path) {
  std::filesystem::permissions(path, std::filesystem::perms::none);
  override_permissions(false);
}
inline void allow() { override_permissions(true); }

inline const MeterEntry& meter_entry(const std::string& name) {
  const auto& entries = meter_entries();
  return *std::find_if(entries.begin(), entries.end(),
                       [&](const MeterEntry& each) { return each.name == name; });
}

/// A live instrument: the tree, what plays into it, and the configuration that opens the meter.
struct FileInstrument {
  std::string meter;
  std::string domain;  ///< the channel that shows the waveform
  nlohmann::json config;
  std::unique_ptr<Tree> tree;
  double gain = 1;  ///< of that channel against the waveform
  std::unique_ptr<Player> player;
};

/// Writes zones of one package with a DRAM, `wrap_j` wide.
inline void write_zone(const Tree& tree, const std::string& folder, const std::string& name, double joules,
                       double wrap_j) {
  const std::string at = "sys/class/powercap/" + folder + "/";
  if (!std::filesystem::exists(tree.path(at + "name"))) {
    tree.write(at + "name", name);
    tree.write(at + "max_energy_range_uj", fmt::format("{:.0f}", wrap_j * 1e6));
  }
  tree.write(at + "energy_uj", fmt::format("{:.0f}", std::floor(std::fmod(joules, wrap_j) * 1e6 / 61) * 61));
}

inline FileInstrument play_powercap(const Waveform& curve, double tick_s = 0.005,
                                    double wrap_j = 262143.328850) {
  FileInstrument made{"powercap", "package0", {}, std::make_unique<Tree>(), 1, {}};
  made.config = {{"root", made.tree->root()}, {"poll_s", std::min(0.05, 0.2 * wrap_j / 1000)}};
  const Tree& tree = *made.tree;
  const auto show = [&tree, curve, wrap_j](double t) {
    write_zone(tree, "intel-rapl:0", "package-0", curve.joules(0, t) + 0.9 * wrap_j, wrap_j);
    write_zone(tree, "intel-rapl:0:0", "dram", 0.1 * curve.joules(0, t), wrap_j / 4);
  };
  show(0);
  made.player = std::make_unique<Player>(tick_s, show);
  return made;
}

inline FileInstrument play_hwmon(const Waveform& curve, double period_s = 0.1, bool deep = false) {
  FileInstrument made{"hwmon", "node", {}, std::make_unique<Tree>(), 1, {}};
  made.config = {{"root", made.tree->root()}};
  const std::string at = std::string("sys/class/hwmon/hwmon3/") + (deep ? "device/" : "");
  const Tree& tree = *made.tree;
  tree.write("sys/class/hwmon/hwmon3/name", "power_meter");
  tree.write(at + "power1_average_interval", fmt::format("{:.0f}", period_s * 1000));
  tree.write(at + "power1_accuracy", "99.0%");
  // a driver that comes late has averaged for longer: nothing is lost
  auto show = [&tree, curve, at, last = 0.0](double t) mutable {
    const double watts = t > last ? curve.mean_w(last, t) : curve.watts(0);
    last = std::max(last, t);
    tree.write(at + "power1_average", fmt::format("{:.0f}", std::round(watts * 10) * 1e5));
  };
  show(0);
  made.player = std::make_unique<Player>(period_s, show);
  return made;
}

/// A driver's energy counter in microjoules (amd_energy), renewed every 10 ms.
inline FileInstrument play_hwmon_energy(const Waveform& curve, double tick_s = 0.01) {
  FileInstrument made{"hwmon", "package0", {}, std::make_unique<Tree>(), 1, {}};
  made.config = {{"root", made.tree->root()}, {"poll_s", 0.05}};
  const Tree& tree = *made.tree;
  const std::string at = "sys/class/hwmon/hwmon1/";
  tree.write(at + "name", "amd_energy");
  tree.write(at + "energy1_label", "Esocket0");
  const auto show = [&tree, curve, at](double t) {
    tree.write(at + "energy1_input", fmt::format("{:.0f}", 1e6 * (5000 + curve.joules(0, t))));
  };
  show(0);
  made.player = std::make_unique<Player>(tick_s, show);
  return made;
}

inline FileInstrument play_pm_counters(const Waveform& curve, bool stamps = true) {
  FileInstrument made{"pm_counters", "node", {}, std::make_unique<Tree>(), 1, {}};
  made.config = {{"root", made.tree->root()}};
  const Tree& tree = *made.tree;
  const auto show = [&tree, curve, stamps, scan = std::int64_t{0}](double t) mutable {
    const std::string at = "sys/cray/pm_counters/";
    const std::string stamp =
        stamps ? fmt::format(" {:.0f} us", (monotonic_now_s() + wall_offset_s()) * 1e6) : std::string();
    tree.write(at + "energy", fmt::format("{:.0f} J{}", std::floor(curve.joules(0, t) + 1e6), stamp));
    tree.write(at + "power", fmt::format("{:.0f} W{}", curve.watts(t), stamp));
    tree.write(at + "cpu_energy", fmt::format("{:.0f} J{}", std::floor(0.6 * curve.joules(0, t)), stamp));
    tree.write(at + "accel0_energy", fmt::format("{:.0f} J{}", std::floor(0.2 * curve.joules(0, t)), stamp));
    tree.write(at + "freshness", fmt::format("{}", ++scan));
  };
  tree.write("sys/cray/pm_counters/startup", "1700000000");
  tree.write("sys/cray/pm_counters/raw_scan_hz", "10");
  made.player = std::make_unique<Player>(0.1, show);
  while (!std::filesystem::exists(made.tree->path("sys/cray/pm_counters/freshness")))
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  return made;
}

inline FileInstrument play_csv_log(const Waveform& curve, double period_s = 0.1) {
  FileInstrument made{"csv_log", "node", {}, std::make_unique<Tree>(), 1, {}};
  made.config = {{"path", made.tree->path("power.csv")}, {"node", "n1"}, {"period_s", period_s}};
  const Tree& tree = *made.tree;
  tree.append("power.csv", "timestamp,node,watts\n");
  made.player = std::make_unique<Player>(period_s, [&tree, curve, last = 0.0](double t) mutable {
    const double watts = t > last ? curve.mean_w(last, t) : curve.watts(0);
    last = std::max(last, t);
    tree.append("power.csv",
                fmt::format("{:.6f},n0,11\n{:.6f},n1,{:.1f}\n", monotonic_now_s() + wall_offset_s(),
                            monotonic_now_s() + wall_offset_s(), watts));
  });
  return made;
}

}  // namespace mlpwatt::testing

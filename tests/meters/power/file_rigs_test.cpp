// Rigs of the meters made of files, for the table of meters and faults.

#include "tests/meters/power/fault_rigs.h"
#include "tests/meters/trees.h"
#include "tests/support/hanging_files.h"

namespace mlpwatt::testing {
namespace {

/// One file of a tree holds the reading.
class TreeRig : public FaultRig {
 public:
  /// @param text of update n @param negative, spike what a broken driver would show
  TreeRig(std::string meter, std::string folder, std::string file, std::function<std::string(int)> text,
          std::string negative, std::string spike)
      : meter_(std::move(meter)),
        folder_(std::move(folder)),
        file_(folder_ + "/" + std::move(file)),
        text_(std::move(text)),
        negative_(std::move(negative)),
        spike_(std::move(spike)) {
    guarded_by_sampler = true;
  }

  /// After the tree is complete. @return false when the meter is not found in it
  bool open() {
    MeterProbe probe = open_meter(meter_, {{"root", tree.root()}});
    if (probe.state != MeterProbe::State::kFound || probe.meters.empty()) return false;
    owned_ = std::move(probe.meters.front());
    return true;
  }
  Meter& meter() override { return *owned_; }
  void show(int n) override { tree.write(file_, text_(n)); }
  void heal() override {
    allow();
    if (!hang_.end()) tree.remove(file_);
  }
  void spoil(Fault fault, int n) override {
    if (fault == Fault::kGone) tree.remove(folder_);
    if (fault == Fault::kDropout || fault == Fault::kDoubleWrap) tree.remove(file_);
    if (fault == Fault::kPermission) chmod_away(n);
    if (fault == Fault::kGarbage) tree.write(file_, "nan");
    if (fault == Fault::kTruncated) tree.write(file_, "");
    if (fault == Fault::kNegative) tree.write(file_, negative_);
    if (fault == Fault::kSpike) tree.write(file_, spike_);
    if (fault == Fault::kWrap) show(n);
    if (fault == Fault::kHang) hang_.begin(tree.root());
  }

  Tree tree;

 private:
  void chmod_away(int n) {
    allow();
    show(n);
    forbid(tree.path(file_));
  }
  std::string meter_, folder_, file_;
  std::function<std::string(int)> text_;
  std::string negative_, spike_;
  std::unique_ptr<Meter> owned_;
  HangingFiles hang_;
};

std::unique_ptr<FaultRig> opened(std::unique_ptr<TreeRig> rig) {
  rig->show(0);
  return rig->open() ? std::move(rig) : nullptr;
}

std::map<Fault, std::string> cannot(bool counter) {
  std::map<Fault, std::string> never{{Fault::kServerError, "a file has no server"},
                                     {Fault::kDuplicateStamp, "it has no stamps of its own"}};
  if (!counter) {
    never[Fault::kWrap] = "it reads watts, nothing that adds up";
    never[Fault::kDoubleWrap] = "it reads watts, nothing that adds up";
  }
  return never;
}

/// Not whole watts: such may repeat under a steady load.
std::string microwatts(int n) { return std::to_string((200 + 7 * n % 40) * 1'000'000LL + 137'000); }

std::unique_ptr<FaultRig> make_powercap(Fault fault) {
  // 50 J pass in a gap of a tenth of a second: a counter of 22 J wraps twice in it
  const double wrap_j = fault == Fault::kDoubleWrap ? 22 : 262143.328850;
  const double origin_j = fault == Fault::kWrap ? wrap_j - 250 : 5;
  const std::string folder = "sys/class/powercap/intel-rapl:0";
  auto rig = std::make_unique<TreeRig>(
      "powercap", folder, "energy_uj",
      [=](int n) { return fmt::format("{:.0f}", std::fmod(origin_j + 10 * n, wrap_j) * 1e6); }, "-5000000",
      fmt::format("{:.0f}", 0.9 * wrap_j * 1e6));
  rig->tree.write(folder + "/name", "package-0");
  rig->tree.write(folder + "/max_energy_range_uj", fmt::format("{:.0f}", wrap_j * 1e6));
  return opened(std::move(rig));
}
const RigRegistration powercap{
    {.meter = "powercap", .unavailable = {}, .make = make_powercap, .cannot = cannot(true)}};

std::unique_ptr<FaultRig> make_hwmon(Fault) {
  const std::string folder = "sys/class/hwmon/hwmon3";
  auto rig =
      std::make_unique<TreeRig>("hwmon", folder, "power1_input", microwatts, "-250000000", "50000000000");
  rig->tree.write(folder + "/name", "power_meter");
  return opened(std::move(rig));
}
const RigRegistration hwmon{
    {.meter = "hwmon", .unavailable = {}, .make = make_hwmon, .cannot = cannot(false)}};

std::unique_ptr<FaultRig> make_hwmon_energy(Fault) {
  const std::string folder = "sys/class/hwmon/hwmon1";
  auto rig = std::make_unique<TreeRig>(
      "hwmon", folder, "energy1_input", [](int n) { return fmt::format("{}", (500 + 10 * n) * 1'000'000LL); },
      "-5000000", "9000000000000000");
  rig->tree.write(folder + "/name", "amd_energy");
  rig->tree.write(folder + "/energy1_label", "Esocket0");
  return opened(std::move(rig));
}
std::map<Fault, std::string> hwmon_energy_cannot() {
  std::map<Fault, std::string> never = cannot(true);
  for (const Fault fault : {Fault::kWrap, Fault::kDoubleWrap})
    never[fault] = "the driver itself extends the register to 64 bits";
  return never;
}
const RigRegistration hwmon_energy{{.meter = "hwmon, energy",
                                    .unavailable = {},
                                    .make = make_hwmon_energy,
                                    .cannot = hwmon_energy_cannot()}};

// ---- instruments that stamp their readings ----------------------------------------------------

class PmCountersRig final : public FaultRig {
 public:
  PmCountersRig() {
    own_clock_from_s = monotonic_now_s();
    stamps = guarded_by_sampler = true;
    tree_.write(kAt + std::string("startup"), "1700000000");
    tree_.write(kAt + std::string("raw_scan_hz"), "50");
    write(0, 0, 0);
    MeterProbe probe = open_meter("pm_counters", {{"root", tree_.root()}});
    if (!probe.meters.empty()) owned_ = std::move(probe.meters.front());
  }
  bool ok() const { return owned_ != nullptr; }
  Meter& meter() override { return *owned_; }
  void show(int n) override { write(1000 + 10 * n, n * poll_s, n); }
  void heal() override {
    allow();
    hang_.end();
  }
  void spoil(Fault fault, int n) override {
    allow();
    if (fault == Fault::kHang) return hang_.begin(tree_.root());
    if (fault == Fault::kGone) return tree_.remove("sys/cray/pm_counters");
    if (fault == Fault::kFrozen) return write(1000 + 10 * 5, n * poll_s, n);  // its scans go on
    show(n);
    if (fault == Fault::kDropout) tree_.remove(kAt + std::string("energy"));
    if (fault == Fault::kPermission) forbid(tree_.path(kAt + std::string("energy")));
    if (fault == Fault::kGarbage) tree_.write(kAt + std::string("energy"), "nan J 1 us");
    if (fault == Fault::kTruncated) tree_.write(kAt + std::string("energy"), "");
    if (fault == Fault::kNegative) write(-5, n * poll_s, n);
    if (fault == Fault::kSpike) write(900000000, n * poll_s, n);
    if (fault == Fault::kClockStep) write(1000 + 10 * n, n * poll_s - 3600, n);
    if (fault == Fault::kDuplicateStamp) write(1000 + 10 * n, std::min(n, 25) * poll_s, n);
  }

 private:
  static constexpr const char* kAt = "sys/cray/pm_counters/";
  void write(long joules, double at_s, int scan) {
    tree_.write(kAt + std::string("energy"),
                fmt::format("{} J {:.0f} us", joules, (own_clock_from_s + at_s + wall_offset_s()) * 1e6));
    tree_.write(kAt + std::string("freshness"), std::to_string(scan));
  }
  Tree tree_;
  std::unique_ptr<Meter> owned_;
  HangingFiles hang_;
};
std::map<Fault, std::string> stamped_cannot(const std::string& wrap) {
  return {{Fault::kWrap, wrap}, {Fault::kDoubleWrap, wrap}, {Fault::kServerError, "a file has no server"}};
}
const RigRegistration pm_counters{
    {.meter = "pm_counters",
     .unavailable = {},
     .make = [](Fault) -> std::unique_ptr<FaultRig> {
       auto rig = std::make_unique<PmCountersRig>();
       return rig->ok() ? std::move(rig) : nullptr;
     },
     .cannot =
         stamped_cannot("it counts since the start of the controller; a new start is told by `startup`")}};

class CsvLogRig final : public FaultRig {
 public:
  CsvLogRig() {
    own_clock_from_s = monotonic_now_s();
    stamps = guarded_by_sampler = true;
    tree_.append("power.csv", "timestamp,node,watts\n");
    MeterProbe probe =
        open_meter("csv_log", {{"path", tree_.path("power.csv")}, {"node", "n1"}, {"period_s", poll_s}});
    if (!probe.meters.empty()) owned_ = std::move(probe.meters.front());
  }
  bool ok() const { return owned_ != nullptr; }
  Meter& meter() override { return *owned_; }
  void show(int n) override { line(n * poll_s, std::to_string(200 + 7 * n % 40)); }
  void heal() override {
    allow();
    hang_.end();
    std::filesystem::permissions(tree_.path("power.csv"), std::filesystem::perms::owner_all);
    if (torn_) tree_.append("power.csv", "\n");
    torn_ = false;
  }
  void spoil(Fault fault, int n) override {
    allow();
    if (fault == Fault::kHang) return hang_.begin(tree_.root());
    if (fault == Fault::kGone) return tree_.remove("power.csv");
    if (fault == Fault::kDropout) return;  // the logger writes nothing
    if (fault == Fault::kPermission) return forbid(tree_.path("power.csv"));
    if (fault == Fault::kTruncated && torn_) return;
    if (fault == Fault::kTruncated) {
      torn_ = true;
      return tree_.append("power.csv", "17000");
    }
    const double at_s = fault == Fault::kClockStep        ? n * poll_s - 3600
                        : fault == Fault::kDuplicateStamp ? std::min(n, 25) * poll_s
                                                          : n * poll_s;
    line(at_s, fault == Fault::kGarbage    ? "NaN"
               : fault == Fault::kNegative ? "-250"
               : fault == Fault::kSpike    ? "987654"
                                        : std::to_string(200 + 7 * (fault == Fault::kFrozen ? 5 : n) % 40));
  }

 private:
  void line(double at_s, const std::string& watts) {
    tree_.append("power.csv",
                 fmt::format("{:.6f},n1,{}\n", own_clock_from_s + at_s + wall_offset_s(), watts));
  }
  Tree tree_;
  bool torn_ = false;
  std::unique_ptr<Meter> owned_;
  HangingFiles hang_;
};
const RigRegistration csv_log{{.meter = "csv_log",
                               .unavailable = {},
                               .make = [](Fault) -> std::unique_ptr<FaultRig> {
                                 auto rig = std::make_unique<CsvLogRig>();
                                 return rig->ok() ? std::move(rig) : nullptr;
                               },
                               .cannot = stamped_cannot("it reads watts, nothing that adds up")}};

std::map<Fault, std::string> model_cannot() {
  std::map<Fault, std::string> never;
  for (const FaultName& fault : all_faults())
    never[fault.fault] = "a model has no instrument; it is used where there is none, and marked";
  return never;
}
const RigRegistration estimate{
    {.meter = "estimate", .unavailable = {}, .make = {}, .cannot = model_cannot()}};

std::unique_ptr<FaultRig> make_battery(Fault) {
  const std::string folder = "sys/class/power_supply/BAT0";
  auto rig = std::make_unique<TreeRig>("battery", folder, "power_now", microwatts, "", "987654321000000000");
  rig->tree.write(folder + "/type", "Battery");
  rig->tree.write(folder + "/status", "Discharging");
  return opened(std::move(rig));
}
std::map<Fault, std::string> battery_cannot() {
  std::map<Fault, std::string> never = cannot(false);
  never[Fault::kNegative] = "drivers that count discharge as negative are right, the sign is dropped";
  return never;
}
const RigRegistration battery{
    {.meter = "battery", .unavailable = {}, .make = make_battery, .cannot = battery_cannot()}};

}  // namespace
}  // namespace mlpwatt::testing

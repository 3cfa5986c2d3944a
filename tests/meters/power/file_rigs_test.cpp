// Rigs of the meters made of files, for the table of meters and faults.

#include <unistd.h>

#include "tests/meters/power/fault_rigs.h"
#include "tests/meters/trees.h"

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
        spike_(std::move(spike)) {}

  /// After the tree is complete. @return false when the meter is not found in it
  bool open() {
    MeterProbe probe = open_meter(meter_, {{"root", tree.root()}});
    if (probe.state != MeterProbe::State::kFound || probe.meters.empty()) return false;
    owned_ = std::move(probe.meters.front());
    return true;
  }
  Meter& meter() override { return *owned_; }
  void show(int n) override { tree.write(file_, text_(n)); }
  void heal() override { tree.remove(file_); }
  void spoil(Fault fault, int n) override {
    if (fault == Fault::kGone) tree.remove(folder_);
    if (fault == Fault::kDropout || fault == Fault::kDoubleWrap) tree.remove(file_);
    if (fault == Fault::kPermission) chmod_away(n);
    if (fault == Fault::kGarbage) tree.write(file_, "nan");
    if (fault == Fault::kTruncated) tree.write(file_, "");
    if (fault == Fault::kNegative) tree.write(file_, negative_);
    if (fault == Fault::kSpike) tree.write(file_, spike_);
    if (fault == Fault::kWrap) show(n);
  }

  Tree tree;

 private:
  void chmod_away(int n) {
    show(n);
    std::filesystem::permissions(tree.path(file_), std::filesystem::perms::none);
  }
  std::string meter_, folder_, file_;
  std::function<std::string(int)> text_;
  std::string negative_, spike_;
  std::unique_ptr<Meter> owned_;
};

std::unique_ptr<FaultRig> opened(std::unique_ptr<TreeRig> rig) {
  rig->show(0);
  return rig->open() ? std::move(rig) : nullptr;
}

std::map<Fault, std::string> cannot(bool counter) {
  std::map<Fault, std::string> never{
      {Fault::kServerError, "a file has no server"},
      {Fault::kHang, "a read of sysfs does not wait"},
      {Fault::kClockStep, "it has no stamps of its own; readings are stamped by CLOCK_MONOTONIC"},
      {Fault::kDuplicateStamp, "it has no stamps of its own"}};
  if (!counter) {
    never[Fault::kWrap] = "it reads watts, nothing that adds up";
    never[Fault::kDoubleWrap] = "it reads watts, nothing that adds up";
  }
  if (geteuid() == 0) never[Fault::kPermission] = "the test runs as root, who is refused nothing";
  return never;
}

std::string microwatts(int n) { return std::to_string((200 + 7 * n % 40) * 1'000'000LL); }

std::unique_ptr<FaultRig> make_powercap(Fault fault) {
  // a counter of 60 J at 500 W leaves open what happened in a gap of a tenth of a second
  const double wrap_j = fault == Fault::kDoubleWrap ? 60 : 262143.328850;
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
  auto rig = std::make_unique<TreeRig>("hwmon", folder, "power1_input", microwatts, "-250000000",
                                       "50000000000");
  rig->tree.write(folder + "/name", "power_meter");
  return opened(std::move(rig));
}
const RigRegistration hwmon{
    {.meter = "hwmon", .unavailable = {}, .make = make_hwmon, .cannot = cannot(false)}};

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

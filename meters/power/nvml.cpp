// NVIDIA GPUs through the driver's management library: power averaged over a second, power of the moment, and
// the energy counter. GPUs are named by UUID. The counter is a meter of its own because reading it often
// makes some GPUs lose energy (measured by others on an RTX 4090): it is read once a second, the powers ten
// times. The library's time stamps are not used: whether they change with each update or each call is not
// documented.
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cstring>
#include <iterator>
#include <map>
#include <set>
#include <sstream>

#include "meters/power/bounded_meter.h"
#include "meters/power/nvml_api.h"
#include "meters/power/settings.h"

namespace mlpwatt {
namespace {

using State = MeterProbe::State;

constexpr double kPowerPeriod_s = 0.1;
constexpr double kLeastCounterPeriod_s = 1;
/// Compute capabilities times ten.
constexpr int kGa100 = 80, kHopper = 90;

constexpr const char* kPermissionRemedy =
    "sudo chmod a+rw /dev/nvidiactl /dev/nvidia[0-9]*, or for good: echo 'options nvidia "
    "NVreg_DeviceFileMode=0666' | sudo tee /etc/modprobe.d/nvidia-device-files.conf, and restart; in a batch "
    "job ask for the GPU (Slurm: --gres=gpu:1)";

enum class Quantity { kFieldAverage, kFieldInstant, kUsage, kEnergy };

struct GpuChannel {
  Channel channel;
  std::string uuid;
  Quantity quantity;
};

Reading failed_status(const NvmlLibrary& library, const GpuChannel& which, int status) {
  return failed_reading(which.channel.domain + ": " + library.text(status));
}

Reading read_quantity(const NvmlLibrary& library, NvmlDevice device, const GpuChannel& which) {
  if (which.quantity == Quantity::kEnergy) {
    unsigned long long energy_mj = 0;
    const int status = library.energy_mj(device, &energy_mj);
    if (status != kNvmlSuccess) return failed_status(library, which, status);
    return checked_reading(which.channel, 1e-3 * static_cast<double>(energy_mj));
  }
  if (which.quantity == Quantity::kUsage) {
    unsigned power_mw = 0;
    const int status = library.power_usage_mw(device, &power_mw);
    if (status != kNvmlSuccess) return failed_status(library, which, status);
    return checked_reading(which.channel, 1e-3 * power_mw);
  }
  NvmlField field;
  std::memset(&field, 0, sizeof field);
  field.field_id = which.quantity == Quantity::kFieldAverage ? kNvmlPowerAverage : kNvmlPowerInstant;
  int status = library.field_values(device, 1, &field);
  if (status == kNvmlSuccess) status = field.status;
  if (status != kNvmlSuccess) return failed_status(library, which, status);
  const std::optional<double> power_mw = nvml_number(field);
  if (!power_mw)
    return failed_reading(fmt::format("{}: field {} has the unknown value type {}", which.channel.domain,
                                      field.field_id, field.value_type));
  return checked_reading(which.channel, 1e-3 * *power_mw);
}

class NvmlDeviceReader final : public Device {
 public:
  NvmlDeviceReader(std::shared_ptr<NvmlLibrary> library, std::vector<GpuChannel> channels)
      : library_(std::move(library)), channels_(std::move(channels)) {}

  std::vector<Channel> channels() const {
    std::vector<Channel> result;
    for (const GpuChannel& each : channels_) result.push_back(each.channel);
    return result;
  }

  /// Each GPU answers for itself: one that is lost costs its own channels only.
  std::vector<Reading> read(double) override {
    std::vector<Reading> readings;
    std::map<std::string, NvmlDevice> devices;
    for (const GpuChannel& each : channels_) {
      // Looked up anew each time: a handle does not outlive the loss of its GPU.
      auto found = devices.find(each.uuid);
      if (found == devices.end()) {
        NvmlDevice device = nullptr;
        const int status = library_->device_by_uuid(each.uuid.c_str(), &device);
        if (status != kNvmlSuccess) {
          readings.push_back(failed_status(*library_, each, status));
          continue;
        }
        found = devices.emplace(each.uuid, device).first;
      }
      readings.push_back(read_quantity(*library_, found->second, each));
    }
    return readings;
  }

 private:
  std::shared_ptr<NvmlLibrary> library_;
  std::vector<GpuChannel> channels_;
};

struct Gpu {
  NvmlDevice device = nullptr;
  std::string uuid, name, place = "GPU board";
  double limit_w = 0;
  int capability = 0;  ///< compute capability times ten; 0 = not known
};

/// "NVIDIA A100-SXM4-40GB" -> NVIDIA A100 SXM4 40GB: "RTX A1000" is no A100.
std::set<std::string> words_of(std::string name) {
  std::replace_if(
      name.begin(), name.end(), [](unsigned char c) { return std::isalnum(c) == 0; }, ' ');
  std::istringstream words(name);
  return {std::istream_iterator<std::string>(words), {}};
}

/// The compute capability rather than the architecture, which is "Ampere" for GA100 and for those that are
/// read in another way. The call is older than Ampere: what neither it nor the name tells is older, too.
int capability_of(const NvmlLibrary& library, const Gpu& gpu) {
  int major = 0, minor = 0;
  if (library.compute_capability != nullptr &&
      library.compute_capability(gpu.device, &major, &minor) == kNvmlSuccess)
    return 10 * major + minor;
  static const std::map<std::string, int> kByName{
      {"A100", kGa100},  {"A100X", kGa100}, {"A800", kGa100},  {"A30", kGa100},  {"A30X", kGa100},
      {"H100", kHopper}, {"H200", kHopper}, {"H800", kHopper}, {"H20", kHopper}, {"GH200", kHopper}};
  for (const std::string& word : words_of(gpu.name))
    if (const auto found = kByName.find(word); found != kByName.end()) return found->second;
  return 0;
}

/// What an instant reading looks at of each 100 ms (arXiv 2312.02741: A100, H100 and GH200 were measured;
/// others of the same silicon are taken to be like them); 0 = not known.
double look_s(const Gpu& gpu) {
  if (words_of(gpu.name).contains("GH200")) return 0.020;
  return gpu.capability == kGa100 || gpu.capability == kHopper ? 0.025 : 0;
}

GpuChannel channel_of(const Gpu& gpu, Quantity quantity) {
  GpuChannel result{{}, gpu.uuid, quantity};
  Channel& channel = result.channel;
  channel.domain = "gpu:" + gpu.uuid;
  channel.parent = "node";
  channel.place = gpu.place;
  channel.resolution = 1e-3;
  channel.update_period_s = 0.1;
  channel.accuracy_relative = 0.05;
  channel.accuracy_source = "arXiv 2312.02741: 5 % of the reading";
  // twice what the driver lets it draw is garbage
  channel.maximum_w = 2 * gpu.limit_w;
  // NVML's manual: the usage is averaged over a second on Ampere except GA100, and on all later ones.
  if (quantity == Quantity::kFieldAverage || (quantity == Quantity::kUsage && gpu.capability > kGa100)) {
    channel.kind = ReadingKind::kAveragePower;
    channel.averaging_s = 1;
  } else if (quantity == Quantity::kEnergy) {
    channel.kind = ReadingKind::kEnergyCounter;
  } else {
    channel.averaging_s = look_s(gpu);
  }
  return result;
}

Gpu describe(const NvmlLibrary& library, unsigned index) {
  Gpu gpu;
  char text[128] = "";
  if (const int status = library.device_by_index(index, &gpu.device); status != kNvmlSuccess)
    throw_nvml(status, fmt::format("GPU number {}: {}", index, library.text(status)));
  if (const int status = library.device_uuid(gpu.device, text, sizeof text); status != kNvmlSuccess)
    throw_nvml(status, fmt::format("GPU number {}: no UUID: {}", index, library.text(status)));
  gpu.uuid = text;
  if (library.device_name(gpu.device, text, sizeof text) == kNvmlSuccess) gpu.name = text;
  unsigned limit_mw = 0, mig = 0, pending = 0;
  if (library.power_limit_mw != nullptr && library.power_limit_mw(gpu.device, &limit_mw) == kNvmlSuccess)
    gpu.limit_w = 1e-3 * limit_mw;
  if (library.mig_mode != nullptr && library.mig_mode(gpu.device, &mig, &pending) == kNvmlSuccess && mig == 1)
    gpu.place = "GPU board, shared by its MIG slices";
  gpu.capability = capability_of(library, gpu);
  return gpu;
}

/// The power channels a GPU has: its average where there is one, and the power of the moment beside it.
std::vector<GpuChannel> power_channels(const NvmlLibrary& library, const Gpu& gpu, std::string& problem) {
  std::vector<GpuChannel> found;
  for (const Quantity quantity : {Quantity::kFieldAverage, Quantity::kFieldInstant, Quantity::kUsage}) {
    if (quantity != Quantity::kUsage && library.field_values == nullptr) continue;
    if (quantity == Quantity::kUsage && !found.empty()) continue;
    GpuChannel channel = channel_of(gpu, quantity);
    const Reading reading = read_quantity(library, gpu.device, channel);
    if (!reading.value) {
      problem = reading.reason;
      continue;
    }
    if (!found.empty()) {
      channel.channel.duplicate_of = channel.channel.domain;
      channel.channel.domain += ":instant";
    }
    found.push_back(std::move(channel));
  }
  return found;
}

/// Of a GPU that shows no power: whether that is for want of permission.
bool refuses_power(const NvmlLibrary& library, const Gpu& gpu) {
  unsigned power_mw = 0;
  return library.power_usage_mw(gpu.device, &power_mw) == kNvmlNoPermission;
}

bool wanted(const std::vector<nlohmann::json>& uuids, const Gpu& gpu) {
  return uuids.empty() || std::find(uuids.begin(), uuids.end(), nlohmann::json(gpu.uuid)) != uuids.end();
}

MeterProbe probe_gpus(Settings& settings) {
  MeterProbe probe;
  const std::string path = settings.text("library", "libnvidia-ml.so.1");
  const std::vector<nlohmann::json> uuids = settings.list("gpus");
  const double poll_s = settings.number("poll_s", kPowerPeriod_s, 0.01, 60);
  const double spacing_s = settings.number("counter_least_spacing_s", kLeastCounterPeriod_s, 0.01, 60);
  const double counter_s = settings.number("counter_poll_s", spacing_s, spacing_s, 60);
  settings.finish();
  std::shared_ptr<NvmlLibrary> library;
  try {
    library = std::make_shared<NvmlLibrary>(path);
  } catch (const NvmlPermissionError& error) {
    throw OpenError(State::kNotPermitted, std::string("nvml: ") + error.what(), kPermissionRemedy);
  } catch (const std::exception& error) {
    throw OpenError(State::kAbsent, std::string("nvml: ") + error.what());
  }
  unsigned count = 0;
  if (const int status = library->device_count(&count); status == kNvmlNoPermission)
    throw OpenError(State::kNotPermitted, "nvml: " + library->text(status), kPermissionRemedy);
  else if (status != kNvmlSuccess)
    throw OpenError(State::kFaulty, "nvml: " + library->text(status));
  std::vector<GpuChannel> powers, counters;
  std::string found, problems;
  bool refused = false;
  for (unsigned index = 0; index < count; ++index) {
    std::string problem;
    try {
      const Gpu gpu = describe(*library, index);
      if (!wanted(uuids, gpu)) continue;
      std::vector<GpuChannel> channels = power_channels(*library, gpu, problem);
      GpuChannel counter = channel_of(gpu, Quantity::kEnergy);
      const bool counts =
          library->energy_mj != nullptr && read_quantity(*library, gpu.device, counter).value.has_value();
      if (counts) {
        if (!channels.empty()) {
          counter.channel.duplicate_of = counter.channel.domain;
          counter.channel.domain += ":energy";
        }
        counters.push_back(std::move(counter));
      }
      if (counts || !channels.empty())
        found += fmt::format("{}{} {}", found.empty() ? "" : "; ", gpu.name, gpu.uuid);
      else
        problems += "; " + problem, refused = refused || refuses_power(*library, gpu);
      powers.insert(powers.end(), channels.begin(), channels.end());
    } catch (const NvmlPermissionError& error) {
      problems += std::string("; ") + error.what(), refused = true;
    } catch (const std::exception& error) {
      problems += std::string("; ") + error.what();
    }
  }
  if (powers.empty() && counters.empty())
    throw OpenError(refused ? State::kNotPermitted : State::kAbsent,
                    fmt::format("nvml: none of {} GPUs reports power{}", count, problems),
                    refused ? kPermissionRemedy : "");
  const auto add = [&](const std::string& name, std::vector<GpuChannel> channels, double period_s) {
    if (channels.empty()) return;
    auto device = std::make_shared<NvmlDeviceReader>(library, std::move(channels));
    probe.meters.push_back(
        std::make_unique<BoundedMeter>(name, device->channels(), device,
                                       BoundedOptions{.poll_period_s = period_s,
                                                      .least_spacing_s = name == "nvml" ? 0 : 0.9 * spacing_s,
                                                      .attempts = 1}));
  };
  add("nvml", std::move(powers), poll_s);
  add("nvml:energy", std::move(counters), counter_s);
  probe.state = State::kFound;
  probe.detail = found + problems;
  if (refused) probe.remedy = kPermissionRemedy;
  return probe;
}

MeterProbe open(const nlohmann::json& config) {
  try {
    Settings settings("nvml", config);
    return probe_gpus(settings);
  } catch (const OpenError& error) {
    MeterProbe probe;
    probe.state = error.state;
    probe.detail = error.what();
    probe.remedy = error.remedy;
    return probe;
  }
}

const MeterRegistration registration{{.name = "nvml",
                                      .summary = "NVIDIA GPUs: power and energy by the driver's library",
                                      .rank = 30,
                                      .open = open}};

}  // namespace
}  // namespace mlpwatt

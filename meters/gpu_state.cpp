#include "meters/gpu_state.h"

#include <algorithm>
#include <stdexcept>

namespace mlpwatt {
namespace {

struct Reason {
  std::uint64_t bit;
  const char* word;
  bool slows;
};
/// nvmlClocksEventReasons
constexpr Reason kReasons[] = {
    {0x1, "idle", false},       {0x2, "application_clocks", false}, {0x4, "sw_power_cap", true},
    {0x8, "hw_slowdown", true}, {0x10, "sync_boost", false},        {0x20, "sw_thermal", true},
    {0x40, "hw_thermal", true}, {0x80, "hw_power_brake", true},     {0x100, "display_clock", false},
};

constexpr int kPolicies[] = {kNvmlByPower, kNvmlByHeat, kNvmlByBoard};
constexpr int kClockMultiprocessors = 1, kClockMemory = 2, kTemperatureGpu = 0;

}  // namespace

std::string reasons_text(std::uint64_t reasons) {
  std::string text;
  for (const Reason& reason : kReasons) {
    if ((reasons & reason.bit) == 0) continue;
    text += (text.empty() ? "" : " ") + std::string(reason.word);
    reasons &= ~reason.bit;
  }
  if (reasons != 0) text += (text.empty() ? "" : " ") + std::string("unknown");
  return text.empty() ? "none" : text;
}

std::uint64_t slowing_reasons(std::uint64_t reasons) {
  std::uint64_t slowing = 0;
  for (const Reason& reason : kReasons)
    if (reason.slows) slowing |= reasons & reason.bit;
  return slowing;
}

std::optional<double> held_back_between_s(const GpuState& before, const GpuState& after) {
  std::optional<double> longest;
  for (std::size_t i = 0; i < before.held_back_s.size(); ++i)
    if (before.held_back_s[i] && after.held_back_s[i])
      longest = std::max(longest.value_or(0), *after.held_back_s[i] - *before.held_back_s[i]);
  return longest;
}

GpuStates::GpuStates(const std::string& library) {
  try {
    library_ = std::make_shared<NvmlLibrary>(library);
  } catch (const std::runtime_error&) {  // no driver: no GPU to say anything of
  }
}

std::vector<GpuState> GpuStates::read() const {
  std::vector<GpuState> states;
  unsigned count = 0;
  if (!library_ || library_->device_count(&count) != kNvmlSuccess) return states;
  for (unsigned index = 0; index < count; ++index) {
    NvmlDevice gpu = nullptr;
    char uuid[128] = "";
    if (library_->device_by_index(index, &gpu) != kNvmlSuccess ||
        library_->device_uuid(gpu, uuid, sizeof uuid) != kNvmlSuccess)
      continue;
    GpuState state;
    state.uuid = uuid;
    unsigned value = 0;
    const auto clock = [&](int which) -> std::optional<double> {
      if (library_->clock_mhz == nullptr || library_->clock_mhz(gpu, which, &value) != kNvmlSuccess)
        return {};
      return 1e6 * value;
    };
    state.clock_hz = clock(kClockMultiprocessors);
    state.memory_clock_hz = clock(kClockMemory);
    if (library_->temperature_c != nullptr &&
        library_->temperature_c(gpu, kTemperatureGpu, &value) == kNvmlSuccess)
      state.temperature_c = value;
    unsigned long long reasons = 0;
    if (library_->clock_reasons != nullptr && library_->clock_reasons(gpu, &reasons) == kNvmlSuccess)
      state.reasons = reasons;
    std::size_t i = 0;
    for (const int policy : kPolicies) {
      NvmlHeldBack time{};
      if (library_->held_back != nullptr && library_->held_back(gpu, policy, &time) == kNvmlSuccess)
        state.held_back_s[i] = 1e-9 * static_cast<double>(time.held_back_ns);
      ++i;
    }
    states.push_back(std::move(state));
  }
  return states;
}

}  // namespace mlpwatt

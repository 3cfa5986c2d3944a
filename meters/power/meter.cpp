#include "meters/power/meter.h"

#include <algorithm>

namespace mlpwatt {
namespace {

std::vector<MeterEntry>& registered() {
  static std::vector<MeterEntry> entries;
  return entries;
}

}  // namespace

std::string to_string(MeterProbe::State state) {
  switch (state) {
    case MeterProbe::State::kFound:
      return "found";
    case MeterProbe::State::kAbsent:
      return "absent";
    case MeterProbe::State::kNotPermitted:
      return "no permission";
    case MeterProbe::State::kNotCompiledIn:
      return "not compiled in";
    case MeterProbe::State::kNotConfigured:
      return "not configured";
    case MeterProbe::State::kFaulty:
      return "faulty";
  }
  return "unknown";
}

const std::vector<MeterEntry>& meter_entries() { return registered(); }

MeterRegistration::MeterRegistration(MeterEntry entry) {
  auto& entries = registered();
  const auto after = std::upper_bound(entries.begin(), entries.end(), entry.rank,
                                      [](int rank, const MeterEntry& other) { return rank < other.rank; });
  entries.insert(after, std::move(entry));
}

}  // namespace mlpwatt

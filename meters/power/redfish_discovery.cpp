#ifdef MLPWATT_HAVE_CURL
#include "meters/power/redfish_discovery.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <map>
#include <set>

namespace mlpwatt {
namespace {

using Json = nlohmann::json;
using Pointer = Json::json_pointer;
using State = MeterProbe::State;

const Json* at(const Json& page, const char* pointer) {
  const Pointer where(pointer);
  return page.contains(where) ? &page[where] : nullptr;
}
std::string text_at(const Json& page, const char* pointer) {
  const Json* value = at(page, pointer);
  return value != nullptr && value->is_string() ? value->get<std::string>() : "";
}
std::optional<double> number_at(const Json& page, const char* pointer) {
  const Json* value = at(page, pointer);
  return value != nullptr && value->is_number() ? std::optional(value->get<double>()) : std::nullopt;
}
bool has_power(const Json& page, const char* pointer) { return number_at(page, pointer).value_or(0) > 0; }

bool absent(const Json& part) { return text_at(part, "/Status/State") == "Absent"; }

/// "PT0.25S", "PT1M": the only parts of ISO 8601 durations a power sensor can need.
double duration_s(const std::string& text) {
  if (text.rfind("PT", 0) != 0 || text.size() < 4) return 0;
  const double count = parse_number(text.substr(2, text.size() - 3)).value_or(0);
  return text.back() == 'S' ? count : text.back() == 'M' ? 60 * count : 0;
}

bool contains_any(const std::string& text, std::initializer_list<const char*> words) {
  std::string low = text;
  std::transform(low.begin(), low.end(), low.begin(), [](unsigned char c) { return std::tolower(c); });
  return std::any_of(words.begin(), words.end(),
                     [&](const char* w) { return low.find(w) != std::string::npos; });
}

/// Finds what to read. Every page is asked for once.
class Discovery {
 public:
  Discovery(HttpClient& http, std::string root, double timeout_s)
      : http_(http), root_(std::move(root)), timeout_s_(timeout_s) {}

  std::vector<RedfishSource> run(const std::string& wanted_chassis) {
    const std::optional<Json> list = page("/redfish/v1/Chassis");
    if (!list)
      throw OpenError(State::kAbsent, root_ + "/redfish/v1/Chassis: no such page: no Redfish service");
    std::vector<RedfishSource> sources;
    std::string names;
    for (const std::string& path : members(*list)) {
      const std::string id = path.substr(path.find_last_of('/') + 1);
      names += " " + id;
      if (!wanted_chassis.empty() && id != wanted_chassis) continue;
      const std::optional<Json> chassis = page(path);
      if (!chassis || absent(*chassis)) continue;
      if (const std::string by = text_at(*chassis, "/Links/ContainedBy/@odata.id"); !by.empty())
        contained_by_[id] = by.substr(by.find_last_of('/') + 1);
      for (RedfishSource& source : sources_of(path, *chassis)) {
        source.chassis = id;
        sources.push_back(std::move(source));
      }
    }
    if (sources.empty())
      throw OpenError(State::kAbsent,
                      wanted_chassis.empty()
                          ? fmt::format("no chassis ({} ) reports power", names)
                          : fmt::format("chassis {} reports no power; there are:{}", wanted_chassis, names));
    name_domains(sources);
    return sources;
  }

 private:
  std::optional<Json> page(const std::string& path) {
    // "https://bmc" + "@elsewhere/..." would carry the password elsewhere
    if (path.empty() || path[0] != '/') return std::nullopt;
    return http_.json_if_there(root_ + path, timeout_s_);
  }

  static std::vector<std::string> members(const Json& list) {
    std::vector<std::string> paths;
    const Json* array = at(list, "/Members");
    for (const Json& member : array != nullptr ? *array : Json::array())
      if (std::string path = text_at(member, "/@odata.id"); !path.empty()) {
        while (path.size() > 1 && path.back() == '/') path.pop_back();
        paths.push_back(path);
      }
    return paths;
  }

  /// The first way that has a reading; where none has one now, the first that there is.
  std::vector<RedfishSource> sources_of(const std::string& path, const Json& chassis) {
    std::vector<RedfishSource> fallback;
    for (const auto way : {&Discovery::environment, &Discovery::power_control, &Discovery::supplies}) {
      bool reads = false;
      std::vector<RedfishSource> found = (this->*way)(path, chassis, reads);
      if (!found.empty() && reads) return found;
      if (fallback.empty()) fallback = std::move(found);
    }
    return fallback;
  }

  static RedfishSource power_source(const std::string& page_path, const char* value) {
    RedfishSource source;
    source.terms = {{page_path, Pointer(value), std::nullopt}};
    source.channel.domain = "node";
    source.channel.place = "BMC";
    source.channel.accuracy_relative = 0.05;
    source.channel.accuracy_source = "assumed: Redfish states none here";
    return source;
  }

  std::vector<RedfishSource> environment(const std::string& path, const Json& chassis, bool& reads) {
    std::string where = text_at(chassis, "/EnvironmentMetrics/@odata.id");
    if (where.empty()) where = path + "/EnvironmentMetrics";
    const std::optional<Json> metrics = page(where);
    if (!metrics) return {};
    std::vector<RedfishSource> sources;
    if (at(*metrics, "/PowerWatts/Reading") != nullptr) {
      RedfishSource source = power_source(where, "/PowerWatts/Reading");
      reads = has_power(*metrics, "/PowerWatts/Reading");
      if (const std::string uri = text_at(*metrics, "/PowerWatts/DataSourceUri"); !uri.empty())
        use_sensor(uri, source, reads);
      sources.push_back(std::move(source));
    }
    const bool joules = at(*metrics, "/EnergyJoules/Reading") != nullptr;
    if (!joules && at(*metrics, "/EnergykWh/Reading") == nullptr) return sources;
    RedfishSource source = power_source(where, joules ? "/EnergyJoules/Reading" : "/EnergykWh/Reading");
    source.factor = joules ? 1 : 3.6e6;
    source.channel.kind = ReadingKind::kEnergyCounter;
    if (!sources.empty()) source.channel.domain = "node:energy", source.channel.duplicate_of = "node";
    reads = reads || number_at(*metrics, joules ? "/EnergyJoules/Reading" : "/EnergykWh/Reading").has_value();
    sources.push_back(std::move(source));
    return sources;
  }

  /// The sensor behind an excerpt says more: when it was read, how often, how well.
  void use_sensor(const std::string& uri, RedfishSource& source, bool& reads) {
    const std::optional<Json> sensor = page(uri);
    if (!sensor || at(*sensor, "/Reading") == nullptr) return;
    if (const std::string units = text_at(*sensor, "/ReadingUnits"); !units.empty() && units != "W") return;
    source.terms = {{uri, Pointer("/Reading"), std::nullopt}};
    if (parse_time_ms(text_at(*sensor, "/ReadingTime"))) source.terms[0].stamp = Pointer("/ReadingTime");
    reads = has_power(*sensor, "/Reading");
    Channel& channel = source.channel;
    if (const double period_s = duration_s(text_at(*sensor, "/SensingInterval")); period_s > 0) {
      channel.update_period_s = period_s;
      channel.update_period_known = Known::kDeclared;
    }
    // Accuracy is in percent of the reading; Precision counts decimal places.
    if (const auto accuracy = number_at(*sensor, "/Accuracy"); accuracy && *accuracy > 0) {
      channel.accuracy_relative = *accuracy / 100;
      channel.accuracy_source = "Redfish Sensor Accuracy";
    }
    if (const auto places = number_at(*sensor, "/Precision"); places && *places >= 0 && *places < 10)
      channel.resolution = std::pow(10.0, -*places);
  }

  std::vector<RedfishSource> power_control(const std::string& path, const Json& chassis, bool& reads) {
    std::string where = text_at(chassis, "/Power/@odata.id");
    if (where.empty()) where = path + "/Power";
    const std::optional<Json> power = page(where);
    if (!power) return {};
    std::vector<RedfishSource> sources;
    const Json* controls = at(*power, "/PowerControl");
    std::optional<std::size_t> whole;
    for (std::size_t i = 0; controls != nullptr && controls->is_array() && i < controls->size(); ++i) {
      const Json& control = (*controls)[i];
      if (!control.contains("PowerConsumedWatts") || absent(control)) continue;
      const std::string name = text_at(control, "/Name");
      const bool is_part =
          contains_any(name, {"cpu", "processor", "memory", "dimm", "gpu", "accelerator", "sub-system"});
      if (!is_part && whole) continue;  // the first of the whole machine counts
      RedfishSource source = power_source(where, "/");
      source.terms[0].value = Pointer(fmt::format("/PowerControl/{}/PowerConsumedWatts", i));
      if (is_part) {
        source.channel.domain = contains_any(name, {"memory", "dimm"})       ? "memory"
                                : contains_any(name, {"gpu", "accelerator"}) ? "accelerators"
                                : contains_any(name, {"cpu", "processor"})   ? "processors"
                                                                             : name;
        source.channel.parent = "node";
      } else {
        whole = i;
        reads = has_power(control, "/PowerConsumedWatts");
        // Above twice what the machine can take is no reading of it.
        source.channel.maximum_w = 2 * number_at(control, "/PowerCapacityWatts").value_or(0);
      }
      sources.push_back(std::move(source));
    }
    number_repeated(sources);
    if (whole) return sources;
    return sum_of_inputs(where, *power, "/PowerSupplies", "PowerInputWatts", reads);
  }

  /// "CPU1 Power" and "CPU2 Power" are processors0 and processors1: each is not all of them.
  static void number_repeated(std::vector<RedfishSource>& sources) {
    std::map<std::string, int> count, next;
    for (const RedfishSource& source : sources) ++count[source.channel.domain];
    for (RedfishSource& source : sources)
      if (const std::string domain = source.channel.domain; count[domain] > 1)
        source.channel.domain = fmt::format("{}{}", domain, next[domain]++);
  }

  /// Older pages list the power supplies themselves.
  static std::vector<RedfishSource> sum_of_inputs(const std::string& where, const Json& page,
                                                  const char* array, const char* key, bool& reads) {
    const Json* supplies = at(page, array);
    RedfishSource source = power_source(where, "/");
    source.terms.clear();
    reads = true;
    for (std::size_t i = 0; supplies != nullptr && supplies->is_array() && i < supplies->size(); ++i) {
      if (absent((*supplies)[i]) || !(*supplies)[i].contains(key)) continue;
      source.terms.push_back({where, Pointer(fmt::format("{}/{}/{}", array, i, key)), std::nullopt});
      reads = reads && (*supplies)[i][key].is_number();
    }
    source.channel.place = "power supply input";
    if (source.terms.empty()) return {};
    return {source};
  }

  std::vector<RedfishSource> supplies(const std::string& path, const Json& chassis, bool& reads) {
    std::string where = text_at(chassis, "/PowerSubsystem/@odata.id");
    if (where.empty()) where = path + "/PowerSubsystem";
    const std::optional<Json> subsystem = page(where);
    if (!subsystem) return {};
    std::string list_path = text_at(*subsystem, "/PowerSupplies/@odata.id");
    if (list_path.empty()) list_path = where + "/PowerSupplies";
    const std::optional<Json> list = page(list_path);
    RedfishSource source = power_source("", "/InputPowerWatts/Reading");
    source.terms.clear();
    source.channel.place = "power supply input";
    reads = true;
    for (const std::string& supply_path : list ? members(*list) : std::vector<std::string>()) {
      const std::optional<Json> supply = page(supply_path);
      if (!supply || absent(*supply)) continue;
      std::string metrics_path = text_at(*supply, "/Metrics/@odata.id");
      if (metrics_path.empty()) metrics_path = supply_path + "/Metrics";
      const std::optional<Json> metrics = page(metrics_path);
      // A supply that cannot be read makes the sum less than the machine takes: it is no sum then.
      if (!metrics || at(*metrics, "/InputPowerWatts/Reading") == nullptr) return {};
      source.terms.push_back({metrics_path, Pointer("/InputPowerWatts/Reading"), std::nullopt});
      reads = reads && number_at(*metrics, "/InputPowerWatts/Reading").has_value();
    }
    if (source.terms.empty()) return {};
    return {source};
  }

  /// "node" is the chassis that no other reporting one contains. Where several stand side by side each has
  /// its own name, and only the user can say which are this node.
  void name_domains(std::vector<RedfishSource>& sources) const {
    std::set<std::string> reporting, outermost;
    for (const RedfishSource& source : sources) reporting.insert(source.chassis);
    const auto container = [&](std::string id) {
      for (int depth = 0; depth < 16; ++depth) {
        const auto by = contained_by_.find(id);
        if (by == contained_by_.end()) return std::string();
        id = by->second;
        if (reporting.count(id) != 0) return id;
      }
      return std::string();
    };
    for (const std::string& id : reporting)
      if (container(id).empty()) outermost.insert(id);
    for (RedfishSource& source : sources) {
      if (outermost.size() == 1 && outermost.count(source.chassis) != 0) continue;
      const std::string parent = container(source.chassis), prefix = "chassis:" + source.chassis;
      Channel& channel = source.channel;
      const auto renamed = [&](const std::string& old) {
        return old == "node"                ? prefix
               : old.rfind("node:", 0) == 0 ? prefix + old.substr(4)
                                            : prefix + ":" + old;
      };
      if (!channel.duplicate_of.empty()) channel.duplicate_of = renamed(channel.duplicate_of);
      if (!channel.parent.empty())
        channel.parent = prefix;
      else if (!parent.empty())
        channel.parent = outermost.size() == 1 && outermost.count(parent) != 0 ? "node" : "chassis:" + parent;
      channel.domain = renamed(channel.domain);
    }
  }

  HttpClient& http_;
  std::string root_;
  double timeout_s_;
  std::map<std::string, std::string> contained_by_;
};

}  // namespace

std::vector<RedfishSource> discover_redfish(HttpClient& http, const std::string& root, double timeout_s,
                                            const std::string& wanted_chassis) {
  return Discovery(http, root, timeout_s).run(wanted_chassis);
}

}  // namespace mlpwatt
#endif

#include "harness/model/hierarchy_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>

namespace mlpwatt::model {

namespace {

using Json = nlohmann::json;

class Described {
 public:
  explicit Described(const std::string& path) : path_(path) {}

  std::int64_t whole(const Json& object, const std::string& key, const std::string& where, std::int64_t least,
                     const std::int64_t* fallback) const {
    if (!object.contains(key)) {
      if (fallback != nullptr) return *fallback;
      fail(where + key, "is missing");
    }
    const Json& value = object.at(key);
    if (!value.is_number() || value.get<double>() < static_cast<double>(least))
      fail(where + key, fmt::format("is {}, not a whole number >= {}", value.dump(), least));
    return value.get<std::int64_t>();
  }
  std::int64_t whole(const Json& object, const std::string& key, const std::string& where,
                     std::int64_t least) const {
    return whole(object, key, where, least, nullptr);
  }
  std::int64_t whole_or(const Json& object, const std::string& key, const std::string& where,
                        std::int64_t fallback) const {
    return whole(object, key, where, 0, &fallback);
  }
  /// 0 when absent or null: nothing is known.
  double rate(const Json& object, const std::string& key, const std::string& where) const {
    if (!object.contains(key) || object.at(key).is_null()) return 0;
    const Json& value = object.at(key);
    if (!value.is_number() || !(value.get<double>() > 0))
      fail(where + key, "is " + value.dump() + ", not a positive number");
    return value.get<double>();
  }
  [[noreturn]] void fail(const std::string& key, const std::string& what) const {
    throw std::invalid_argument(
        fmt::format("{}: {} {} (the format is what `mlpwatt info --json` prints)", path_, key, what));
  }

 private:
  std::string path_;
};

}  // namespace

DescribedMachine read_hierarchy_file(const std::string& path) {
  const Described described(path);
  std::ifstream file(path);
  if (!file)
    throw std::invalid_argument(path + ": cannot be read; make one with: mlpwatt info --json > " + path);
  Json json;
  try {
    json = Json::parse(file);
  } catch (const Json::parse_error& error) {
    throw std::invalid_argument(fmt::format("{}: not JSON at byte {}", path, error.byte));
  }
  if (!json.is_object()) described.fail("the file", "is no JSON object");
  DescribedMachine machine;
  Hierarchy& hierarchy = machine.hierarchy;
  hierarchy.source = "file:" + path;
  if (json.contains("backend")) {
    if (json.at("backend") != "cpu" && json.at("backend") != "gpu")
      described.fail("backend", "is " + json.at("backend").dump() + ", not \"cpu\" or \"gpu\"");
    machine.backend = json.at("backend").get<std::string>();
  }
  hierarchy.cores = static_cast<int>(described.whole(json, "cores", "", 1));
  hierarchy.hardware_threads =
      static_cast<int>(described.whole_or(json, "hardware_threads", "", hierarchy.cores));
  hierarchy.memory_bytes = described.whole_or(json, "memory_bytes", "", 0);
  if (!json.contains("caches") || !json.at("caches").is_array())
    described.fail("caches", "is missing or no array");
  const auto take_prices = [&](const Json& object, const std::string& term, const std::string& where) {
    if (const double bandwidth = described.rate(object, "bandwidth_bytes_per_s", where); bandwidth > 0)
      machine.rates.time[term] = 1 / bandwidth;
    if (const double joules = described.rate(object, "j_per_byte", where); joules > 0)
      machine.rates.energy[term] = joules;
  };
  std::size_t index = 0;
  for (const Json& cache : json.at("caches")) {
    const std::string where = fmt::format("caches[{}].", index++);
    if (!cache.is_object() || !cache.contains("level") || !cache.at("level").is_string())
      described.fail(where + "level", "is missing");
    CacheLevel level;
    level.name = cache.at("level").get<std::string>();
    if (level.name == "L4") continue;  // the model's terms, and a row of /machine, end at L3
    if (std::find(level_names().begin(), level_names().end(), level.name) == level_names().end())
      described.fail(where + "level", "is '" + level.name + "', not L1, L2 or L3");
    level.capacity_bytes = described.whole(cache, "capacity_bytes", where, 1);
    if (!hierarchy.levels.empty() && level.capacity_bytes <= hierarchy.levels.back().capacity_bytes)
      described.fail(where + "capacity_bytes", "is not larger than that of the level before");
    level.line_bytes = static_cast<int>(described.whole_or(cache, "line_bytes", where, 64));
    level.associativity = static_cast<int>(described.whole_or(cache, "associativity", where, 0));
    level.shared_by_cores = static_cast<int>(described.whole_or(cache, "shared_by_cores", where, 1));
    take_prices(cache, level.name, where);
    hierarchy.levels.push_back(level);
  }
  if (json.contains("memory") && json.at("memory").is_object())
    take_prices(json.at("memory"), "memory", "memory.");
  if (const double flops = described.rate(json, "flops_per_s", ""); flops > 0)
    machine.rates.time["flop"] = 1 / flops;
  if (const double joules = described.rate(json, "j_per_flop", ""); joules > 0)
    machine.rates.energy["flop"] = joules;
  if (const double watts = described.rate(json, "idle_power_w", ""); watts > 0)
    machine.rates.energy["static"] = watts;
  if (json.contains("isas") && json.at("isas").is_array() && !json.at("isas").empty() &&
      json.at("isas").front().is_string())
    machine.isa = json.at("isas").front().get<std::string>();
  return machine;
}

OtherMachine rates_of(const ProbeFindings& findings) {
  OtherMachine rates;
  const auto take = [](Prices& prices, const std::string& term, double price) {
    if (price > 0) prices[term] = price;
  };
  for (const LevelFinding& level : findings.levels) {
    take(rates.time, level.level, 1 / level.bandwidth_bytes_per_s.value);
    if (findings.energy_above_idle) take(rates.energy, level.level, level.j_per_byte.value);
  }
  take(rates.time, "flop", 1 / findings.flops_per_s.value);
  if (findings.energy_above_idle) {
    take(rates.energy, "flop", findings.j_per_flop.value);
    take(rates.energy, "static", findings.idle_power_w.value);
  }
  return rates;
}

nlohmann::ordered_json hierarchy_json(const Hierarchy& hierarchy, const std::string& backend) {
  nlohmann::ordered_json caches = nlohmann::ordered_json::array();
  for (const CacheLevel& level : hierarchy.levels)
    caches.push_back({{"level", level.name},
                      {"capacity_bytes", level.capacity_bytes},
                      {"line_bytes", level.line_bytes},
                      {"associativity", level.associativity},
                      {"shared_by_cores", level.shared_by_cores},
                      {"bandwidth_bytes_per_s", nullptr},
                      {"j_per_byte", nullptr}});
  return {{"backend", backend},
          {"cores", hierarchy.cores},
          {"hardware_threads", hierarchy.hardware_threads},
          {"memory_bytes", hierarchy.memory_bytes},
          {"caches", caches},
          {"memory", {{"bandwidth_bytes_per_s", nullptr}, {"j_per_byte", nullptr}}},
          {"flops_per_s", nullptr},
          {"j_per_flop", nullptr},
          {"idle_power_w", nullptr}};
}

}  // namespace mlpwatt::model

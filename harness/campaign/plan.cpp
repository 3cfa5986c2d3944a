#include "harness/campaign/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <fstream>
#include <functional>
#include <map>
#include <set>
#include <sstream>

#include "cpu/isa.h"
#include "cpu/mlp/traffic.h"
#include "gpu/mlp/algorithms.h"
#include "kernels/dataset.h"
#include "kernels/nearest.h"
#include "kernels/sha256.h"

namespace mlpwatt {
namespace {

constexpr const char* kFirstLine = "mlpwatt plan 1";

/// What is wrong with a line; the reader adds where.
struct Fault : std::runtime_error {
  using std::runtime_error::runtime_error;
};

template <class Number>
Number number(const std::string& key, const std::string& text, Number least, Number most) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size())
    throw Fault(
        fmt::format("{} '{}' is not a {}number", key, text, std::is_integral_v<Number> ? "whole " : ""));
  if (!(value >= least && value <= most))
    throw Fault(fmt::format("{} {} is not within {} .. {}", key, text, least, most));
  return value;
}

std::string any(const std::string& value) { return value.empty() ? "any" : value; }
std::string not_any(const std::string& value) { return value == "any" ? "" : value; }

struct Setting {
  std::string key;
  std::function<std::string(const Plan&)> get;
  std::function<void(Plan&, const std::string&)> set;
};

/// In the order of the file.
const std::vector<Setting>& settings() {
  constexpr double kMostSeconds = 1e6;
  const auto seconds = [=](const char* key, double ProtocolOptions::*member, double least) {
    return Setting{key, [=](const Plan& plan) { return fmt::format("{}", plan.protocol.*member); },
                   [=](Plan& plan, const std::string& text) {
                     plan.protocol.*member = number(key, text, least, kMostSeconds);
                   }};
  };
  const auto seed = [](const char* key, std::uint64_t Plan::*member) {
    return Setting{key, [=](const Plan& plan) { return std::to_string(plan.*member); },
                   [=](Plan& plan, const std::string& text) {
                     // rows keep seeds in signed columns
                     plan.*member = number<std::uint64_t>(key, text, 0, INT64_MAX);
                   }};
  };
  static const std::vector<Setting> list{
      seed("seed", &Plan::seed),
      seed("order_seed", &Plan::order_seed),
      {"dataset_source", [](const Plan& plan) { return plan.dataset_source; },
       [](Plan& plan, const std::string& text) {
         parse_dataset_source(text);
         plan.dataset_source = text;
       }},
      {"repetitions", [](const Plan& plan) { return std::to_string(plan.repetitions); },
       [](Plan& plan, const std::string& text) {
         plan.repetitions = number("repetitions", text, 1, 1'000'000);
       }},
      seconds("window_s", &ProtocolOptions::window_s, 1e-6),
      seconds("max_window_s", &ProtocolOptions::maximum_window_s, 0),
      {"precision", [](const Plan& plan) { return fmt::format("{}", plan.protocol.precision); },
       [](Plan& plan, const std::string& text) {
         plan.protocol.precision = number("precision", text, 0.0, 1.0);
       }},
      {"energy_target", [](const Plan& plan) { return fmt::format("{}", plan.energy_target); },
       [](Plan& plan, const std::string& text) {
         plan.energy_target = number("energy_target", text, 0.0, 1.0);
       }},
      seconds("warm_up_s", &ProtocolOptions::warm_up_minimum_s, 0),
      seconds("max_warm_up_s", &ProtocolOptions::warm_up_maximum_s, 0),
  };
  return list;
}

/// A training step knows its engines, also of a device that this program was built without; other families
/// know their variants only when they run, and refuse others then.
void check_algorithm(const PlanEntry& entry) {
  const auto check = [&](const std::string& family, const std::vector<std::string>& known) {
    if (entry.benchmark.starts_with(family + "/") &&
        std::find(known.begin(), known.end(), entry.algorithm) == known.end())
      throw Fault(unknown_name("algorithm of " + family, entry.algorithm, known, 5));
  };
  if (entry.algorithm.empty()) return;
  check("cpu/mlp_train", mlp_traffic_algorithms());
  check("gpu/mlp_train", gpu::mlp_algorithms());
}

PlanEntry parse_entry(std::istringstream& words) {
  PlanEntry entry;
  if (!(words >> entry.benchmark)) throw Fault("a benchmark's name must follow 'run'");
  if (entry.benchmark.find('/') == std::string::npos || entry.benchmark.find('=') != std::string::npos)
    throw Fault(fmt::format("'{}' is not the name of a benchmark (mlpwatt list --names)", entry.benchmark));
  std::set<std::string> seen;
  for (std::string word; words >> word;) {
    const std::size_t equals = word.find('=');
    if (equals == std::string::npos) throw Fault(fmt::format("'{}' is not KEY=VALUE", word));
    const std::string key = word.substr(0, equals), value = word.substr(equals + 1);
    if (!seen.insert(key).second) throw Fault(fmt::format("{} is given twice", key));
    if (value.empty()) throw Fault(fmt::format("{} has no value", key));
    if (key == "batch")
      entry.batch = number("batch", value, 1, 1 << 24);
    else if (key == "threads")
      entry.threads = number("threads", value, 0, 65536);
    else if (key == "isa") {
      entry.isa = not_any(value);
      if (!entry.isa.empty()) parse_isa(entry.isa);
    } else if (key == "algorithm")
      entry.algorithm = not_any(value);
    else if (key == "predicted_s")
      entry.predicted_s = value == "nan" ? std::nan("") : number("predicted_s", value, 0.0, 1e12);
    else
      throw Fault(unknown_name("key", key, {"batch", "threads", "isa", "algorithm", "predicted_s"}));
  }
  check_algorithm(entry);
  return entry;
}

/// Identity without the prediction.
std::string identity(const PlanEntry& entry) {
  return fmt::format("{} batch={} threads={} isa={} algorithm={}", entry.benchmark, entry.batch,
                     entry.threads, any(entry.isa), any(entry.algorithm));
}

}  // namespace

std::string PlanEntry::text() const {
  return fmt::format("run {} predicted_s={:.3g}", identity(*this), predicted_s);
}

std::string Plan::campaign() const {
  Sha256 sum;
  const auto add = [&](const std::string& line) {
    sum.add(line.data(), line.size());
    sum.add("\n", 1);
  };
  for (const Setting& setting : settings()) add(setting.key + " " + setting.get(*this));
  for (const PlanEntry& entry : entries) add(identity(entry));
  return sum.hex().substr(0, 16);
}

std::string plan_text(const Plan& plan) {
  std::string text = std::string(kFirstLine) + '\n';
  for (const std::string& comment : plan.comments) text += "# " + comment + '\n';
  for (const Setting& setting : settings()) text += setting.key + " " + setting.get(plan) + '\n';
  for (const PlanEntry& entry : plan.entries) text += entry.text() + '\n';
  return text;
}

Plan parse_plan(std::istream& in, const std::string& name) {
  Plan plan;
  std::map<std::string, int> lines_seen;  // settings and configurations, each once
  int line_number = 0;
  bool started = false;
  for (std::string line; std::getline(in, line);) {
    ++line_number;
    if (!line.empty() && line.back() == '\r') line.pop_back();
    try {
      if (!started) {
        if (line != kFirstLine)
          throw Fault(fmt::format("'{}' is not the first line of a plan ('{}'; mlpwatt plan writes one)",
                                  line.substr(0, 60), kFirstLine));
        started = true;
        continue;
      }
      std::istringstream words(line);
      std::string key, value, rest;
      if (!(words >> key) || key.starts_with("#")) continue;
      const auto once = [&](const std::string& what) {
        const auto [known, fresh] = lines_seen.emplace(what, line_number);
        if (!fresh) throw Fault(fmt::format("{} stands already in line {}", what, known->second));
      };
      if (key == "run") {
        plan.entries.push_back(parse_entry(words));
        plan.entries.back().line = line_number;
        once(identity(plan.entries.back()));
        continue;
      }
      std::vector<std::string> keys{"run"};
      const Setting* found = nullptr;
      for (const Setting& setting : settings()) {
        keys.push_back(setting.key);
        if (setting.key == key) found = &setting;
      }
      if (found == nullptr) throw Fault(unknown_name("word", key, keys));
      if (!plan.entries.empty()) throw Fault(key + " must stand before the first configuration");
      if (!(words >> value)) throw Fault(key + " has no value");
      if (words >> rest) throw Fault(fmt::format("'{}' after {} {} is too much", rest, key, value));
      once(key);
      found->set(plan, value);
    } catch (const std::exception& fault) {
      throw PlanError(fmt::format("{}:{}: {}", name, line_number, fault.what()));
    }
  }
  if (!started) throw PlanError(fmt::format("{}:1: empty; a plan starts with '{}'", name, kFirstLine));
  if (plan.entries.empty()) throw PlanError(fmt::format("{}:{}: no configuration", name, line_number));
  return plan;
}

Plan read_plan(const std::string& path) {
  std::ifstream file(path);
  if (!file)
    throw PlanError(fmt::format("{}: cannot be read (mlpwatt plan --out {} writes one)", path, path));
  return parse_plan(file, path);
}

}  // namespace mlpwatt

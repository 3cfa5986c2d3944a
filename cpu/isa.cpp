#include "cpu/isa.h"

#include <algorithm>
#include <cstdlib>
#include <stdexcept>

#include "kernels/nearest.h"

namespace mlpwatt {

namespace {
const std::vector<std::pair<Isa, std::string>>& names() {
  static const std::vector<std::pair<Isa, std::string>> table = {{Isa::kGeneric, "generic"},
                                                                 {Isa::kAvx2NoFma, "avx2_nofma"},
                                                                 {Isa::kAvx2, "avx2"},
                                                                 {Isa::kAvx512, "avx512"}};
  return table;
}

bool runs_here(Isa isa) {
#if defined(__x86_64__)
  switch (isa) {
    case Isa::kGeneric:
      return true;
    case Isa::kAvx2NoFma:
      return __builtin_cpu_supports("avx2");
    case Isa::kAvx2:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    case Isa::kAvx512:
      return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
             __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
  }
  return false;
#else
  return isa == Isa::kGeneric;
#endif
}
}  // namespace

const std::string& isa_name(Isa isa) {
  return std::find_if(names().begin(), names().end(), [isa](const auto& n) { return n.first == isa; })
      ->second;
}

Isa parse_isa(const std::string& name) {
  for (const auto& [isa, known] : names())
    if (known == name) return isa;
  const std::vector<std::string> known = isa_names();
  throw std::invalid_argument(unknown_name("isa", name, known, static_cast<int>(known.size())));
}

std::vector<std::string> isa_names() {
  std::vector<std::string> all;
  for (const auto& [isa, name] : names()) all.push_back(name);
  return all;
}

std::vector<Isa> available_isas() {
  std::vector<Isa> found;
  for (const auto& [isa, name] : names())
    if (runs_here(isa)) found.push_back(isa);
  return found;
}

Isa simulated_isa(const std::string& wanted) {
  const bool generic = wanted == isa_name(Isa::kGeneric) || !runs_here(Isa::kAvx2NoFma);
  return generic ? Isa::kGeneric : Isa::kAvx2NoFma;
}

Isa choose_isa(const std::string& wanted) {
  std::string name = wanted;
  if (name.empty())
    if (const char* forced = std::getenv("MLPWATT_ISA")) name = forced;
  const std::vector<Isa> available = available_isas();
  if (name.empty()) return available.back();
  const auto known =
      std::find_if(names().begin(), names().end(), [&name](const auto& n) { return n.second == name; });
  if (known != names().end() && runs_here(known->first)) return known->first;
  std::string refusal = known == names().end() ? "unknown isa '" + name + "'; this processor has "
                                               : "isa '" + name + "' cannot run on this processor; it has ";
  for (const Isa isa : available) refusal.append(isa == available.front() ? "" : ", ").append(isa_name(isa));
  throw std::invalid_argument(refusal);
}

}  // namespace mlpwatt

#include "meters/domains.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <string_view>
#include <tuple>

namespace mlpwatt {
namespace {

constexpr const char* kNode = "node";

bool has_energy(const ChannelEnergy& each) { return !std::isnan(each.gross.joules); }

/// Orders channels of the same domain: the one to trust first.
bool better(const ChannelEnergy& a, const ChannelEnergy& b) {
  if (has_energy(a) != has_energy(b)) return has_energy(a);
  const int flags_a = std::popcount(a.gross.flags), flags_b = std::popcount(b.gross.flags);
  if (flags_a != flags_b) return flags_a < flags_b;
  return has_energy(a) && a.gross.uncertainty_j() < b.gross.uncertainty_j();
}

/// "package0-die1" -> "package", "0-die1"
struct Name {
  std::string_view word, number;
};
Name name_of(std::string_view domain) {
  const std::string_view word = domain.substr(0, domain.find_first_of("0123456789"));
  const std::string_view number = domain.substr(word.size());
  const std::size_t after = number.find_first_not_of("0123456789");
  // "cpu0_fan" is no number of a cpu
  if (after != std::string_view::npos && number[after] != '-' && number[after] != ':') return {domain, ""};
  return {word, number};
}

/// What a domain is a part of, and under what kind of name.
struct Part {
  std::string_view of;    ///< "" for what no other meter knows under another name
  std::string kind;       ///< names of one kind count the part together: package0 and package1
  bool numbered = false;  ///< one name a member; else one name is all of the part
};

/// Whoever measures it: a Cray's `cpu` is RAPL's packages and a BMC's `processors`, its `accel0` a GPU of
/// NVML's.
Part part_of_node(std::string_view domain) {
  static const std::map<std::string_view, std::string_view> kParts{
      {"cpu", "processors"},     {"package", "processors"},
      {"grace", "processors"},   {"memory", "memory"},
      {"dram", "memory"},        {"processors", "processors"},
      {"accel", "accelerators"}, {"accelerators", "accelerators"}};
  if (domain.starts_with("gpu:")) return {"accelerators", "gpu:", true};
  std::string kind;
  constexpr std::string_view kChassis = "chassis:";
  if (const std::size_t colon = domain.rfind(':');
      domain.starts_with(kChassis) && colon >= kChassis.size()) {  // "chassis:1:processors"
    kind = kChassis;
    domain.remove_prefix(colon + 1);
  }
  const auto [word, number] = name_of(domain);
  const auto found = kParts.find(word);
  if (found == kParts.end()) return {};
  kind += word;
  if (!number.empty()) kind += number.find("-die") == std::string_view::npos ? "#" : "#-die#";
  return {found->second, kind, !number.empty()};
}

/// Whether a domain counts that part of the node, too, under whatever name others show it: a Grace module its
/// GPU and its memory (which GPU is whose, no name tells: all are taken as in modules), the platform what
/// RAPL has beside it.
bool contains(std::string_view domain, std::string_view part) {
  const auto [word, number] = name_of(domain);
  if (word == "module") return !number.empty() && !part.empty();
  return word == "psys" && (part == "processors" || part == "memory");
}

/// Where a part of the node is shown under names of several kinds, those of one kind stay and the others go:
/// the kind that shows most members (a name without a number shows all), then with an energy of each, then
/// with fewest flags, then with least uncertainty. One GPU of four is no answer, however certain.
void keep_one_kind_a_part(const std::vector<ChannelEnergy>& energies, std::vector<std::size_t>& domains) {
  struct Shown {
    std::size_t members = 0;  ///< of numbered names
    bool all = true;
    int flags = 0;
    double uncertainty_j = 0;
  };
  struct Kinds {
    std::map<std::string, Shown> shown;
    std::size_t most_members = 0;
    auto rank(const Shown& each) const {
      return std::tuple(each.members > 0 && each.members < most_members, !each.all, each.flags,
                        each.uncertainty_j);
    }
  };
  std::map<std::string_view, Kinds> parts;
  for (const std::size_t i : domains) {
    const Part part = part_of_node(energies[i].channel.domain);
    if (part.of.empty()) continue;
    Kinds& kinds = parts[part.of];
    Shown& shown = kinds.shown[part.kind];
    if (part.numbered) kinds.most_members = std::max(kinds.most_members, ++shown.members);
    shown.all = shown.all && has_energy(energies[i]);
    shown.flags += std::popcount(energies[i].gross.flags);
    if (has_energy(energies[i])) shown.uncertainty_j += energies[i].gross.uncertainty_j();
  }
  std::erase_if(domains, [&](std::size_t i) {
    const Part part = part_of_node(energies[i].channel.domain);
    if (part.of.empty()) return false;
    const Kinds& kinds = parts[part.of];
    const auto best = std::min_element(
        kinds.shown.begin(), kinds.shown.end(),
        [&](const auto& a, const auto& b) { return kinds.rank(a.second) < kinds.rank(b.second); });
    return part.kind != best->first;
  });
}

/// The channel's parent, that one's parent and so on; each once, also where they run in a circle.
std::set<std::string> ancestors(const std::vector<Channel>& channels, const Channel& channel) {
  std::set<std::string> found;
  for (std::string up = channel.parent; !up.empty() && found.insert(up).second;) {
    const auto parent = std::find_if(channels.begin(), channels.end(),
                                     [&](const Channel& each) { return each.domain == up; });
    up = parent == channels.end() ? "" : parent->parent;
  }
  return found;
}

std::vector<std::size_t> outermost(const std::vector<ChannelEnergy>& energies, Provenance provenance,
                                   const std::string& without) {
  std::vector<std::size_t> best;  // of each domain
  for (std::size_t i = 0; i < energies.size(); ++i) {
    const Channel& channel = energies[i].channel;
    if (channel.provenance != provenance || channel.domain == without || !channel.summable) continue;
    const auto known = std::find_if(best.begin(), best.end(), [&](std::size_t j) {
      return energies[j].channel.domain == channel.domain;
    });
    if (known == best.end())
      best.push_back(i);
    else if (better(energies[i], energies[*known]))
      *known = i;
  }
  const auto present = [&](const std::string& domain) {
    return std::any_of(best.begin(), best.end(),
                       [&](std::size_t j) { return energies[j].channel.domain == domain; });
  };
  std::vector<Channel> channels;
  for (const ChannelEnergy& each : energies) channels.push_back(each.channel);
  std::vector<std::size_t> outer;
  for (const std::size_t i : best) {
    const Channel& channel = energies[i].channel;
    bool inside = !channel.duplicate_of.empty() && present(channel.duplicate_of);
    inside = inside || (channel.domain != kNode && present(kNode));
    for (const std::string& up : ancestors(channels, channel)) inside = inside || present(up);
    const std::string_view part = part_of_node(channel.domain).of;
    inside = inside || std::any_of(best.begin(), best.end(),
                                   [&](std::size_t j) { return contains(energies[j].channel.domain, part); });
    if (!inside) outer.push_back(i);
  }
  keep_one_kind_a_part(energies, outer);
  return outer;
}

/// Sum of some member energies, or NaN when one has none.
Energy sum_of(const std::vector<ChannelEnergy>& energies, const std::vector<std::size_t>& parts,
              Energy ChannelEnergy::*which) {
  Energy sum;
  sum.joules = 0;
  std::vector<std::pair<std::string, double>> accuracy_of_meter;
  sum.distinct_updates = parts.empty() ? 0 : std::numeric_limits<std::int64_t>::max();
  double quantisation = 0, sampling = 0, edges = 0;
  for (const std::size_t i : parts) {
    const Energy& part = energies[i].*which;
    sum.joules += part.joules;
    sum.seconds = part.seconds;
    sum.flags |= part.flags;
    sum.readings += part.readings;
    sum.failures += part.failures;
    sum.wraps += part.wraps;
    sum.distinct_updates = std::min(sum.distinct_updates, part.distinct_updates);
    if (sum.reason.empty()) sum.reason = part.reason;
    quantisation += part.quantisation_j * part.quantisation_j;
    sampling += part.sampling_j * part.sampling_j;
    edges += part.edges_j * part.edges_j;
    // One instrument's gain is wrong for all its domains alike.
    const auto meter = std::find_if(accuracy_of_meter.begin(), accuracy_of_meter.end(),
                                    [&](const auto& each) { return each.first == energies[i].meter; });
    if (meter == accuracy_of_meter.end())
      accuracy_of_meter.emplace_back(energies[i].meter, part.accuracy_j);
    else
      meter->second += part.accuracy_j;
  }
  sum.quantisation_j = std::sqrt(quantisation);
  sum.sampling_j = std::sqrt(sampling);
  sum.edges_j = std::sqrt(edges);
  for (const auto& [meter, accuracy] : accuracy_of_meter)
    sum.accuracy_j = std::hypot(sum.accuracy_j, accuracy);
  return sum;
}

}  // namespace

bool is_accelerator(const std::string& domain) { return part_of_node(domain).of == "accelerators"; }

bool is_accelerators_alone(const TotalEnergy& total, const std::vector<ChannelEnergy>& channels) {
  return std::all_of(total.parts.begin(), total.parts.end(),
                     [&](std::size_t i) { return is_accelerator(channels[i].channel.domain); });
}

std::vector<std::string> included_domains(const std::vector<Channel>& channels, const std::string& domain) {
  const auto own = std::find_if(channels.begin(), channels.end(),
                                [&](const Channel& each) { return each.domain == domain; });
  std::vector<std::string> inside;
  for (const Channel& each : channels) {
    if (each.domain == domain || !each.duplicate_of.empty() ||
        (own != channels.end() && each.provenance != own->provenance) ||
        std::find(inside.begin(), inside.end(), each.domain) != inside.end())
      continue;
    if (domain == kNode || ancestors(channels, each).contains(domain)) inside.push_back(each.domain);
  }
  return inside;
}

std::vector<std::size_t> top_level(const std::vector<ChannelEnergy>& energies, Provenance provenance) {
  return outermost(energies, provenance, "");
}

std::optional<TotalEnergy> total_energy(const std::vector<ChannelEnergy>& energies, Provenance provenance) {
  TotalEnergy total;
  total.parts = top_level(energies, provenance);
  if (total.parts.empty()) return std::nullopt;
  total.provenance = provenance;
  total.gross = sum_of(energies, total.parts, &ChannelEnergy::gross);
  total.net = sum_of(energies, total.parts, &ChannelEnergy::net);
  total.idle_w = 0;
  std::set<std::string> meters;
  for (const std::size_t i : total.parts) {
    total.idle_w += energies[i].idle.watts;
    total.domains += (total.domains.empty() ? "" : "+") + energies[i].channel.domain;
    if (meters.insert(energies[i].meter).second)
      total.meters += (total.meters.empty() ? "" : "+") + energies[i].meter;
  }
  return total;
}

std::optional<ChannelEnergy> rest_of_node(const std::vector<ChannelEnergy>& energies) {
  const std::vector<std::size_t> top = top_level(energies, Provenance::kMeasured);
  if (top.size() != 1 || energies[top.front()].channel.domain != kNode) return std::nullopt;
  const std::vector<std::size_t> inside = outermost(energies, Provenance::kMeasured, kNode);
  const ChannelEnergy& node = energies[top.front()];
  if (inside.empty() || !has_energy(node)) return std::nullopt;
  ChannelEnergy rest;
  rest.meter = node.meter;
  rest.channel = node.channel;
  rest.channel.domain = "rest";
  rest.channel.parent = kNode;
  for (const auto which : {&ChannelEnergy::gross, &ChannelEnergy::net}) {
    const Energy domains = sum_of(energies, inside, which);
    Energy& difference = rest.*which;
    difference = node.*which;
    difference.joules -= domains.joules;
    difference.accuracy_j = std::hypot(difference.accuracy_j, domains.accuracy_j);
    difference.quantisation_j = std::hypot(difference.quantisation_j, domains.quantisation_j);
    difference.sampling_j = std::hypot(difference.sampling_j, domains.sampling_j);
    difference.edges_j = std::hypot(difference.edges_j, domains.edges_j);
    difference.flags |= domains.flags;
  }
  rest.idle.watts = node.idle.watts;
  for (const std::size_t i : inside) rest.idle.watts -= energies[i].idle.watts;
  // The node's meter sees everything: a negative rest means a wrong clock or a wrong join.
  if (rest.gross.joules < -2 * rest.gross.uncertainty_j()) {
    rest.gross.flags |= kExceedsNode;
    rest.net.flags |= kExceedsNode;
    rest.gross.reason = node.meter + ": the domains inside the node add up to more than the node";
  }
  return rest;
}

int ee_hpc_wg_level(const ChannelEnergy& energy) {
  const Channel& channel = energy.channel;
  const Energy& gross = energy.gross;
  if (channel.domain != kNode || channel.provenance != Provenance::kMeasured || gross.flags != 0) return 0;
  if (!has_energy(energy) || gross.seconds < 60 || gross.distinct_updates < kLeastUpdates) return 0;
  const double interval_s = gross.seconds / static_cast<double>(gross.distinct_updates);
  // An accuracy nobody states satisfies no level.
  if (channel.accuracy_relative <= 0 || channel.accuracy_source.starts_with("assumed")) return 0;
  if (interval_s > 60 || channel.accuracy_relative > 0.05) return 0;
  if (interval_s > 1 || channel.accuracy_relative > 0.02) return 1;
  if (channel.kind != ReadingKind::kEnergyCounter || channel.accuracy_relative > 0.01) return 2;
  return 3;
}

}  // namespace mlpwatt

#include "harness/compare/tables.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "harness/protocol/statistics.h"
#include "harness/text.h"

namespace mlpwatt {
namespace {

/// Everybody but ours, in order of first appearance.
std::vector<std::string> peers_of(const std::vector<Comparison>& comparisons) {
  std::vector<std::string> names;
  for (const Comparison& comparison : comparisons)
    for (std::size_t i = 1; i < comparison.standings.size(); ++i)
      if (const std::string& name = comparison.standings[i].name;
          std::find(names.begin(), names.end(), name) == names.end())
        names.push_back(name);
  return names;
}

const Standing* standing_of(const Comparison& comparison, const std::string& name) {
  for (const Standing& standing : comparison.standings)
    if (standing.name == name) return &standing;
  return nullptr;
}

/// A number of a standing that has times; else why not.
std::string cell(const Standing* standing, const std::function<std::string(const Row&)>& number) {
  if (standing == nullptr) return "-";
  if (standing->step_s.empty()) {
    const std::string& status = standing->record.run.text("status");
    return status == "failed" ? "refused" : status == "unavailable" ? "-" : status;
  }
  return number(standing->record.run);
}

std::string verdict(const Comparison& comparison, std::string& best_name) {
  const Standing* best = comparison.best_peer();
  if (best == nullptr || comparison.ours().step_s.empty()) {
    best_name.assign(1, '-');  // (= "-" makes g++ 12 warn)
    return "-";
  }
  best_name = best->name;
  const Row& row = best->record.run;
  return fmt::format("{:.2f} [{:.2f}, {:.2f}]", row.real("ratio_to_ours"), row.real("ratio_low95"),
                     row.real("ratio_high95"));
}

std::string table(const std::vector<Comparison>& comparisons, std::vector<std::string> head,
                  const std::function<std::vector<std::string>(const Comparison&)>& first_cells,
                  const std::function<std::string(const Row&)>& number) {
  const std::vector<std::string> peers = peers_of(comparisons);
  head.insert(head.end(), peers.begin(), peers.end());
  head.insert(head.end(), {"best peer", "its time over ours [95 %]"});
  std::vector<std::vector<std::string>> rows{head};
  for (const Comparison& comparison : comparisons) {
    std::vector<std::string> cells = first_cells(comparison);
    const auto with_ratio = [&](const Row& row) {
      const double ratio = row.real("ratio_to_ours");
      return std::isnan(ratio) ? number(row) : fmt::format("{} ({:.2f}x)", number(row), ratio);
    };
    for (const std::string& peer : peers) cells.push_back(cell(standing_of(comparison, peer), with_ratio));
    std::string best;
    const std::string ratio = verdict(comparison, best);
    cells.insert(cells.end(), {best, ratio});
    rows.push_back(cells);
  }
  return text_table(rows);
}

std::string gflops(const Row& row) { return fmt::format("{:.1f}", row.real("flops_per_s") * 1e-9); }
std::string microseconds(const Row& row) { return fmt::format("{:.4g}", row.real("step_s") * 1e6); }

struct GeometricMean {
  double log_sum = 0;
  int count = 0, below_one = 0;
  double least = INFINITY;
  void add(double ratio) {
    log_sum += std::log(ratio);
    ++count;
    below_one += ratio < 1;
    least = std::min(least, ratio);
  }
  std::vector<std::string> cells() const {
    return {fmt::format("{:.2f}", std::exp(log_sum / count)), fmt::format("{:.2f}", least),
            fmt::format("{} of {}", below_one, count)};
  }
};

}  // namespace

std::string gemm_comparison_table(const std::vector<Comparison>& comparisons, const Peaks& peaks) {
  return table(
      comparisons, {"product, GFLOP/s", "ours", "of peak"},
      [&](const Comparison& comparison) {
        const Standing& ours = comparison.ours();
        return std::vector<std::string>{
            comparison.benchmark.name.substr(comparison.benchmark.family.size() + 1), cell(&ours, gflops),
            cell(&ours, [&](const Row& row) {
              if (!(peaks.flops_per_s > 0)) return std::string("-");
              return fmt::format("{:.0f} %", 100 * row.real("flops_per_s") / peaks.flops_per_s);
            })};
      },
      gflops);
}

std::string training_comparison_table(const std::vector<Comparison>& comparisons) {
  return table(
      comparisons, {"network, us a step", "parameters", "ours", "over floor"},
      [&](const Comparison& comparison) {
        const Standing& ours = comparison.ours();
        return std::vector<std::string>{
            comparison.benchmark.name.substr(comparison.benchmark.family.size() + 1),
            std::to_string(std::get<std::int64_t>(comparison.benchmark.parameters.at("parameters"))),
            cell(&ours, microseconds), cell(&ours, [](const Row& row) {
              return std::isnan(row.real("floor_ratio")) ? std::string("-")
                                                         : fmt::format("{:.2f}", row.real("floor_ratio"));
            })};
      },
      microseconds);
}

std::string floor_table(const std::vector<Comparison>& comparisons) {
  std::map<std::string, std::vector<double>> bands;
  for (const Comparison& comparison : comparisons) {
    const auto size = comparison.benchmark.parameters.find("size");
    const double ratio = comparison.ours().record.run.real("floor_ratio");
    if (size == comparison.benchmark.parameters.end() || std::isnan(ratio)) continue;
    const std::int64_t parameters = std::get<std::int64_t>(size->second);
    bands[parameters < 1 << 14    ? "a below 2^14"
          : parameters <= 1 << 18 ? "b 2^14 to 2^18"
          : parameters < 1 << 20  ? "c 2^19"
                                  : "d from 2^20"]
        .push_back(ratio);
  }
  std::vector<std::vector<std::string>> rows{
      {"ours over its floor", "median", "least", "greatest", "networks"}};
  for (const auto& [name, ratios] : bands) {
    const Summary summary = summarise(ratios);
    rows.push_back({name.substr(2), fmt::format("{:.2f}", summary.median),
                    fmt::format("{:.2f}", summary.minimum), fmt::format("{:.2f}", summary.maximum),
                    std::to_string(ratios.size())});
  }
  return rows.size() > 1 ? '\n' + text_table(rows) : "";
}

std::string energy_comparison_table(const std::vector<Comparison>& comparisons) {
  std::vector<std::vector<std::string>> rows{
      {"joules a step", "ours", "best peer", "its joules", "over ours", "flags"}};
  for (const Comparison& comparison : comparisons) {
    const Standing* best = comparison.best_peer();
    const Row& ours = comparison.ours().record.run;
    for (const std::string kind : {"measured", "modelled"}) {
      const std::string column = "step_energy_j_" + kind;
      const double joules = ours.real(column);
      if (std::isnan(joules)) continue;
      const double its = best == nullptr ? NAN : best->record.run.real(column);
      const std::string mark = kind == "modelled" ? "(mod)" : "";
      std::string flags = ours.text("energy_quality");
      if (best != nullptr && best->record.run.text("energy_quality") != flags)
        flags += ", " + best->record.run.text("energy_quality");
      rows.push_back({comparison.benchmark.name, human_si(joules) + mark, best == nullptr ? "-" : best->name,
                      std::isnan(its) ? "-" : human_si(its) + mark,
                      std::isnan(its) ? "-" : fmt::format("{:.2f}", its / joules), flags});
      break;
    }
  }
  return rows.size() > 1 ? '\n' + text_table(rows) : "";
}

std::string energy_troubles(const std::vector<Comparison>& comparisons) {
  std::string text;
  for (const Comparison& comparison : comparisons)
    for (const Standing& standing : comparison.standings)
      if (const Row& row = standing.record.run; !row.text("energy_reason").empty())
        text += fmt::format("joules of {}: {}\n", row.text("name"), row.text("energy_reason"));
  return text;
}

std::string comparison_means(const std::vector<Comparison>& comparisons) {
  std::map<std::string, GeometricMean> by_peer, by_size;
  std::vector<std::string> order = peers_of(comparisons);
  order.push_back("best peer");
  for (const Comparison& comparison : comparisons) {
    if (comparison.ours().step_s.empty()) continue;
    for (std::size_t i = 1; i < comparison.standings.size(); ++i) {
      const Standing& peer = comparison.standings[i];
      if (!peer.step_s.empty()) by_peer[peer.name].add(peer.record.run.real("ratio_to_ours"));
    }
    const Standing* best = comparison.best_peer();
    if (best == nullptr) continue;
    const double ratio = best->record.run.real("ratio_to_ours");
    by_peer["best peer"].add(ratio);
    const auto size = comparison.benchmark.parameters.find("size");
    if (size == comparison.benchmark.parameters.end()) continue;
    const std::int64_t parameters = std::get<std::int64_t>(size->second);
    by_size[parameters <= 1 << 12   ? "a best peer, sizes to 2^12"
            : parameters <= 1 << 16 ? "b best peer, 2^13 to 2^16"
            : parameters < 1 << 20  ? "c best peer, 2^17 to 2^19"
                                    : "d best peer, from 2^20"]
        .add(ratio);
  }
  std::vector<std::vector<std::string>> rows{{"time over ours", "geometric mean", "least", "below 1"}};
  const auto add = [&](const std::string& name, const GeometricMean& mean) {
    std::vector<std::string> cells{name};
    for (const std::string& text : mean.cells()) cells.push_back(text);
    rows.push_back(cells);
  };
  for (const std::string& name : order)
    if (const auto found = by_peer.find(name); found != by_peer.end()) add(name, found->second);
  for (const auto& [name, mean] : by_size) add(name.substr(2), mean);
  return rows.size() > 1 ? text_table(rows) : "";
}

std::string comparison_troubles(const std::vector<Comparison>& comparisons) {
  std::string text;
  for (const Comparison& comparison : comparisons)
    for (const Standing& standing : comparison.standings)
      if (const Row& row = standing.record.run;
          row.text("status") != "ok" && row.text("status") != "unavailable")
        text += fmt::format("{} {}: {}\n", row.text("status") == "failed" ? "refused" : row.text("status"),
                            row.text("name"), row.text("reason"));
  return text;
}

}  // namespace mlpwatt

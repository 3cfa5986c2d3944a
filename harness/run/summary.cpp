#include "harness/run/summary.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "harness/protocol/statistics.h"
#include "harness/record/energy_quality.h"
#include "harness/text.h"

namespace mlpwatt {
namespace {

double median_of(const std::vector<const Row*>& rows, const char* column) {
  std::vector<double> values;
  for (const Row* row : rows)
    // flagged energies are no headline numbers; their flags stand under quality
    if (const double value = unflagged_real(*row, column); !std::isnan(value)) values.push_back(value);
  return summarise(values).median;
}

/// FMA peak by (instruction set, threads), and by threads for the best instruction set.
std::map<std::string, double> fma_peaks(const std::vector<Row>& rows) {
  std::map<std::string, double> peaks;
  for (const Row& row : rows) {
    if (row.text("family") != "cpu/fma" || row.text("status") != "ok") continue;
    double& peak = peaks[fmt::format("{}/{}", row.text("isa"), row.integer("threads"))];
    peak = std::max(peak, row.real("flops_per_s"));
  }
  return peaks;
}

/// Everything but a measurement is marked.
std::string mark_of(const std::string& column) {
  return column.ends_with("_simulated") ? "(sim)" : column.ends_with("_modelled") ? "(mod)" : "";
}

std::string joined(std::vector<std::string> words) {
  std::sort(words.begin(), words.end());
  words.erase(std::unique(words.begin(), words.end()), words.end());
  return fmt::format("{}", fmt::join(words, " "));
}

}  // namespace

std::string summary_table(const std::vector<Row>& rows) {
  std::map<std::string, std::vector<const Row*>> by_name;
  for (const Row& row : rows)
    if (row.text("status") == "ok") by_name[row.text("name")].push_back(&row);
  if (by_name.empty()) return "";
  const std::map<std::string, double> peaks = fma_peaks(rows);
  // A quantity that no row has gets no column.
  struct Quantity {
    const char* heading;
    std::vector<const char*> columns;  ///< the first that is present; provenance is marked
  };
  static const std::vector<Quantity> optional{
      {"L1 miss/step", {"l1_miss_measured", "l1_miss_simulated"}},
      {"L2 miss/step", {"l2_miss_measured", "l2_miss_simulated"}},
      {"L3 miss/step", {"l3_miss_measured", "l3_miss_simulated"}},
      {"J/step", {"step_energy_j_measured", "step_energy_j_modelled"}},
  };
  const auto value_of = [](const std::vector<const Row*>& group, const Quantity& quantity) -> std::string {
    for (const char* column : quantity.columns)
      if (const double value = median_of(group, column); !std::isnan(value))
        return human_si(value) + mark_of(column);
    return "";
  };
  std::vector<Quantity> shown;
  for (const Quantity& quantity : optional)
    if (std::any_of(by_name.begin(), by_name.end(),
                    [&](const auto& entry) { return !value_of(entry.second, quantity).empty(); }))
      shown.push_back(quantity);
  std::vector<std::string> header{"benchmark", "isa", "threads", "time/step", "+-95%", "FLOP/s"};
  if (!peaks.empty()) header.push_back("of FMA peak");
  const bool floors = std::any_of(rows.begin(), rows.end(),
                                  [](const Row& row) { return !std::isnan(row.real("floor_ratio")); });
  if (floors) header.push_back("x floor");
  header.push_back("bytes/s");
  for (const Quantity& quantity : shown) header.push_back(quantity.heading);
  header.push_back("quality");
  std::vector<std::vector<std::string>> lines{header};
  for (const auto& [name, group] : by_name) {
    const double step_s = median_of(group, "step_s");
    const double half = 0.5 * (median_of(group, "step_high95_s") - median_of(group, "step_low95_s"));
    const double rate = median_of(group, "flops_per_s");
    const Row& row = *group.front();
    const auto text_or_dash = [](double value) {
      return std::isnan(value) ? std::string("-") : human_si(value);
    };
    std::vector<std::string> line{
        name,
        row.text("isa"),
        row.integer("threads") == kAbsentInteger ? "" : std::to_string(row.integer("threads")),
        human_seconds(step_s),
        std::isnan(half) ? "" : fmt::format("{:.1f} %", 100 * half / step_s),
        text_or_dash(rate)};
    if (!peaks.empty()) {
      const auto peak = peaks.find(fmt::format("{}/{}", row.text("isa"), row.integer("threads")));
      line.push_back(
          peak == peaks.end() || std::isnan(rate) ? "" : fmt::format("{:.1f} %", 100 * rate / peak->second));
    }
    if (floors) {
      const double ratio = median_of(group, "floor_ratio");
      line.push_back(std::isnan(ratio) ? "" : fmt::format("{:.2f}", ratio));
    }
    line.push_back(text_or_dash(median_of(group, "compulsory_bytes_per_s")));
    for (const Quantity& quantity : shown) line.push_back(value_of(group, quantity));
    std::vector<std::string> flags;
    for (const Row* each : group) {
      flags.push_back(each->text("quality"));
      if (energy_is_flagged(*each)) flags.push_back("energy:" + each->text("energy_quality"));
    }
    line.push_back(joined(flags));
    lines.push_back(line);
  }
  return text_table(lines);
}

std::string summary_of_trouble(const std::vector<Row>& rows) {
  std::string text;
  std::map<std::string, std::vector<std::string>> unavailable;
  for (const Row& row : rows) {
    if (row.text("status") == "unavailable")
      unavailable[row.text("reason")].push_back(row.text("name"));
    else if (row.text("status") != "ok")
      text += fmt::format("{}: {}: {}\n", row.text("status"), row.text("name"), row.text("reason"));
  }
  std::map<std::string, std::vector<std::string>> flagged;
  for (const Row& row : rows)
    if (energy_is_flagged(row))
      flagged[row.text("energy_quality") +
              (row.text("energy_reason").empty() ? "" : ": " + row.text("energy_reason"))]
          .push_back(row.text("name"));
  // one line a kind of trouble: a slow meter flags every run of a quick suite
  for (const auto& [what, names] : flagged)
    text += fmt::format("energy of {} run(s) flagged {}; the first: {}\n", names.size(), what, names.front());
  for (const auto& [reason, names] : unavailable)
    text += fmt::format("unavailable here ({}): {}{}\n", names.size(), reason,
                        names.size() == 1 ? "; " + names.front() : "");
  return text;
}

std::string where_to_look_next(const std::string& path, std::int64_t added, std::int64_t all) {
  return fmt::format(
      "{}: {} row(s) added, {} in all. Look next:\n"
      "  h5ls {}/runs                 the columns\n"
      "  h5dump -d /runs/step_s {}    one column with its unit and description\n"
      "  /usr/bin/python3 -c \"import xarray; print(xarray.open_dataset('{}', "
      "group='runs').to_dataframe())\"\n"
      "  results/SCHEMA.md says what every column means\n",
      path, added, all, path, path, path);
}

}  // namespace mlpwatt

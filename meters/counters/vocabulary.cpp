// The one table of counter names, and reading `--counters`.

#include <algorithm>
#include <map>
#include <stdexcept>

#include "meters/counters/counter_source.h"

namespace mlpwatt {

const std::vector<CounterName>& counter_vocabulary() {
  static const std::vector<CounterName> table{
      {"l1_bytes", "B", "traffic between the registers and the first-level cache"},
      {"l1_access", "1", "loads and stores that asked the first-level data cache"},
      {"l1_miss", "1", "first-level data cache misses, loads and stores"},
      {"l2_access", "1", "requests to the second-level cache"},
      {"l2_miss", "1", "second-level cache misses of data"},
      {"l3_access", "1", "requests to the third-level cache"},
      {"l3_miss", "1", "third-level cache misses of data"},
      {"l2_bytes", "B", "traffic between first- and second-level cache"},
      {"l3_bytes", "B", "traffic between second- and third-level cache"},
      {"dram_bytes", "B", "traffic between the last cache level and memory"},
      {"instructions", "1", "instructions completed"},
      {"cycles", "1", "core clock cycles"},
      {"fp_ops", "1", "floating-point operations"},
      {"occupancy", "1", "achieved occupancy: warps under way, of those that a multiprocessor can hold",
       true},
      {"stall", "1", "cycles in which no instruction could proceed for want of a resource"},
      {"tlb_miss", "1", "data translation look-aside buffer misses"},
      {"page_faults", "1", "page faults"},
      {"context_switches", "1", "context switches"},
      {"migrations", "1", "moves of a thread to another processor"},
      {"task_clock_s", "s", "processor time of all threads"},
  };
  return table;
}

namespace {

const std::map<std::string, std::string, std::less<>>& aliases() {
  static const std::map<std::string, std::string, std::less<>> table{
      {"l1d_miss", "l1_miss"},        {"l1d_access", "l1_access"}, {"llc_miss", "l3_miss"},
      {"dtlb_miss", "tlb_miss"},      {"flops", "fp_ops"},         {"faults", "page_faults"},
      {"task_clock", "task_clock_s"},
  };
  return table;
}

const std::map<std::string, CounterChoice>& choices() {
  static const std::map<std::string, CounterChoice> table{{"auto", CounterChoice::kAuto},
                                                          {"papi", CounterChoice::kPapi},
                                                          {"simulate", CounterChoice::kSimulate},
                                                          {"none", CounterChoice::kNone}};
  return table;
}

std::size_t edit_distance(const std::string& a, const std::string& b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t above = row[j];
      row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1])});
      diagonal = above;
    }
  }
  return row[b.size()];
}

std::string nearest_words(const std::string& word) {
  std::vector<std::string> known;
  for (const auto& [choice, unused] : choices()) known.push_back(choice);
  for (const CounterName& entry : counter_vocabulary()) known.push_back(entry.name);
  std::stable_sort(known.begin(), known.end(), [&](const std::string& a, const std::string& b) {
    return edit_distance(a, word) < edit_distance(b, word);
  });
  return known[0] + ", " + known[1] + ", " + known[2];
}

bool is_native(const std::string& word) {
  return word.find("::") != std::string::npos || word.rfind("PAPI_", 0) == 0;
}

}  // namespace

const CounterName* find_counter(std::string_view name_or_alias) {
  if (const auto alias = aliases().find(name_or_alias); alias != aliases().end())
    name_or_alias = alias->second;
  const auto& table = counter_vocabulary();
  const auto found = std::find_if(table.begin(), table.end(),
                                  [&](const CounterName& entry) { return entry.name == name_or_alias; });
  return found == table.end() ? nullptr : &*found;
}

const std::vector<std::string>& default_counters() {
  // Most wanted first: when counters are few, the first pass (the timed window) gets these.
  static const std::vector<std::string> names{
      "l1_miss",     "l2_miss",          "l3_miss",    "instructions", "cycles",   "tlb_miss",
      "stall",       "fp_ops",           "l1_access",  "l2_bytes",     "l3_bytes", "dram_bytes",
      "page_faults", "context_switches", "migrations", "task_clock_s"};
  return names;
}

std::string counter_column(const std::string& name, Provenance provenance) {
  std::string column;
  for (const char c : name) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (plain)
      column += c;
    else if (!column.empty() && column.back() != '_')
      column += '_';
  }
  return column + "_" + to_string(provenance);
}

CounterSelection parse_counter_selection(const std::string& text) {
  CounterSelection selection;
  bool chosen = false;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    const std::string word = text.substr(begin, end - begin);
    begin = end + 1;
    if (const auto choice = choices().find(word); choice != choices().end()) {
      if (chosen && choice->second != selection.choice)
        throw std::invalid_argument("--counters names two sources ('" + word +
                                    "' is the second); choose one of auto, papi, simulate, none");
      selection.choice = choice->second;
      chosen = true;
      continue;
    }
    std::string name = word;
    if (const CounterName* known = find_counter(word))
      name = known->name;
    else if (!is_native(word))
      throw std::invalid_argument("unknown counter '" + word + "' (nearest: " + nearest_words(word) +
                                  "; a native event has '::', a preset starts with PAPI_)");
    if (std::find(selection.names.begin(), selection.names.end(), name) == selection.names.end())
      selection.names.push_back(name);
  }
  if (selection.choice == CounterChoice::kNone && !selection.names.empty())
    throw std::invalid_argument("--counters none cannot be joined with '" + selection.names[0] + "'");
  if (selection.choice != CounterChoice::kNone && selection.names.empty())
    selection.names = default_counters();
  return selection;
}

}  // namespace mlpwatt

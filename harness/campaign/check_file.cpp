#include "harness/campaign/check_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "harness/campaign/store.h"
#include "harness/record/error.h"
#include "harness/record/reader.h"

namespace mlpwatt {
namespace {

constexpr std::int64_t kChunkRows = 4096;

/// What one row contradicts itself in; "" = nothing.
std::string row_problem(const Row& row) {
  const std::string& status = row.text("status");
  static const std::vector<std::string> known{"ok", "failed", "error", "unavailable"};
  if (std::find(known.begin(), known.end(), status) == known.end())
    return fmt::format("status '{}' is none of {}", status, fmt::join(known, ", "));
  if (row.text("name").empty()) return "the run has no name";
  if (status != "ok") return row.text("reason").empty() ? "status " + status + " without a reason" : "";
  if (!row.text("reason").empty()) return "status ok with a reason: " + row.text("reason");
  const double step = row.real("step_s"), duration = row.real("duration_s");
  if (!(step > 0)) return fmt::format("status ok with step_s {}", step);
  if (!(duration > 0)) return fmt::format("status ok with duration_s {}", duration);
  const double low = row.real("step_low95_s"), high = row.real("step_high95_s");
  if (low > step || high < step)
    return fmt::format("step_s {} outside its interval {} .. {}", step, low, high);
  const std::int64_t steps = row.integer("steps"), blocks = row.integer("blocks"),
                     each = row.integer("steps_per_block");
  // a comparison's blocks are its turns, its steps those of the window for its joules
  const bool of_joules = !row.text("comparison").empty() && !row.text("energy_meters").empty();
  if (!of_joules && blocks != kAbsentInteger && each != kAbsentInteger && steps != blocks * each)
    return fmt::format("{} steps are not {} blocks of {}", steps, blocks, each);
  for (const char* peak : {"flops", "compulsory_read_bytes", "compulsory_write_bytes"})
    if (row.integer(peak) != kAbsentInteger && row.integer(peak) < 0)
      return fmt::format("{} is negative: {}", peak, row.integer(peak));
  return "";
}

class Checker {
 public:
  Checker(const std::string& path, std::size_t most) : reader_(path), most_(most) {}

  FileVerdict run(const std::optional<Plan>& plan) {
    verdict_.unknown = reader_.unknown_columns();
    for (const std::string& problem : reader_.problems()) add(problem);
    verdict_.runs = reader_.count(runs_table());
    if (!verdict_.problems.empty()) return verdict_;  // rows of a broken layout would only repeat it
    std::vector<bool> there(plan ? static_cast<std::size_t>(plan->runs()) : 0, false);
    const std::string campaign = plan ? plan->campaign() : "";
    for (std::int64_t first = 0; first < verdict_.runs; first += kChunkRows) {
      const std::vector<Row> rows =
          reader_.rows(runs_table(), first, std::min(kChunkRows, verdict_.runs - first));
      for (std::size_t i = 0; i < rows.size(); ++i) {
        if (const std::string problem = row_problem(rows[i]); !problem.empty())
          add(fmt::format("/runs row {}: {}", first + static_cast<std::int64_t>(i), problem));
        const bool ok = rows[i].text("status") == "ok";
        verdict_.runs_ok += ok;
        verdict_.flagged += is_flagged(rows[i]);
        const std::int64_t place = rows[i].integer("order_index");
        if (plan && rows[i].text("campaign") == campaign && place >= 0 &&
            place < static_cast<std::int64_t>(there.size()))
          there[static_cast<std::size_t>(place)] = true;
      }
    }
    const auto missing = std::count(there.begin(), there.end(), false);
    if (missing > 0)
      add(fmt::format("{} of the plan's {} runs are missing, the first at order_index {}", missing,
                      there.size(), std::find(there.begin(), there.end(), false) - there.begin()));
    return verdict_;
  }

 private:
  void add(const std::string& problem) {
    if (verdict_.problems.size() < most_)
      verdict_.problems.push_back(problem);
    else
      verdict_.more = true;
  }
  Reader reader_;
  std::size_t most_;
  FileVerdict verdict_;
};

}  // namespace

FileVerdict check_file(const std::string& path, const std::optional<Plan>& plan, std::size_t most) {
  return Checker(path, most).run(plan);
}

}  // namespace mlpwatt

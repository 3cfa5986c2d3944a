#pragma once
// Which energies count: flagged ones are stored, and kept out of summaries unless asked for.

#include <string>

#include "harness/record/table.h"

namespace mlpwatt {

/// Whether the energy of a run has a quality flag. Rows of other programs say nothing: theirs are taken.
inline bool energy_is_flagged(const Row& run) {
  const std::string& quality = run.text("energy_quality");
  return !quality.empty() && quality != "ok";
}

/// Whether a column of /runs follows from the meters' readings.
inline bool is_energy_column(const std::string& column) {
  for (const char* begin : {"energy_", "step_energy_", "power_w_", "idle_power_w_"})
    if (column.starts_with(begin)) return true;
  return false;
}

/// Whether the column rests on the idle times too, whose flags are a quality of their own.
inline bool is_above_idle_column(const std::string& column) {
  return column.find("above_idle") != std::string::npos || column.starts_with("idle_power_w_");
}

/// A real column of a run as summaries take it: absent where it is a flagged energy.
inline double unflagged_real(const Row& run, const std::string& column, bool flagged_energies = false) {
  if (flagged_energies || !is_energy_column(column)) return run.real(column);
  if (energy_is_flagged(run)) return kAbsentReal;
  const std::string& above_idle = run.text("energy_above_idle_quality");
  if (is_above_idle_column(column) && !above_idle.empty() && above_idle != "ok") return kAbsentReal;
  return run.real(column);
}

}  // namespace mlpwatt

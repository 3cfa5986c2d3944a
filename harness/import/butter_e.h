#pragma once
// The study's published files (OEDI 5991) as rows of our tables: the same rejection rules, standardisation
// and overhead subtraction, so that the same fit and figures run on both.

#include <map>
#include <string>

#include "harness/record/record_file.h"

namespace mlpwatt {

struct ButterEOptions {
  std::int64_t epochs = 3000;
  /// Column of node_power_dist.csv that is a node's idle power.
  std::string idle_percentile = "p050000";
};

struct ButterEImport {
  Contents contents;
  std::int64_t rows = 0;                         ///< in runs_with_standardized_energy.csv
  std::map<std::string, std::int64_t> rejected;  ///< by rule
  std::int64_t integrated = 0;  ///< kept runs whose energy is the integral of their job's watts
};

/// @param folder holds runs_with_standardized_energy.csv; node_power_dist.csv and the unpacked
///   butter_e_energy/<slurm_job_id>.csv where there are any
/// Energy: where the job's watts are there, their integral between start and end (lines between readings,
/// partial first and last interval), shifted by the node's idle offset from its type's median; else the
/// published standardised energy (column std_energy, where the same was done); else, where a row has none,
/// the published energy, shifted in the same way. Then the published start-up overhead is subtracted.
/// Rejected: gaps over 90 s between readings, readings of 0 W, run times over 75,000 s, what the publishers'
/// filter columns mark, and run times beyond 4 standard deviations of log within (hardware, dataset, size).
/// Errors: CsvError naming file and line.
ButterEImport import_butter_e(const std::string& folder, const ButterEOptions& options);

}  // namespace mlpwatt

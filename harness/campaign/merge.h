#pragma once
// Many results files into one, a piece at a time: memory does not grow with the rows.
//
// Which rows are the same: those of a campaign when host, campaign and order_index agree (copies and reruns);
// others when host, name and start_realtime_ns agree (copies). Of the same, one is kept: status ok before any
// other, then quality ok before flags, then the latest start. Energies, samples and curve go with their run.
// A fitted model does not: it was fitted to the rows of one file, and other rows have another one.

#include <cstdint>
#include <string>
#include <vector>

namespace mlpwatt {

struct MergeOptions {
  bool samples = true;   ///< keep the raw series of the meters
  bool replace = false;  ///< the output may exist and be no input
};

struct MergeReport {
  std::int64_t runs_in = 0, runs_out = 0, samples_out = 0;
  std::int64_t coefficients_left_out = 0;  ///< of /model in the inputs
  std::int64_t duplicates() const { return runs_in - runs_out; }
};

/// @param inputs results files, folders of campaigns (complete or interrupted) and single records (.json);
/// the output may be one Errors: UsageError when the output exists and is no input; RecordError for an input
/// that is not of this schema or holds columns that would be dropped. The output is then as it was.
MergeReport merge_files(const std::string& output, const std::vector<std::string>& inputs,
                        const MergeOptions& options);

}  // namespace mlpwatt

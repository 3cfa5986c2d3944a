#pragma once
// Whether a results file keeps the schema's promises, beyond the types of its columns.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "harness/campaign/plan.h"

namespace mlpwatt {

struct FileVerdict {
  std::int64_t runs = 0, runs_ok = 0, flagged = 0;
  std::vector<std::string> problems;  ///< "/runs row 17: ..."; empty = valid
  std::vector<std::string> unknown;   ///< columns of a newer or foreign writer: no problem
  bool more = false;                  ///< there are more problems than listed
};

/// Reads the whole file in pieces. With a plan: also whether every run of it is there.
/// Errors: RecordError when the file cannot be opened as one of ours.
FileVerdict check_file(const std::string& path, const std::optional<Plan>& plan, std::size_t most = 20);

}  // namespace mlpwatt

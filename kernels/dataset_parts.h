#pragma once
// The steps load_dataset is made of, each testable by itself.

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/dataset.h"

namespace mlpwatt {

/// A file as it stands, before any scaling.
struct PmlbTable {
  std::string path;
  std::vector<std::string> columns;  ///< names, `target` last
  std::vector<double> values;        ///< [rows x columns] row-major
  std::int64_t rows = 0;
};

/// Reads a gzip'd TSV of numbers with a header row (LF or CRLF).
/// Errors: std::runtime_error "FILE: ..." or "FILE, line N: ..." in one line: unreadable, not gzip'd,
/// truncated, no `target` last, short or long row, cell that is no finite number, no rows.
PmlbTable read_table(const std::string& path);

/// Scales, encodes, shuffles and splits a table as the task asks; source, path and checksum are left empty.
/// Errors: std::runtime_error naming the file and what does not agree with `info` (features, classes).
Dataset prepare_dataset(const DatasetInfo& info, const PmlbTable& table, std::uint64_t seed);

/// A stand-in with the observations, features, outputs and task of `info`: features uniform in [0, 1],
/// targets of a small random teacher network plus noise. source and checksum are set.
Dataset synthetic_dataset(const DatasetInfo& info, std::uint64_t seed);

/// Rows of the test split: a fifth, round half up.
std::int64_t test_split_rows(std::int64_t rows);

}  // namespace mlpwatt

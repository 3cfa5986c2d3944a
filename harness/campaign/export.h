#pragma once
// A table of a results file as plain text, a piece at a time.

#include <iosfwd>
#include <string>
#include <vector>

#include "harness/record/reader.h"

namespace mlpwatt {

enum class TextFormat { kCsv, kJson };

/// CSV (RFC 4180, a header line, absent = empty) or a JSON array of objects (absent = left out).
/// @param columns in this order; empty = all
/// Errors: UsageError for a column the table does not have, naming the nearest; RecordError.
void export_table(const Reader& reader, const Table& table, const std::vector<std::string>& columns,
                  TextFormat format, std::ostream& out);

}  // namespace mlpwatt

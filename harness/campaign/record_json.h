#pragma once
// One record as one line of JSON: what a campaign keeps until it is compacted into HDF5. A record's HDF5 file
// is mostly the description of some 200 columns (159 KiB for one row); as JSON it is 2 to 3 KiB.

#include <string>

#include "harness/record/record_file.h"

namespace mlpwatt {

/// Absent values are left out; finite values return bit for bit from parse_record.
std::string record_json(const Record& record);
/// Errors: RecordError naming `path`, for text that is not such a record.
Record parse_record(const std::string& text, const std::string& path);

}  // namespace mlpwatt

#pragma once
// What goes wrong with files.

#include <cstdint>
#include <stdexcept>
#include <string>

namespace mlpwatt {

/// A file cannot be read or written; what() names the file and the reason in one line.
struct RecordError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// The disk, or the quota on it, has no room for a file.
struct DiskFull : RecordError {
  DiskFull(const std::string& message, std::int64_t needed) : RecordError(message), needed_bytes(needed) {}
  std::int64_t needed_bytes;  ///< by the file that could not be written; 0 = not known
};

}  // namespace mlpwatt

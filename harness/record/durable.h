#pragma once
// Files that are complete or absent: written under a temporary name beside the target, on disk, then
// renamed over it. And the lock that keeps a second process away.

#include <string>
#include <string_view>

#include "harness/record/error.h"

namespace mlpwatt {

/// The hidden name beside `path` that a file has until it is complete: "folder/.NAME.tmp".
std::string temporary_name(const std::string& path);

/// Writes all bytes to temporary_name(path) and puts them into place; the old file stays when that fails.
/// Errors: RecordError (DiskFull when that is why) naming the path, the bytes needed and the system's reason.
void write_durably(const std::string& path, std::string_view bytes);

/// fsync of the complete file at temporary_name(path), rename to `path`, fsync of the folder. On an error
/// the temporary file is removed. Errors: RecordError.
void put_into_place(const std::string& path);

/// Makes a folder, with those above it, that is still there after a loss of power.
/// Errors: RecordError.
void make_folder_durably(const std::string& folder);

/// One holder per lock file, on one host or over a network file system that has flock; released by the system
/// when the process dies.
class FileLock {
 public:
  /// @param path of the lock file, made when missing and removed at the end
  /// @param guarded what errors name: the file or folder the person asked for
  /// @param busy what to say of it when another process holds the lock
  /// Errors: RecordError.
  FileLock(std::string path, const std::string& guarded, const std::string& busy);
  ~FileLock();
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

 private:
  std::string path_;
  int descriptor_ = -1;
};

/// An error of the system about a file: "PATH: WHAT: No space left on device".
std::string file_error(const std::string& path, const std::string& what, int error);

}  // namespace mlpwatt

#pragma once
// A file system that stops answering (a network share, a driver that waits for its firmware): reads of files
// under a folder wait until it is over.

#include <string>

namespace mlpwatt::testing {

/// While one lives, pread() of files under `folder` does not return; one at a time.
class HangingFiles {
 public:
  explicit HangingFiles(const std::string& folder);
  ~HangingFiles();
  HangingFiles(const HangingFiles&) = delete;
  HangingFiles& operator=(const HangingFiles&) = delete;
  /// Reads that wait now.
  int waiting() const;
};

}  // namespace mlpwatt::testing

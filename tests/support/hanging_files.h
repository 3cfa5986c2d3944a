#pragma once
// A file system that stops answering (a network share, a driver that waits for its firmware): reads of files
// under a folder wait until it is over.

#include <atomic>
#include <string>

namespace mlpwatt::testing {

/// From begin() to end(), pread() of files under the folder does not return; one of these at a time. One
/// thread may begin what another ends.
class HangingFiles {
 public:
  HangingFiles() = default;
  ~HangingFiles() { end(); }
  HangingFiles(const HangingFiles&) = delete;
  HangingFiles& operator=(const HangingFiles&) = delete;
  void begin(const std::string& folder);
  /// @return whether it had begun
  bool end();

 private:
  std::atomic<bool> begun_{false};
};

}  // namespace mlpwatt::testing

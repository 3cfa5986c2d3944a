#pragma once
// How far a sitting is: one redrawn line on a terminal, one line a run elsewhere.

#include <cstdint>
#include <iosfwd>
#include <string>

namespace mlpwatt {

class Progress {
 public:
  Progress(std::ostream& out, bool terminal, std::int64_t total)
      : out_(out), terminal_(terminal), total_(total) {}
  /// About to run `name`.
  void begin(const std::string& name, double now_s);
  /// It ended; `outcome` is a few words ("12.3 us", "failed: ...").
  void end(const std::string& outcome, double now_s);
  /// Removes the redrawn line.
  void clear();

 private:
  std::ostream& out_;
  bool terminal_;
  std::int64_t total_, done_ = 0;
  double start_s_ = -1;
  std::string name_;
};

}  // namespace mlpwatt

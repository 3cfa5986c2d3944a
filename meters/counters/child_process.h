#pragma once
// A child command with a deadline: started in its own process group, its output in a file, killed with all
// its descendants when it is late.

#include <spawn.h>
#include <sys/types.h>

#include <chrono>
#include <string>
#include <vector>

namespace mlpwatt {

/// Starts a command, found through PATH, in a process group of its own.
/// @param environment additions "NAME=value" to ours
/// @return 0, or the errno of what failed
int spawn_group(pid_t& pid, const std::vector<std::string>& command,
                const std::vector<std::string>& environment, const posix_spawn_file_actions_t& files);

class ChildProcess {
 public:
  using Clock = std::chrono::steady_clock;

  /// Starts at once. @param environment additions "NAME=value" to ours. @param output_path gets stdout and
  /// stderr. Errors: throws std::runtime_error naming the program when it cannot be started.
  ChildProcess(const std::vector<std::string>& command, const std::vector<std::string>& environment,
               std::string output_path);
  /// Kills what still runs.
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  /// Waits; past the deadline the child is killed. @return whether it ended by itself.
  bool wait_until(Clock::time_point deadline);
  /// After wait_until: "" when it exited 0, else one line: the status and the last line it wrote.
  std::string failure() const;

 private:
  void kill_group();
  pid_t pid_ = -1;
  int status_ = 0;
  bool ended_ = false, late_ = false;
  std::string output_path_;
};

/// A new folder under $TMPDIR (or /tmp), removed with all it holds at the end of scope.
class ScratchFolder {
 public:
  ScratchFolder();
  ~ScratchFolder();
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

/// The file `name` would be started from: itself when it has a '/', else through PATH; "" when there is none.
std::string find_program(const std::string& name);

}  // namespace mlpwatt

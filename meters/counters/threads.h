#pragma once
// The threads of this process, as the kernel lists them.

#include <string>
#include <vector>

namespace mlpwatt {

struct TaskThread {
  int id = 0;          ///< kernel thread id
  std::string name;    ///< /proc/self/task/ID/comm
  bool meter = false;  ///< a measuring thread (meters/thread_name.h), left out of counts
};

/// From /proc/self/task, ordered by id; threads that end meanwhile are left out.
std::vector<TaskThread> task_threads();

/// Whether a thread of this process is gone. The kernel refuses an ending one a moment before it stops
/// listing it: that moment (10 ms at most) is waited for.
bool thread_has_ended(int id);

}  // namespace mlpwatt

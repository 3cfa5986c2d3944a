#include "meters/counters/threads.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "meters/thread_name.h"

namespace mlpwatt {

std::vector<TaskThread> task_threads() {
  std::vector<TaskThread> threads;
  std::error_code error;
  for (std::filesystem::directory_iterator entry("/proc/self/task", error), end; !error && entry != end;
       entry.increment(error)) {
    TaskThread thread;
    thread.id = std::atoi(entry->path().filename().c_str());
    std::ifstream comm(entry->path() / "comm");
    if (thread.id <= 0 || !std::getline(comm, thread.name)) continue;
    thread.meter = thread.name.rfind(kMeterThreadPrefix, 0) == 0;
    threads.push_back(std::move(thread));
  }
  std::sort(threads.begin(), threads.end(),
            [](const TaskThread& a, const TaskThread& b) { return a.id < b.id; });
  return threads;
}

}  // namespace mlpwatt
